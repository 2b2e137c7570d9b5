"""Data sets of reference densities, and the HDF5 file that holds them.

Layout, version 1 (n molecules, A atoms and K coefficients in all, in the order of the molecules):

    attributes    format = "clebsch-density", version = 1, basis, level, versions (JSON)
    atom_offsets  (n+1,) int64    atoms of molecule i are atom_offsets[i]:atom_offsets[i+1]
    numbers       (A,) int64;  positions (A, 3) Å;  forces (A, 3) eV/Å
    coefficient_offsets (n+1,) int64;  coefficients (K,)  atomic units, the library's layout
    energy        (n,) eV;  dipole (n, 3) e Å
    fit_error_percent (n,)        100 integral |rho_fit - rho_DFT| / N_e
    free_electrons    (n,)        electrons of the fit before the constraint
    scf_seconds, seconds (n,);  source, split (n,) text
    free_atoms/H, ...             coefficients of the free atom
    grids/i/points, weights, density   Å, Å^3, electrons/Å^3: the Kohn-Sham density, where kept
    cells         (n, 3, 3) Å, only where one is periodic; NaN is a molecule
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, chemical_symbols

from clebsch.data import PREFIX, embedded_path
from clebsch.density.basis import AuxiliaryBasis
from clebsch.density.electron_density import ElectronDensity
from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.structures.reading import check_file

_FORMAT, _VERSION = "clebsch-density", 1
_SCALARS = ("energy", "fit_error_percent", "free_electrons", "scf_seconds", "seconds")
_TEXT = ("source", "split")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SampledDensity:
    """A density at points.

    Attributes:
        points: (P, 3), Å.
        weights: (P,), Å^3.
        density: (P,), electrons/Å^3.
    """

    points: Array
    weights: Array
    density: Array


@dataclass(frozen=True)
class DensityRecord:
    """One molecule.

    Attributes:
        numbers: (N,).
        positions: (N, 3), Å.
        coefficients: (K,), atomic units, the library's layout.
        energy: eV.
        forces: (N, 3), eV/Å.
        dipole: (3,), e Å, from the Kohn-Sham density.
        fit_error_percent: 100 integral |rho_fit - rho_DFT| / N_e.
        free_electrons: electrons of the fit before its constraint.
        scf_seconds, seconds: time of the SCF and of everything.
        source: ``"file.xyz, frame 3"``.
        split: ``"train"``, ... or empty.
        grid: the Kohn-Sham density at points, or None.
        cell: (3, 3), rows, Å, of a structure that is periodic along all three, or None.
    """

    numbers: npt.NDArray[np.int64]
    positions: Array
    coefficients: Array
    energy: float
    forces: Array
    dipole: Array
    fit_error_percent: float
    free_electrons: float
    scf_seconds: float
    seconds: float
    source: str = ""
    split: str = ""
    grid: SampledDensity | None = None
    cell: Array | None = None

    @property
    def key(self) -> str:
        """Names the structure: a hash of elements, positions and cell."""
        return structure_key(self.numbers, self.positions, self.cell)

    @property
    def electrons(self) -> int:
        """Number of electrons of the neutral molecule."""
        return int(self.numbers.sum())

    def atoms(self) -> Atoms:
        """As ``ase.Atoms`` with energy, forces and dipole."""
        atoms = Atoms(
            numbers=self.numbers,
            positions=self.positions,
            cell=self.cell,
            pbc=self.cell is not None,
        )
        atoms.calc = SinglePointCalculator(
            atoms, energy=self.energy, forces=self.forces, dipole=self.dipole
        )
        return atoms


def structure_key(
    numbers: npt.ArrayLike, positions: npt.ArrayLike, cell: npt.ArrayLike | None = None
) -> str:
    """Hash of elements, positions and cell, 16 hexadecimal digits."""
    digest = hashlib.sha256(np.ascontiguousarray(numbers, dtype=np.int64).tobytes())
    digest.update(np.ascontiguousarray(positions, dtype=np.float64).tobytes())
    if cell is not None:
        digest.update(np.ascontiguousarray(cell, dtype=np.float64).tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class DensityDataset:
    """Molecules with densities in one auxiliary basis, in memory.

    Attributes:
        path: where they come from.
        basis: of all coefficients.
        level: what is known of the level of theory, as in `Level`.
        records: the molecules.
        free_atoms: coefficients of each element's free atom, (dim,) float64.
        versions: of the programs that made them.
    """

    path: str
    basis: AuxiliaryBasis
    level: Mapping[str, Any]
    records: Sequence[DensityRecord]
    free_atoms: Mapping[int, torch.Tensor] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> DensityRecord:
        return self.records[index]

    def __iter__(self) -> Iterator[DensityRecord]:
        return iter(self.records)

    def density(self, index: int) -> ElectronDensity:
        """The fitted density of a molecule, float64."""
        record = self.records[index]
        return ElectronDensity(
            self.basis,
            torch.from_numpy(record.numbers),
            torch.from_numpy(record.positions),
            torch.from_numpy(record.coefficients),
            None if record.cell is None else torch.from_numpy(record.cell),
        )

    def split(self, name: str) -> npt.NDArray[np.int64]:
        """Indices of the molecules of this part."""
        return np.array([i for i, r in enumerate(self.records) if r.split == name], dtype=np.int64)

    def fingerprint(self) -> str:
        """SHA-256 of basis, structures and coefficients."""
        digest = hashlib.sha256(self.basis.fingerprint().encode())
        for record in self.records:
            digest.update(record.key.encode())
            digest.update(np.ascontiguousarray(record.coefficients).tobytes())
        return digest.hexdigest()


def read_density(
    path: str | os.PathLike[str], basis: AuxiliaryBasis | None = None
) -> DensityDataset:
    """Read a file of ``clebsch density make-data`` (HDF5), an ``.npz`` archive, or an embedded set.

    Args:
        path: the file, or ``"embedded:water-density"``.
        basis: what the coefficients must be of.

    Raises:
        UserError: the file is missing, broken, no data set of densities or of another basis.
    """
    from clebsch.density.read_npz import read_density_npz

    if str(path).startswith(PREFIX):
        data = replace(_embedded(str(path)), path=str(path))
    else:
        file = Path(path).expanduser()
        check_file(file)
        data = read_density_npz(file) if file.suffix == ".npz" else _read_hdf5(file)
    if basis is not None:
        basis.check_same(data.basis, data.path)
    return data


def _embedded(name: str) -> DensityDataset:
    file = embedded_path(name.removeprefix(PREFIX))
    if file.suffix != ".h5":
        raise UserError(f"{name}: has no densities; embedded:water-density does.")
    return _read_hdf5(file)


def _read_hdf5(path: Path) -> DensityDataset:
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT:
                raise UserError(
                    f"{path}: is no data set of densities; make one with clebsch density make-data."
                )
            if file.attrs["version"] > _VERSION:
                raise UserError(
                    f"{path}: layout version {file.attrs['version']} is newer than this program's "
                    f"{_VERSION}; install a newer clebsch."
                )
            basis = AuxiliaryBasis.from_json(file.attrs["basis"])
            return DensityDataset(
                path=str(path),
                basis=basis,
                level=json.loads(file.attrs["level"]),
                records=_records(file),
                free_atoms={
                    atomic_numbers[symbol]: torch.from_numpy(values[:])
                    for symbol, values in sorted(file["free_atoms"].items())
                },
                versions=json.loads(file.attrs["versions"]),
            )
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: not an HDF5 file, or truncated or broken ({error}); make or fetch it again."
        ) from error


def _records(file: Any) -> list[DensityRecord]:
    columns = {name: file[name][:] for name in (*_SCALARS, "dipole", "numbers", "positions")}
    columns |= {name: file[name].asstr()[:] for name in _TEXT}
    atoms, places = file["atom_offsets"][:], file["coefficient_offsets"][:]
    coefficients, forces = file["coefficients"][:], file["forces"][:]
    cells = file["cells"][:] if "cells" in file else np.full((len(atoms) - 1, 3, 3), np.nan)
    records = []
    for i in range(len(atoms) - 1):
        own, mine = slice(atoms[i], atoms[i + 1]), slice(places[i], places[i + 1])
        grid = None
        if f"grids/{i}" in file:
            group = file[f"grids/{i}"]
            points, weights, density = (group[n][:] for n in ("points", "weights", "density"))
            grid = SampledDensity(*(x.astype(np.float64) for x in (points, weights, density)))
        records.append(
            DensityRecord(
                numbers=columns["numbers"][own].astype(np.int64),
                positions=columns["positions"][own],
                coefficients=coefficients[mine],
                forces=forces[own],
                dipole=columns["dipole"][i],
                grid=grid,
                cell=None if np.isnan(cells[i]).any() else cells[i],
                **{name: float(columns[name][i]) for name in _SCALARS},  # type: ignore[arg-type]
                **{name: str(columns[name][i]) for name in _TEXT},  # type: ignore[arg-type]
            )
        )
    return records


def write_density(data: DensityDataset, path: str | os.PathLike[str]) -> None:
    """Write a data set as HDF5; the old file stays until the new one is whole.

    Raises:
        UserError: the place cannot be written or the disk is full.
    """
    records = data.records
    for record in records:
        expected = int(data.basis.offsets(record.numbers)[-1])
        if len(record.coefficients) != expected:
            raise UserError(
                f"{record.source or data.path}: has {len(record.coefficients)} coefficients, but "
                f"the basis {data.basis.name} needs {expected}."
            )

    def joined(name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> npt.NDArray[Any]:
        rows = [getattr(r, name) for r in records]
        return np.concatenate(rows).astype(dtype) if rows else np.zeros(shape, dtype)

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"], file.attrs["version"] = _FORMAT, _VERSION
        file.attrs["basis"] = data.basis.to_json()
        file.attrs["level"] = json.dumps(dict(data.level))
        file.attrs["versions"] = json.dumps(dict(data.versions))
        file["atom_offsets"] = np.cumsum([0] + [len(r.numbers) for r in records])
        file["coefficient_offsets"] = np.cumsum([0] + [len(r.coefficients) for r in records])
        file["numbers"] = joined("numbers", (0,), np.int64)
        file["positions"], file["forces"] = joined("positions", (0, 3)), joined("forces", (0, 3))
        file["coefficients"] = joined("coefficients", (0,))
        file["dipole"] = np.array([r.dipole for r in records]).reshape(-1, 3)
        if any(r.cell is not None for r in records):
            nothing = np.full((3, 3), np.nan)
            file["cells"] = np.array([nothing if r.cell is None else r.cell for r in records])
        for name in _SCALARS:
            file[name] = np.array([getattr(r, name) for r in records], dtype=np.float64)
        for name in _TEXT:
            text = np.array([getattr(r, name) for r in records], dtype=object)
            file.create_dataset(name, data=text, dtype=h5py.string_dtype())
        group = file.create_group("free_atoms")
        for z, atom in data.free_atoms.items():
            group[chemical_symbols[z]] = atom.numpy()
        for i, record in enumerate(records):
            if record.grid is not None:
                group = file.create_group(f"grids/{i}")
                for name in ("points", "weights", "density"):
                    values = np.asarray(getattr(record.grid, name), dtype=np.float32)
                    group.create_dataset(name, data=values, compression="gzip", shuffle=True)
