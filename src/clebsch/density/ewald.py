"""Electrostatic potential of a crystal: Ewald's sum for Gaussian multipoles.

Every function that is tighter than a width, and every nucleus, is replaced by the Gaussian of that
width with the same multipole; the difference falls off like the Gaussian and is summed over images.
What is left is smooth and is summed over reciprocal vectors G, where it is closed:

    integral of r^l Y_lm exp(-a r^2 - i G r) dr = (pi/a)^(3/2) (-i/(2a))^l G^l Y_lm(G) exp(-G^2/4a).

The mean of the potential over the cell is 0 (no term G = 0), so that a charge stands in a uniform
background of the opposite sign. Lengths are in bohr.

P. P. Ewald, Ann. Phys. 369, 253 (1921).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from ase.units import Bohr
from torch import Tensor

from clebsch.density.basis import AuxiliaryBasis, Block
from clebsch.density.boys import boys
from clebsch.density.evaluate import CHUNK, Radii, images, parts_near, sum_over_functions
from clebsch.density.moments import electrons_per_function
from clebsch.o3 import spherical_harmonics

if TYPE_CHECKING:
    from clebsch.density.electron_density import ElectronDensity

WIDTH = 0.4  # bohr^-2, exponent from which functions are tight; the result does not depend on it
_FAR = 37.0  # exp(-37) is nothing beside 1 in float64
_NUMBERS = 1 << 22


class ReciprocalPotential(NamedTuple):
    """Fourier coefficients of the smooth part.

    Attributes:
        values: (m1, m2, m3) complex, those with negative first index left out and the others
            doubled; hartree/e.
        first: the index of the first along each reciprocal vector.
    """

    values: Tensor
    first: tuple[int, int, int]


def periodic_potential(density: ElectronDensity, points: Tensor, nuclei: bool) -> Tensor:
    """Potential of the electrons' charge, taken positive, or of nuclei minus it; (P,), hartree/e.

    Args:
        points: (P, 3), Å.
        nuclei: with them; infinite on a nucleus then.
    """
    sign = -1.0 if nuclei else 1.0
    total = sign * _tight(density, points) + _smooth(density, points, nuclei)
    if nuclei:
        total = total + _tight_nuclei(density, points)
    return total


def _radii(basis: AuxiliaryBasis, z: int) -> Radii:
    """How far the replacement is felt, bohr; functions as wide as it are not replaced."""
    reach = math.sqrt(_FAR / WIDTH)
    return tuple(np.where(b.exponents > WIDTH, reach, 0.0) for b in basis.blocks(z))


def _tight(density: ElectronDensity, points: Tensor) -> Tensor:
    values = [points.new_zeros(0)]
    for chunk, parts in parts_near(density, points, _radii):
        total = chunk.new_zeros(len(chunk))
        for part in parts:
            every = part._replace(first=(0,) * len(part.first))
            total = total + sum_over_functions(density.basis, every, chunk, _short)
        values.append(total)
    return torch.cat(values)


def _short(block: Block, k: int, r2: Tensor) -> Tensor:
    """Potential of a tight function minus that of its replacement, over r^l Y_lm."""
    a = torch.as_tensor(block.exponents).to(r2)
    tight = (a > WIDTH).to(r2)
    amplitude = 2 * math.pi * torch.as_tensor(block.norms).to(r2) * tight
    own = boys(block.l, a * r2) / a
    other = boys(block.l, WIDTH * r2) * (WIDTH / a) ** (block.l + 1.5) / WIDTH
    return amplitude * (own - other)


def _tight_nuclei(density: ElectronDensity, points: Tensor) -> Tensor:
    reach = math.sqrt(_FAR / WIDTH) * Bohr
    every = torch.arange(len(density.numbers), device=points.device)
    charges = density.numbers.to(points)
    values = [points.new_zeros(0)]
    for chunk in points.split(CHUNK) if len(points) else ():
        low, high = chunk.detach().amin(0), chunk.detach().amax(0)
        atoms, positions = images(density, every, low, high, reach)
        for piece in chunk.split(max(1, _NUMBERS // max(1, 3 * len(atoms)))):
            r = torch.linalg.vector_norm(piece[:, None] - positions, dim=-1) / Bohr
            values.append((torch.erfc(math.sqrt(WIDTH) * r) / r) @ charges[atoms])
    return torch.cat(values)


def _smooth(density: ElectronDensity, points: Tensor, nuclei: bool) -> Tensor:
    assert density.cell is not None
    coefficients = density.reciprocal_potential(nuclei)
    fractional = points @ torch.linalg.inv(density.cell)
    shape = coefficients.values.shape
    ranges = [
        torch.arange(first, first + n).to(points)
        for first, n in zip(coefficients.first, shape, strict=True)
    ]
    flat = coefficients.values.reshape(-1, shape[2]).T
    values = [points.new_zeros(0)]
    for piece in fractional.split(max(1, _NUMBERS // (shape[0] * shape[1]))):
        angles = [2 * math.pi * piece[:, i, None] * ranges[i] for i in range(3)]
        e1, e2, e3 = (torch.complex(x.cos(), x.sin()) for x in angles)
        inner = (e3 @ flat).unflatten(-1, tuple(shape[:2]))
        values.append(((inner @ e2.unsqueeze(-1)).squeeze(-1) * e1).sum(-1).real)
    return torch.cat(values)


def reciprocal_potential(density: ElectronDensity, nuclei: bool) -> ReciprocalPotential:
    """The smooth part of `periodic_potential`, with the mean of all parts taken off."""
    assert density.cell is not None
    cell = density.cell / Bohr
    reciprocal = 2 * math.pi * torch.linalg.inv(cell).T
    largest = 2 * math.sqrt(_FAR * WIDTH)
    counts = [
        int(largest * float(torch.linalg.vector_norm(v)) / (2 * math.pi)) for v in cell.detach()
    ]
    n = torch.cartesian_prod(
        torch.arange(counts[0] + 1), *(torch.arange(-c, c + 1) for c in counts[1:])
    ).to(cell)
    G = n @ reciprocal
    G2 = (G * G).sum(-1)
    kept = (G2.detach() < largest**2) & (n != 0).any(-1)
    G, G2, n = G[kept], G2[kept], n[kept]
    electrons = _fourier_density(density, G, G2)
    charge = electrons
    if nuclei:
        phases = _phases(density.positions / Bohr, G)
        cores = (phases @ density.numbers.to(phases)) * torch.exp(-G2 / (4 * WIDTH))
        charge = cores - electrons
    volume = torch.linalg.det(cell).abs()
    weight = 4 * math.pi * (2 - (n[:, 0] == 0).to(G2)) / (G2 * volume)
    shape = (counts[0] + 1, 2 * counts[1] + 1, 2 * counts[2] + 1)
    values = torch.zeros(math.prod(shape), dtype=charge.dtype, device=charge.device)
    values = values.index_put((kept.nonzero()[:, 0],), weight * charge)
    origin = counts[1] * shape[2] + counts[2]
    mean = _mean_of_tight(density, nuclei) / volume
    values = values.index_put((torch.tensor([origin]).to(G.device),), -mean.to(charge)[None])
    return ReciprocalPotential(values.reshape(shape), (0, -counts[1], -counts[2]))


def _phases(positions: Tensor, G: Tensor) -> Tensor:
    """exp(-i G R), (number of G, N)."""
    angle = G @ positions.T
    return torch.complex(angle.cos(), -angle.sin())


def _fourier_density(density: ElectronDensity, G: Tensor, G2: Tensor) -> Tensor:
    """Fourier transform of the smooth electron density, (number of G,)."""
    basis = density.basis
    total = torch.complex(torch.zeros_like(G2), torch.zeros_like(G2))
    solid = spherical_harmonics(
        list(range(basis.lmax + 1)), G, normalize=False, normalization="integral"
    )
    for z, (atoms, places) in basis.index(density.numbers.cpu()).items():
        phases = _phases(density.positions[atoms.to(G.device)] / Bohr, G)
        for l, exponents, norms, inside in basis.blocks(z):
            c = density.coefficients[places[:, inside].to(G.device)].unflatten(-1, (2 * l + 1, -1))
            b = np.minimum(exponents, WIDTH)
            # the replacement has the multipole of the function
            amplitude = norms * (b / exponents) ** (l + 1.5) * (math.pi / b) ** 1.5 / (2 * b) ** l
            decay = torch.exp(-G2[:, None] / torch.as_tensor(4 * b).to(G2))
            radial = decay * torch.as_tensor(amplitude).to(G2)  # (G, n)
            per_atom = torch.einsum("gn,amn,gm->ga", radial, c, solid[:, l**2 : (l + 1) ** 2])
            total = total + (-1j) ** l * (per_atom * phases).sum(-1)
    return total


def _mean_of_tight(density: ElectronDensity, nuclei: bool) -> Tensor:
    """Integral over the cell of the parts that are summed over images, bohr^2 hartree/e."""
    per = electrons_per_function(density.basis, density.numbers, density.coefficients)
    charges = per * density.coefficients
    total = charges.new_zeros(())
    for z, (_, places) in density.basis.index(density.numbers.cpu()).items():
        block = density.basis.blocks(z)[0]
        a = torch.as_tensor(block.exponents).to(charges)
        spread = math.pi * (1 / WIDTH - 1 / a.clamp(min=WIDTH))
        total = total + (charges[places[:, block.inside].to(charges.device)] @ spread).sum()
    if not nuclei:
        return total
    return math.pi / WIDTH * density.numbers.to(total).sum() - total
