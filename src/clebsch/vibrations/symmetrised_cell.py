"""Crystals brought back to their exact symmetry, and supercells that keep it."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

from clebsch.errors import UserError

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class Supercell(NamedTuple):
    """A choice of supercell.

    Attributes:
        matrix: (3, 3) integers; its rows are the supercell's vectors in those of the cell.
        n_atoms: in the supercell.
        image_distance: A, from an atom to its nearest periodic image.
    """

    matrix: Integers
    n_atoms: int
    image_distance: float


def symmetrised(atoms: Atoms, tolerance: float = 0.01) -> Atoms:
    """The crystal with ideal cell and positions; orientation and order of atoms stay.

    Metric and positions are averaged over the operations of the space group that holds within
    ``tolerance`` (A): single precision and rounded files break it by a little, and every broken
    operation costs displacements.

    Raises:
        UserError: spglib finds no symmetry, because atoms coincide.
    """
    rotations, translations = _operations(atoms, tolerance)
    cell, x = atoms.cell.array, atoms.get_scaled_positions(wrap=False)
    metric = np.einsum("gij,ik,gkl->jl", rotations, cell @ cell.T, rotations) / len(rotations)
    inverse = np.linalg.inv(cell)
    # cell' = cell F with symmetric F, the least change: F^2 = cell^-1 metric cell^-T
    values, vectors = np.linalg.eigh(inverse @ metric @ inverse.T)
    ideal = cell @ (vectors * np.sqrt(values)) @ vectors.T
    total, count = np.zeros_like(x), np.zeros(len(x))
    for rotation, translation in zip(rotations, translations, strict=True):
        images = x @ rotation.T + translation
        difference = images[:, None] - x[None]
        difference -= np.round(difference)
        distance = np.linalg.norm(difference @ cell, axis=-1)
        distance[atoms.numbers[:, None] != atoms.numbers[None]] = np.inf
        nearest = distance.argmin(1)
        np.add.at(total, nearest, difference[np.arange(len(x)), nearest])
        np.add.at(count, nearest, 1.0)
    result = atoms.copy()
    result.set_cell(ideal, scale_atoms=False)
    result.set_scaled_positions(x + total / count[:, None])
    return result


def choose_supercell(
    atoms: Atoms, least_side: float = 10.0, max_atoms: int = 128, tolerance: float = 0.01
) -> Supercell:
    """The smallest symmetric supercell whose atoms are ``least_side`` (A) from their images.

    Multiples of the given, the primitive and the conventional cell are tried, those that keep
    the crystal's point group. Where none reaches ``least_side`` with at most ``max_atoms``, the
    one with the largest distance is taken; the cell itself is always allowed.
    """
    found: dict[bytes, Supercell] = {}
    rotations = _operations(atoms, tolerance)[0]
    for base in _bases(atoms, tolerance):
        lengths = np.linalg.norm(base @ atoms.cell.array, axis=1)
        for target in np.arange(1.0, 2 * least_side, 0.5):
            repeats = np.maximum(1, np.round(target / lengths))
            matrix = np.rint(repeats[:, None] * base).astype(np.int64)
            if matrix.tobytes() in found or not _is_symmetric(matrix, rotations):
                continue
            n_atoms = len(atoms) * abs(round(np.linalg.det(matrix)))
            if n_atoms > max(max_atoms, len(atoms)):
                continue
            reduced = minkowski_reduce(matrix @ atoms.cell.array)[0]
            distance = float(np.linalg.norm(reduced, axis=1).min())
            found[matrix.tobytes()] = Supercell(matrix, n_atoms, distance)
    large = [s for s in found.values() if s.image_distance >= least_side]
    if large:
        return min(large, key=lambda s: (s.n_atoms, -s.image_distance))
    return max(found.values(), key=lambda s: (round(s.image_distance, 3), -s.n_atoms))


def _operations(atoms: Atoms, tolerance: float) -> tuple[Integers, Array]:
    data = _space_group(atoms, tolerance)
    return np.asarray(data.rotations, np.int64), np.asarray(data.translations)


def _bases(atoms: Atoms, tolerance: float) -> list[Array]:
    """Cells to repeat, as integer rows in the vectors of ``atoms``."""
    import spglib

    data = _space_group(atoms, tolerance)
    bases = [np.eye(3)]
    # rows of the conventional cell in those of the given one
    conventional = np.linalg.inv(data.transformation_matrix).T
    ideal = spglib.standardize_cell(_spglib_cell(atoms), to_primitive=True, symprec=tolerance)
    assert ideal is not None  # the symmetry was found
    primitive = np.asarray(ideal[0]) @ np.linalg.inv(data.std_lattice) @ conventional
    for base in (primitive, conventional):
        whole = np.rint(base)
        if np.abs(base - whole).max() < 1e-2 and abs(np.linalg.det(whole)) > 0.5:
            bases.append(whole)
    return bases


def _space_group(atoms: Atoms, tolerance: float) -> Any:
    import spglib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a coming change in how spglib fails
        try:
            data = spglib.get_symmetry_dataset(_spglib_cell(atoms), symprec=tolerance)
        except spglib.SpglibError:
            data = None
    if data is None:
        raise UserError("its symmetry cannot be found; do atoms lie on each other?")
    return data


def _is_symmetric(matrix: Integers, rotations: Integers) -> bool:
    """Whether every rotation (acting on columns of fractions) maps the superlattice to itself."""
    columns = matrix.T
    turned = np.linalg.inv(columns) @ rotations @ columns
    return bool(np.abs(turned - np.rint(turned)).max() < 1e-6)


def _spglib_cell(atoms: Atoms) -> Any:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
