"""Structures from a data set of electron densities, with the energies and forces that it has.

The layout is that of ``clebsch.density.data``; coefficients are left where they are.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from clebsch.errors import UserError
from clebsch.structures.dataset import FrameList

_FORMAT = "clebsch-density"


def is_density_file(path: Path) -> bool:
    """Whether an HDF5 file holds densities; False where it cannot be opened."""
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("format") == _FORMAT)
    except OSError:
        return False


def read_densities(path: Path, default_type: str = "default") -> FrameList:
    """The molecules and crystals of such a file, each with ``info["split"]`` where it has one.

    Raises:
        UserError: broken, or without molecules.
    """
    try:
        with h5py.File(path, "r") as file:
            offsets = file["atom_offsets"][:]
            numbers, positions = file["numbers"][:], file["positions"][:]
            energy, forces = file["energy"][:], file["forces"][:]
            split = file["split"].asstr()[:]
            cells = file["cells"][:] if "cells" in file else None
    except (OSError, KeyError) as error:
        raise UserError(
            f"{path}: the data set of densities is truncated or broken ({error}); make or fetch "
            "it again."
        ) from error
    frames = []
    for i in range(len(offsets) - 1):
        own = slice(offsets[i], offsets[i + 1])
        atoms = Atoms(numbers=numbers[own], positions=positions[own])
        if cells is not None and not np.isnan(cells[i]).any():
            atoms.cell, atoms.pbc = cells[i], True
        results = {"energy": float(energy[i]), "forces": forces[own]}
        results = {k: v for k, v in results.items() if not np.isnan(v).any()}
        atoms.calc = SinglePointCalculator(atoms, **results) if results else None
        atoms.info["config_type"] = default_type
        if split[i]:
            atoms.info["split"] = str(split[i])
        frames.append(atoms)
    if not frames:
        raise UserError(f"{path}: there are no molecules in the file.")
    return FrameList(str(path), frames)
