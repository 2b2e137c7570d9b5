"""Fourier series of real functions of one angle, between coefficients and equidistant values."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def rfft(values: Tensor, lmax: int) -> Tensor:
    """Sums of the values against sqrt(2) sin(|m| a), 1, sqrt(2) cos(m a), m = -lmax..lmax.

    The angles are a_j = 2 pi j / n. Divided by n these are the coefficients of the series, if the
    function has none beyond n - 1 - lmax.

    Args:
        values: shape (..., n).

    Returns:
        Shape (..., 2 lmax + 1).

    Raises:
        ValueError: n is below 2 lmax + 1, too few to tell the waves apart.

    >>> rfft(torch.tensor([0.0, 1.0, 0.0, -1.0]), 1)  # sin a
    tensor([2.8284, 0.0000, 0.0000])
    """
    n = values.shape[-1]
    if n < 2 * lmax + 1:
        raise ValueError(
            f"rfft: {n} values can not tell waves up to {lmax} apart, which needs {2 * lmax + 1}"
        )
    F = torch.fft.rfft(values, dim=-1)[..., : lmax + 1]
    sines = -sqrt(2) * F.imag[..., 1:].flip(-1)
    return torch.cat([sines, F.real[..., :1], sqrt(2) * F.real[..., 1:]], dim=-1)


def irfft(coefficients: Tensor, n: int) -> Tensor:
    """The series with these coefficients at the angles 2 pi j / n.

    Args:
        coefficients: shape (..., 2 lmax + 1), of sqrt(2) sin(|m| a), 1, sqrt(2) cos(m a).
        n: number of angles, even or odd.

    Returns:
        Shape (..., n).

    Raises:
        ValueError: an even number of coefficients, or n is below it.

    >>> irfft(torch.tensor([0.0, 1.0, 0.0]), 4)
    tensor([1., 1., 1., 1.])
    """
    size = coefficients.shape[-1]
    if size % 2 == 0 or n < size:
        raise ValueError(
            f"irfft: needs an odd number of coefficients and at least as many angles, not {size} "
            f"coefficients and {n} angles"
        )
    lmax = size // 2
    cosines = coefficients[..., lmax + 1 :] / sqrt(2)
    sines = coefficients[..., :lmax].flip(-1) / sqrt(2)
    real = torch.cat([coefficients[..., lmax : lmax + 1], cosines], dim=-1)
    imaginary = torch.cat([torch.zeros_like(real[..., :1]), -sines], dim=-1)
    return torch.fft.irfft(torch.complex(real, imaginary), n=n, dim=-1) * n
