"""Nodes and weights along the angles of a grid, and the functions of one angle on them."""

from __future__ import annotations

from functools import cache
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@cache
def polar_quadrature(n: int, gauss: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Polar angles beta, ascending, and weights of the mean over the sphere (their sum is 1).

    Args:
        n: number of angles.
        gauss: Gauss-Legendre in cos(beta), exact for polynomials up to degree 2n - 1. Otherwise
            the angles pi (i + 1/2) / n with Fejér's first weights, exact up to degree n - 1 (n for
            odd n); for even n these are the weights of Kostelec & Rockmore (2008), as in e3nn.
    """
    if gauss:
        y, weights = np.polynomial.legendre.leggauss(n)
        betas, weights = np.arccos(y[::-1]), weights[::-1] / 2
    else:
        betas = pi * (np.arange(n) + 0.5) / n
        k = np.arange(1, n // 2 + 1)
        series = (np.cos(2 * k * betas[:, None]) / (4 * k**2 - 1)).sum(1)
        weights = (1 - 2 * series) / n
    betas.flags.writeable = weights.flags.writeable = False
    return betas, weights


def polar_degree(n: int, gauss: bool) -> int:
    """Highest degree of the polynomials in cos(beta) that `polar_quadrature` integrates exactly."""
    if gauss:
        return 2 * n - 1
    return n if n % 2 else n - 1


def associated_legendre(lmax: int, beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """P_lm(cos beta), the part of the real harmonics that depends on the polar angle.

    Normalised such that P_lm(cos beta) times 1, sqrt(2) cos(m alpha) or sqrt(2) sin(m alpha) has
    a squared integral of 1 over the sphere; positive near beta = 0. The recursion in l at fixed m
    is stable for any l.

    Returns:
        Shape (lmax+1, lmax+1, n), indexed [l, m], zero for m > l.
    """
    y, s = np.cos(beta), np.sin(beta)
    P = np.zeros((lmax + 1, lmax + 1, *beta.shape))
    P[0, 0] = 1 / sqrt(4 * pi)
    for l in range(1, lmax + 1):
        P[l, l] = sqrt((2 * l + 1) / (2 * l)) * s * P[l - 1, l - 1]
        m = np.arange(l)[:, None]
        ahead = np.sqrt((4 * l**2 - 1) / (l**2 - m**2))
        P[l, :l] = y * P[l - 1, :l]
        if l > 1:
            P[l, :l] -= (
                np.sqrt(((l - 1) ** 2 - m**2).clip(0) / (4 * (l - 1) ** 2 - 1)) * P[l - 2, :l]
            )
        P[l, :l] *= ahead
    return P


def equidistant_angles(n: int) -> NDArray[np.float64]:
    """2 pi j / n: their mean is exact for waves up to order n - 1."""
    return 2 * pi * np.arange(n) / n


def fourier_basis(lmax: int, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """sqrt(2) sin(|m| a) for m < 0, 1, sqrt(2) cos(m a) for m > 0; shape (n, 2 lmax + 1)."""
    phase = np.arange(1, lmax + 1) * angles[:, None]
    one = np.ones((len(angles), 1))
    return np.hstack([sqrt(2) * np.sin(phase[:, ::-1]), one, sqrt(2) * np.cos(phase)])
