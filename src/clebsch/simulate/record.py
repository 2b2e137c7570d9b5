"""The files of a run: thermo.csv, trajectory.extxyz and restart.npz, valid at any moment."""

from __future__ import annotations

import csv
import errno
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from clebsch.errors import UserError
from clebsch.files import atomic_path, make_folder
from clebsch.simulate.settings import MDSettings

THERMO = "thermo.csv"
TRAJECTORY = "trajectory.extxyz"
RESTART = "restart.npz"
COLUMNS = (
    "time_ps",
    "potential_eV",
    "kinetic_eV",
    "total_eV",
    "temperature_K",
    "pressure_GPa",
    "volume_A3",
)


class RunFiles:
    """Appends rows and frames; a restart file says how long both were when it was written."""

    def __init__(self, folder: Path, sizes: tuple[int, int] | None = None):
        self.folder = make_folder(folder)
        self._thermo = self._open(THERMO, None if sizes is None else sizes[0])
        self._trajectory = self._open(TRAJECTORY, None if sizes is None else sizes[1])
        if sizes is None:
            with self._room(THERMO):
                self._thermo.write(",".join(COLUMNS) + "\n")
                self._thermo.flush()

    @contextmanager
    def _room(self, name: str) -> Iterator[None]:
        """A full disk is the user's to mend; what is cut off here is dropped by a resumed run."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{self.folder / name}: the disk is full; free some space and go on with --resume."
            ) from error

    def _open(self, name: str, size: int | None) -> IO[str]:
        path = self.folder / name
        if size is None:
            return path.open("w", encoding="utf-8", newline="\n")
        if not path.is_file() or path.stat().st_size < size:
            raise UserError(
                f"{path}: is missing or shorter than when {RESTART} was written, so the run "
                f"cannot be resumed; start it again in another folder."
            )
        handle = path.open("r+", encoding="utf-8", newline="\n")
        handle.truncate(size)  # what came after the restart file will be computed again
        handle.seek(size)
        return handle

    def row(self, values: dict[str, float]) -> None:
        """Append a row to thermo.csv; NaN becomes an empty field.

        Raises:
            UserError: the disk is full.
        """
        cells = ("" if np.isnan(values[n]) else repr(float(values[n])) for n in COLUMNS)
        with self._room(THERMO):
            self._thermo.write(",".join(cells) + "\n")
            self._thermo.flush()

    def frame(self, atoms: Atoms, time_ps: float) -> None:
        """Append a frame with momenta, energy, forces and, if there is one, stress.

        Raises:
            UserError: the disk is full.
        """
        frame = Atoms(
            numbers=atoms.numbers,
            positions=atoms.positions,
            cell=atoms.cell,
            pbc=atoms.pbc,
            momenta=atoms.get_momenta(),
            info={"time_ps": time_ps},
        )
        names = ("energy", "forces", "stress")
        results = {k: v for k, v in atoms.calc.results.items() if k in names}
        frame.calc = SinglePointCalculator(frame, **results)
        with self._room(TRAJECTORY):
            ase.io.write(self._trajectory, frame, format="extxyz")
            self._trajectory.flush()

    def sizes(self) -> tuple[int, int]:
        """Bytes in thermo.csv and in the trajectory."""
        return self._thermo.tell(), self._trajectory.tell()

    def close(self) -> None:
        """Close both files."""
        for handle in (self._thermo, self._trajectory):
            with suppress(OSError):  # all is flushed but what did not fit on a full disk
                handle.close()


@dataclass
class RestartState:
    """Everything that decides how a run goes on."""

    atoms: Atoms
    step: int
    settings: MDSettings
    rng_state: Mapping[str, Any]
    start_energy: float
    target_K: float
    wall_s: float
    sizes: tuple[int, int]
    model: str | None = None  # fingerprint

    def save(self, folder: Path) -> None:
        """Write restart.npz, whole or not at all."""
        atoms = self.atoms
        meta = {
            "step": self.step,
            "settings": self.settings.model_dump(),
            "rng_state": dict(self.rng_state),
            "start_energy": self.start_energy,
            "target_K": self.target_K,
            "wall_s": self.wall_s,
            "sizes": self.sizes,
            "model": self.model,
            "fixed": fixed_atoms(atoms).tolist(),
        }
        with atomic_path(folder / RESTART) as temporary:
            np.savez(
                temporary,
                meta=np.array(json.dumps(meta)),
                numbers=atoms.numbers,
                masses=atoms.get_masses(),
                positions=atoms.get_positions(),
                momenta=atoms.get_momenta(),
                cell=atoms.cell.array,
                pbc=atoms.pbc,
            )

    @classmethod
    def load(cls, folder: Path) -> RestartState:
        """Read restart.npz.

        Raises:
            UserError: it is not there or not readable.
        """
        path = folder / RESTART
        if not path.is_file() and (folder / THERMO).exists():
            raise UserError(
                f"{path}: no such file, so the run cannot be resumed; start it again with another "
                "--out."
            )
        if not path.is_file():
            raise UserError(
                f"{path}: no such file, so there is no run to resume; leave --resume out."
            )
        try:
            with np.load(path, allow_pickle=False) as stored:
                data = {name: stored[name] for name in stored.files}
            meta = json.loads(str(data["meta"]))
            settings = MDSettings.checked(**meta["settings"])
            atoms = Atoms(
                numbers=data["numbers"],
                positions=data["positions"],
                momenta=data["momenta"],
                cell=data["cell"],
                pbc=data["pbc"],
                masses=data["masses"],
            )
            if meta["fixed"]:
                atoms.set_constraint(FixAtoms(meta["fixed"]))
            return cls(
                atoms=atoms,
                step=int(meta["step"]),
                settings=settings,
                rng_state=meta["rng_state"],
                start_energy=float(meta["start_energy"]),
                target_K=float(meta["target_K"]),
                wall_s=float(meta["wall_s"]),
                sizes=(int(meta["sizes"][0]), int(meta["sizes"][1])),
                model=meta.get("model"),  # older runs have none
            )
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{path}: is not a restart file of a run ({error}); start the run again."
            ) from error


def fixed_atoms(atoms: Atoms) -> np.ndarray:
    """Indices that FixAtoms constraints hold.

    Raises:
        UserError: another kind of constraint is there, which a restart could not keep.
    """
    fixed: list[int] = []
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms):
            raise UserError(
                f"the structure carries a {type(constraint).__name__} constraint; only fixed "
                f"atoms are supported, remove it."
            )
        fixed.extend(int(i) for i in constraint.get_indices())
    return np.unique(np.array(fixed, dtype=int))


@dataclass(frozen=True)
class Kept:
    """How much of thermo.csv and of the trajectory is from before a moment.

    Attributes:
        sizes: bytes of both.
        times_ps: of the last row and the last frame, -1 where there is none.
    """

    sizes: tuple[int, int]
    times_ps: tuple[float, float]

    @classmethod
    def until(cls, folder: Path, time_ps: float) -> Kept:
        """What a run had written by this time, inclusive; the rest of a torn line is left out."""
        limit = time_ps + 1e-9 * (1.0 + time_ps)
        sizes, times = [0, 0], [-1.0, -1.0]
        with (folder / THERMO).open("rb") as handle:
            for number, line in enumerate(handle):
                if not line.endswith(b"\n"):
                    break
                if number:
                    time = float(line.split(b",")[0])
                    if time > limit:
                        break
                    times[0] = time
                sizes[0] += len(line)
        with (folder / TRAJECTORY).open("rb") as handle:
            while (count := handle.readline()).endswith(b"\n"):
                found = re.search(rb"\btime_ps=([^ \n]+)", handle.readline())
                lines = [handle.readline() for _ in range(int(count))]
                whole = all(line.endswith(b"\n") for line in lines)
                if found is None or not whole or float(found[1]) > limit:
                    break
                sizes[1], times[1] = handle.tell(), float(found[1])
        return cls((sizes[0], sizes[1]), (times[0], times[1]))


def read_thermo(folder: Path) -> dict[str, np.ndarray]:
    """The columns of thermo.csv, each (rows,); empty fields are NaN."""
    with (folder / THERMO).open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in COLUMNS}


def read_trajectory(folder: Path) -> Sequence[Atoms]:
    """The frames of the trajectory."""
    frames: list[Atoms] = ase.io.read(folder / TRAJECTORY, index=":", format="extxyz")
    return frames
