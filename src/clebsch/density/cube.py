"""Values on a box of points, and Gaussian's cube files.

Cube files are in atomic units: densities in electrons/bohr^3, potentials in hartree/e, lengths in
bohr. Here they are electrons/Å^3, V and Å.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.units import Bohr, Hartree
from torch import Tensor

from clebsch.density.electron_density import ElectronDensity
from clebsch.density.separable import SeparableDensity, along_axes
from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.structures.reading import check_file

Quantity = Literal["density", "potential"]
_ATOMIC_UNIT = {"density": 1 / Bohr**3, "potential": Hartree}
_LARGEST = 1e5  # V: a point may lie on a nucleus, and a file holds no infinity
_TILE = 12  # points along an edge of the small boxes that are evaluated together
_MOST_POINTS = 2**31  # 30 GB as a cube file
_LARGE_TILE = 24  # the same where functions are products along x, y, z


def _check_size(lengths: npt.NDArray[np.float64], spacing: float) -> None:
    with np.errstate(over="ignore"):
        points = float(np.prod(lengths / spacing + 1))
    if points > _MOST_POINTS:
        raise UserError(
            f"a spacing of {spacing:g} Å makes {points:.1e} points in this box, and "
            f"{_MOST_POINTS:.0e} are the most that a cube file should hold; take a larger spacing."
        )


@dataclass(frozen=True)
class Box:
    """Points origin + i step_0 + j step_1 + k step_2.

    Attributes:
        origin: (3,), Å.
        steps: (3, 3), rows, Å.
        shape: number of points along each.
    """

    origin: npt.NDArray[np.float64]
    steps: npt.NDArray[np.float64]
    shape: tuple[int, int, int]

    @classmethod
    def around(
        cls, positions: npt.ArrayLike | Tensor, spacing: float = 0.1, margin: float = 4.0
    ) -> Box:
        """A box along x, y, z with ``margin`` Å about the atoms.

        Raises:
            UserError: no atoms, a spacing or margin that is not positive, or so small a spacing
                that the box has more than 2^31 points.

        >>> Box.around([[0.0, 0.0, 0.0]], spacing=0.5, margin=1.0).shape
        (5, 5, 5)
        """
        at = np.asarray(positions, dtype=np.float64)
        if at.size == 0:
            raise UserError("a box needs at least one atom to stand about")
        if not (0 < spacing < np.inf and 0 < margin < np.inf):
            raise UserError(
                f"spacing and margin of a box must be positive, not {spacing} and {margin} Å"
            )
        low, high = at.min(0) - margin, at.max(0) + margin
        _check_size(high - low, spacing)
        counts = [ceil((b - a) / spacing - 1e-9) + 1 for a, b in zip(low, high, strict=True)]
        centre = (low + high) / 2
        origin = centre - (np.array(counts) - 1) * spacing / 2
        return cls(origin, spacing * np.eye(3), (counts[0], counts[1], counts[2]))

    @classmethod
    def of_cell(cls, cell: npt.ArrayLike | Tensor, spacing: float = 0.1) -> Box:
        """A crystal's cell, without the points that repeat at its far ends.

        Args:
            cell: (3, 3), rows, Å.
            spacing: the largest step, Å.

        Raises:
            UserError: a spacing that is not positive, or too small as in `around`.

        >>> Box.of_cell([[2.0, 0.0, 0.0], [0.0, 2.1, 0.0], [0.5, 0.0, 3.0]], spacing=0.5).shape
        (4, 5, 7)
        """
        vectors = np.asarray(cell, dtype=np.float64)
        if not 0 < spacing < np.inf:
            raise UserError(f"the spacing of a box must be positive, not {spacing} Å")
        _check_size(np.linalg.norm(vectors, axis=1), spacing)
        counts = [max(1, ceil(float(np.linalg.norm(v)) / spacing - 1e-9)) for v in vectors]
        steps = vectors / np.array(counts)[:, None]
        return cls(np.zeros(3), steps, (counts[0], counts[1], counts[2]))

    @classmethod
    def of(cls, density: ElectronDensity, spacing: float = 0.1, margin: float = 4.0) -> Box:
        """The cell of a crystal, or a box about the atoms of a molecule.

        Raises:
            UserError: as `around` and `of_cell`.
        """
        if density.cell is not None:
            return cls.of_cell(density.cell.detach().cpu(), spacing)
        return cls.around(density.positions.detach().cpu(), spacing, margin)

    def points(
        self, first: tuple[int, int, int] = (0, 0, 0), last: tuple[int, int, int] | None = None
    ) -> Tensor:
        """Points with first <= (i, j, k) < last, (n_i, n_j, n_k, 3), Å, float64."""
        ends = self.shape if last is None else last
        ijk = np.stack(
            np.meshgrid(
                *(np.arange(a, b) for a, b in zip(first, ends, strict=True)), indexing="ij"
            ),
            axis=-1,
        )
        return torch.from_numpy(self.origin + ijk @ self.steps)

    @property
    def volume_element(self) -> float:
        """Volume that one point stands for, Å^3."""
        return float(abs(np.linalg.det(self.steps)))

    def slabs(self, function: Callable[[Tensor], Tensor]) -> Iterator[npt.NDArray[np.float64]]:
        """Values of a function of points, (P, 3) -> (P,), slab by slab along the first axis.

        Each slab is worked through in small boxes, whose points share the atoms near them.
        """

        def on_tile(first: tuple[int, int, int], last: tuple[int, int, int]) -> Tensor:
            points = self.points(first, last)
            return function(points.reshape(-1, 3)).reshape(points.shape[:3])

        return self._tiles(on_tile, _TILE)

    def density_slabs(self, density: ElectronDensity) -> Iterator[npt.NDArray[np.float64]]:
        """A density slab by slab, electrons/Å^3; much faster if the steps are along x, y, z."""
        if not along_axes(self.steps):
            return self.slabs(density.at)
        separable = SeparableDensity(density)
        axes = [
            torch.from_numpy(self.origin[i] + np.arange(n) * self.steps[i, i])
            for i, n in enumerate(self.shape)
        ]

        def on_tile(first: tuple[int, int, int], last: tuple[int, int, int]) -> Tensor:
            here = [
                axis[a:b].to(density.coefficients)
                for axis, a, b in zip(axes, first, last, strict=True)
            ]
            return separable.values(*here) / Bohr**3

        return self._tiles(on_tile, _LARGE_TILE)

    def _tiles(
        self, on_tile: Callable[[tuple[int, int, int], tuple[int, int, int]], Tensor], size: int
    ) -> Iterator[npt.NDArray[np.float64]]:
        nx, ny, nz = self.shape
        for i in range(0, nx, size):
            i_end = min(i + size, nx)
            slab = np.empty((i_end - i, ny, nz))
            for j in range(0, ny, size):
                for k in range(0, nz, size):
                    j_end, k_end = min(j + size, ny), min(k + size, nz)
                    with torch.no_grad():
                        values = on_tile((i, j, k), (i_end, j_end, k_end))
                    slab[:, j:j_end, k:k_end] = values.cpu().numpy()
            yield slab

    def values(self, function: Callable[[Tensor], Tensor]) -> npt.NDArray[np.float64]:
        """All values at once, of the box's shape."""
        return np.concatenate(list(self.slabs(function)))


def slabs_of(
    density: ElectronDensity,
    box: Box,
    quantity: Quantity = "density",
    difference_from: ElectronDensity | None = None,
) -> Iterator[npt.NDArray[np.float64]]:
    """Values on a box slab by slab along its first axis, electrons/Å^3 or V.

    Args:
        quantity: ``"density"``, or ``"potential"`` of nuclei and electrons (the nuclei cancel in a
            difference), at most 1e5 V.
        difference_from: a density whose values are subtracted.

    Raises:
        UserError: an unknown quantity.
    """
    check_quantity(quantity)
    if quantity == "density":
        slabs = box.density_slabs(density)
        if difference_from is None:
            return slabs
        others = box.density_slabs(difference_from)
        return (a - b for a, b in zip(slabs, others, strict=True))
    if difference_from is None:
        return box.slabs(lambda points: density.potential(points).clamp(max=_LARGEST))
    return box.slabs(
        lambda points: (
            density.electron_potential(points) - difference_from.electron_potential(points)
        )
    )


def check_quantity(quantity: str) -> None:
    """Raise UserError unless it is one of the two."""
    if quantity not in _ATOMIC_UNIT:
        raise UserError(f'the quantity must be "density" or "potential", not {quantity!r}')


def write_cube(
    path: str | os.PathLike[str],
    density: ElectronDensity,
    box: Box | None = None,
    quantity: Quantity = "density",
    difference_from: ElectronDensity | None = None,
    on_slab: Callable[[int, int], None] | None = None,
) -> Box:
    """Write density or electrostatic potential as a cube file, holding one slab in memory.

    Args:
        path: replaced as a whole at the end.
        box: default `Box.of` the density.
        quantity: ``"density"``, or ``"potential"`` of nuclei and electrons (the nuclei cancel in a
            difference).
        difference_from: a density whose values are subtracted.
        on_slab: called with the points done and their number.

    Raises:
        UserError: an unknown quantity, or a place that cannot be written.
    """
    check_quantity(quantity)
    box = Box.of(density) if box is None else box
    name = f"difference of the {quantity}" if difference_from is not None else quantity
    unit = "electrons/bohr^3" if quantity == "density" else "hartree/e"
    total = int(np.prod(box.shape))
    done = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write(f"Electron density by clebsch\n{name}, {unit}; lengths in bohr\n")
        _row(file, len(density.numbers), box.origin / Bohr)
        for count, step in zip(box.shape, box.steps, strict=True):
            _row(file, count, step / Bohr)
        for z, r in zip(density.numbers.tolist(), density.positions.tolist(), strict=True):
            file.write(
                f"{z:5d} {float(z):12.6f}" + "".join(f" {x / Bohr:17.12f}" for x in r) + "\n"
            )
        for slab in slabs_of(density, box, quantity, difference_from):
            _write_values(file, slab / _ATOMIC_UNIT[quantity])
            done += slab.size
            if on_slab is not None:
                on_slab(done, total)
    return box


def _write_values(file: TextIO, slab: npt.NDArray[np.float64]) -> None:
    """Six to a line; every row along the last axis begins a new line."""
    n = slab.shape[2]
    lines = ["%13.6E"] * n
    row = " ".join(
        text + ("\n" if k % 6 == 5 or k == n - 1 else "") for k, text in enumerate(lines)
    ).replace("\n ", "\n")
    for plane in slab:
        file.write(row * len(plane) % tuple(plane.ravel().tolist()))


def _row(file: TextIO, count: int, vector: npt.NDArray[np.float64]) -> None:
    text = f"{count:5d}" + "".join(f" {x:17.12f}" for x in vector) + "\n"
    file.write(text)


def read_cube(
    path: str | os.PathLike[str], quantity: Quantity = "density"
) -> tuple[Atoms, Box, npt.NDArray[np.float64]]:
    """Atoms, box and values of a cube file with one value per point.

    Args:
        quantity: what the file holds, for the unit.

    Returns:
        Values of the box's shape in electrons/Å^3 or V.

    Raises:
        UserError: the file is missing, or is no whole cube file.
    """
    check_quantity(quantity)
    check_file(Path(path))
    try:
        with open(path, encoding="utf-8") as file:
            file.readline()
            file.readline()
            head = file.readline().split()
            n_atoms, origin = int(head[0]), np.array(head[1:4], dtype=float)
            per_point = int(head[4]) if len(head) > 4 else 1
            rows = [file.readline().split() for _ in range(3)]
            atoms = [file.readline().split() for _ in range(abs(n_atoms))]
            if n_atoms < 0 or per_point != 1:
                raise UserError(
                    f"{path}: holds several values per point, such as orbitals; give a file with "
                    "one."
                )
            data = np.array(file.read().split(), dtype=float)
        counts = [int(row[0]) for row in rows]
        shape = (abs(counts[0]), abs(counts[1]), abs(counts[2]))
        # a negative count says that lengths are in Å
        unit = 1.0 if counts[0] < 0 else Bohr
        if data.size != np.prod(shape):
            raise UserError(
                f"{path}: holds {data.size} of the {int(np.prod(shape))} values that its head "
                "announces; write it again."
            )
        steps = np.array([row[1:4] for row in rows], dtype=float) * unit
        structure = Atoms(
            numbers=[int(float(row[0])) for row in atoms],
            positions=np.array([row[2:5] for row in atoms], dtype=float).reshape(-1, 3) * unit,
        )
    except (ValueError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: is no cube file ({error}).") from error
    return structure, Box(origin * unit, steps, shape), data.reshape(shape) * _ATOMIC_UNIT[quantity]
