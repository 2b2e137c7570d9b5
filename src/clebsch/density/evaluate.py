"""Density and electrostatic potential of atom-centred functions at points.

The potential of one function is closed:

    integral of chi_lm(r') / |r - r'| dr' = (2 pi / a) N F_l(a r^2) r^l Y_lm(r),

with Boys' function F_l; it follows from the two radial integrals of the multipole expansion by
(2l+1) F_l = 2x F_(l+1) + exp(-x). Far away it is the potential of a point multipole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.units import Bohr
from torch import Tensor

from clebsch.density.boys import boys
from clebsch.o3 import spherical_harmonics

if TYPE_CHECKING:
    from clebsch.density.basis import AuxiliaryBasis
    from clebsch.density.electron_density import ElectronDensity

#: Points handled together: neighbours in space then share the atoms that they feel.
CHUNK = 2048
_NUMBERS = 1 << 22  # at most so many values of functions at a time
_FAR = 40.0  # a r^2 from which exp(-a r^2) is nothing beside 1 in float64


def density_values(density: ElectronDensity, points: Tensor) -> Tensor:
    """rho at points in Å, (P, 3) -> (P,), electrons/Bohr^3."""
    values = []
    for chunk, near, _ in _chunks(density, points, _reach):
        total = chunk.new_zeros(len(chunk))
        for z, atoms, places in near:
            vectors = _vectors(density, chunk, atoms)
            r2 = (vectors * vectors).sum(-1)
            Y = _solid(density.basis, z, vectors)
            for l, exponents, norms, inside in density.basis.blocks(z):
                a, N = _as(exponents, r2), _as(norms, r2)
                c = density.coefficients[places[:, inside]].unflatten(-1, (2 * l + 1, len(a)))
                radial = torch.exp(-a * r2.unsqueeze(-1)) @ (c * N).mT  # (atoms, P, 2l+1)
                total = total + (radial * Y[..., l**2 : (l + 1) ** 2]).sum((0, 2))
        values.append(total)
    return _joined(values, points)


def potential_values(density: ElectronDensity, points: Tensor) -> Tensor:
    """integral of rho(r') / |r - r'| at points in Å, (P, 3) -> (P,), atomic units (hartree/e)."""
    values = []
    for chunk, near, far in _chunks(density, points, _spread):
        total = chunk.new_zeros(len(chunk))
        for z, atoms, places in near:
            vectors = _vectors(density, chunk, atoms)
            r2 = (vectors * vectors).sum(-1)
            Y = _solid(density.basis, z, vectors)
            for l, exponents, norms, inside in density.basis.blocks(z):
                a, N = _as(exponents, r2), _as(2 * math.pi * norms / exponents, r2)
                c = density.coefficients[places[:, inside]].unflatten(-1, (2 * l + 1, len(a)))
                radial = boys(l, a * r2.unsqueeze(-1)) @ (c * N).mT
                total = total + (radial * Y[..., l**2 : (l + 1) ** 2]).sum((0, 2))
        for z, atoms, places in far:
            vectors = _vectors(density, chunk, atoms)
            inverse2 = 1 / (vectors * vectors).sum(-1)
            Y = _solid(density.basis, z, vectors)
            for l, exponents, norms, inside in density.basis.blocks(z):
                moment = _as(norms * _moment(l, exponents), inverse2)
                c = density.coefficients[places[:, inside]].unflatten(-1, (2 * l + 1, len(moment)))
                decay = inverse2 ** (l + 0.5)
                value = (Y[..., l**2 : (l + 1) ** 2] @ (c @ moment).unsqueeze(-1)).squeeze(-1)
                total = total + (decay * value).sum(0)
        values.append(total)
    return _joined(values, points)


def nuclear_potential(numbers: Tensor, positions: Tensor, points: Tensor) -> Tensor:
    """sum of Z / |r - R| at points in Å, (P,), atomic units; infinite on a nucleus."""
    values = []
    for chunk in points.split(max(1, _NUMBERS // max(1, 3 * len(numbers)))):
        distances = torch.linalg.vector_norm(chunk[:, None] - positions.to(chunk), dim=-1)
        values.append((numbers.to(chunk) * Bohr / distances).sum(-1))
    return _joined(values, points)


def _moment(l: int, exponents: np.ndarray) -> np.ndarray:
    """2 pi/a F_l(a r^2) r^(2l+1) where the exponential has gone: (2l-1)!! sqrt(pi) / (2^(l+1))."""
    odd = math.prod(range(1, 2 * l, 2))
    boys_limit = odd / 2 ** (l + 1) * math.sqrt(math.pi) / exponents ** (l + 0.5)
    return 2 * math.pi / exponents * boys_limit


_Part = tuple[int, Tensor, Tensor]


def _chunks(
    density: ElectronDensity, points: Tensor, reach: object
) -> Iterator[tuple[Tensor, list[_Part], list[_Part]]]:
    """Points with the atoms (element, indices, places of coefficients) within and beyond reach."""
    index = {
        z: (at.atoms.to(points.device), at.coefficients.to(points.device))
        for z, at in density.basis.index(density.numbers.cpu()).items()
    }
    for chunk in points.split(CHUNK) if len(points) else ():
        low, high = chunk.detach().amin(0), chunk.detach().amax(0)
        near: list[_Part] = []
        far: list[_Part] = []
        values = 0
        for z, (atoms, places) in index.items():
            R = density.positions[atoms].detach()
            outside = torch.maximum(low - R, R - high).clamp(min=0)
            distance = torch.linalg.vector_norm(outside, dim=-1)
            radius = reach(density.basis, z) * Bohr  # type: ignore[operator]
            close = distance <= radius
            if close.any():
                near.append((z, atoms[close], places[close]))
                values += int(close.sum()) * _width(density.basis, z)
            if not close.all():
                far.append((z, atoms[~close], places[~close]))
        pieces = max(1, _NUMBERS // max(1, values))
        for piece in chunk.split(pieces):
            yield piece, near, far


def _width(basis: AuxiliaryBasis, z: int) -> int:
    return sum(len(b.exponents) for b in basis.blocks(z)) + (len(basis.exponents[z])) ** 2


@cache
def _reach(basis: AuxiliaryBasis, z: int) -> float:
    """Bohr beyond which no function is above 1e-17 of atomic units."""
    r = np.linspace(0, 60, 6001)
    largest = 0.0
    for l, exponents, norms, _ in basis.blocks(z):
        with np.errstate(under="ignore"):
            value = (norms * np.exp(-exponents * r[:, None] ** 2)).max(1) * r**l
        largest = max(largest, float(r[np.flatnonzero(value > 1e-17)[-1]]) + 0.01)
    return largest


@cache
def _spread(basis: AuxiliaryBasis, z: int) -> float:
    """Bohr beyond which every function acts as a point multipole."""
    return math.sqrt(_FAR / min(float(b.exponents[-1]) for b in basis.blocks(z)))


def _vectors(density: ElectronDensity, points: Tensor, atoms: Tensor) -> Tensor:
    """From atoms to points in bohr, (atoms, P, 3)."""
    return (points - density.positions[atoms].unsqueeze(1)) / Bohr


def _solid(basis: AuxiliaryBasis, z: int, vectors: Tensor) -> Tensor:
    lmax = len(basis.exponents[z]) - 1
    return spherical_harmonics(
        list(range(lmax + 1)), vectors, normalize=False, normalization="integral"
    )


def _as(constant: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(constant, dtype=like.dtype, device=like.device)


def _joined(values: list[Tensor], points: Tensor) -> Tensor:
    return torch.cat(values) if values else points.new_zeros(0)
