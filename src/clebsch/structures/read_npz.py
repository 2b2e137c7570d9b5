"""Frames from NumPy archives in the manner of MD17, sGDML and DeePMD.

One archive holds arrays over frames (first axis n) of one compound, under any of these names:

    numbers    numbers, z, Z, nuclear_charges, atomic_numbers      (N,) or (n, N); 0 is padding
    positions  pos, positions, R, coords, coord, coordinates       (n, N, 3) Å
    energy     energy, energies, E and the like (``REF_energy``)    (n,) or (n, 1)
    forces     forces, force, F and the like                        (n, N, 3)
    cell       cell, box, lattice                                   (3, 3), (n, 3, 3) or (n, 9)
    pbc        pbc                                                  (3,) or (n, 3)
    stress     stress, or virial (stress = -virial / volume)        (n, 3, 3), (n, 9) or (n, 6)

or several compounds, with keys ``COMPOUND/NAME``. A cell without ``pbc`` is periodic in all
directions. Other arrays over frames (``split``, ``trajectory``, ...) go to ``atoms.info``.
``units``, ``e_unit`` or ``energy_unit`` name the unit of the energy, forces being that per Å.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms

from clebsch.errors import UserError
from clebsch.structures.labels import LabelKeys, kind_of_key, missing_key, standardise
from clebsch.structures.units import energy_unit_in_ev

_NAMES = {
    "numbers": ("numbers", "z", "Z", "nuclear_charges", "atomic_numbers"),
    "positions": ("pos", "positions", "R", "coords", "coord", "coordinates"),
    "cell": ("cell", "box", "lattice", "cells"),
    "pbc": ("pbc",),
}
_UNIT_KEYS = ("units", "e_unit", "energy_unit")
_LENGTH_UNITS = {"ang", "angstrom", "å", "a"}


class ArrayFrames:
    """Frames of one compound, built from arrays when first asked for."""

    def __init__(
        self,
        file: str,
        path: str,
        numbers: npt.NDArray[np.int64],
        positions: npt.NDArray[np.float64],
        labels: Mapping[str, npt.NDArray[Any]],
        info: Mapping[str, npt.NDArray[Any]],
        cell: npt.NDArray[np.float64] | None,
        pbc: npt.NDArray[np.bool_],
        keys: LabelKeys,
        default_type: str,
    ) -> None:
        self.file = file
        self.path = path
        self.numbers = numbers  # (N,) or (n, N)
        self.positions = positions
        self.labels = labels
        self.info = info
        self.cell = cell
        self.pbc = pbc
        self.keys = keys
        self.default_type = default_type
        self._built: dict[int, Atoms] = {}

    def __len__(self) -> int:
        return len(self.positions)

    def n_atoms(self) -> npt.NDArray[np.int64]:
        if self.numbers.ndim == 1:
            return np.full(len(self), np.count_nonzero(self.numbers), dtype=np.int64)
        return np.count_nonzero(self.numbers, axis=1).astype(np.int64)

    def column(self, name: str, default: str = "") -> list[str]:
        if name == "config_type" and name not in self.info:
            for other in ("group", "subset"):
                if other in self.info:
                    return [str(x) for x in self.info[other]]
            return [self.default_type] * len(self)
        if name not in self.info:
            return [default] * len(self)
        return [str(x) for x in self.info[name]]

    def atoms(self, index: int) -> Atoms:
        if index not in self._built:
            self._built[index] = self._build(index)
        return self._built[index]

    def _build(self, index: int) -> Atoms:
        numbers = self.numbers if self.numbers.ndim == 1 else self.numbers[index]
        real = numbers > 0
        cell = self.cell
        if cell is not None and cell.ndim == 3:
            cell = cell[index]
        atoms = Atoms(
            numbers=numbers[real],
            positions=np.asarray(self.positions[index], dtype=np.float64)[real],
            cell=cell,
            pbc=self.pbc if self.pbc.ndim == 1 else self.pbc[index],
        )
        for key, values in self.info.items():
            value = values[index]
            atoms.info[key] = value.item() if hasattr(value, "item") else value
        for key, values in self.labels.items():
            value = values[index]
            if value.shape[:1] == real.shape and value.ndim == 2:
                value = value[real]
            atoms.info[key] = value
        standardise(atoms, f"{self.path}, frame {index}", self.keys, self.default_type)
        for key in self.labels:
            atoms.info.pop(key, None)
        return atoms


def read_npz(path: Path, keys: LabelKeys, default_type: str = "default") -> list[ArrayFrames]:
    """The compounds of an ``.npz`` (or ``.npz.xz``) archive.

    Raises:
        UserError: broken archive, no positions or elements in it, arrays whose shapes do not
            belong together, a unit that is not known, or what ``labels.standardise`` refuses.
    """
    arrays = _load(path)
    groups: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name, value in arrays.items():
        group, _, field = name.rpartition("/")
        groups.setdefault(group, {})[field] = value
    common = groups.pop("", {}) if len(groups) > 1 else {}
    return [
        _compound(path, group, {**common, **fields}, keys, group or default_type)
        for group, fields in groups.items()
    ]


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        content = path.read_bytes()
        if path.suffix in (".xz", ".gz"):
            content = {".xz": lzma, ".gz": gzip}[path.suffix].decompress(content)
        data = io.BytesIO(content)
        arrays = {}
        with np.load(data, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise UserError(f"{path}: this is a single array, not an .npz archive.")
            for name in archive.files:
                try:
                    arrays[name] = archive[name]
                except ValueError as error:
                    # Pickled objects are never opened; names and notes are often stored so.
                    if "pickle" not in str(error):
                        raise
    except (zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, ValueError, OSError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: the archive is truncated or broken ({error}); fetch it again."
        ) from error
    return arrays


def _compound(
    path: Path,
    group: str,
    fields: dict[str, npt.NDArray[Any]],
    keys: LabelKeys,
    default_type: str,
) -> ArrayFrames:
    where = f"{path}, {group}" if group else str(path)
    used: set[str] = set()

    def find(kind: str) -> npt.NDArray[Any] | None:
        for name in _NAMES[kind]:
            if name in fields:
                used.add(name)
                return fields[name]
        return None

    positions, numbers = find("positions"), find("numbers")
    for kind, value in (("positions", positions), ("numbers", numbers)):
        if value is None:
            raise UserError(
                f"{where}: no array holds the {kind} ({', '.join(_NAMES[kind])}); "
                f"it has {', '.join(sorted(fields)) or 'nothing'}."
            )
    assert positions is not None
    assert numbers is not None
    if positions.ndim == 2:
        positions = positions[None]
    if positions.ndim != 3 or positions.shape[-1] != 3:
        raise UserError(
            f"{where}: the positions have shape {positions.shape}; (frames, atoms, 3) expected."
        )
    _refuse_infinite(where, "positions", positions)
    n, atoms = positions.shape[:2]
    if n == 0:
        raise UserError(f"{where}: there are no frames in the file.")
    if numbers.shape not in ((atoms,), (n, atoms)):
        raise UserError(
            f"{where}: the numbers have shape {numbers.shape}, the positions {positions.shape}; "
            f"({atoms},) or ({n}, {atoms}) expected."
        )
    if not np.issubdtype(numbers.dtype, np.number):
        raise UserError(f"{where}: the numbers are {numbers.dtype}, not atomic numbers.")

    cell, pbc = find("cell"), find("pbc")
    if cell is not None:
        cell = np.asarray(cell, dtype=np.float64)
        if cell.shape in ((9,), (n, 9)):
            cell = cell.reshape(*cell.shape[:-1], 3, 3)
        if cell.shape not in ((3, 3), (n, 3, 3)):
            raise UserError(f"{where}: the cell has shape {cell.shape}; (frames, 3, 3) expected.")
        if "lattice" in used and str(fields.get("type", "")) == "d":
            cell = np.swapaxes(cell, -1, -2)  # sGDML keeps the cell vectors in columns
    if pbc is None:
        pbc = np.full(3, cell is not None)
    elif pbc.shape not in ((3,), (n, 3)):
        raise UserError(f"{where}: pbc has shape {pbc.shape}; (3,) or ({n}, 3) expected.")

    scale = _energy_scale(where, fields)
    labels: dict[str, npt.NDArray[Any]] = {}
    asked = {"energy": keys.energy, "forces": keys.forces, "stress": keys.stress}
    for name in filter(None, asked.values()):
        if name not in fields:
            raise missing_key(name, fields, where)
    info: dict[str, npt.NDArray[Any]] = {}
    for name, value in fields.items():
        if name in used or name in _UNIT_KEYS:
            continue
        kind_found = next((k for k, v in asked.items() if v == name), None) or kind_of_key(name)
        if kind_found is not None:
            labels[name] = _label_array(where, name, kind_found, value, n, atoms) * scale
        elif value.shape == (n,):
            info[name] = value
    return ArrayFrames(
        file=str(path),
        path=where,
        numbers=numbers.astype(np.int64),
        positions=positions,
        labels=labels,
        info=info,
        cell=cell,
        pbc=pbc.astype(np.bool_),
        keys=keys,
        default_type=default_type,
    )


def _label_array(
    where: str, name: str, kind: str, value: npt.NDArray[Any], n: int, atoms: int
) -> npt.NDArray[np.float64]:
    shapes: dict[str, list[tuple[int, ...]]] = {
        "energy": [(n,), (n, 1)],
        "forces": [(n, atoms, 3), (n, 3 * atoms)],
        "stress": [(n, 3, 3), (n, 9), (n, 6)],
        "virial": [(n, 3, 3), (n, 9)],
    }
    if n == 1 and value.shape not in shapes[kind]:
        value = value[None]
    if value.shape not in shapes[kind]:
        raise UserError(
            f"{where}: {name!r} has shape {value.shape}; {shapes[kind][0]} expected for the "
            f"{kind} of {n} frames of {atoms} atoms."
        )
    numbers = np.asarray(value, dtype=np.float64)
    _refuse_infinite(where, name, numbers)
    return numbers.reshape((n, atoms, 3) if kind == "forces" else numbers.shape)


def _refuse_infinite(where: str, name: str, values: npt.NDArray[Any]) -> None:
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if bad.any():
        raise UserError(
            f"{where}, frame {int(np.flatnonzero(bad)[0])}: {name!r} is not finite; "
            f"mend or remove {'the frame' if bad.sum() == 1 else f'the {bad.sum()} frames'}."
        )


def _energy_scale(where: str, fields: Mapping[str, npt.NDArray[Any]]) -> float:
    length = str(fields.get("r_unit", "Ang")).strip().lower()
    if length not in _LENGTH_UNITS:
        raise UserError(f"{where}: r_unit is {length!r}; convert the positions to Å.")
    for key in _UNIT_KEYS:
        if key in fields and fields[key].size == 1:
            return energy_unit_in_ev(str(fields[key].reshape(-1)[0]), where)
    return 1.0
