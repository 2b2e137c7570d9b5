"""Normalisation of each sample by its own features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features
from clebsch.o3 import Irreps
from clebsch.o3.irreps import IrrepsLike


class LayerNorm(nn.Module):
    """Every block divided by the root mean square of its components; even scalars centred first.

    Liao and Smidt, Equiformer (2023), section 4.1. Of even scalars alone it is
    ``torch.nn.LayerNorm``.

    Args:
        irreps: irreps of input and result.
        eps: added to mean squares; rows of zeros stay zero but for the bias.
        affine: learn a factor for every channel and a bias for every even scalar.

    Attributes:
        weight: (irreps.num_irreps,).
        bias: (number of even scalars,).

    Shape: (..., irreps.dim) to the same.

    Example:
        >>> y = LayerNorm("8x0e + 4x1o")(3 + 5 * torch.randn(2, 20))
        >>> [round(v.item(), 3) for v in (y[0, :8].mean().abs(), y[0, 8:].square().mean())]
        [0.0, 1.0]
    """

    def __init__(self, irreps: IrrepsLike, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.irreps = self.irreps_in = self.irreps_out = Irreps(irreps)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(self.irreps.num_irreps)) if affine else None
        self.bias = nn.Parameter(torch.zeros(self.irreps.count("0e"))) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps)
        results = []
        scalar = channel = 0
        for (mul, ir), part in zip(self.irreps, self.irreps.slices(), strict=True):
            if mul == 0:
                continue
            block = x[..., part].unflatten(-1, (ir.dim, mul))
            if ir.is_scalar():
                block = block - block.mean(-1, keepdim=True)
            factor = (block.square().mean((-2, -1), keepdim=True) + self.eps).rsqrt()
            if self.weight is not None:
                factor = factor * self.weight[channel : channel + mul]
            channel += mul
            block = block * factor
            if ir.is_scalar():
                if self.bias is not None:
                    block = block + self.bias[scalar : scalar + mul]
                scalar += mul
            results.append(block.flatten(-2))
        return torch.cat(results, dim=-1) if results else x

    def extra_repr(self) -> str:
        return f"{self.irreps}, eps={self.eps}"


class RMSNorm(nn.Module):
    """Features divided by their root mean square, and nothing subtracted.

    Liao et al., EquiformerV2 (2024), section 4.3 for the joint, balanced form. Of scalars alone
    it is ``torch.nn.RMSNorm``.

    Args:
        irreps: irreps of input and result.
        eps: added to mean squares; rows of zeros stay zero.
        affine: learn a factor for every channel.
        joint: one mean square for all degrees l, which keeps their relative sizes; otherwise each
            degree has its own.
        balanced: in the joint one every degree counts the same, not every component.

    Attributes:
        weight: (irreps.num_irreps,).

    Shape: (..., irreps.dim) to the same.

    Example:
        >>> norm = RMSNorm("1x0e + 1x1o", eps=0.0)
        >>> norm(torch.tensor([1.0, 0.0, 0.0, 3.0]))  # mean squares 1 and 3, together 2
        tensor([0.7071, 0.0000, 0.0000, 2.1213], grad_fn=<CatBackward0>)
    """

    def __init__(
        self,
        irreps: IrrepsLike,
        *,
        eps: float = 1e-5,
        affine: bool = True,
        joint: bool = True,
        balanced: bool = True,
    ) -> None:
        super().__init__()
        self.irreps = self.irreps_in = self.irreps_out = Irreps(irreps)
        self.eps = eps
        self.joint, self.balanced = joint, balanced
        self.degrees = sorted({ir.l for mul, ir in self.irreps if mul})
        self.weight = nn.Parameter(torch.ones(self.irreps.num_irreps)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps)
        if not self.degrees:
            return x
        factors = self._factors(x)
        results = []
        channel = 0
        for (mul, ir), part in zip(self.irreps, self.irreps.slices(), strict=True):
            if mul == 0:
                continue
            factor = factors[ir.l]
            if self.weight is not None:
                factor = factor * self.weight[channel : channel + mul]
            channel += mul
            block = x[..., part].unflatten(-1, (ir.dim, mul)) * factor.unsqueeze(-2)
            results.append(block.flatten(-2))
        return torch.cat(results, dim=-1)

    def _factors(self, x: Tensor) -> dict[int, Tensor]:
        """For every degree 1 / root mean square, (..., 1)."""
        square = x.square()
        if self.joint and not self.balanced:
            return dict.fromkeys(self.degrees, self._inverse(square.mean(-1, keepdim=True)))
        means = {}
        for degree in self.degrees:
            parts = [
                square[..., part]
                for (_, ir), part in zip(self.irreps, self.irreps.slices(), strict=True)
                if ir.l == degree
            ]
            means[degree] = torch.cat(parts, dim=-1).mean(-1, keepdim=True)
        if self.joint:
            mean = torch.cat(list(means.values()), dim=-1).mean(-1, keepdim=True)
            return dict.fromkeys(self.degrees, self._inverse(mean))
        return {degree: self._inverse(mean) for degree, mean in means.items()}

    def _inverse(self, mean: Tensor) -> Tensor:
        return (mean + self.eps).rsqrt()

    def extra_repr(self) -> str:
        return f"{self.irreps}, eps={self.eps}, joint={self.joint}, balanced={self.balanced}"
