"""Sums of harmonics on a product grid of the sphere: scales, constants and the two transforms."""

from __future__ import annotations

from functools import cache
from math import pi, sqrt
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from clebsch.o3.constants import tensor_constant
from clebsch.o3.quadrature import (
    associated_legendre,
    equidistant_angles,
    fourier_basis,
    polar_quadrature,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from clebsch.o3.sphere_grid import SphereGrid

#: How coefficients are scaled, see `signal_scales`; or one factor for each degree.
SignalNormalization: TypeAlias = Literal["component", "norm", "integral"] | tuple[float, ...]


def signal_scales(ls: Sequence[int], normalization: SignalNormalization) -> tuple[float, ...]:
    """The factor of each degree that multiplies the harmonics of squared integral 1.

    ``"integral"``: 1, f = sum a_lm Y_lm. ``"component"``: the function has unit variance at every
    point where the coefficients are independent with unit variance, and each degree has an equal
    part in it. ``"norm"``: the same where each degree's coefficients have norm 1 in the mean.
    These are e3nn's. A tuple is taken as it is.

    Raises:
        ValueError: an unknown name or a tuple that has not one factor for each degree.

    >>> signal_scales([0, 1], "integral")
    (1.0, 1.0)
    """
    if normalization == "integral":
        return (1.0,) * len(ls)
    if normalization == "norm":
        return (sqrt(4 * pi / len(ls)),) * len(ls)
    if normalization == "component":
        return tuple(sqrt(4 * pi / ((2 * l + 1) * len(ls))) for l in ls)
    if isinstance(normalization, str):
        raise ValueError(
            f'the normalisation of a signal is "component", "norm" or "integral", '
            f"not {normalization!r}"
        )
    scales = tuple(float(s) for s in normalization)
    if len(scales) != len(ls):
        raise ValueError(f"{len(ls)} degrees take {len(ls)} factors, not {len(scales)}")
    return scales


def inverse_scales(
    ls: Sequence[int], normalization: SignalNormalization, n_in: int | None = None
) -> tuple[float, ...]:
    """The factors of the integrals against harmonics that undo `signal_scales`.

    A tuple holds the factors of the means instead, as in e3nn.

    Args:
        n_in: number of degrees that `signal_scales` had, by default as many as ``ls``.
    """
    n_in = len(ls) if n_in is None else n_in
    if normalization == "component":
        return tuple(sqrt((2 * l + 1) * n_in / (4 * pi)) for l in ls)
    if normalization == "norm":
        return (sqrt(n_in / (4 * pi)),) * len(ls)
    scales = signal_scales(ls, normalization)
    return scales if isinstance(normalization, str) else tuple(s / (4 * pi) for s in scales)


# ---- the transforms on columns: x (..., harmonics, columns), values (..., alpha, beta, columns)


def evaluate_columns(x: Tensor, polar: Tensor, waves: Tensor, gather: Tensor) -> Tensor:
    """Values at (alpha, beta) of sums of harmonics.

    Args:
        x: shape (..., harmonics, columns).
        polar, waves, gather: from `harmonic_tables`.

    Returns:
        Shape (..., n_alpha, n_beta, columns).
    """
    n_m, n_beta, rows = polar.shape
    by_order = x.index_select(-2, gather).unflatten(-2, (n_m, rows))
    h = polar @ by_order
    return (waves @ h.flatten(-2)).unflatten(-1, (n_beta, x.shape[-1]))


def project_columns(values: Tensor, polar: Tensor, waves: Tensor, scatter: Tensor) -> Tensor:
    """Sums over the grid of values (..., n_alpha, n_beta, columns) against the harmonics.

    Returns:
        Shape (..., harmonics, columns).
    """
    n_beta, columns = values.shape[-2:]
    h = (waves.mT @ values.flatten(-2)).unflatten(-1, (n_beta, columns))
    return (polar.mT @ h).flatten(-3, -2).index_select(-2, scatter)


class HarmonicTables(NamedTuple):
    """The constants of the transforms, with rows = number of degrees, M = 2 lmax + 1.

    Attributes:
        polar: (M, n_beta, rows) polar part for each order m and degree, zero where |m| > l.
        waves: (n_alpha, M).
        gather: (M * rows,) the harmonic of each entry (0 where there is none).
        scatter: (harmonics,) the entry of each harmonic.
    """

    polar: NDArray[np.float64]
    waves: NDArray[np.float64]
    gather: NDArray[np.int64]
    scatter: NDArray[np.int64]


@cache
def harmonic_tables(
    grid: SphereGrid, ls: tuple[int, ...], scales: tuple[float, ...]
) -> HarmonicTables:
    """Tables for harmonics of the degrees ``ls``, in this order, each times its scale."""
    lmax, rows = max(ls), len(ls)
    P = associated_legendre(lmax, polar_quadrature(grid.n_beta, grid.gauss)[0])
    polar = np.zeros((2 * lmax + 1, grid.n_beta, rows))
    gather = np.zeros((2 * lmax + 1, rows), dtype=np.int64)
    scatter: list[int] = []
    for row, (l, scale) in enumerate(zip(ls, scales, strict=True)):
        for m in range(-l, l + 1):
            polar[lmax + m, :, row] = scale * P[l, abs(m)]
            gather[lmax + m, row] = len(scatter)
            scatter.append((lmax + m) * rows + row)
    waves = fourier_basis(lmax, equidistant_angles(grid.n_alpha))
    return HarmonicTables(polar, waves, gather.ravel(), np.array(scatter))


def weighted(grid: SphereGrid, polar: NDArray[np.float64]) -> NDArray[np.float64]:
    """The polar tables times the weights of the integral over the sphere."""
    weights = polar_quadrature(grid.n_beta, grid.gauss)[1] * (4 * pi / grid.n_alpha)
    return polar * weights[:, None]


def _polar(grid: SphereGrid, ls: tuple[int, ...], scales: tuple[float, ...], weigh: bool) -> Any:
    polar = harmonic_tables(grid, ls, scales).polar
    return weighted(grid, polar) if weigh else polar


def _waves(*args: Any) -> Any:
    return harmonic_tables(*args).waves


def _gather(*args: Any) -> Any:
    return harmonic_tables(*args).gather


def _scatter(*args: Any) -> Any:
    return harmonic_tables(*args).scatter


polar_tensor, waves_tensor = tensor_constant(_polar), tensor_constant(_waves)
gather_tensor, scatter_tensor = tensor_constant(_gather), tensor_constant(_scatter)
