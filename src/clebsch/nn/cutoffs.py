"""Smooth ends of functions of the reduced distance u = r / r_c.

A reduced distance lets each pair of species have a cutoff of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Cutoff(nn.Module, ABC):
    """A function of u that is 1 at 0 and exactly 0, with its derivatives, from 1 on.

    Shape: any to the same.

    Attributes:
        order: derivatives up to this one are zero at u = 1 and continuous everywhere.
    """

    order: int

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

    Raises:
        ValueError: a smaller p, of which no derivative would exist at u = 0.

    Example:
        >>> PolynomialCutoff(6)(torch.tensor([0.0, 0.5, 1.0, 2.0]))
        tensor([1.0000, 0.8555, 0.0000, 0.0000])
    """

    order = 2

    def __init__(self, p: int = 6) -> None:
        super().__init__()
        if p < 2:
            raise ValueError(f"PolynomialCutoff: p must be at least 2, not {p}")
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
    """(1 + cos(pi u)) / 2, C^1 at the cutoff. Behler and Parrinello (2007), eq. 4.

    Example:
        >>> CosineCutoff()(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.0000, 0.5000, 0.0000])
    """

    order = 1

    def inside(self, u: Tensor) -> Tensor:
        return 0.5 * (1.0 + torch.cos(torch.pi * u))


class XPLORCutoff(Cutoff):
    """1 up to u_on, then (1 - u^2)^2 (1 + 2 u^2 - 3 u_on^2) / (1 - u_on^2)^3, C^1 at both ends.

    The switching function of CHARMM and X-PLOR, Brooks et al. (1983): short distances are
    left as they are.

    Args:
        on: u_on, in [0, 1).

    Raises:
        ValueError: u_on elsewhere.

    Example:
        >>> XPLORCutoff(0.5)(torch.tensor([0.5, 0.75, 1.0]))
        tensor([1.0000, 0.6238, 0.0000])
    """

    order = 1

    def __init__(self, on: float = 0.8) -> None:
        super().__init__()
        if not 0 <= on < 1:
            raise ValueError(f"XPLORCutoff: it starts at u_on in [0, 1), not at {on}")
        self.on = on

    def inside(self, u: Tensor) -> Tensor:
        # From u_on on in units of the interval of u^2, so that it is 1 exactly at its start.
        t = ((u.square() - self.on**2) / (1 - self.on**2)).clamp(min=0.0)
        return (1 - t).square() * (1 + 2 * t)

    def extra_repr(self) -> str:
        return f"on={self.on}"
