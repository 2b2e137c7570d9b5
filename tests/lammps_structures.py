"""Structures that a domain decomposition must get right."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk, diamond111


def structures() -> dict[str, Atoms]:
    """By name; of silicon and oxygen."""
    rng = np.random.default_rng(3)
    crystal = bulk("Si", cubic=True) * (2, 2, 1)
    crystal.symbols[::3] = "O"
    crystal.rattle(0.1, seed=1)
    primitive = bulk("Si")  # smaller than the cutoff
    primitive.rattle(0.1, seed=2)
    triclinic = bulk("Si") * (3, 2, 2)
    strain = np.eye(3) + 0.08 * rng.normal(size=(3, 3))
    triclinic.set_cell(triclinic.cell.array @ strain, scale_atoms=True)
    triclinic.symbols[::2] = "O"
    left_handed = bulk("Si") * (2, 2, 2)
    left_handed.set_cell(left_handed.cell.array[[1, 0, 2]])
    left_handed.rattle(0.1, seed=3)
    slab = diamond111("Si", (2, 2, 3), vacuum=6.0)
    slab.rattle(0.1, seed=4)
    wire = bulk("Si", cubic=True)
    wire.pbc = (True, False, False)
    wire.rattle(0.1, seed=5)
    molecule = Atoms("SiO2Si", positions=[[0, 0, 0], [1.6, 0, 0], [0, 1.7, 0.2], [2.0, 1.9, 0.4]])
    boxed = molecule.copy()
    boxed.set_cell([20.0, 21.0, 22.0])
    boxed.pbc = True
    # All atoms in one corner: with several ranks some have none.
    corner = molecule.copy()
    corner.set_cell([60.0, 60.0, 60.0])
    corner.pbc = True
    isolated = Atoms("Si3", positions=[[0, 0, 0], [2.3, 0, 0], [30.0, 30.0, 30.0]])
    return {
        "crystal": crystal,
        "primitive cell": primitive,
        "triclinic": triclinic,
        "left-handed cell": left_handed,
        "slab": slab,
        "wire": wire,
        "molecule": molecule,
        "molecule in a box": boxed,
        "empty ranks": corner,
        "isolated atom": isolated,
        "one atom": Atoms("Si"),
    }
