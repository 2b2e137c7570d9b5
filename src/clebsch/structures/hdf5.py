"""HDF5 files for data sets larger than memory.

Layout, version 1 (n frames, A atoms in all, in the order of the frames):

    attributes    format = "clebsch-dataset", version = 1
    offsets       (n+1,) int64   atoms of frame i are offsets[i]:offsets[i+1]
    numbers       (A,)   int16   atomic numbers
    positions     (A, 3) float64 Å
    cell          (n, 3, 3) float64 Å, rows are vectors;  pbc (n, 3) bool
    energy        (n,)   float64 eV                       NaN: not there
    forces        (A, 3) float64 eV/Å                     NaN: not there
    stress        (n, 6) float64 eV/Å^3, ASE's order      NaN: not there
    config_type, trajectory, split   (n,) text            "": not there
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.structures.dataset import Dataset, label

_FORMAT, _VERSION = "clebsch-dataset", 1
_TEXT = ("config_type", "trajectory", "split")
_BLOCK = 1024  # frames written at a time


class Hdf5Frames:
    """Frames read from the file one by one; each process opens the file for itself."""

    def __init__(self, path: Path) -> None:
        self.file = self.path = str(path)
        self._file: Any = None
        self._owner = -1
        self.offsets: npt.NDArray[np.int64] = self._open()["offsets"][:]

    def _open(self) -> Any:
        # A handle inherited through fork shares its file position with the parent: open anew.
        if self._file is None or self._owner != os.getpid():
            self._file = h5py.File(self.path, "r")
            self._owner = os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_owner": -1}

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def n_atoms(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets)

    def column(self, name: str, default: str = "") -> list[str]:
        if name not in _TEXT:
            return [default] * len(self)
        return [x or default for x in self._open()[name].asstr()[:].tolist()]

    def atoms(self, index: int) -> Atoms:
        file = self._open()
        inside = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        atoms = Atoms(
            numbers=file["numbers"][inside],
            positions=file["positions"][inside],
            cell=file["cell"][index],
            pbc=file["pbc"][index],
        )
        results: dict[str, Any] = {
            "energy": float(file["energy"][index]),
            "forces": file["forces"][inside],
            "stress": file["stress"][index],
        }
        results = {k: v for k, v in results.items() if not np.isnan(v).any()}
        atoms.calc = SinglePointCalculator(atoms, **results) if results else None
        for name in _TEXT:
            text = file[name].asstr()[index]
            if text:
                atoms.info[name] = text
        return atoms


def read_hdf5(path: Path) -> Hdf5Frames:
    """Open a file of ``write_hdf5``.

    Raises:
        UserError: not an HDF5 file, truncated, another layout, or no frames.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT:
                raise UserError(
                    f"{path}: this HDF5 file has another layout (it has "
                    f"{', '.join(list(file)[:8]) or 'nothing'}); convert it with write_hdf5."
                )
            if file.attrs["version"] > _VERSION:
                raise UserError(
                    f"{path}: layout version {file.attrs['version']} is newer than this "
                    f"program's {_VERSION}; install a newer clebsch."
                )
        frames = Hdf5Frames(path)
    except (OSError, KeyError) as error:
        raise UserError(
            f"{path}: not an HDF5 file, or truncated or broken ({error}); write or fetch it again."
        ) from error
    if len(frames) == 0:
        raise UserError(f"{path}: there are no frames in the file.")
    return frames


def write_hdf5(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """Write ``dataset`` to ``path`` in blocks of frames, so that it need not fit in memory.

    Raises:
        UserError: the place cannot be written or the disk is full.
    """
    n = len(dataset)
    offsets = np.concatenate([[0], np.cumsum(dataset.n_atoms)]).astype(np.int64)
    total = int(offsets[-1])
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"], file.attrs["version"] = _FORMAT, _VERSION
        file["offsets"] = offsets
        arrays: dict[str, tuple[tuple[int, ...], Any]] = {
            "numbers": ((total,), np.int16),
            "positions": ((total, 3), np.float64),
            "forces": ((total, 3), np.float64),
            "cell": ((n, 3, 3), np.float64),
            "pbc": ((n, 3), np.bool_),
            "energy": ((n,), np.float64),
            "stress": ((n, 6), np.float64),
        }
        for name, (shape, dtype) in arrays.items():
            file.create_dataset(name, shape=shape, dtype=dtype)
        for name in _TEXT:
            file.create_dataset(
                name, data=dataset.column(name).astype(object), dtype=h5py.string_dtype()
            )
        for first in range(0, n, _BLOCK):
            last = min(first + _BLOCK, n)
            frames = [dataset[i] for i in range(first, last)]
            inside = slice(int(offsets[first]), int(offsets[last]))
            file["numbers"][inside] = np.concatenate([a.numbers for a in frames])
            file["positions"][inside] = np.concatenate([a.positions for a in frames])
            file["forces"][inside] = np.concatenate([_forces(a) for a in frames])
            file["cell"][first:last] = [a.cell.array for a in frames]
            file["pbc"][first:last] = [a.pbc for a in frames]
            file["energy"][first:last] = [_or_nan(label(a, "energy"), ()) for a in frames]
            file["stress"][first:last] = [_or_nan(label(a, "stress"), (6,)) for a in frames]


def _forces(atoms: Atoms) -> npt.NDArray[np.float64]:
    return _or_nan(label(atoms, "forces"), (len(atoms), 3))


def _or_nan(value: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return np.full(shape, np.nan) if value is None else np.asarray(value, dtype=np.float64)
