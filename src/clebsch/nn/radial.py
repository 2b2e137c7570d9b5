"""Radial bases: functions of the reduced distance u = r / r_c times a cutoff."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from clebsch.nn.cutoffs import Cutoff, PolynomialCutoff
from clebsch.nn.soft_one_hot import sinc, soft_unit_step


class RadialBasis(nn.Module, ABC):
    """Basis functions of u times a cutoff, scaled to unit variance over typical neighbours.

    Args:
        n_basis: number of functions.
        cutoff: the cutoff that multiplies them; ``PolynomialCutoff(6)`` where none is given.

    Shape: (E,) -> (E, n_basis).

    Attributes:
        scale: factor of the functions.

    Raises:
        ValueError: no function.
    """

    def __init__(self, n_basis: int = 8, cutoff: Cutoff | None = None) -> None:
        super().__init__()
        if n_basis < 1:
            raise ValueError(f"{type(self).__name__}: one function or more, not {n_basis}")
        self.n_basis = n_basis
        self.cutoff = PolynomialCutoff() if cutoff is None else cutoff
        self.scale = 1.0
        self._normalise()

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
    """sin(n pi u) / u, n = 1..n_basis, finite at 0. Gasteiger et al. (2020), eq. 7.

    Example:
        >>> BesselBasis(8)(torch.rand(5)).shape
        torch.Size([5, 8])
    """

    def functions(self, u: Tensor) -> Tensor:
        n = torch.arange(1, self.n_basis + 1, dtype=u.dtype, device=u.device) * torch.pi
        return n * sinc(u * n)

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
        # Near 0 series, as in ``sinc``.
        sinc = torch.where(near, 1 - square / 6 * (1 - square / 20 * (1 - square / 42)), sinc)
        series = x / -3 * (1 - square / 10 * (1 - square / 28 * (1 - square / 54)))
        slope = torch.where(near, series, slope)
        cutoff, cutoff_slope = self.cutoff.value_and_slope(u)
        value, factor = sinc * n, (cutoff * self.scale)[:, None]
        by_u = slope * (n * n) * factor + value * (cutoff_slope * self.scale)[:, None]
        return value * factor, by_u


class _Centred(RadialBasis):
    """Copies of one bump, at equal distances on [0, 1]."""

    @abstractmethod
    def bump(self, x: Tensor) -> Tensor:
        """The bump; x is the distance from its centre, in units of the spacing."""

    def functions(self, u: Tensor) -> Tensor:
        centres = torch.linspace(0, 1, self.n_basis, dtype=u.dtype, device=u.device)
        step = 1.0 / max(1, self.n_basis - 1)
        return self.bump((u - centres) / step)


class GaussianBasis(_Centred):
    """Gaussians at equal distances on [0, 1], as wide as they are apart.

    Example:
        >>> GaussianBasis(8)(torch.rand(5)).shape
        torch.Size([5, 8])
    """

    def bump(self, x: Tensor) -> Tensor:
        return torch.exp(-0.5 * x**2)


class CosineBasis(_Centred):
    """(1 + cos(pi x)) / 2 between neighbouring centres, C^1; two overlap, and their sum is 1.

    The plain cosine of e3nn (``soft_one_hot_linspace``) has kinks, where forces would jump.

    Example:
        >>> basis = CosineBasis(5)
        >>> basis.functions(torch.tensor([[0.25], [0.375]]))
        tensor([[0.0000, 1.0000, 0.0000, 0.0000, 0.0000],
                [0.0000, 0.5000, 0.5000, 0.0000, 0.0000]])
    """

    def bump(self, x: Tensor) -> Tensor:
        return 0.5 * (1.0 + torch.cos(torch.pi * x.clamp(-1.0, 1.0)))


class SmoothFiniteBasis(_Centred):
    """e^2 e^(-1/(1+x)) e^(-1/(1-x)) between neighbouring centres and 0 elsewhere, C^infinity.

    Example:
        >>> SmoothFiniteBasis(3).functions(torch.tensor([[0.5], [0.75]]))
        tensor([[0.0000, 1.0000, 0.0000],
                [0.0000, 0.5134, 0.5134]])
    """

    def bump(self, x: Tensor) -> Tensor:
        return math.exp(2.0) * soft_unit_step(1 + x) * soft_unit_step(1 - x)


class FourierBasis(RadialBasis):
    """cos(n pi u), n = 0..n_basis-1.

    Example:
        >>> FourierBasis(3).functions(torch.tensor([[0.0], [1.0]]))
        tensor([[ 1.,  1.,  1.],
                [ 1., -1.,  1.]])
    """

    def functions(self, u: Tensor) -> Tensor:
        n = torch.arange(self.n_basis, dtype=u.dtype, device=u.device)
        return torch.cos(torch.pi * n * u)


class ChebyshevBasis(RadialBasis):
    """Chebyshev polynomials T_n(2u - 1), n = 0..n_basis-1, by their recursion.

    Example:
        >>> ChebyshevBasis(4).functions(torch.tensor([[0.0], [1.0]]))
        tensor([[ 1., -1.,  1., -1.],
                [ 1.,  1.,  1.,  1.]])
    """

    def functions(self, u: Tensor) -> Tensor:
        # Past the cutoff the polynomials may overflow: their last value stands for them.
        x = (2 * u.clamp(max=1.0) - 1).expand(-1, self.n_basis)
        before, now = torch.ones_like(x), x
        columns = []
        for n in range(self.n_basis):
            columns.append(before[:, n])
            before, now = now, 2 * x * now - before
        return torch.stack(columns, dim=-1)
