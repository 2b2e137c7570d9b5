"""Batch normalisation by irrep."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features
from clebsch.o3 import Irreps
from clebsch.o3.irreps import IrrepsLike


class BatchNorm(nn.Module):
    """Every channel divided by the root mean square of its norm; even scalars are centred first.

    In training the statistics are the batch's, and enter the running ones; in evaluation the
    running ones are used. Parameters and buffers are named as e3nn's, and hold the same numbers.
    A batch without rows changes nothing.

    Args:
        irreps: irreps of input and result.
        eps: added to mean squares.
        momentum: weight of a batch in the running statistics.
        affine: learn a factor for every channel and a bias for every even scalar.
        reduce: square norms of a sample's points are averaged (``"mean"``), or the largest counts.
        instance: use each sample's own statistics, always; there are no running ones.
        include_bias: whether even scalars have a bias.
        normalization: a channel's mean square is 1 per component, or 1 in all (``"norm"``).

    Attributes:
        weight, running_var: (irreps.num_irreps,).
        bias, running_mean: (number of even scalars,).

    Shape: (batch, ..., irreps.dim) to the same; what lies between are points of a sample.

    Raises:
        ValueError: an option that does not exist; a mask of another shape than ``x.shape[:-1]``.

    Example:
        >>> norm = BatchNorm("8x0e + 4x1o")
        >>> y = norm(3 + 5 * torch.randn(100, 20))
        >>> bool(y[:, :8].mean().abs() < 1e-5), bool((y.square().mean() - 1).abs() < 1e-4)
        (True, True)
    """

    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        irreps: IrrepsLike,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        reduce: Literal["mean", "max"] = "mean",
        instance: bool = False,
        include_bias: bool = True,
        normalization: Literal["component", "norm"] = "component",
    ) -> None:
        super().__init__()
        if reduce not in ("mean", "max"):
            raise ValueError(f'BatchNorm: reduce must be "mean" or "max", not {reduce!r}')
        if normalization not in ("component", "norm"):
            raise ValueError(
                f'BatchNorm: normalization must be "component" or "norm", not {normalization!r}'
            )
        self.irreps = self.irreps_in = self.irreps_out = Irreps(irreps)
        self.eps, self.momentum = eps, momentum
        self.reduce, self.normalization = reduce, normalization
        self.instance = instance
        n_scalars, n_channels = self.irreps.count("0e"), self.irreps.num_irreps
        self.register_buffer("running_mean", None if instance else torch.zeros(n_scalars))
        self.register_buffer("running_var", None if instance else torch.ones(n_channels))
        self.weight = nn.Parameter(torch.ones(n_channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(n_scalars)) if affine and include_bias else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise x.

        Args:
            x: (batch, ..., irreps.dim).
            mask: ``x.shape[:-1]``, bool; False marks padding, which does not count and comes out
                as zero.
        """
        check_features(self, "x", x, self.irreps)
        if x.dim() < 2:
            raise ValueError(f"BatchNorm: x must be (batch, ..., {self.irreps.dim}), not one row")
        if mask is not None and mask.shape != x.shape[:-1]:
            raise ValueError(
                f"BatchNorm: mask is {tuple(mask.shape)}, but x has rows {tuple(x.shape[:-1])}"
            )
        if x.numel() == 0:
            return x
        points = x.reshape(x.shape[0], -1, self.irreps.dim)
        seen = None
        if mask is not None:
            seen = mask.reshape(points.shape[:2])
            points = points.where(seen[..., None], 0.0)
        own = self.training or self.instance
        results, means, squares = [], [], []
        scalar = channel = 0
        for (mul, ir), part in zip(self.irreps, self.irreps.slices(), strict=True):
            block = points[..., part].unflatten(-1, (ir.dim, mul))  # (batch, point, ir.dim, mul)
            here = slice(channel, channel + mul)
            channel += mul
            bias = None
            if ir.is_scalar():
                place = slice(scalar, scalar + mul)
                scalar += mul
                if own:
                    mean = self._mean(block[:, :, 0], seen)
                else:
                    mean = self._kept(self.running_mean, place)
                means.append(mean)
                block = block - mean[..., None, None, :]
                bias = None if self.bias is None else self.bias[place]
            square = self._square(block, seen) if own else self._kept(self.running_var, here)
            squares.append(square)
            factor = (square + self.eps).rsqrt()
            if self.weight is not None:
                factor = factor * self.weight[here]
            block = block * factor[..., None, None, :]
            if bias is not None:
                block = block + bias
            results.append(block.flatten(-2))
        if self.training and not self.instance:
            self._update(self.running_mean, means, seen)
            self._update(self.running_var, squares, seen)
        y = torch.cat(results, dim=-1)
        if seen is not None:
            y = y.where(seen[..., None], 0.0)
        return y.reshape(x.shape)

    @staticmethod
    def _kept(running: Tensor | None, place: slice) -> Tensor:
        assert running is not None
        return running[place]

    def _mean(self, scalars: Tensor, seen: Tensor | None) -> Tensor:
        """Scalars (batch, point, mul) averaged: (mul,), of instances (batch, mul)."""
        dims = (1,) if self.instance else (0, 1)
        if seen is None:
            return scalars.mean(dims)
        count = seen.sum(dims).clamp(min=1).to(scalars.dtype)
        return scalars.sum(dims) / count[..., None]

    def _square(self, block: Tensor, seen: Tensor | None) -> Tensor:
        """Square norms reduced over points, then averaged over samples: shapes as ``_mean``."""
        square = block.square()
        square = square.mean(2) if self.normalization == "component" else square.sum(2)
        if seen is not None:
            square = square.where(seen[..., None], 0.0)
        if self.reduce == "max":
            square = square.amax(1)
        elif seen is None:
            square = square.mean(1)
        else:
            square = square.sum(1) / seen.sum(1).clamp(min=1).to(square.dtype)[:, None]
        if self.instance:
            return square
        if seen is None:
            return square.mean(0)
        return square.sum(0) / seen.any(1).sum().clamp(min=1).to(square.dtype)

    @torch.no_grad()
    def _update(self, running: Tensor | None, news: list[Tensor], seen: Tensor | None) -> None:
        if running is None or not news:
            return
        new = torch.cat(news).to(running.dtype)
        if seen is None:
            running.lerp_(new, self.momentum)
        else:  # a batch of padding alone changes nothing
            running.lerp_(new, self.momentum * seen.any().to(running.dtype))

    def extra_repr(self) -> str:
        return f"{self.irreps}, eps={self.eps}, momentum={self.momentum}"
