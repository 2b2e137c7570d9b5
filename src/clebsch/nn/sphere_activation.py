"""Functions of the values of a function on the sphere: a nonlinearity that mixes degrees."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clebsch.nn.activations import (
    ScalarFunction,
    ScaledActivation,
    function_name,
    function_parity,
)
from clebsch.nn.arguments import check_features
from clebsch.nn.signal_irreps import signal_irreps
from clebsch.nn.sphere_grid import FromSphereGrid, ToSphereGrid, by_rows
from clebsch.o3 import Irreps, SphereGrid, rand_matrix
from clebsch.o3.irreps import IrrepsLike
from clebsch.o3.sphere_transform import SignalNormalization


class SphereActivation(nn.Module):
    """To the sphere, a function of every value, and back: e3nn's ``S2Activation``.

    The function is scaled to unit second moment. Channels do not mix.

    A polynomial of degree p makes degrees up to p lmax, which a grid of the degree
    p lmax + lmax_out takes in exactly: pass ``polynomial`` and the layer is equivariant to
    rounding. For other functions it is equivariant up to what the grid misses. With a grid of
    the degree k lmax + lmax_out, the error of a rotated result (root mean square over that of the
    result, lmax = lmax_out = 3, features of unit variance) is

        ====  =====  =====  =====
        k     silu   tanh   relu
        ====  =====  =====  =====
        2     2e-2   6e-2   8e-2
        4     8e-4   6e-3   2e-2
        6     5e-5   8e-4   9e-3
        10    4e-7   2e-5   3e-3
        16    5e-10  8e-7   1e-3
        ====  =====  =====  =====

    The default is k = 6, with an even number of angles around the axis, so that inversion is
    exact for every function.

    Args:
        irreps_in: equally many channels of each degree, such as ``"8x0e + 8x1o + 8x2e"``.
        activation: the function of the values.
        grid: the points; by default of the degree said above.
        polynomial: degree of ``activation`` where it is a polynomial.
        lmax_out: highest degree of the result, by default that of the input.
        normalization: how coefficients are scaled, see
            ``clebsch.o3.sphere_transform.signal_scales``.
        random_rotation: turn the grid at random in every call, so that what it misses is no
            preference for some direction.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim).

    Attributes:
        irreps_out: every degree up to lmax_out. Where functions are odd under the inversion
            (p_val = -1) an even activation makes them even.

    Raises:
        ValueError: irreps that are not functions on the sphere, an activation without parity on
            odd functions, or a grid too coarse for the result or for the polynomial.

    Example:
        >>> square = SphereActivation("4x0e + 4x1o + 4x2e", torch.square, polynomial=2)
        >>> square.grid.degree, square(square.irreps_in.randn(3, -1)).shape
        (7, torch.Size([3, 36]))
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        activation: ScalarFunction,
        grid: SphereGrid | None = None,
        *,
        polynomial: int | None = None,
        lmax_out: int | None = None,
        normalization: SignalNormalization = "component",
        random_rotation: bool = False,
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        signal = signal_irreps(layer, "irreps_in", irreps_in)
        lmax = max(signal.ls)
        lmax_out = lmax if lmax_out is None else lmax_out
        if lmax_out < 0:
            raise ValueError(f"{layer}: lmax_out must not be negative, not {lmax_out}")
        if grid is None:
            grid = _default_grid(lmax, lmax_out, polynomial)
        elif polynomial is not None and grid.degree < polynomial * lmax + lmax_out:
            raise ValueError(
                f"{layer}: a polynomial of degree {polynomial} of functions up to lmax={lmax} "
                f"takes a grid of degree {polynomial * lmax + lmax_out}, but {grid} has "
                f"{grid.degree}"
            )
        p_val, p_arg = signal.parities[0]
        if p_val == -1:
            p_val = function_parity(activation)
            if p_val == 0:
                raise ValueError(
                    f"{layer}: irreps_in {signal.irreps} are odd functions, of which "
                    f"{function_name(activation)}, neither even nor odd, has no parity; take one "
                    "that has, such as tanh or abs"
                )
        self.irreps_in, self.grid = signal.irreps, grid
        self.irreps_out = Irreps(
            [(signal.channels, (l, p_val * p_arg**l)) for l in range(lmax_out + 1)]
        )
        self.random_rotation = random_rotation
        self.to_grid = ToSphereGrid(self.irreps_in, grid, normalization)
        self.from_grid = FromSphereGrid(grid, self.irreps_out, normalization, n_in=len(signal.ls))
        self.activation = ScaledActivation(activation)

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        if not self.random_rotation:
            return self._activate(x)
        R = rand_matrix(dtype=torch.float64).to(x)
        x = x @ self.irreps_in.D_from_matrix(R).mT
        return self._activate(x) @ self.irreps_out.D_from_matrix(R)

    def _activate(self, x: Tensor) -> Tensor:
        def activate(x: Tensor) -> Tensor:
            return self.from_grid(self.activation(self.to_grid(x)))

        return by_rows(activate, self.grid, self.from_grid.signal.channels, x)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}"


def _default_grid(lmax: int, lmax_out: int, polynomial: int | None) -> SphereGrid:
    made = 6 * max(lmax, 1) if polynomial is None else polynomial * lmax
    least = SphereGrid.gauss_legendre(max(made, lmax_out) + lmax_out)
    # with every point r the grid has -r
    return SphereGrid(least.n_beta, least.n_alpha + least.n_alpha % 2)
