"""Dropout of whole irreps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features
from clebsch.o3 import Irreps
from clebsch.o3.irreps import IrrepsLike


class Dropout(nn.Module):
    """In training every channel of a sample is zero with probability p, else divided by 1 - p.

    An irrep falls with all its components, so that the layer is equivariant for any one draw. All
    points of a sample lose the same channels. In evaluation the input is returned.

    Args:
        irreps: irreps of input and result.
        p: probability in [0, 1].

    Shape: (batch, ..., irreps.dim) to the same.

    Raises:
        ValueError: p outside of [0, 1].

    Example:
        >>> layer = Dropout("4x1o", p=0.5)
        >>> sorted(set(layer(torch.ones(100, 12)).unique().tolist()))
        [0.0, 2.0]
        >>> layer.eval()(torch.ones(1, 12)).sum()
        tensor(12.)
    """

    def __init__(self, irreps: IrrepsLike, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is a probability, from 0 to 1; not {p}")
        self.irreps = self.irreps_in = self.irreps_out = Irreps(irreps)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps)
        if not self.training or self.p == 0 or not self.irreps:
            return x
        if self.p == 1:
            return x * 0.0  # still a function of x
        lead = x.shape[:1] if x.dim() > 1 else ()
        keep = 1 - self.p
        masks = []
        for mul, ir in self.irreps:
            mask = x.new_empty(*lead, 1, mul).bernoulli_(keep).div_(keep)
            masks.append(mask.expand(*lead, ir.dim, mul).flatten(-2))
        mask = torch.cat(masks, dim=-1)
        return x * mask.reshape(*lead, *[1] * (x.dim() - 1 - len(lead)), self.irreps.dim)

    def extra_repr(self) -> str:
        return f"{self.irreps}, p={self.p}"
