"""Integration over a molecule: spheres of points about each atom, with Becke's weights.

A. D. Becke, J. Chem. Phys. 88, 2547 (1988): fuzzy cells, here each among the nearest atoms of a
point only, so that the cost grows with the number of atoms; radii of Bragg and Slater are replaced
by covalent ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from ase.data import covalent_radii
from torch import Tensor

from clebsch.density.electron_density import ElectronDensity
from clebsch.o3.sphere_grid import SphereGrid

_NEAREST = 16
_LOT = 512  # points at a time, so that their pairs of atoms stay in the cache
_ELSEWHERE = 0.97  # of the way to another atom's nucleus a share is below 1e-8


@dataclass(frozen=True)
class IntegrationGrid:
    """Points and weights.

    Attributes:
        points: (P, 3), Å; those of an atom's sphere lie together.
        weights: (P,), Å^3.
    """

    points: Tensor
    weights: Tensor


def integration_grid(
    numbers: Tensor, positions: Tensor, radial: int = 60, degree: int = 27
) -> IntegrationGrid:
    """A grid for smooth functions about the atoms of a molecule.

    Args:
        numbers: (N,).
        positions: (N, 3), Å.
        radial: spheres per atom; r = R (1 + x) / (1 - x) with Chebyshev's nodes of second kind.
        degree: of the polynomials that a sphere integrates exactly; less near the nucleus.

    Returns:
        In float64. The defaults give electron counts to about 1e-5 of their value.
    """
    positions = positions.detach().to("cpu", torch.float64)
    points, weights = [], []
    for i, z in enumerate(numbers.tolist()):
        vectors, volume = _atomic_grid(int(z), radial, degree)
        here = positions[i] + vectors
        weight = volume * _becke_weights(here, i, numbers.cpu(), positions)
        kept = weight > 1e-14
        points.append(here[kept])
        weights.append(weight[kept])
    return IntegrationGrid(torch.cat(points), torch.cat(weights))


def _atomic_grid(z: int, radial: int, degree: int) -> tuple[Tensor, Tensor]:
    """Points about the origin and their volumes, spheres from far to near."""
    scale = float(covalent_radii[z])
    vectors, volumes = [], []
    for k in range(1, radial + 1):
        angle = k * math.pi / (radial + 1)
        x = math.cos(angle)
        r = scale * (1 + x) / (1 - x)
        dr = 2 * scale / (1 - x) ** 2
        if r > 15.0:  # Å: no density there
            continue
        # Gauss-Chebyshev's weight without its own sin
        volume = math.pi / (radial + 1) * math.sin(angle) * dr * 4 * math.pi * r * r
        sphere = SphereGrid.gauss_legendre(max(7, degree // 2) if r < scale / 3 else degree)
        vectors.append(r * sphere.points.reshape(-1, 3))
        volumes.append(volume * sphere.weights[:, None].expand(sphere.points.shape[:2]).flatten())
    return torch.cat(vectors), torch.cat(volumes)


def _becke_weights(points: Tensor, own: int, numbers: Tensor, positions: Tensor) -> Tensor:
    """Share of atom ``own`` in each point, (P,)."""
    k = min(_NEAREST, len(numbers))
    distances, atoms = torch.cdist(points, positions).topk(k, dim=1, largest=False)
    apart = torch.linalg.vector_norm(positions[atoms[:, 0]] - positions[own], dim=-1)
    excess = torch.linalg.vector_norm(points - positions[own], dim=-1) - distances[:, 0]
    ours = (excess <= _ELSEWHERE * apart) | (atoms[:, 0] == own)
    weights = points.new_zeros(len(points))
    lots = zip(distances[ours].split(_LOT), atoms[ours].split(_LOT), strict=True)
    shares = [_cells(d, at, own, numbers, positions) for d, at in lots]
    weights[ours] = torch.cat([weights[:0], *shares])
    return weights


def _cells(
    distances: Tensor, atoms: Tensor, own: int, numbers: Tensor, positions: Tensor
) -> Tensor:
    """The weights of points with these distances, (P, k), to these nearest atoms, (P, k)."""
    k = atoms.shape[1]
    radii = torch.as_tensor(covalent_radii, dtype=distances.dtype)[numbers][atoms]
    between = torch.linalg.vector_norm(
        positions[atoms].unsqueeze(2) - positions[atoms].unsqueeze(1), dim=-1
    )
    same = torch.eye(k, dtype=torch.bool)
    mu = (distances.unsqueeze(2) - distances.unsqueeze(1)) / between.masked_fill(same, 1.0)
    ratio = radii.unsqueeze(2) / radii.unsqueeze(1)
    u = (ratio - 1) / (ratio + 1)
    a = (u / (u * u - 1)).clamp(-0.5, 0.5)
    step = mu + a * (1 - mu * mu)
    for _ in range(3):
        step = step * (3 - step * step) / 2
    cells = (0.5 * (1 - step)).masked_fill(same, 1.0).prod(2)
    mine = (cells * (atoms == own)).sum(1)
    return mine / cells.sum(1)


def density_error_percent(
    density: ElectronDensity, reference: ElectronDensity, grid: IntegrationGrid | None = None
) -> float:
    """100 integral |rho - rho_reference| / N_e, with N_e the electrons of the reference.

    Args:
        grid: default `integration_grid` of the reference's atoms.

    Raises:
        ValueError: the reference is periodic and no grid is given.
    """
    if grid is None:
        if reference.cell is not None:
            raise ValueError(
                "the points of a molecule do not fill a cell; give a grid, such as the points of "
                "Box.of_cell"
            )
        grid = integration_grid(reference.numbers, reference.positions)
    with torch.no_grad():
        if _one_molecule(density, reference):
            c = density.coefficients - reference.coefficients
            difference = replace(density, coefficients=c).at(grid.points)
        else:
            difference = density.at(grid.points) - reference.at(grid.points)
        weights = grid.weights.to(difference)
        return float(100 * (weights @ difference.abs()) / reference.electrons())


def _one_molecule(density: ElectronDensity, other: ElectronDensity) -> bool:
    """Whether the two have the same functions at the same places."""
    return (
        density.basis == other.basis
        and torch.equal(density.numbers, other.numbers)
        and torch.equal(density.positions, other.positions)
    )
