"""Functions of the values of a function on SO(3)."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from clebsch.nn.activations import ScalarFunction, ScaledActivation
from clebsch.nn.arguments import check_features
from clebsch.nn.constants import ExactConstants
from clebsch.o3 import Irreps, RotationGrid
from clebsch.o3.rotation_grid import (
    RotationNormalization,
    evaluate_rotations,
    project_rotations,
    rotation_scales,
    rotation_tables,
    weighted,
)


class _RotationTransform(ExactConstants):
    """Constants of a transform between coefficients and values."""

    polar: Tensor
    waves_alpha: Tensor
    waves_gamma: Tensor
    index: Tensor

    def __init__(
        self, grid: RotationGrid, lmax: int, normalization: RotationNormalization, back: bool
    ) -> None:
        super().__init__()
        scales = rotation_scales(lmax, normalization)
        if back:
            grid.check_resolves(lmax)
            scales = tuple((2 * l + 1) / s for l, s in enumerate(scales))
        tables = rotation_tables(grid, scales)
        polar = weighted(grid, tables.polar) if back else tables.polar
        self.register_constant("polar", torch.from_numpy(polar))
        self.register_constant("waves_alpha", torch.from_numpy(tables.waves_alpha))
        self.register_constant("waves_gamma", torch.from_numpy(tables.waves_gamma))
        index = tables.scatter if back else tables.gather
        self.register_constant("index", torch.from_numpy(index))

    def constants(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dtype = like.dtype
        waves = self.waves_alpha.to(dtype), self.waves_gamma.to(dtype)
        return self.polar.to(dtype), *waves, self.index


class RotationActivation(nn.Module):
    """To SO(3), a function of every value, and back: e3nn's ``SO3Activation``.

    Features are coefficients of Wigner D matrices, see ``clebsch.o3.RotationGrid``. The function is
    scaled to unit second moment.

    A polynomial of degree p makes degrees up to p lmax_in, which a grid of the degree
    p lmax_in + lmax_out takes in exactly: pass ``polynomial`` and the layer is equivariant to
    rounding. For other functions the layer is equivariant up to what the grid misses. The default
    grid has the degree 6 max(lmax_in, 1) + lmax_out; with it the error of a rotated result (root
    mean square over that of the result, lmax_in = lmax_out = 2) is 6e-5 for silu, 1e-3 for tanh
    and 6e-3 for relu.

    Args:
        lmax_in, lmax_out: highest degrees of the input and of the result.
        activation: the function of the values.
        grid: the rotations; by default of the degree said above.
        polynomial: degree of ``activation`` where it is a polynomial.
        channels: number of functions, the fastest index of the features.
        normalization: ``"component"`` or ``"integral"``, see ``RotationGrid.to_grid``.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim).

    Raises:
        ValueError: a grid too coarse for the result or for the polynomial.

    Example:
        >>> layer = RotationActivation(1, 2, torch.square, polynomial=2)
        >>> layer.irreps_in, layer.irreps_out, layer.grid.degree
        (1x0e+3x1e, 1x0e+3x1e+5x2e, 4)
        >>> layer(torch.randn(7, 10)).shape
        torch.Size([7, 35])
    """

    def __init__(
        self,
        lmax_in: int,
        lmax_out: int,
        activation: ScalarFunction,
        grid: RotationGrid | None = None,
        *,
        polynomial: int | None = None,
        channels: int = 1,
        normalization: RotationNormalization = "component",
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        if min(lmax_in, lmax_out) < 0 or channels < 1:
            raise ValueError(
                f"{layer}: lmax_in and lmax_out must not be negative, channels must be positive, "
                f"not {lmax_in}, {lmax_out} and {channels}"
            )
        if grid is None:
            made = 6 * max(lmax_in, 1) if polynomial is None else polynomial * lmax_in
            grid = RotationGrid.gauss_legendre(max(made, lmax_out) + lmax_out)
        elif polynomial is not None and grid.degree < polynomial * lmax_in + lmax_out:
            raise ValueError(
                f"{layer}: a polynomial of degree {polynomial} of functions up to lmax={lmax_in} "
                f"takes a grid of degree {polynomial * lmax_in + lmax_out}, but {grid} has "
                f"{grid.degree}"
            )
        self.grid, self.channels = grid, channels
        self.irreps_in, self.irreps_out = (
            Irreps([(mul * channels, ir) for mul, ir in grid.irreps(lmax)])
            for lmax in (lmax_in, lmax_out)
        )
        self.to_grid = _RotationTransform(grid, lmax_in, normalization, back=False)
        self.from_grid = _RotationTransform(grid, lmax_out, normalization, back=True)
        self.activation = ScaledActivation(activation)

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        lead = x.shape[:-1]
        columns = x.reshape(prod(lead), self.irreps_in.dim // self.channels, self.channels)
        columns = columns.transpose(0, 1).flatten(1)
        values = self.activation(evaluate_rotations(columns, *self.to_grid.constants(x)))
        y = project_rotations(values, *self.from_grid.constants(values))
        y = y.unflatten(-1, (prod(lead), self.channels))
        return y.transpose(0, 1).reshape(*lead, self.irreps_out.dim)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}, {self.grid}"
