"""What no choice of axes, origin, order or cell may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from clebsch.verify.comparison import Array, Prediction


@dataclass(frozen=True)
class Symmetry:
    """A change of the description of a structure.

    Attributes:
        name: in the table.
        change: the structure to that in the other description.
        expect: its prediction, and the structure, to that of the other description.
        fits: whether the structure has this symmetry.
    """

    name: str
    change: Callable[[Atoms], Atoms]
    expect: Callable[[Prediction, Atoms], Prediction]
    fits: Callable[[Atoms], bool] = lambda atoms: True


def symmetries(seed: int = 0) -> list[Symmetry]:
    """Rotation, inversion, translation, other images, permutation, supercell.

    Args:
        seed: of the rotation, the translation and the order.
    """
    draw = np.random.default_rng(seed)
    rotation = random_rotation(draw)
    shift = draw.uniform(-3, 3, 3)
    return [
        Symmetry(
            "rotation",
            lambda atoms: turned(atoms, rotation),
            lambda prediction, atoms: _turned(prediction, rotation),
        ),
        Symmetry(
            "inversion",
            lambda atoms: turned(atoms, -np.eye(3)),
            lambda prediction, atoms: _turned(prediction, -np.eye(3)),
        ),
        Symmetry(
            "translation",
            lambda atoms: _moved(atoms, shift),
            lambda prediction, atoms: prediction,
        ),
        Symmetry(
            "other periodic images",
            lambda atoms: _other_images(atoms, seed),
            lambda prediction, atoms: prediction,
            lambda atoms: bool(atoms.pbc.any()),
        ),
        Symmetry(
            "permutation",
            lambda atoms: atoms[_order(atoms, seed)],
            lambda prediction, atoms: _reordered(prediction, _order(atoms, seed)),
            lambda atoms: len(atoms) > 1,
        ),
        Symmetry(
            "supercell",
            lambda atoms: atoms.repeat(_times(atoms)),
            lambda prediction, atoms: _repeated(prediction, int(np.prod(_times(atoms)))),
            lambda atoms: bool(atoms.pbc.any()),
        ),
    ]


def turned(atoms: Atoms, matrix: Array) -> Atoms:
    """Positions and cell turned by an orthogonal matrix."""
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ matrix.T, scale_atoms=False)
    copy.positions = atoms.positions @ matrix.T
    return copy


def net_force(prediction: Prediction) -> Array:
    """Sum of all forces (3,), eV/Å: zero, for the energy does not depend on the origin."""
    return np.asarray(prediction.forces.sum(axis=0))


def net_torque(prediction: Prediction, atoms: Atoms) -> Array:
    """Sum of all torques (3,), eV: zero where nothing is periodic."""
    centred = atoms.positions - atoms.positions.mean(axis=0)
    return np.asarray(np.cross(centred, prediction.forces).sum(axis=0))


def random_rotation(draw: np.random.Generator) -> Array:
    """A proper rotation, uniformly distributed. Mezzadri, Notices AMS 54, 592 (2007)."""
    q, r = np.linalg.qr(draw.standard_normal((3, 3)))
    q *= np.sign(np.diag(r))
    return np.asarray(q * np.sign(np.linalg.det(q)))


def _turned(prediction: Prediction, matrix: Array) -> Prediction:
    virial = prediction.virial
    return Prediction(
        prediction.energy,
        prediction.atomic_energy,
        prediction.forces @ matrix.T,
        None if virial is None else matrix @ virial @ matrix.T,
    )


def _moved(atoms: Atoms, shift: Array) -> Atoms:
    copy = atoms.copy()
    copy.positions += shift
    return copy


def _other_images(atoms: Atoms, seed: int) -> Atoms:
    """Every atom in another cell, up to two away."""
    cells = np.random.default_rng(seed).integers(-2, 3, (len(atoms), 3)) * atoms.pbc
    copy = atoms.copy()
    copy.positions += cells @ atoms.cell.array
    return copy


def _order(atoms: Atoms, seed: int) -> list[int]:
    order = np.random.default_rng(seed).permutation(len(atoms)).tolist()
    return order if order != sorted(order) else order[::-1]


def _reordered(prediction: Prediction, order: list[int]) -> Prediction:
    return Prediction(
        prediction.energy,
        prediction.atomic_energy[order],
        prediction.forces[order],
        prediction.virial,
    )


def _times(atoms: Atoms) -> tuple[int, int, int]:
    """Twice along the two shortest periodic vectors, or the one that there is."""
    periodic = np.flatnonzero(atoms.pbc)
    shortest = periodic[np.argsort(atoms.cell.lengths()[periodic], kind="stable")][:2]
    x, y, z = (2 if axis in shortest else 1 for axis in range(3))
    return x, y, z


def _repeated(prediction: Prediction, times: int) -> Prediction:
    virial = prediction.virial
    return Prediction(
        prediction.energy * times,
        np.tile(prediction.atomic_energy, times),
        np.tile(prediction.forces, (times, 1)),
        None if virial is None else virial * times,
    )
