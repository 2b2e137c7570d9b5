"""ASE's cells as LAMMPS's boxes.

LAMMPS wants a = (ax, 0, 0), b = (bx, by, 0), c = (cx, cy, cz), and atoms inside the box in
directions that are not periodic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from clebsch.errors import UserError

Array = np.ndarray[Any, Any]

#: A, free space on either side in directions that are not periodic.
MARGIN = 2.0


@dataclass(frozen=True)
class Box:
    """The box of a structure and the way there and back.

    Attributes:
        cell: (3, 3) lower triangular, A.
        origin: (3,) A.
        rotation: (3, 3) orthogonal (a reflection where the cell is left-handed): a vector v of
            the structure is ``v @ rotation`` in the box.
        positions: (N, 3) of the atoms in the box, A.
        pbc: periodic directions.
    """

    cell: Array
    origin: Array
    rotation: Array
    positions: Array
    pbc: tuple[bool, bool, bool]

    @classmethod
    def around(cls, atoms: Atoms, margin: float = MARGIN) -> Box:
        """The box of a structure; vectors that are not periodic are replaced by normal ones.

        Raises:
            UserError: a position or cell that is no number, or periodic vectors in one plane.
        """
        pbc = atoms.pbc.copy()
        cell = np.where(pbc[:, None], atoms.cell.array, 0.0)
        name = atoms.get_chemical_formula()
        if not (np.isfinite(atoms.positions).all() and np.isfinite(cell).all()):
            raise UserError(f"{name}: a position or a cell vector is not a number.")
        lengths = np.linalg.norm(cell[pbc], axis=1)
        spanned = np.sqrt(max(np.linalg.det(cell[pbc] @ cell[pbc].T), 0.0))
        if spanned <= 1e-9 * lengths.prod():
            raise UserError(f"{name}: the periodic cell vectors span no volume.")
        normals = _complement(cell[pbc])
        cell[~pbc] = normals
        inverse = np.linalg.inv(cell)
        scaled = atoms.positions @ inverse
        low = np.where(pbc, 0.0, scaled.min(axis=0, initial=np.inf) - margin)
        high = np.where(pbc, 1.0, scaled.max(axis=0, initial=-np.inf) + margin)
        cell = cell * np.where(pbc, 1.0, high - low)[:, None]
        # cell = L Q with L lower triangular and positive on its diagonal
        q, r = np.linalg.qr(cell.T)
        signs = np.sign(np.diag(r))
        rotation, lower = q * signs, (r.T * signs)
        scaled = np.where(pbc, scaled, (scaled - low) / (high - low))
        return cls(
            cell=np.tril(lower),
            origin=np.zeros(3),
            rotation=rotation,
            positions=scaled @ lower,
            pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
        )

    @property
    def triclinic(self) -> bool:
        """Whether the box has an angle that is not right."""
        return bool(np.abs(self.tilts).max() > 1e-12 * self.cell.diagonal().max())

    @property
    def tilts(self) -> Array:
        """xy, xz, yz, A."""
        return np.array([self.cell[1, 0], self.cell[2, 0], self.cell[2, 1]])

    @property
    def boundary(self) -> str:
        """Words for the ``boundary`` command."""
        return " ".join("p" if periodic else "f" for periodic in self.pbc)

    @property
    def volume(self) -> float:
        """A^3."""
        return float(self.cell.diagonal().prod())

    def back(self, vectors: Array) -> Array:
        """Vectors (..., 3) of the box as the structure's."""
        return np.asarray(vectors @ self.rotation.T)

    def tensor_back(self, tensor: Array) -> Array:
        """A tensor (3, 3) of the box as the structure's."""
        return np.asarray(self.rotation @ tensor @ self.rotation.T)


def _complement(rows: Array) -> Array:
    """Orthonormal vectors (3 - n, 3) normal to independent rows (n, 3), axes where they fit."""
    if len(rows) == 0:
        return np.eye(3)
    found: list[Array] = []
    _, _, basis = np.linalg.svd(rows)
    space = basis[len(rows) :]
    # Prefer the coordinate axes: an upright slab keeps its numbers.
    projections = np.eye(3) @ space.T @ space
    for axis in np.argsort(-np.linalg.norm(projections, axis=1), kind="stable"):
        vector = projections[axis] - sum((projections[axis] @ f) * f for f in found)
        length = np.linalg.norm(vector)
        if length > 1e-6 and len(found) < 3 - len(rows):
            found.append(np.where(np.abs(vector / length) < 1e-15, 0.0, vector / length))
    return np.array(found).reshape(-1, 3)


def data_file(
    atoms: Atoms,
    box: Box,
    elements: list[str],
    velocities: Array | None = None,
    comment: str = "",
) -> str:
    """Text of a LAMMPS data file, ``atom_style atomic``, units metal; one type per element.

    Args:
        atoms: the structure; its masses where all atoms of an element have the same.
        box: its box.
        elements: of the types.
        velocities: (N, 3) A/ps in the structure's axes.
        comment: first line.
    """
    lines = [comment or atoms.get_chemical_formula(), ""]
    lines += [f"{len(atoms)} atoms", f"{len(elements)} atom types", ""]
    for axis, name in enumerate("xyz"):
        low = box.origin[axis]
        lines.append(f"{low:.17g} {low + box.cell[axis, axis]:.17g} {name}lo {name}hi")
    if box.triclinic:
        lines.append(" ".join(f"{tilt:.17g}" for tilt in box.tilts) + " xy xz yz")
    lines += ["", "Masses", ""]
    masses, symbols = atoms.get_masses(), np.array(atoms.get_chemical_symbols())
    for number, element in enumerate(elements, 1):
        own = masses[symbols == element]
        mass = own[0] if len(own) else atomic_masses[atomic_numbers[element]]
        lines.append(f"{number} {mass:.10g}  # {element}")
    lines += ["", "Atoms  # atomic", ""]
    types = [elements.index(symbol) + 1 for symbol in symbols]
    for number, (kind, place) in enumerate(zip(types, box.positions, strict=True), 1):
        lines.append(f"{number} {kind} " + " ".join(f"{x:.17g}" for x in place))
    if velocities is not None:
        lines += ["", "Velocities", ""]
        for number, velocity in enumerate(velocities @ box.rotation, 1):
            lines.append(f"{number} " + " ".join(f"{v:.17g}" for v in velocity))
    return "\n".join(lines) + "\n"
