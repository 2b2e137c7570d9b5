"""The density on a box along x, y, z: there a function is a product of functions of x, y and z.

    r^l Y_lm exp(-a r^2) = sum over p+q+r=l of M_mpqr X_p Y_q Z_r,   X_p = x^p exp(-a x^2), ...

so that a small box of points is one matrix product over all rows (atom, exponent, p, q). This is
`density_values` for such points, to rounding, and many times faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from ase.units import Bohr
from torch import Tensor

from clebsch.density.evaluate import distances_to_box, images, reaches
from clebsch.o3 import spherical_harmonics

if TYPE_CHECKING:
    from clebsch.density.electron_density import ElectronDensity


@dataclass(frozen=True)
class _Rows:
    """The functions of degree l; atoms with fewer exponents are filled up with a reach of -1.

    Attributes:
        powers: p, q, r with p + q + r = l, (n_monomials, 3).
        exponents: (N, n), bohr^-2.
        reach: (N, n), Å.
        amplitudes: (N, n, n_monomials).
    """

    powers: Tensor
    exponents: Tensor
    reach: Tensor
    amplitudes: Tensor


class SeparableDensity:
    """A density made ready for boxes of points along the axes; no gradients.

    Args:
        density: of a molecule or a crystal.
    """

    def __init__(self, density: ElectronDensity) -> None:
        self._density = density
        self._rows = [_rows(density, l) for l in range(density.basis.lmax + 1)]
        self._reach = max((float(r.reach.max()) for r in self._rows if r.reach.numel()), default=0)

    def values(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """rho at every (x_i, y_j, z_k) in Å, (n_x, n_y, n_z), electrons/bohr^3."""
        axes = (x, y, z)
        low, high = (torch.stack([f(a) for a in axes]) for f in (torch.amin, torch.amax))
        every = torch.arange(len(self._density.numbers), device=x.device)
        atom, at = images(self._density, every, low, high, self._reach)
        at = at.detach()
        distance = distances_to_box(at, low, high)
        total = x.new_zeros(len(x) * len(y), len(z))
        for rows in self._rows:
            i, k = (distance[:, None] <= rows.reach[atom]).nonzero().unbind(-1)
            if not len(i):
                continue
            a = rows.exponents[atom[i], k, None]
            factors = []
            for axis, points in enumerate(axes):
                u = (points - at[i, axis, None]) / Bohr
                powers = [torch.exp(-a * u * u)]  # (R, points)
                for _ in range(int(rows.powers.max())):
                    powers.append(powers[-1] * u)
                factors.append(powers)
            _add(total, factors, rows.amplitudes[atom[i], k], rows.powers)
        return total.reshape(len(x), len(y), len(z))


def _rows(density: ElectronDensity, l: int) -> _Rows:
    basis, c = density.basis, density.coefficients.detach()
    powers, matrix = _monomials(l)
    sizes = [len(b.exponents) for z in basis.elements for b in basis.blocks(z) if b.l == l]
    n = max(sizes, default=0)
    size = (len(density.numbers), n)
    exponents, reach = c.new_zeros(size), c.new_full(size, -1.0)
    amplitudes = c.new_zeros(*size, len(powers))
    for z, (atoms, places) in basis.index(density.numbers.cpu()).items():
        for block, radii in zip(basis.blocks(z), reaches(basis, z), strict=True):
            if block.l == l:
                own = c[places[:, block.inside].to(c.device)].unflatten(-1, (2 * l + 1, -1))
                scaled = own * torch.as_tensor(block.norms).to(c)
                here, k = atoms.to(c.device), len(radii)
                exponents[here, :k] = torch.as_tensor(block.exponents).to(c)
                reach[here, :k] = torch.as_tensor(radii * Bohr).to(c)
                amplitudes[here, :k] = torch.einsum("amn,mk->ank", scaled, matrix.to(c))
    return _Rows(powers, exponents, reach, amplitudes)


def _add(total: Tensor, factors: list[list[Tensor]], amplitude: Tensor, powers: Tensor) -> None:
    """Add the sum over rows R and monomials of amplitude X^p Y^q Z^r to (n_x n_y, n_z)."""
    X, Y, Z = factors
    # p + q + r = l: for each p, q there is one r
    for k, (p, q, r) in enumerate(powers.tolist()):
        plane = X[p].T[:, None, :] * Y[q].T[None, :, :]  # (n_x, n_y, R)
        total.addmm_(plane.flatten(0, 1), amplitude[:, k, None] * Z[r])


@cache
def _monomials(l: int) -> tuple[Tensor, Tensor]:
    """Powers (n, 3) of x, y, z, and r^l Y_lm in these monomials, (2l+1, n), float64."""
    powers = [(p, q, l - p - q) for p in range(l, -1, -1) for q in range(l - p, -1, -1)]
    points = torch.from_numpy(np.random.default_rng(l).normal(size=(4 * len(powers), 3)))
    table = torch.stack([points.pow(torch.tensor(power)).prod(-1) for power in powers], dim=-1)
    Y = spherical_harmonics([l], points, normalize=False, normalization="integral")
    return torch.tensor(powers), torch.linalg.lstsq(table, Y).solution.T.contiguous()


def along_axes(steps: npt.NDArray[np.float64]) -> bool:
    """Whether the rows are along x, y and z.

    >>> along_axes(np.eye(3)), along_axes(np.eye(3)[[1, 0, 2]])
    (True, False)
    """
    diagonal = np.diagonal(steps)
    return bool(np.abs(steps - np.diag(diagonal)).max() <= 1e-14 * np.abs(diagonal).min())
