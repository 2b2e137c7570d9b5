"""Errors of predicted densities, each with its definition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import natural_cutoffs
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from clebsch.density.data import DensityRecord
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.errors import density_errors
from clebsch.density.grid import IntegrationGrid, density_error_percent, integration_grid
from clebsch.structures.graph import neighbour_list
from clebsch.train.density_data import DensityFrames
from clebsch.train.density_task import DensityPredictions, DensityTask

_RADIAL, _DEGREE = 24, 13  # of the grid: errors good to a hundredth of their value
MOST = {"train": 20, "valid": 100, "test": 300}  # molecules whose densities are integrated


@dataclass
class PartErrors:
    """Errors of G structures of a part, from `density_errors` and the task.

    Attributes:
        frame: (G,) index in the data set.
        molecules: (G,) how many molecules (bonded fragments) each structure is.
        density_percent: 100 integral |rho - rho_ref| / N_e, with the fitted reference.
        dft_percent: the same with the Kohn-Sham density on its grid, NaN where none was kept.
        free_percent: of the superposed free atoms, NaN without them.
        dipole: (G,) length of the dipole's error, D, with the Kohn-Sham dipole.
        hartree: (G,) electrostatic self-energy of the error, eV.
        electrons: (G,) deviation of the electron count.
    """

    frame: NDArray[np.int64]
    molecules: NDArray[np.int64]
    density_percent: NDArray[np.float64]
    dft_percent: NDArray[np.float64]
    free_percent: NDArray[np.float64]
    dipole: NDArray[np.float64]
    hartree: NDArray[np.float64]
    electrons: NDArray[np.float64]


def part_errors(
    frames: DensityFrames, task: DensityTask, predictions: DensityPredictions, most: int
) -> PartErrors:
    """Measure at most so many structures of a part, evenly from all of it."""
    n = len(predictions.frame)
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    rows = []
    p = predictions
    kept = DensityPredictions(
        p.frame[chosen],
        [p.coefficients[k] for k in chosen],
        p.loss[chosen],
        p.distance[chosen],
        p.surplus[chosen],
    )
    for i, c in zip(kept.frame.tolist(), kept.coefficients, strict=True):
        record = frames.records[i]
        fitted = _density(frames, record, torch.from_numpy(record.coefficients))
        predicted = _density(frames, record, torch.from_numpy(c))
        grid = integration_grid(fitted.numbers, fitted.positions, _RADIAL, _DEGREE)
        errors = density_errors(predicted, record, fitted, grid)
        rows.append(
            (
                count_molecules(record),
                errors.against_fit,
                np.nan if errors.against_grid is None else errors.against_grid,
                _free_atoms_percent(frames, record, fitted, grid),
                errors.dipole,
                float(predicted.electrons()) - record.electrons,
            )
        )
    columns = (np.array(column) for column in zip(*rows, strict=True))
    molecules, percent, dft, free, dipoles, electrons = columns
    return PartErrors(
        frame=kept.frame,
        molecules=molecules,
        density_percent=percent,
        dft_percent=dft,
        free_percent=free,
        dipole=dipoles,
        hartree=task.hartree_errors(kept),
        electrons=electrons,
    )


def _density(frames: DensityFrames, record: DensityRecord, c: Tensor) -> ElectronDensity:
    return ElectronDensity(
        frames.basis, torch.from_numpy(record.numbers), torch.from_numpy(record.positions), c
    )


def _free_atoms_percent(
    frames: DensityFrames, record: DensityRecord, fitted: ElectronDensity, grid: IntegrationGrid
) -> float:
    """Density error of the superposed free atoms, NaN without them."""
    if not set(record.numbers.tolist()) <= set(frames.free_atoms):
        return float("nan")
    atoms = [frames.free_atoms[z] for z in record.numbers.tolist()]
    return density_error_percent(_density(frames, record, torch.cat(atoms)), fitted, grid)


def count_molecules(record: DensityRecord) -> int:
    """Bonded fragments: atoms nearer than 1.2 times the sum of their covalent radii."""
    n = len(record.numbers)
    radii = np.array(natural_cutoffs(Atoms(numbers=record.numbers), mult=1.2))
    i, j, _ = neighbour_list(record.positions, np.zeros((3, 3)), [False] * 3, 2 * radii.max())
    apart = np.linalg.norm(record.positions[i] - record.positions[j], axis=1)
    bonded = apart < radii[i] + radii[j]
    graph = coo_matrix((bonded[bonded], (i[bonded], j[bonded])), shape=(n, n))
    return int(connected_components(graph, directed=False)[0])


def mean_errors(e: PartErrors) -> dict[str, float]:
    """Means over the molecules.

    - ``density_error_percent``: 100 integral |rho - rho_fit| / N_e.
    - ``dft_density_error_percent``: the same with the Kohn-Sham density, where it was kept.
    - ``dipole_error_D``, ``dipole_error_D_per_molecule``: length of the difference of the vectors,
      as it is and divided by the number of molecules in the structure.
    - ``error_self_energy_meV_per_electron`` is of the coulomb metric.
    - ``electron_count_error``: the largest deviation.
    """
    values = {
        "density_error_percent": e.density_percent.mean(),
        "free_atoms_error_percent": e.free_percent.mean(),
        "dft_density_error_percent": _mean(e.dft_percent),
        "dipole_error_D": e.dipole.mean(),
        "dipole_error_D_per_molecule": (e.dipole / e.molecules).mean(),
        "self_energy_of_error_eV": e.hartree.mean(),
        "electron_count_error": np.abs(e.electrons).max(),
    }
    return {name: float(v) for name, v in values.items() if np.isfinite(v)}


def errors_by_size(e: PartErrors) -> dict[str, dict[str, float]]:
    """`mean_errors` of the structures of each number of molecules, and how many they are."""
    found = {}
    for size in np.unique(e.molecules):
        own = e.molecules == size
        part = PartErrors(**{name: values[own] for name, values in vars(e).items()})
        found[str(size)] = {"n": float(own.sum()), **mean_errors(part)}
    return found


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
