"""Density and electrostatic potential of atom-centred functions at points.

The potential of one function is closed:

    integral of chi_lm(r') / |r - r'| dr' = (2 pi / a) N F_l(a r^2) r^l Y_lm(r),

with Boys' function F_l; it follows from the two radial integrals of the multipole expansion by
(2l+1) F_l = 2x F_(l+1) + exp(-x). Far away it is the potential of a point multipole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from ase.units import Bohr
from torch import Tensor

from clebsch.density.basis import AuxiliaryBasis, Block
from clebsch.density.boys import boys
from clebsch.o3 import spherical_harmonics

if TYPE_CHECKING:
    from clebsch.density.electron_density import ElectronDensity

#: Points handled together: neighbours in space then share the atoms that they feel.
CHUNK = 2048
_NUMBERS = 1 << 22  # at most so many values of functions at a time
_FAR = 40.0  # a r^2 from which exp(-a r^2) is nothing beside 1 in float64
_RINGS = (0.0, 1.5, 3.0, 6.0, 10.0)  # bohr: atoms so far away are handled together

Radii = tuple[npt.NDArray[np.float64], ...]


class Part(NamedTuple):
    """Atoms of one element at about one distance from some points.

    Attributes:
        z: the element.
        positions: (n, 3), Å, of the atoms or of their images.
        coefficients: (n, dim).
        first: for each block of the basis the first exponent that reaches the points.
    """

    z: int
    positions: Tensor
    coefficients: Tensor
    first: tuple[int, ...]

    def blocks(self, basis: AuxiliaryBasis) -> Iterator[tuple[Block, int, Tensor]]:
        """Each block with its first exponent within reach and the coefficients (n, 2l+1, n_exp)."""
        for block, first in zip(basis.blocks(self.z), self.first, strict=True):
            shape = (2 * block.l + 1, len(block.exponents))
            yield block, first, self.coefficients[:, block.inside].unflatten(-1, shape)

    def vectors(self, points: Tensor) -> Tensor:
        """From atoms to points in bohr, (n, P, 3)."""
        return (points - self.positions.unsqueeze(1)) / Bohr


def density_values(density: ElectronDensity, points: Tensor) -> Tensor:
    """rho at points in Å, (P, 3) -> (P,), electrons/Bohr^3."""
    values = []
    for chunk, parts in parts_near(density, points, reaches):
        total = chunk.new_zeros(len(chunk))
        for part in parts:
            total = total + sum_over_functions(
                density.basis,
                part,
                chunk,
                lambda block, k, r2: (
                    _as(block.norms[k:], r2) * torch.exp(-_as(block.exponents[k:], r2) * r2)
                ),
            )
        values.append(total)
    return _joined(values, points)


def potential_values(density: ElectronDensity, points: Tensor) -> Tensor:
    """integral of rho(r') / |r - r'| at points in Å, (P, 3) -> (P,), atomic units (hartree/e)."""
    values = []
    for chunk, parts in parts_near(density, points, _spreads, everywhere=True):
        total = chunk.new_zeros(len(chunk))
        for part in parts:
            total = total + sum_over_functions(density.basis, part, chunk, _near)
            if any(part.first):
                total = total + _far(density.basis, part, chunk)
        values.append(total)
    return _joined(values, points)


def sum_over_functions(
    basis: AuxiliaryBasis,
    part: Part,
    points: Tensor,
    radial: Callable[[Block, int, Tensor], Tensor],
) -> Tensor:
    """Sum of c f(r^2) r^l Y_lm over the functions within reach, (P,).

    Args:
        radial: ``(block, k, r2)`` -> f of exponents k, k+1, ..., with r2 (n, P, 1) in bohr^2.
    """
    blocks = [b for b in part.blocks(basis) if b[1] < len(b[0].exponents)]
    if not blocks:
        return points.new_zeros(len(points))
    vectors = part.vectors(points)
    r2 = (vectors * vectors).sum(-1, keepdim=True)
    Y = _solid(max(block.l for block, _, _ in blocks), vectors)
    total = points.new_zeros(len(points))
    for block, k, c in blocks:
        l = block.l
        each = radial(block, k, r2) @ c[..., k:].mT  # (n, P, 2l+1)
        total = total + (each * Y[..., l**2 : (l + 1) ** 2]).sum((0, 2))
    return total


def _near(block: Block, k: int, r2: Tensor) -> Tensor:
    a = block.exponents[k:]
    return _as(2 * math.pi * block.norms[k:] / a, r2) * boys(block.l, _as(a, r2) * r2)


def _far(basis: AuxiliaryBasis, part: Part, points: Tensor) -> Tensor:
    """Potential of the functions out of reach, which are point multipoles here."""
    vectors = part.vectors(points)
    inverse2 = 1 / (vectors * vectors).sum(-1)
    decay = inverse2.sqrt()
    moments = []
    for block, k, c in part.blocks(basis):
        if k:
            strength = block.norms[:k] * _moment(block.l, block.exponents[:k])
            moments.append((block.l, c[..., :k] @ _as(strength, decay)))
    Y = _solid(max(l for l, _ in moments), vectors)
    total = points.new_zeros(len(points))
    for l, moment in moments:
        value = (Y[..., l**2 : (l + 1) ** 2] @ moment.unsqueeze(-1)).squeeze(-1)
        total = total + (decay * inverse2**l * value).sum(0)
    return total


def nuclear_potential(numbers: Tensor, positions: Tensor, points: Tensor) -> Tensor:
    """sum of Z / |r - R| at points in Å, (P,), atomic units; infinite on a nucleus."""
    values = []
    for chunk in points.split(max(1, _NUMBERS // max(1, 3 * len(numbers)))):
        distances = torch.linalg.vector_norm(chunk[:, None] - positions.to(chunk), dim=-1)
        values.append((numbers.to(chunk) * Bohr / distances).sum(-1))
    return _joined(values, points)


def _moment(l: int, exponents: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """2 pi/a F_l(a r^2) r^(2l+1) where the exponential has gone: (2l-1)!! sqrt(pi) / (2^(l+1))."""
    odd = math.prod(range(1, 2 * l, 2))
    boys_limit = odd / 2 ** (l + 1) * math.sqrt(math.pi) / exponents ** (l + 0.5)
    return 2 * math.pi / exponents * boys_limit


def parts_near(
    density: ElectronDensity,
    points: Tensor,
    radii: Callable[[AuxiliaryBasis, int], Radii],
    everywhere: bool = False,
) -> Iterator[tuple[Tensor, list[Part]]]:
    """Points, lot by lot, with the atoms and images whose functions reach them.

    Args:
        radii: for each block of an element how far each exponent reaches, bohr.
        everywhere: atoms out of reach are parts too (of a molecule).
    """
    basis = density.basis
    index = basis.index(density.numbers.cpu())
    for chunk in points.split(CHUNK) if len(points) else ():
        low, high = chunk.detach().amin(0), chunk.detach().amax(0)
        parts, largest = [], 1
        for z, at in index.items():
            reach = radii(basis, z)
            whole = max(float(row.max()) for row in reach if len(row)) * Bohr
            places = at.coefficients.to(points.device)
            own = at.atoms.to(points.device)
            atoms, positions = images(density, own, low, high, whole)
            d = distances_to_box(positions.detach(), low, high)
            limits = [r * Bohr for r in _RINGS if r * Bohr < whole] + [whole]
            for inner, outer in zip(limits, [*limits[1:], math.inf], strict=True):
                if inner == whole and not everywhere:
                    continue
                here = (d > inner if inner else d >= 0) & (d <= outer)
                if not here.any():
                    continue
                # exponents fall, so that those within reach come last
                first = tuple(int((row * Bohr <= inner).sum()) for row in reach)
                part = Part(z, positions[here], density.coefficients[places[atoms[here]]], first)
                parts.append(part)
                largest = max(largest, len(part.positions) * _width(basis, part))
        for piece in chunk.split(max(1, _NUMBERS // largest)):
            yield piece, parts


def images(
    density: ElectronDensity, atoms: Tensor, low: Tensor, high: Tensor, radius: float
) -> tuple[Tensor, Tensor]:
    """The atoms and where they stand; of a periodic density every image that reaches a box.

    Args:
        atoms: (n,), places in the structure.
        low, high: (3,), Å, corners of the box.
        radius: Å.

    Returns:
        For each image its place in ``atoms``, (m,), and its position, (m, 3), Å.
    """
    R = density.positions[atoms]
    if density.cell is None:
        return torch.arange(len(atoms), device=R.device), R
    cell = density.cell.detach()
    inverse = torch.linalg.inv(cell)
    ends = torch.stack([low - radius, high + radius])
    corners = torch.cartesian_prod(*ends.T) @ inverse
    fractional = R.detach() @ inverse
    first = torch.ceil(corners.amin(0) - fractional.amax(0)).long().tolist()
    last = torch.floor(corners.amax(0) - fractional.amin(0)).long().tolist()
    steps = [torch.arange(a, b + 1, device=R.device) for a, b in zip(first, last, strict=True)]
    shifts = torch.cartesian_prod(*steps).to(R)
    at = R.detach()[:, None] + shifts @ cell
    close = distances_to_box(at, low, high) <= radius
    atom, shift = close.nonzero().unbind(-1)
    return atom, R[atom] + shifts[shift] @ density.cell


def distances_to_box(positions: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Distance of each place to the box between two corners, (..., 3) -> (...)."""
    outside = torch.maximum(low - positions, positions - high).clamp(min=0)
    return torch.linalg.vector_norm(outside, dim=-1)


def _width(basis: AuxiliaryBasis, part: Part) -> int:
    """Numbers per atom and point at a time."""
    blocks = zip(basis.blocks(part.z), part.first, strict=True)
    return max(len(block.exponents) - k for block, k in blocks) + 2 * len(part.first) ** 2


@cache
def reaches(basis: AuxiliaryBasis, z: int) -> Radii:
    """Bohr beyond which a function is below 1e-17 of atomic units, of each block and exponent."""
    r = np.linspace(0, 60, 6001)
    found = []
    for l, exponents, norms, _ in basis.blocks(z):
        with np.errstate(under="ignore"):
            value = norms * np.exp(-exponents * r[:, None] ** 2) * r[:, None] ** l
        beyond = value <= 1e-17
        last = np.where(beyond.all(0), 0, len(r) - 1 - beyond[::-1].argmin(0))
        # a wider function is not left out before a narrower one
        found.append(np.maximum.accumulate(r[last] + 0.01))
    return tuple(found)


@cache
def _spreads(basis: AuxiliaryBasis, z: int) -> Radii:
    """Bohr beyond which each function acts as a point multipole."""
    return tuple(np.sqrt(_FAR / block.exponents) for block in basis.blocks(z))


def _solid(lmax: int, vectors: Tensor) -> Tensor:
    return spherical_harmonics(
        list(range(lmax + 1)), vectors, normalize=False, normalization="integral"
    )


def _as(constant: npt.NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.as_tensor(constant, dtype=like.dtype, device=like.device)


def _joined(values: list[Tensor], points: Tensor) -> Tensor:
    return torch.cat(values) if values else points.new_zeros(0)
