"""The tensor product of features with themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from clebsch.nn.arguments import check_features
from clebsch.nn.tensor_product import TensorProduct
from clebsch.o3 import Irrep, Irreps
from clebsch.ops import Specification

if TYPE_CHECKING:
    from clebsch.ops.instructions import IrrepNormalization, PathNormalization


class TensorSquare(TensorProduct):
    """x times x, every pair of channels once.

    Without ``z`` every product has a channel of its own and there are no weights; with ``z`` all
    products are fully connected to it.

    Args:
        x: irreps of the features, taken as they are (e3nn merges equal neighbours first).
        z: irreps of the result.
        keep: without z, the irreps of the result that are wanted.
        shared_weights: one set of weights for all rows, else they are given with each row.
        internal_weights, irrep_normalization, path_normalization: see ``TensorProduct`` and
            ``Specification.from_instructions``.

    Shape: (..., x.dim) [, weights] -> (..., z.dim).

    Raises:
        ValueError: both z and ``keep`` are given.

    Example:
        >>> import torch
        >>> square = TensorSquare("4x0e + 2x1o")
        >>> square.irreps_out
        6x0e+4x0e+1x0e+2x0e+8x1o+1x1e+1x2e+2x2e
        >>> square(torch.randn(3, 10)).shape
        torch.Size([3, 55])
    """

    def __init__(
        self,
        x: Irreps | str,
        z: Irreps | str | None = None,
        keep: Irreps | Iterable[Irrep | str] | str | None = None,
        *,
        shared_weights: bool = True,
        internal_weights: bool | None = None,
        irrep_normalization: IrrepNormalization = "component",
        path_normalization: PathNormalization = "element",
    ) -> None:
        spec = Specification.square(
            x,
            z,
            keep,
            irrep_normalization=irrep_normalization,
            path_normalization=path_normalization,
            shared_weights=shared_weights,
        )
        super().__init__(spec, internal_weights=internal_weights)
        self.irreps_in = spec.x

    def forward(  # type: ignore[override]
        self, x: Tensor, weights: Tensor | Sequence[Tensor] | None = None
    ) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        return self._product(x, x, self._weights(weights))
