"""Functions on SO(3) between coefficients of Wigner D matrices and values on a grid.

A grid is the product of Euler angles, R = R_y(alpha) R_x(beta) R_y(gamma), with equidistant alpha
and gamma. In the real basis rotations about y mix m with -m only, and rotations about x mix sines
among themselves and cosines among themselves, so that a function is

    f(alpha, beta, gamma) = sum_kq e_k(alpha) e_q(gamma) H_kq(beta),

    H_kq(beta) = sum_l d+_lkq(beta) F^l_{k,q} + d-_lkq(beta) F^l_{-k,-q},

with e_k the real Fourier basis: O(L^4) for all points, instead of O(L^6) with dense matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from math import sqrt
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch

from clebsch.o3.constants import tensor_constant
from clebsch.o3.irreps import Irreps
from clebsch.o3.quadrature import (
    equidistant_angles,
    fourier_basis,
    polar_degree,
    polar_quadrature,
)
from clebsch.o3.wigner import wigner_D_up_to

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

RotationNormalization: TypeAlias = Literal["component", "integral"]


@dataclass(frozen=True)
class RotationGrid:
    """Rotations with weights that integrate low degrees exactly.

    Functions are sums over l of F^l_mn D^l_mn(R). Their coefficients are features of the irreps
    ``irreps(lmax)``, (2l+1) copies of each l in the layout ``ir_mul``: the block of l is
    (2l+1, 2l+1), indexed [n, m]. Turning these features by D(S) gives the function f(R S).

    Attributes:
        n_alpha, n_beta, n_gamma: number of angles.
        gauss: Gauss-Legendre nodes in cos(beta); otherwise beta = pi (i + 1/2) / n_beta.

    Raises:
        ValueError: a number of angles is not positive.

    >>> grid = RotationGrid.gauss_legendre(degree=4)
    >>> grid
    RotationGrid(n_alpha=5, n_beta=3, n_gamma=5, gauss=True)
    >>> F = RotationGrid.irreps(2).randn(-1, dtype=torch.float64)
    >>> values = grid.to_grid(F, lmax=2)
    >>> tuple(values.shape), torch.allclose(grid.from_grid(values, lmax=2), F)
    ((5, 3, 5), True)
    """

    n_alpha: int
    n_beta: int
    n_gamma: int
    gauss: bool = True

    def __post_init__(self) -> None:
        if min(self.n_alpha, self.n_beta, self.n_gamma) < 1:
            raise ValueError(
                "a grid of rotations needs at least one of each angle, not "
                f"{self.n_alpha} alpha, {self.n_beta} beta, {self.n_gamma} gamma"
            )

    @staticmethod
    def irreps(lmax: int, p: int = 1) -> Irreps:
        """Irreps of the coefficients of functions up to ``lmax``, all of parity ``p``.

        >>> RotationGrid.irreps(2)
        1x0e+3x1e+5x2e
        """
        return Irreps([(2 * l + 1, (l, p)) for l in range(lmax + 1)])

    @classmethod
    def gauss_legendre(cls, degree: int) -> RotationGrid:
        """The smallest grid that integrates Wigner D matrices up to l = ``degree`` exactly.

        Coefficients up to lmax come back from it unchanged with ``degree = 2 * lmax``.
        """
        if degree < 0:
            raise ValueError(f"the degree of a grid must not be negative, not {degree}")
        return cls(degree + 1, degree // 2 + 1, degree + 1)

    @classmethod
    def equiangular(cls, resolution: int, aspect_ratio: float = 2.0) -> RotationGrid:
        """e3nn's grid: 2 resolution angles beta, 2 resolution aspect_ratio angles alpha and gamma.

        It integrates degrees up to 2 resolution - 1 exactly (for an aspect ratio of at least 1).

        >>> RotationGrid.equiangular(3)
        RotationGrid(n_alpha=12, n_beta=6, n_gamma=12, gauss=False)
        """
        n = round(2 * aspect_ratio * resolution)
        return cls(n, 2 * resolution, n, gauss=False)

    @property
    def degree(self) -> int:
        """The highest l up to which all elements of Wigner D matrices are integrated exactly."""
        around = min(self.n_alpha, self.n_gamma) - 1
        return min(polar_degree(self.n_beta, self.gauss), around)

    @property
    def lmax(self) -> int:
        """The highest degree whose coefficients come back from the grid unchanged."""
        return self.degree // 2

    @cached_property
    def angles(self) -> tuple[Tensor, Tensor, Tensor]:
        """alpha (n_alpha,), beta (n_beta,), gamma (n_gamma,), float64."""
        beta = polar_quadrature(self.n_beta, self.gauss)[0].copy()
        alpha, gamma = equidistant_angles(self.n_alpha), equidistant_angles(self.n_gamma)
        return torch.from_numpy(alpha), torch.from_numpy(beta), torch.from_numpy(gamma)

    @property
    def matrices(self) -> Tensor:
        """The rotations, (n_alpha, n_beta, n_gamma, 3, 3), float64."""
        alpha, beta, gamma = self.angles
        return _about_y(alpha)[:, None, None] @ _about_x(beta)[:, None] @ _about_y(gamma)

    @cached_property
    def weights(self) -> Tensor:
        """Weight of each rotation of an angle beta in the mean over SO(3), (n_beta,), float64."""
        weights = polar_quadrature(self.n_beta, self.gauss)[1]
        return torch.from_numpy(weights / (self.n_alpha * self.n_gamma))

    def mean(self, values: Tensor) -> Tensor:
        """Mean over SO(3) of values (..., n_alpha, n_beta, n_gamma) -> (...)."""
        self._check_values(values)
        return torch.einsum("...abc,b->...", values, self.weights.to(values))

    def to_grid(
        self, coefficients: Tensor, lmax: int, normalization: RotationNormalization = "component"
    ) -> Tensor:
        """Values on the grid of functions with these coefficients.

        Args:
            coefficients: shape (..., sum of (2l+1)^2), see the class.
            normalization: ``"component"``: unit variance at every rotation for independent
                coefficients of unit variance, as in e3nn; ``"integral"``: f = sum F^l_mn D^l_mn.

        Returns:
            Shape (..., n_alpha, n_beta, n_gamma); exact on every grid.

        Raises:
            ValueError: the last axis has another length, or the normalisation is unknown.
        """
        dim = self.irreps(lmax).dim
        if coefficients.shape[-1:] != (dim,):
            raise ValueError(
                f"coefficients of functions on SO(3) up to lmax={lmax} are {dim} in the last axis, "
                f"not {tuple(coefficients.shape)}"
            )
        args, lead = (self, rotation_scales(lmax, normalization)), coefficients.shape[:-1]
        columns = coefficients.reshape(-1, dim).mT
        values = evaluate_rotations(
            columns,
            _polar_tensor(*args, False, like=columns),
            _alpha_tensor(*args, like=columns),
            _gamma_tensor(*args, like=columns),
            _gather_tensor(*args, like=columns.new_empty(0, dtype=torch.int64)),
        )
        return values.permute(3, 0, 2, 1).reshape(*lead, self.n_alpha, self.n_beta, self.n_gamma)

    def from_grid(
        self, values: Tensor, lmax: int, normalization: RotationNormalization = "component"
    ) -> Tensor:
        """Coefficients up to ``lmax`` of functions given on the grid, by quadrature.

        Exact for functions of a degree up to ``self.degree - lmax``.

        Args:
            values: shape (..., n_alpha, n_beta, n_gamma).

        Returns:
            Shape (..., sum of (2l+1)^2).

        Raises:
            ValueError: values of another grid, an unknown normalisation, or a grid that is too
                coarse for ``lmax``.
        """
        self._check_values(values)
        self.check_resolves(lmax)
        scales, lead = rotation_scales(lmax, normalization), values.shape[:-3]
        args = (self, tuple((2 * l + 1) / s for l, s in enumerate(scales)))
        columns = values.reshape(-1, self.n_alpha, self.n_beta, self.n_gamma).permute(1, 3, 2, 0)
        coefficients = project_rotations(
            columns,
            _polar_tensor(*args, True, like=columns),
            _alpha_tensor(*args, like=columns),
            _gamma_tensor(*args, like=columns),
            _scatter_tensor(*args, like=columns.new_empty(0, dtype=torch.int64)),
        )
        return coefficients.mT.reshape(*lead, coefficients.shape[0])

    def check_resolves(self, lmax: int) -> None:
        """Raise a ValueError where the grid does not tell functions up to ``lmax`` apart."""
        if lmax > self.lmax:
            raise ValueError(
                f"{self} integrates degrees up to {self.degree} exactly, too few for coefficients "
                f"up to lmax={lmax}: that takes {2 * lmax}, "
                f"the least grid is RotationGrid.gauss_legendre({2 * lmax})"
            )

    def _check_values(self, values: Tensor) -> None:
        if values.shape[-3:] != (self.n_alpha, self.n_beta, self.n_gamma):
            raise ValueError(
                f"values on {self} are (..., {self.n_alpha}, {self.n_beta}, {self.n_gamma}), "
                f"not {tuple(values.shape)}"
            )


def rotation_scales(lmax: int, normalization: RotationNormalization) -> tuple[float, ...]:
    """The factor of each degree in `RotationGrid.to_grid`."""
    if normalization == "integral":
        return (1.0,) * (lmax + 1)
    if normalization == "component":
        dim = RotationGrid.irreps(lmax).dim
        return tuple(sqrt((2 * l + 1) / dim) for l in range(lmax + 1))
    raise ValueError(
        f'the normalisation of a function on SO(3) is "component" or "integral", '
        f"not {normalization!r}"
    )


# ---- the transforms on columns: x (..., coefficients, columns)


def evaluate_rotations(
    x: Tensor, polar: Tensor, waves_alpha: Tensor, waves_gamma: Tensor, gather: Tensor
) -> Tensor:
    """Values (..., n_alpha, n_gamma, n_beta, columns) of coefficients x (..., dim, columns).

    Args:
        polar, waves_alpha, waves_gamma, gather: from `rotation_tables`.
    """
    n_kq, n_beta, rows = polar.shape
    size = waves_alpha.shape[1]
    h = polar @ x.index_select(-2, gather).unflatten(-2, (n_kq, rows))
    h = h.unflatten(-3, (size, size)).flatten(-3)
    h = (waves_alpha @ h).unflatten(-1, (size, n_beta * x.shape[-1]))
    return (waves_gamma @ h).unflatten(-1, (n_beta, x.shape[-1]))


def project_rotations(
    values: Tensor, polar: Tensor, waves_alpha: Tensor, waves_gamma: Tensor, scatter: Tensor
) -> Tensor:
    """Sums over the grid of values (..., n_alpha, n_gamma, n_beta, columns) against D.

    Returns:
        Shape (..., dim, columns).
    """
    n_beta, columns = values.shape[-2:]
    h = (waves_gamma.mT @ values.flatten(-2)).flatten(-2)
    h = (waves_alpha.mT @ h).unflatten(-1, (waves_gamma.shape[1], n_beta, columns))
    entries = (polar.mT @ h.flatten(-4, -3)).flatten(-3, -2)
    # every coefficient lies in two entries, or in one that comes with a zero
    return entries.index_select(-2, scatter[0]) + entries.index_select(-2, scatter[1])


class RotationTables(NamedTuple):
    """The constants of the transforms, K = (2 lmax + 1)^2 pairs (k, q), rows = 2 (lmax + 1).

    Attributes:
        polar: (K, n_beta, rows), d+ of each degree, then d-.
        waves_alpha, waves_gamma: (n, 2 lmax + 1).
        gather: (K * rows,) the coefficient of each entry (0 where there is none).
        scatter: (2, dim) the two entries of each coefficient.
    """

    polar: NDArray[np.float64]
    waves_alpha: NDArray[np.float64]
    waves_gamma: NDArray[np.float64]
    gather: NDArray[np.int64]
    scatter: NDArray[np.int64]


@cache
def rotation_tables(grid: RotationGrid, scales: tuple[float, ...]) -> RotationTables:
    """Tables for the degrees 0, 1, ..., each times its scale."""
    lmax, rows = len(scales) - 1, 2 * len(scales)
    betas = torch.from_numpy(polar_quadrature(grid.n_beta, grid.gauss)[0].copy())
    d = [D.numpy() for D in wigner_D_up_to(lmax, _about_x(betas))]
    size, n = 2 * lmax + 1, np.arange(-lmax, lmax + 1)
    # cos(m a) and sin(m a) as multiples of the Fourier basis
    wave = np.where(n == 0, 1.0, sqrt(0.5))
    polar = np.zeros((size, size, grid.n_beta, rows))
    gather = np.zeros((size, size, rows), dtype=np.int64)
    scatter = np.zeros((2, RotationGrid.irreps(lmax).dim), dtype=np.int64)
    start = 0
    for l, scale in enumerate(scales):
        for k in range(-l, l + 1):
            for q in range(-l, l + 1):
                kq, a, b = (lmax + k, lmax + q), abs(k), abs(q)
                factor = scale * wave[lmax + k] * wave[lmax + q]
                # the sine of alpha comes with -sign(m), that of gamma with sign(n)
                plus = factor * (-1 if q < 0 else 1) * d[l][:, l + a, l + b]
                minus = factor * (-1 if k < 0 else 1) * d[l][:, l - a, l - b]
                entry = (kq[0] * size + kq[1]) * rows + l
                here = start + (l + q) * (2 * l + 1) + l + k
                opposite = start + (l - q) * (2 * l + 1) + l - k
                polar[(*kq, slice(None), l)] = plus
                gather[(*kq, l)], scatter[0, here] = here, entry
                if k and q:
                    polar[(*kq, slice(None), lmax + 1 + l)] = minus
                gather[(*kq, lmax + 1 + l)] = opposite
                scatter[1, opposite] = entry + lmax + 1
        start += (2 * l + 1) ** 2
    return RotationTables(
        polar.reshape(size**2, grid.n_beta, rows),
        fourier_basis(lmax, equidistant_angles(grid.n_alpha)),
        fourier_basis(lmax, equidistant_angles(grid.n_gamma)),
        gather.ravel(),
        scatter,
    )


def weighted(grid: RotationGrid, polar: NDArray[np.float64]) -> NDArray[np.float64]:
    """The polar tables times the weights of the mean over SO(3)."""
    return polar * grid.weights.numpy()[:, None]


def _about_y(angle: Tensor) -> Tensor:
    c, s, o, i = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([c, o, s, o, i, o, -s, o, c], dim=-1).unflatten(-1, (3, 3))


def _about_x(angle: Tensor) -> Tensor:
    c, s, o, i = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([i, o, o, o, c, -s, o, s, c], dim=-1).unflatten(-1, (3, 3))


def _polar(grid: RotationGrid, scales: tuple[float, ...], weigh: bool) -> Any:
    polar = rotation_tables(grid, scales).polar
    return weighted(grid, polar) if weigh else polar


def _alpha(*args: Any) -> Any:
    return rotation_tables(*args).waves_alpha


def _gamma(*args: Any) -> Any:
    return rotation_tables(*args).waves_gamma


def _gather(*args: Any) -> Any:
    return rotation_tables(*args).gather


def _scatter(*args: Any) -> Any:
    return rotation_tables(*args).scatter


_polar_tensor, _alpha_tensor = tensor_constant(_polar), tensor_constant(_alpha)
_gamma_tensor, _gather_tensor = tensor_constant(_gamma), tensor_constant(_gather)
_scatter_tensor = tensor_constant(_scatter)
