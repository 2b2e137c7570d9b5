"""Norms of equivariant features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features
from clebsch.o3 import Irrep, Irreps


class Norm(nn.Module):
    """Length of every channel of every block; the gradient at zero is zero.

    Args:
        irreps_in: irreps of the features.
        squared: give squared lengths.

    Shape: (..., irreps_in.dim) -> (..., irreps_in.num_irreps), one even scalar per channel.

    Example:
        >>> norm = Norm("1x0e + 1x1o")
        >>> norm(torch.tensor([-2.0, 0.0, 3.0, 4.0]))
        tensor([2., 5.])
        >>> Norm("1x0e + 1x1o", squared=True)(torch.tensor([-2.0, 0.0, 3.0, 4.0]))
        tensor([ 4., 25.])
    """

    def __init__(self, irreps_in: Irreps | str, *, squared: bool = False) -> None:
        super().__init__()
        self.squared = squared
        self.irreps_in = Irreps(irreps_in)
        self.irreps_out = Irreps([(mul, Irrep(0, 1)) for mul, _ in self.irreps_in])

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        parts = [x[..., :0]]
        for (mul, ir), place in zip(self.irreps_in, self.irreps_in.slices(), strict=True):
            square = x[..., place].unflatten(-1, (ir.dim, mul)).square().sum(-2)
            if self.squared:
                parts.append(square)
                continue
            positive = square > 0
            # sqrt sees 1 where the norm is 0, else its derivative there is infinite.
            parts.append(torch.where(positive, square.where(positive, 1.0).sqrt(), 0.0))
        return torch.cat(parts, dim=-1)

    def extra_repr(self) -> str:
        return f"{self.irreps_in}" + (", squared=True" if self.squared else "")
