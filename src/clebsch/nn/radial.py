"""Functions of the distance: smooth cutoffs and bases, all of the reduced distance u = r / r_c.

A reduced distance lets each pair of species have a cutoff of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn


class Cutoff(nn.Module, ABC):
    """A function of u that is 1 at 0 and exactly 0, with its derivatives, from 1 on.

    Shape: any to the same.
    """

    @abstractmethod
    def inside(self, u: Tensor) -> Tensor:
        """The function for 0 <= u < 1."""

    def forward(self, u: Tensor) -> Tensor:
        return self.inside(u.clamp(max=1.0)).where(u < 1.0, 0.0)

    def value_and_slope(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The function and its derivative by u, without a graph."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            value = self(u)
            (slope,) = torch.autograd.grad(value.sum(), u)
        return value.detach(), slope


class PolynomialCutoff(Cutoff):
    """1 - (p+1)(p+2)/2 u^p + p(p+2) u^(p+1) - p(p+1)/2 u^(p+2), C^2 at the cutoff.

    Gasteiger et al., Directional Message Passing (2020), eq. 8.

    Args:
        p: power of the first term, at least 2.
    """

    def __init__(self, p: int = 6) -> None:
        super().__init__()
        self.p = p

    def inside(self, u: Tensor) -> Tensor:
        p = self.p
        bracket = (p + 1) * (p + 2) / 2 - u * (p * (p + 2) - p * (p + 1) / 2 * u)
        return 1.0 - u**p * bracket

    @torch.no_grad()
    def value_and_slope(self, u: Tensor) -> tuple[Tensor, Tensor]:
        p, inside = self.p, u.clamp(max=1.0)
        slope = inside ** (p - 1) * (1.0 - inside).square() * (-p * (p + 1) * (p + 2) / 2)
        return self(u), slope

    def extra_repr(self) -> str:
        return f"p={self.p}"


class CosineCutoff(Cutoff):
    """(1 + cos(pi u)) / 2, C^1 at the cutoff. Behler and Parrinello (2007), eq. 4."""

    def inside(self, u: Tensor) -> Tensor:
        return 0.5 * (1.0 + torch.cos(torch.pi * u))


class RadialBasis(nn.Module, ABC):
    """Basis functions of u times a cutoff, scaled to unit variance over typical neighbours.

    Args:
        n_basis: number of functions.
        cutoff: the cutoff that multiplies them.

    Shape: (E,) -> (E, n_basis).
    """

    def __init__(self, n_basis: int, cutoff: Cutoff) -> None:
        super().__init__()
        self.n_basis = n_basis
        self.cutoff = cutoff
        self.scale = 1.0

    def _normalise(self) -> None:
        # Neighbours lie between u = 0.1 and 1; their density p(u) ~ u is half way between that
        # of a molecule (flat) and that of a crystal (u^2).
        x, weight = np.polynomial.legendre.leggauss(256)
        u = torch.from_numpy(0.55 + 0.45 * x)
        p = u * torch.from_numpy(weight)
        with torch.no_grad():
            # In float64 whatever the default dtype: it is a constant.
            square = (self.functions(u[:, None]) * self.cutoff(u)[:, None]).square().mean(-1)
        self.scale = float(((square * p).sum() / p.sum()) ** -0.5)

    @abstractmethod
    def functions(self, u: Tensor) -> Tensor:
        """The basis without cutoff; u is (E, 1), or (E, n_basis) with one for every function."""

    def forward(self, u: Tensor) -> Tensor:
        u = u[:, None]
        return self.functions(u) * (self.cutoff(u) * self.scale)

    def value_and_slope(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The functions and their derivatives by u, (E, n_basis) each, without a graph."""
        with torch.enable_grad():
            # A u for every function: one backward pass then gives all derivatives.
            each = u.detach()[:, None].repeat(1, self.n_basis).requires_grad_()
            value = self.functions(each) * (self.cutoff(each) * self.scale)
            (slope,) = torch.autograd.grad(value.sum(), each)
        return value.detach(), slope

    def extra_repr(self) -> str:
        return f"{self.n_basis} functions, scale={self.scale:.4f}"


class BesselBasis(RadialBasis):
    """sin(n pi u) / u, n = 1..n_basis, finite at 0. Gasteiger et al. (2020), eq. 7."""

    def __init__(self, n_basis: int = 8, cutoff: Cutoff | None = None) -> None:
        super().__init__(n_basis, cutoff or PolynomialCutoff())
        self._normalise()

    def functions(self, u: Tensor) -> Tensor:
        n = torch.arange(1, self.n_basis + 1, dtype=u.dtype, device=u.device) * torch.pi
        x = u * n
        # Near 0 a series: torch.sinc has no finite second derivative there.
        near = x < 0.05
        square = x * x
        series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42))
        away = x.where(~near, 1.0)
        return n * torch.where(near, series, torch.sin(away) / away)

    @torch.no_grad()
    def value_and_slope(self, u: Tensor) -> tuple[Tensor, Tensor]:
        n = torch.arange(1, self.n_basis + 1, dtype=u.dtype, device=u.device) * torch.pi
        x = u[:, None] * n
        near = x < 0.05
        square = x * x
        away = x.where(~near, 1.0)
        inverse = away.reciprocal()
        sinc = torch.sin(away) * inverse
        slope = (torch.cos(away) - sinc) * inverse
        # Near 0 series, as in ``functions``.
        sinc = torch.where(near, 1 - square / 6 * (1 - square / 20 * (1 - square / 42)), sinc)
        series = x / -3 * (1 - square / 10 * (1 - square / 28 * (1 - square / 54)))
        slope = torch.where(near, series, slope)
        cutoff, cutoff_slope = self.cutoff.value_and_slope(u)
        value, factor = sinc * n, (cutoff * self.scale)[:, None]
        by_u = slope * (n * n) * factor + value * (cutoff_slope * self.scale)[:, None]
        return value * factor, by_u


class GaussianBasis(RadialBasis):
    """Gaussians at equal distances on [0, 1], as wide as they are apart."""

    def __init__(self, n_basis: int = 8, cutoff: Cutoff | None = None) -> None:
        super().__init__(n_basis, cutoff or PolynomialCutoff())
        self._normalise()

    def functions(self, u: Tensor) -> Tensor:
        centres = torch.linspace(0, 1, self.n_basis, dtype=u.dtype, device=u.device)
        step = 1.0 / max(1, self.n_basis - 1)
        return torch.exp(-0.5 * ((u - centres) / step) ** 2)
