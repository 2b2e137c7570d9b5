"""e3nn's functions of a number: soft one-hot vectors, the smooth step, spherical Bessel."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

SoftBasis = Literal["gaussian", "cosine", "smooth_finite", "fourier", "bessel"]


def soft_unit_step(x: Tensor) -> Tensor:
    """exp(-1/x) for x > 0, else 0; smooth, with all derivatives finite.

    Example:
        >>> soft_unit_step(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([0.0000, 0.0000, 0.3679])
    """
    # Below 1/1000 it is exactly 0 in float64; its derivatives there would be 0/0.
    on = x > 1e-3
    return torch.exp(-1.0 / x.where(on, 1.0)).where(on, 0.0)


def bessel(x: Tensor, n: int, x_max: float = 1.0) -> Tensor:
    """sqrt(2 / x_max) sin(k pi x / x_max) / x, k = 1..n, finite with all derivatives at 0.

    They are orthonormal on [0, x_max] with weight x^2. Gasteiger et al. (2020), eq. 7.

    Args:
        x: any shape.
        n: number of functions.
        x_max: the cutoff.

    Returns:
        (..., n).

    Example:
        >>> bessel(torch.tensor([0.0, 0.25]), 2)
        tensor([[4.4429, 8.8858],
                [4.0000, 5.6569]])
    """
    k = torch.arange(1, n + 1, dtype=x.dtype, device=x.device) * (math.pi / x_max)
    return math.sqrt(2.0 / x_max) * k * sinc(x[..., None] * k)


def sinc(x: Tensor) -> Tensor:
    """sin(x) / x, with finite derivatives of any order at 0 (``torch.sinc`` has but the first)."""
    near = x.abs() < 0.05
    square = x * x
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42))
    away = x.where(~near, 1.0)
    return torch.where(near, series, torch.sin(away) / away)


def soft_one_hot_linspace(
    x: Tensor, start: float, end: float, number: int, basis: SoftBasis, cutoff: bool
) -> Tensor:
    """Functions of x at equal distances, whose squares sum to about 1 (but for ``"bessel"``).

    The same numbers as e3nn's function of this name; at the start of the interval, where e3nn's
    Bessel functions are NaN, their limit. For potentials ``RadialBasis`` ends more smoothly.

    Args:
        x: any shape.
        start, end: the interval.
        number: number of functions.
        basis: the kind of functions.
        cutoff: zero outside of the interval (nearly so for Gaussians); then no function is
            centred on its ends.

    Returns:
        (..., number).

    Raises:
        ValueError: another basis; an empty interval; too few functions.

    Example:
        >>> soft_one_hot_linspace(torch.tensor([0.0, 0.4]), 0, 1, 4, "cosine", cutoff=True)
        tensor([[0., 0., 0., 0.],
                [0., 1., 0., 0.]])
    """
    if not end > start:
        raise ValueError(f"soft_one_hot_linspace: the interval from {start} to {end} is empty")
    if number < (1 if cutoff else 2):
        raise ValueError(
            f"soft_one_hot_linspace: {number} functions are too few; without a cutoff the first "
            "stands at the start and the last at the end"
        )
    if basis in ("gaussian", "cosine", "smooth_finite"):
        if cutoff:
            centres = torch.linspace(start, end, number + 2, dtype=x.dtype, device=x.device)
        else:
            centres = torch.linspace(start, end, number, dtype=x.dtype, device=x.device)
        step = centres[1] - centres[0]
        distance = (x[..., None] - (centres[1:-1] if cutoff else centres)) / step
        if basis == "gaussian":
            return torch.exp(-distance.square()) / 1.12
        if basis == "cosine":
            bump = torch.cos(math.pi / 2 * distance)
            return bump.where(distance.abs() < 1, 0.0)
        both = soft_unit_step(distance + 1) * soft_unit_step(1 - distance)
        return 1.14136 * math.exp(2.0) * both
    inside = (x > start) & (x < end)
    if basis == "fourier":
        u = (x[..., None] - start) / (end - start)
        first = 1 if cutoff else 0
        n = torch.arange(first, first + number, dtype=x.dtype, device=x.device) * math.pi
        wave = torch.sin(n * u) if cutoff else torch.cos(n * u)
        wave = wave / math.sqrt(0.25 + number / 2)
    elif basis == "bessel":
        wave = bessel(x - start, number, end - start)
    else:
        raise ValueError(
            'soft_one_hot_linspace: basis must be "gaussian", "cosine", "smooth_finite", '
            f'"fourier" or "bessel", not {basis!r}'
        )
    return wave.where(inside[..., None], 0.0) if cutoff else wave
