"""The structure that a simulation starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.optimize import FIRE

from clebsch.errors import UserError, no_such_frame
from clebsch.simulate.record import fixed_atoms
from clebsch.simulate.settings import MDSettings
from clebsch.structures import read_dataset


def read_structure(
    path: str, frame: int = -1, supercell: Sequence[int] | None = None
) -> tuple[Atoms, str]:
    """One frame of a file of any format that ``read_dataset`` knows, and where it stands.

    Args:
        path: a file, or an embedded set such as ``"embedded:ethanol"``.
        frame: index from 0; negative ones count from the end.
        supercell: repetitions along the three cell vectors.

    Raises:
        UserError: the file cannot be read, has no such frame, or a repetition goes along a
            direction that is not periodic.
    """
    dataset = read_dataset(path)
    if not -len(dataset) <= frame < len(dataset):
        raise no_such_frame(path, frame, len(dataset))
    index = frame % len(dataset)
    where = dataset.where(index)
    atoms: Atoms = dataset[index].copy()
    atoms.calc = None
    if supercell is not None and tuple(supercell) != (1, 1, 1):
        if len(supercell) != 3 or min(supercell) < 1:
            raise UserError("a supercell is three whole numbers from 1, for instance 2 2 2.")
        for axis, (times, periodic) in enumerate(zip(supercell, atoms.pbc, strict=True)):
            if times > 1 and not periodic:
                raise UserError(
                    f"{where}: is not periodic along cell vector {axis + 1}, so it cannot be "
                    f"repeated {times} times; use 1 there."
                )
        atoms = atoms.repeat(tuple(supercell))
    return atoms, where


def check_start(atoms: Atoms, settings: MDSettings) -> None:
    """Whether these atoms can be simulated so.

    Raises:
        UserError: they cannot; in one sentence.
    """
    if not len(atoms):
        raise UserError("the structure has no atoms; give one that has.")
    fixed = fixed_atoms(atoms)
    if len(fixed) == len(atoms):
        raise UserError("every atom of the structure is fixed; free some of them.")
    if settings.ensemble != "nve" and settings.temperature_K == 0:
        raise UserError(f"{settings.ensemble.upper()} needs a temperature above 0 K.")
    if settings.ensemble == "npt":
        if not (atoms.pbc.all() and atoms.cell.rank == 3):
            raise UserError(
                "NPT needs a cell that is periodic in three directions; use NVT for a molecule, "
                "wire or slab."
            )
        if len(fixed):
            raise UserError("NPT cannot hold atoms fixed while the cell changes; use NVT.")
    if settings.conserves_momentum and len(atoms) == 1 and settings.ensemble != "nve":
        raise UserError("one atom alone cannot be thermostatted without net momentum.")


def relax_start(atoms: Atoms, fmax: float = 0.05, steps: int = 500) -> dict[str, Any]:
    """Move the atoms downhill until no force exceeds ``fmax``, eV/Å; say how that went."""
    optimiser = FIRE(atoms, logfile=None)
    converged = bool(optimiser.run(fmax=fmax, steps=steps))
    return {
        "converged": converged,
        "steps": int(optimiser.nsteps),
        "max_force_eV_per_A": float(np.linalg.norm(atoms.get_forces(), axis=1).max()),
    }
