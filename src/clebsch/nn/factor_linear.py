"""Linear maps that also mix a dimension of factors beside the irreps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clebsch.nn.arguments import check_features
from clebsch.nn.constants import ExactConstants, on_cpu
from clebsch.nn.linear import Linear
from clebsch.o3 import Irreps


class FactorLinear(ExactConstants):
    """``Linear`` with weights of its own for every pair of factors (e3nn's ``f_in``, ``f_out``).

    For features in several copies that do not turn into each other: points of a kernel, tasks,
    time steps. It is a ``Linear`` whose blocks have ``f_in`` and ``f_out`` times the channels, so
    unit variance in gives unit variance out.

    Args:
        irreps_in: irreps of each factor of the input, layout ``ir_mul``.
        irreps_out: irreps of each factor of the result.
        f_in: factors of the input.
        f_out: factors of the result.
        options: keyword arguments of ``Linear``.

    Shape: (..., f_in, irreps_in.dim) -> (..., f_out, irreps_out.dim).

    Raises:
        ValueError: fewer than one factor; features of a wrong shape; as ``Linear``.

    Example:
        >>> mix = FactorLinear("4x0e + 3x1o", "2x0e + 5x1o", 6, 2, biases=True)
        >>> mix(mix.irreps_in.randn(7, 6, -1)).shape
        torch.Size([7, 2, 17])
        >>> mix.weight_view(1, 1).shape  # of the vectors
        torch.Size([6, 3, 2, 5])
    """

    gather: Tensor
    scatter: Tensor

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        f_in: int,
        f_out: int,
        **options: Any,
    ) -> None:
        super().__init__()
        if min(f_in, f_out) < 1:
            raise ValueError(f"FactorLinear: f_in and f_out are at least 1, not {f_in} and {f_out}")
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.f_in, self.f_out = f_in, f_out
        wide_in = Irreps([(f_in * mul, ir) for mul, ir in self.irreps_in])
        wide_out = Irreps([(f_out * mul, ir) for mul, ir in self.irreps_out])
        self.linear = Linear(wide_in, wide_out, **options)
        gather = _factors_to_channels(self.irreps_in, f_in)
        scatter = _factors_to_channels(self.irreps_out, f_out).argsort()
        self.register_constant("gather", gather)
        self.register_constant("scatter", scatter)

    def forward(self, x: Tensor, species: Tensor | None = None) -> Tensor:
        """Map ``x``; ``species`` as for ``Linear``."""
        check_features(self, "x", x, self.irreps_in)
        if x.shape[-2:-1] != (self.f_in,):
            raise ValueError(
                f"FactorLinear: x is {tuple(x.shape)}; it must be (..., {self.f_in}, "
                f"{self.irreps_in.dim})"
            )
        out: Tensor = self.linear(x.flatten(-2).index_select(-1, self.gather), species)
        return out.index_select(-1, self.scatter).unflatten(-1, (self.f_out, self.irreps_out.dim))

    def weight_view(self, i_in: int, i_out: int) -> Tensor:
        """Weights between two blocks, ([species,] f_in, channels in, f_out, channels out).

        Raises:
            ValueError: the blocks are not connected.
        """
        view = self.linear.weight_view(i_in, i_out)
        mul_in, mul_out = self.irreps_in[i_in].mul, self.irreps_out[i_out].mul
        return view.reshape(*view.shape[:-2], self.f_in, mul_in, self.f_out, mul_out)

    def extra_repr(self) -> str:
        return f"{self.f_in} of {self.irreps_in} -> {self.f_out} of {self.irreps_out}"


@on_cpu
def _factors_to_channels(irreps: Irreps, factors: int) -> Tensor:
    """Where the elements of blocks of ``factors`` times the channels lie in (factors, dim)."""
    places = torch.arange(factors * irreps.dim).reshape(factors, irreps.dim)
    blocks = [
        places[:, place].reshape(factors, ir.dim, mul).movedim(1, 0).flatten()
        for place, (mul, ir) in zip(irreps.slices(), irreps, strict=True)
    ]
    return torch.cat([places[0, :0], *blocks])
