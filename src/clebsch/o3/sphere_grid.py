"""Functions on the sphere between coefficients of harmonics and values on a grid.

A grid is the product of polar angles beta and equidistant angles alpha,

    x(beta, alpha) = (sin beta sin alpha, cos beta, sin beta cos alpha),

so a sum of harmonics up to degree L is evaluated in O(L^3): first over l at fixed m and beta, then
over m, both as small matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from clebsch.o3.quadrature import (
    associated_legendre,
    equidistant_angles,
    fourier_basis,
    polar_degree,
    polar_quadrature,
)
from clebsch.o3.rotations import angles_to_xyz
from clebsch.o3.sphere_transform import (
    evaluate_columns,
    gather_tensor,
    inverse_scales,
    polar_tensor,
    project_columns,
    scatter_tensor,
    signal_scales,
    waves_tensor,
)

if TYPE_CHECKING:
    from torch import Tensor

    from clebsch.o3.sphere_transform import SignalNormalization


@dataclass(frozen=True)
class SphereGrid:
    """Points of the sphere with weights that integrate low degrees exactly.

    Made by `gauss_legendre` (the fewest points) or `equiangular` (e3nn's points).

    Attributes:
        n_beta, n_alpha: number of polar angles and of angles around the axis y.
        gauss: Gauss-Legendre nodes in cos(beta); otherwise beta = pi (i + 1/2) / n_beta.

    Raises:
        ValueError: a number of angles is not positive.

    >>> grid = SphereGrid.gauss_legendre(degree=6)
    >>> grid, grid.degree, tuple(grid.points.shape)
    (SphereGrid(n_beta=4, n_alpha=7, gauss=True), 6, (4, 7, 3))
    >>> x, y, z = grid.points.unbind(-1)
    >>> round(float(grid.mean(y**2 * z**4)), 12) == round(1 / 35, 12)
    True
    >>> coefficients = torch.randn(16, dtype=torch.float64)
    >>> values = grid.to_grid(coefficients, lmax=3)
    >>> torch.allclose(grid.from_grid(values, lmax=3), coefficients)
    True
    """

    n_beta: int
    n_alpha: int
    gauss: bool = True

    def __post_init__(self) -> None:
        if self.n_beta < 1 or self.n_alpha < 1:
            raise ValueError(
                f"a grid on the sphere needs at least one angle each way, not {self.n_beta} polar "
                f"angles and {self.n_alpha} around the axis"
            )

    @classmethod
    def gauss_legendre(cls, degree: int) -> SphereGrid:
        """The smallest grid that integrates every polynomial up to ``degree`` exactly.

        It has degree//2 + 1 polar angles and degree + 1 around the axis. Harmonics up to lmax
        come back from the grid unchanged with ``degree = 2 * lmax``.
        """
        if degree < 0:
            raise ValueError(f"the degree of a grid must not be negative, not {degree}")
        return cls(degree // 2 + 1, degree + 1)

    @classmethod
    def equiangular(
        cls, n_beta: int | None = None, n_alpha: int | None = None, *, lmax: int | None = None
    ) -> SphereGrid:
        """e3nn's grid: beta = pi (i + 1/2) / n_beta, alpha = 2 pi j / n_alpha.

        What is left out is filled in as e3nn does: n_beta = 2 (lmax + 1), n_alpha = n_beta - 1 or
        2 lmax + 1, whichever is more; without lmax they follow from each other.

        Raises:
            ValueError: nothing is given.

        >>> SphereGrid.equiangular(lmax=3)
        SphereGrid(n_beta=8, n_alpha=7, gauss=False)
        """
        if n_beta is None:
            if lmax is not None:
                n_beta = 2 * (lmax + 1)
            elif n_alpha is not None:
                n_beta = 2 * ((n_alpha + 1) // 2)
            else:
                raise ValueError("an equiangular grid needs n_beta, n_alpha or lmax")
        if n_alpha is None:
            n_alpha = max(n_beta - 1, 1, 0 if lmax is None else 2 * lmax + 1)
        return cls(n_beta, n_alpha, gauss=False)

    @property
    def degree(self) -> int:
        """The highest degree of the polynomials in x, y, z that are integrated exactly.

        A product of functions of degrees a and b has the degree a + b, so coefficients up to lmax
        of a function of degree a are exact where a + lmax is at most this.
        """
        return min(polar_degree(self.n_beta, self.gauss), self.n_alpha - 1)

    @property
    def lmax(self) -> int:
        """The highest degree of harmonics that come back from the grid unchanged."""
        return self.degree // 2

    @cached_property
    def betas(self) -> Tensor:
        """Polar angles, ascending, (n_beta,), float64."""
        return torch.from_numpy(polar_quadrature(self.n_beta, self.gauss)[0].copy())

    @cached_property
    def alphas(self) -> Tensor:
        """Angles around the axis y, (n_alpha,), float64."""
        return torch.from_numpy(equidistant_angles(self.n_alpha))

    @cached_property
    def weights(self) -> Tensor:
        """Weight of each point of a polar angle in the mean over the sphere, (n_beta,), float64."""
        weights = polar_quadrature(self.n_beta, self.gauss)[1]
        return torch.from_numpy(weights / self.n_alpha)

    @cached_property
    def points(self) -> Tensor:
        """The points, (n_beta, n_alpha, 3), float64."""
        return angles_to_xyz(self.alphas, self.betas[:, None])

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the sphere of values on the grid, (..., n_beta, n_alpha) -> (...)."""
        self._check_values(values)
        return torch.einsum("...ba,b->...", values, self.weights.to(values))

    def harmonics(self, lmax: int) -> tuple[Tensor, Tensor]:
        """The two factors of the harmonics (normalisation ``integral``) on the grid, in float64.

        Returns:
            The polar part, (n_beta, (lmax+1)^2), and sqrt(2) sin(|m| alpha), 1,
            sqrt(2) cos(m alpha), (n_alpha, 2 lmax + 1).
        """
        P = associated_legendre(lmax, self.betas.numpy())
        rows = [P[l, abs(m)] for l in range(lmax + 1) for m in range(-l, l + 1)]
        waves = fourier_basis(lmax, self.alphas.numpy())
        return torch.from_numpy(np.stack(rows, axis=-1)), torch.from_numpy(waves)

    def to_grid(
        self, coefficients: Tensor, lmax: int, normalization: SignalNormalization = "component"
    ) -> Tensor:
        """Values on the grid of functions with these coefficients.

        Args:
            coefficients: shape (..., (lmax+1)^2).
            normalization: see `sphere_transform.signal_scales`.

        Returns:
            Shape (..., n_beta, n_alpha); exact on every grid.

        Raises:
            ValueError: the last axis is not (lmax+1)^2 long, or the normalisation is unknown.
        """
        if coefficients.shape[-1:] != ((lmax + 1) ** 2,):
            raise ValueError(
                f"coefficients up to lmax={lmax} are {(lmax + 1) ** 2} in the last axis, "
                f"not {tuple(coefficients.shape)}"
            )
        ls = tuple(range(lmax + 1))
        args = (self, ls, signal_scales(ls, normalization))
        lead = coefficients.shape[:-1]
        columns = coefficients.reshape(-1, (lmax + 1) ** 2).mT
        values = evaluate_columns(
            columns,
            polar_tensor(*args, False, like=columns),
            waves_tensor(*args, like=columns),
            gather_tensor(*args, like=columns.new_empty(0, dtype=torch.int64)),
        )
        return values.permute(2, 1, 0).reshape(*lead, self.n_beta, self.n_alpha)

    def from_grid(
        self,
        values: Tensor,
        lmax: int,
        normalization: SignalNormalization = "component",
        lmax_in: int | None = None,
    ) -> Tensor:
        """Coefficients up to ``lmax`` of functions given on the grid, by quadrature.

        Exact for functions of a degree up to ``self.degree - lmax``.

        Args:
            values: shape (..., n_beta, n_alpha).
            normalization: see `sphere_transform.signal_scales`.
            lmax_in: the lmax of the `to_grid` that this inverts, where it is another; it enters
                the normalisations ``component`` and ``norm``.

        Returns:
            Shape (..., (lmax+1)^2).

        Raises:
            ValueError: values of another grid, an unknown normalisation, or a grid that is too
                coarse for ``lmax``.
        """
        self._check_values(values)
        self.check_resolves(lmax)
        ls, n_in = tuple(range(lmax + 1)), None if lmax_in is None else lmax_in + 1
        args = (self, ls, inverse_scales(ls, normalization, n_in))
        lead = values.shape[:-2]
        columns = values.reshape(-1, self.n_beta, self.n_alpha).permute(2, 1, 0)
        coefficients = project_columns(
            columns,
            polar_tensor(*args, True, like=columns),
            waves_tensor(*args, like=columns),
            scatter_tensor(*args, like=columns.new_empty(0, dtype=torch.int64)),
        )
        return coefficients.mT.reshape(*lead, (lmax + 1) ** 2)

    def check_resolves(self, lmax: int) -> None:
        """Raise a ValueError where harmonics up to ``lmax`` are not told apart by the grid."""
        if lmax > self.lmax:
            raise ValueError(
                f"{self} integrates degrees up to {self.degree} exactly, too few for coefficients "
                f"up to lmax={lmax}: that takes {2 * lmax}, "
                f"the least grid is SphereGrid.gauss_legendre({2 * lmax})"
            )

    def _check_values(self, values: Tensor) -> None:
        if values.shape[-2:] != (self.n_beta, self.n_alpha):
            raise ValueError(
                f"values on {self} are (..., {self.n_beta}, {self.n_alpha}), "
                f"not {tuple(values.shape)}"
            )
