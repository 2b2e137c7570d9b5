"""Features that are functions on the sphere, to their values on a grid and back."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import torch
from torch import Tensor

from clebsch.nn.arguments import check_features
from clebsch.nn.constants import ExactConstants
from clebsch.nn.signal_irreps import signal_irreps
from clebsch.o3 import SphereGrid
from clebsch.o3.irreps import IrrepsLike
from clebsch.o3.sphere_transform import (
    SignalNormalization,
    evaluate_columns,
    harmonic_tables,
    inverse_scales,
    project_columns,
    signal_scales,
    weighted,
)

# One dense matrix product replaces the two of the separable form up to so many times its
# multiply-adds: it is one call, and saves copies (measured with 64 channels on a CPU).
DENSE_ADVANTAGE = 2.3

# Values on the grid of so many rows at a time as stay in a processor's cache.
VALUES_AT_A_TIME = 250_000


def by_rows(
    function: Callable[..., Tensor], grid: SphereGrid, channels: int, *features: Tensor
) -> Tensor:
    """``function(*features)``, a few rows at a time: three times as fast from l = 4 on.

    Args:
        function: of features (..., dim), row by row the same.
        features: with equal leading shapes, or else all are handed over at once.
    """
    lead = features[0].shape[:-1]
    rows = max(1, VALUES_AT_A_TIME // (grid.n_beta * grid.n_alpha * channels))
    together = torch.compiler.is_compiling() or any(x.shape[:-1] != lead for x in features)
    if together or prod(lead) <= rows or features[0].device.type != "cpu":
        return function(*features)
    parts = [x.reshape(prod(lead), x.shape[-1]).split(rows) for x in features]
    return torch.cat([function(*part) for part in zip(*parts, strict=True)]).unflatten(0, lead)


class _SphereTransform(ExactConstants):
    """Constants of a transform between coefficients and values, in the cheaper of two forms."""

    polar: Tensor
    waves: Tensor
    index: Tensor
    matrix: Tensor

    def __init__(
        self, grid: SphereGrid, ls: tuple[int, ...], scales: tuple[float, ...], back: bool
    ) -> None:
        super().__init__()
        self.grid, self.back = grid, back
        tables = harmonic_tables(grid, ls, scales)
        polar = weighted(grid, tables.polar) if back else tables.polar
        size, n_beta, rows = polar.shape
        harmonics = len(tables.scatter)
        separable = size * n_beta * (rows + grid.n_alpha)
        self.dense = n_beta * grid.n_alpha * harmonics <= DENSE_ADVANTAGE * separable
        if self.dense:
            entries = polar.transpose(0, 2, 1).reshape(size * rows, n_beta)[tables.scatter]
            order = tables.scatter // rows
            matrix = np.einsum("ib,ai->bai", entries, tables.waves[:, order])
            matrix = matrix.reshape(-1, harmonics)
            self.register_constant("matrix", torch.from_numpy(matrix.T if back else matrix))
        else:
            self.register_constant("polar", torch.from_numpy(polar))
            self.register_constant("waves", torch.from_numpy(tables.waves))
            index = tables.scatter if back else tables.gather
            self.register_constant("index", torch.from_numpy(index))

    def columns_to_grid(self, x: Tensor) -> Tensor:
        """(harmonics, columns) -> (n_beta, n_alpha, columns)."""
        if self.dense:
            shape = (self.grid.n_beta, self.grid.n_alpha)
            return (self.matrix.to(x.dtype) @ x).unflatten(0, shape)
        polar, waves = self.polar.to(x.dtype), self.waves.to(x.dtype)
        return evaluate_columns(x, polar, waves, self.index).transpose(0, 1)

    def columns_from_grid(self, values: Tensor) -> Tensor:
        """(n_beta, n_alpha, columns) -> (harmonics, columns)."""
        if self.dense:
            return self.matrix.to(values.dtype) @ values.flatten(0, 1)
        polar, waves = self.polar.to(values.dtype), self.waves.to(values.dtype)
        return project_columns(values.transpose(0, 1), polar, waves, self.index)


class ToSphereGrid(_SphereTransform):
    """Values on a grid of the functions on the sphere whose coefficients the features are.

    Args:
        irreps_in: equally many channels of each degree, such as ``"8x0e + 8x1o + 8x2e"``.
        grid: the points.
        normalization: see ``clebsch.o3.sphere_transform.signal_scales``.

    Shape: (..., irreps_in.dim) -> (..., n_beta, n_alpha, channels).

    Raises:
        ValueError: irreps that are not functions on the sphere.

    Example:
        >>> from clebsch.o3 import SphereGrid
        >>> grid = SphereGrid.gauss_legendre(4)
        >>> to, back = ToSphereGrid("8x0e + 8x1o + 8x2e", grid), FromSphereGrid(
        ...     grid, "8x0e + 8x1o + 8x2e")
        >>> x = to.irreps_in.randn(5, -1)
        >>> to(x).shape, torch.allclose(back(to(x)), x, atol=1e-5)
        (torch.Size([5, 3, 5, 8]), True)
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        grid: SphereGrid,
        normalization: SignalNormalization = "component",
    ) -> None:
        signal = signal_irreps(type(self).__name__, "irreps_in", irreps_in)
        super().__init__(grid, signal.ls, signal_scales(signal.ls, normalization), back=False)
        self.irreps_in, self.signal = signal.irreps, signal

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        lead, (harmonics, channels) = x.shape[:-1], (self.signal.harmonics, self.signal.channels)
        columns = x.reshape(prod(lead), harmonics, channels).transpose(0, 1).flatten(1)
        values = self.columns_to_grid(columns).unflatten(-1, (prod(lead), channels))
        return values.movedim(2, 0).unflatten(0, lead) if lead else values.squeeze(2)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.grid}"


class FromSphereGrid(_SphereTransform):
    """Coefficients of functions on the sphere from their values on a grid, by quadrature.

    Args:
        grid: the points; exact for functions of a degree up to ``grid.degree - lmax``.
        irreps_out: equally many channels of each degree.
        normalization: see ``clebsch.o3.sphere_transform.signal_scales``.
        n_in: number of degrees of the ``ToSphereGrid`` that this inverts, where it is another.

    Shape: (..., n_beta, n_alpha, channels) -> (..., irreps_out.dim).

    Raises:
        ValueError: irreps that are not functions on the sphere, or a grid too coarse for them.
    """

    def __init__(
        self,
        grid: SphereGrid,
        irreps_out: IrrepsLike,
        normalization: SignalNormalization = "component",
        n_in: int | None = None,
    ) -> None:
        signal = signal_irreps(type(self).__name__, "irreps_out", irreps_out)
        grid.check_resolves(max(signal.ls))
        scales = inverse_scales(signal.ls, normalization, n_in)
        super().__init__(grid, signal.ls, scales, back=True)
        self.irreps_out, self.signal = signal.irreps, signal

    def forward(self, values: Tensor) -> Tensor:
        shape = (self.grid.n_beta, self.grid.n_alpha, self.signal.channels)
        if values.shape[-3:] != shape:
            raise ValueError(
                f"{type(self).__name__}: values are (..., {shape[0]}, {shape[1]}, {shape[2]}) for "
                f"{self.irreps_out} on {self.grid}, not {tuple(values.shape)}"
            )
        lead = values.shape[:-3]
        columns = values.reshape(prod(lead), *shape).movedim(0, 2).flatten(2)
        x = self.columns_from_grid(columns).unflatten(-1, (prod(lead), shape[2]))
        return x.transpose(0, 1).reshape(*lead, self.irreps_out.dim)

    def extra_repr(self) -> str:
        return f"{self.grid} -> {self.irreps_out}"
