"""Symmetry of crystals as spglib finds it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import spglib
from ase import Atoms

from clebsch.errors import UserError

Floats = npt.NDArray[np.float64]
SYMPREC = 1e-3  # Å


@dataclass(frozen=True)
class SiteSymmetry:
    """The operations of a crystal that leave one of its atoms where it is.

    Attributes:
        atom: index of the atom.
        element: chemical symbol.
        wyckoff: multiplicity in the conventional cell and letter, such as ``8a``; which of
            several alike letters it is depends on the choice of the origin.
        symbol: of the site-symmetry group, such as ``-43m``.
        rotations: (n, 3, 3) Cartesian matrices, orthogonal in float64.
        equivalent: indices of all atoms of this orbit.
    """

    atom: int
    element: str
    wyckoff: str
    symbol: str
    rotations: Floats
    equivalent: tuple[int, ...]


def space_group(atoms: Atoms, symprec: float = SYMPREC) -> Any:
    """spglib's data set of a crystal.

    Raises:
        UserError: spglib finds no space group, as where two atoms lie on each other.
    """
    found, reason = None, ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of spglib's own change of error handling
        try:
            found = spglib.get_symmetry_dataset(_cell(atoms), symprec=symprec)
        except Exception as error:  # spglib's own, by version
            reason = f" ({error})"
    if found is None:
        raise UserError(
            f"{atoms.get_chemical_formula()}: spglib finds no space group{reason}; are two atoms "
            "at one place, or the cell flat?"
        )
    return found


def primitive_size(atoms: Atoms, symprec: float = SYMPREC) -> int:
    """Number of atoms of the primitive cell; that of this cell where no symmetry is found."""
    try:
        found = space_group(atoms, symprec)
    except UserError:
        return len(atoms)
    return len(set(found.mapping_to_primitive.tolist()))


def site_symmetries(atoms: Atoms, symprec: float = SYMPREC) -> list[SiteSymmetry]:
    """The site symmetry of one atom of every orbit, in the order of the atoms.

    Raises:
        UserError: spglib finds no space group.

    >>> from ase.build import bulk
    >>> site = site_symmetries(bulk("Si"))[0]
    >>> site.symbol, len(site.rotations), site.equivalent
    ('-43m', 24, (0, 1))
    """
    found = space_group(atoms, symprec)
    to_primitive = np.asarray(found.mapping_to_primitive)
    per_cell = len(found.std_types) / len(atoms)
    if to_primitive.max() + 1 < len(atoms):
        # operations that a cell of another shape cannot write in whole numbers count too
        first = [int(np.argmax(to_primitive == k)) for k in range(to_primitive.max() + 1)]
        atoms = atoms[first]
        atoms.set_cell(found.primitive_lattice, scale_atoms=False)
        found = space_group(atoms, symprec)
    orbits = np.asarray(found.crystallographic_orbits)
    cell = atoms.cell.array
    scaled = atoms.get_scaled_positions(wrap=False)
    sites = []
    for atom in sorted(set(orbits.tolist())):
        moved = found.rotations @ scaled[atom] + found.translations - scaled[atom]
        stays = np.linalg.norm((moved - np.round(moved)) @ cell, axis=1) < 2 * symprec
        cartesian = cell.T @ found.rotations[stays] @ np.linalg.inv(cell.T)
        u, _, vt = np.linalg.svd(cartesian)  # the nearest orthogonal matrix
        same = np.flatnonzero(orbits[to_primitive] == atom)
        sites.append(
            SiteSymmetry(
                atom=int(same[0]),
                element=atoms.symbols[atom],
                wyckoff=f"{round(len(same) * per_cell)}{found.wyckoffs[atom]}",
                symbol=found.site_symmetry_symbols[atom].replace(".", ""),
                rotations=u @ vt,
                equivalent=tuple(same.tolist()),
            )
        )
    return sites


def _cell(atoms: Atoms) -> Any:  # spglib's own annotations change with its version
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
