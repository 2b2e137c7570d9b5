"""Water molecules and dimers with made-up densities that depend on their surroundings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

from clebsch.density import AuxiliaryBasis, DensityDataset, DensityRecord, write_density
from clebsch.density.moments import electrons_per_function
from clebsch.models import DensityConfig, DensityModel, predict_density

BASIS = AuxiliaryBasis(
    "small",
    {1: ((6.0, 0.8), (1.0,)), 8: ((60.0, 6.0, 0.7), (6.0, 0.7), (1.2,))},
)


def configuration(basis: AuxiliaryBasis = BASIS, **changes: object) -> DensityConfig:
    """A small network for water; each element starts with all its electrons in one function."""
    symbols = {1: "H", 8: "O"}
    start, scales, exponents = {}, {}, {}
    for z, symbol in symbols.items():
        rows = basis.exponents[z]
        per = electrons_per_function(basis, torch.tensor([z]), torch.zeros(1).double())
        start[symbol] = [*[0.0] * (len(rows[0]) - 1), z / float(per[len(rows[0]) - 1])]
        scales[symbol] = [[0.05] * len(row) for row in rows]
        exponents[symbol] = [list(row) for row in rows]
    given = {
        "species": ["H", "O"],
        "basis": basis.name,
        "exponents": exponents,
        "start": start,
        "scales": scales,
        "cutoff": 3.5,
        "layers": 2,
        "lmax": 2,
        "channels": 4,
        "n_basis": 4,
        "radial_width": 8,
        "radial_depth": 1,
        "mean_neighbours": 4.0,
    }
    return DensityConfig(**given | changes)  # type: ignore[arg-type]


def model(seed: int = 0, **changes: object) -> DensityModel:
    """An untrained network in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DensityModel(configuration(**changes)).double().eval()  # type: ignore[arg-type]


def waters(n: int, seed: int = 0) -> Atoms:
    """n molecules of water in random places and directions, 2.9 Å and more apart."""
    rng = np.random.default_rng(seed)
    parts = []
    for k in range(n):
        water = molecule("H2O")
        water.rotate(float(rng.uniform(0, 360)), rng.normal(size=3), center="COM")
        water.positions += rng.normal(scale=0.03, size=(3, 3)) + np.array([2.9 * k, 0, 0])
        parts.append(water)
    atoms = parts[0]
    for part in parts[1:]:
        atoms += part
    atoms.positions -= atoms.positions.mean(0)
    return atoms


def dataset(n: int = 16, split: bool = True) -> DensityDataset:
    """n structures whose densities are those of another untrained network."""
    teacher = model(seed=7)
    records = []
    names = ["train"] * (n - 6) + ["valid"] * 3 + ["test"] * 3
    for k in range(n):
        atoms = waters(1 + k % 2, seed=k)
        density = predict_density(teacher, atoms)
        records.append(
            DensityRecord(
                numbers=atoms.numbers.astype(np.int64),
                positions=atoms.positions.copy(),
                coefficients=density.coefficients.numpy(),
                energy=0.0,
                forces=np.zeros((len(atoms), 3)),
                dipole=density.dipole().numpy(),
                fit_error_percent=0.0,
                free_electrons=float(atoms.numbers.sum()),
                scf_seconds=0.0,
                seconds=0.0,
                source=f"made, molecule {k}",
                split=names[k] if split else "",
            )
        )
    free = {}
    for z in BASIS.elements:
        c = torch.zeros(BASIS.dim(z), dtype=torch.float64)
        s = BASIS.blocks(z)[0].inside
        c[s] = torch.tensor(configuration().start[{1: "H", 8: "O"}[z]])
        free[z] = c
    return DensityDataset("made", BASIS, {"xc": "made", "basis": "none"}, records, free)


def write(path: Path, **changes: object) -> Path:
    """`dataset` as an HDF5 file."""
    write_density(dataset(**changes), path)  # type: ignore[arg-type]
    return path


__all__ = ["BASIS", "configuration", "dataset", "model", "waters", "write"]
