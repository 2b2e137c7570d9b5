"""Tensor products with weights of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clebsch.o3 import Irreps
from clebsch.ops import Specification, tensor_product


class TensorProduct(nn.Module):
    """The tensor product of a specification, with internal weights where it shares them.

    Args:
        specification: what is computed, see ``clebsch.ops.Specification``.

    Shape: (B, x.dim), (B, y.dim) [, weights (B, weight_numel)] -> (B, z.dim).

    Attributes:
        weight: (weight_numel,) standard normal, or None where each row brings its own.
    """

    def __init__(self, specification: Specification) -> None:
        super().__init__()
        self.specification = specification
        self.weight = (
            nn.Parameter(torch.randn(specification.weight_numel))
            if specification.shared_weights and specification.weight_numel
            else None
        )

    def forward(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        return tensor_product(
            self.specification, x, y, weights if weights is not None else self.weight
        )

    def extra_repr(self) -> str:
        return str(self.specification)


class FullyConnectedTensorProduct(TensorProduct):
    """Every path from x and y into z, every channel with every channel.

    Shape: (B, x.dim), (B, y.dim) -> (B, z.dim).
    """

    def __init__(self, x: Irreps | str, y: Irreps | str, z: Irreps | str) -> None:
        super().__init__(Specification.fully_connected(x, y, z))


class ElementwiseTensorProduct(TensorProduct):
    """Channel by channel, without weights: x and y need blocks of equal channel counts.

    Shape: (B, x.dim), (B, y.dim) -> (B, z.dim).
    """

    def __init__(self, x: Irreps | str, y: Irreps | str) -> None:
        super().__init__(Specification.elementwise(x, y))
