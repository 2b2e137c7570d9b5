"""What a LAMMPS run writes, as it grows: lines of thermodynamic output, and frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from clebsch.lammps.box import Box
from clebsch.simulate.lammps_script import NKTV2P

THERMO_NAMES = ("Step", "Temp", "PotEng", "KinEng", "TotEng", "Press", "Volume")
_HALT = re.compile(r"[Hh]alt condition .*fix-id (\w+) met on step (\d+)")
_CLOSE = re.compile(
    r"WARNING: step (\d+): atoms (\d+) \((\w+)\) and (\d+) \((\w+)\) are ([\d.]+) A"
)


@dataclass(frozen=True)
class ThermoLine:
    """One line of LAMMPS's thermodynamic output; eV, and eV/Å^3."""

    step: int
    potential: float
    kinetic: float
    pressure: float
    volume: float


@dataclass(frozen=True)
class ClosePair:
    """Two atoms (indices from 0) that came closer than in training."""

    step: int
    atoms: tuple[int, int]
    elements: tuple[str, str]
    distance: float


class Screen:
    """Reads what LAMMPS prints, line by line."""

    def __init__(self) -> None:
        self._table = False

    def thermo(self, line: str) -> ThermoLine | None:
        """The thermodynamic values in a line, or None."""
        words = line.split()
        if tuple(words) == THERMO_NAMES:
            self._table = True
            return None
        if not self._table:
            return None
        try:
            step, _, potential, kinetic, _, pressure, volume = (float(word) for word in words)
        except ValueError:
            self._table = bool(words) and words[0] == "WARNING:"
            return None
        return ThermoLine(int(step), potential, kinetic, pressure / NKTV2P, volume)

    @staticmethod
    def halt(line: str) -> str | None:
        """Name of the check that ends the run, or None."""
        found = _HALT.search(line)
        return found[1] if found else None

    @staticmethod
    def close_pair(line: str) -> ClosePair | None:
        """What ``pair_style clebsch`` says of atoms that are too close, or None."""
        found = _CLOSE.match(line)
        if found is None:
            return None
        i, j = int(found[2]) - 1, int(found[4]) - 1
        return ClosePair(int(found[1]), (i, j), (found[3], found[5]), float(found[6]))


@dataclass(frozen=True)
class Totals:
    """Energy, eV, and virial stress in the box's axes, eV/Å^3 with tension positive, (3, 3)."""

    step: int
    energy: float
    stress: np.ndarray

    @classmethod
    def parse(cls, line: str) -> Totals:
        """From step, energy, and pressures xx, yy, zz, xy, xz, yz in bar."""
        numbers = [float(word) for word in line.split()]
        xx, yy, zz, xy, xz, yz = numbers[2:]
        pressure = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        return cls(int(numbers[0]), numbers[1], -pressure / NKTV2P)


@dataclass(frozen=True)
class DumpFrame:
    """A frame as it stands in a dump: atoms by id, in the box's axes.

    Attributes:
        step: of the run.
        low: (3,) lower corner of the box, Å.
        lengths: (3,) of its edges along the axes, Å.
        columns: (N, 9) unwrapped positions Å, velocities Å/ps, forces eV/Å.
    """

    step: int
    low: np.ndarray
    lengths: np.ndarray
    columns: np.ndarray

    @classmethod
    def parse(cls, lines: list[str]) -> DumpFrame:
        """From the lines of a frame, of which the first nine are the header."""
        bounds = np.array([[float(word) for word in line.split()] for line in lines[5:8]])
        low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
        if bounds.shape[1] == 3:  # LAMMPS gives the box that bounds the tilted one
            xy, xz, yz = bounds[:, 2]
            low -= (min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0)
            high -= (max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0)
        table = np.array([line.split() for line in lines[9:]], dtype=float).reshape(-1, 10)
        return cls(int(lines[1]), low, high - low, table[:, 1:])


class Follower:
    """The whole lines that a growing file has got since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self._rest = ""

    def lines(self) -> list[str]:
        """New lines, without their ends."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as handle:
            handle.seek(self._place)
            new = handle.read()
        self._place += len(new)
        *lines, self._rest = (self._rest + new.decode("ascii", errors="replace")).split("\n")
        return lines


class FrameReader:
    """Frames of a growing dump, each with its totals.

    Args:
        dump: the dump file.
        totals: lines of step, energy and pressures.
    """

    def __init__(self, dump: Path, totals: Path) -> None:
        self._dump, self._totals = Follower(dump), Follower(totals)
        self._lines: list[str] = []
        self._known: dict[int, Totals] = {}

    def frames(self) -> Iterator[tuple[DumpFrame, Totals]]:
        """Frames that are complete and were not given before."""
        self._lines += self._dump.lines()
        for line in self._totals.lines():
            if not line.startswith("#"):
                totals = Totals.parse(line)
                self._known[totals.step] = totals
        while len(self._lines) > 9:
            end = 9 + int(self._lines[3])
            step = int(self._lines[1])
            if len(self._lines) < end or step not in self._known:
                return
            frame, self._lines = DumpFrame.parse(self._lines[:end]), self._lines[end:]
            yield frame, self._known.pop(step)


@dataclass(frozen=True)
class Orientation:
    """How to bring what LAMMPS writes back to the axes, cell and masses of a structure.

    Attributes:
        atoms: the structure at the start.
        rotation: a vector v of the structure is ``v @ rotation`` in the box.
        offset: (3,) Å, position of the box's origin.
        lengths: (3,) of the box at the start, Å.
        moving_cell: whether the box changes (NPT).
    """

    atoms: Atoms
    rotation: np.ndarray
    offset: np.ndarray
    lengths: np.ndarray
    moving_cell: bool

    @classmethod
    def of(cls, atoms: Atoms, box: Box, moving_cell: bool) -> Orientation:
        """The way back from the box that was made of ``atoms``."""
        offset = (atoms.positions - box.back(box.positions)).mean(axis=0)
        return cls(atoms, box.rotation, offset, box.cell.diagonal().copy(), moving_cell)

    def structure(self, frame: DumpFrame, totals: Totals) -> Atoms:
        """The atoms of a frame with momenta, energy, forces and (3-D periodic) stress."""
        atoms = self.atoms.copy()
        places, velocities, forces = np.split(frame.columns, 3, axis=1)
        if self.moving_cell:  # the box grows about its centre, the cell from its origin
            places = places - frame.low
            atoms.set_cell(atoms.cell * (frame.lengths.prod() / self.lengths.prod()) ** (1 / 3))
        atoms.set_positions(places @ self.rotation.T + self.offset, apply_constraint=False)
        velocities = velocities @ self.rotation.T / (1000.0 * units.fs)
        atoms.set_momenta(atoms.get_masses()[:, None] * velocities, apply_constraint=False)
        results = {"energy": totals.energy, "forces": forces @ self.rotation.T}
        if atoms.pbc.all():
            stress = self.rotation @ totals.stress @ self.rotation.T
            results["stress"] = full_3x3_to_voigt_6_stress(stress)
        atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms
