"""``read_dataset``: from paths to a data set, whatever the format."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from clebsch.data import PREFIX as _EMBEDDED
from clebsch.data import embedded_path
from clebsch.errors import UserError
from clebsch.structures.dataset import Dataset, Source, label
from clebsch.structures.hdf5 import read_hdf5
from clebsch.structures.labels import LabelKeys
from clebsch.structures.read_ase import read_ase
from clebsch.structures.read_densities import is_density_file, read_densities
from clebsch.structures.read_npz import read_npz
from clebsch.structures.units import energy_unit_in_ev, suspected_unit

_READABLE = (
    "xyz", "extxyz", "npz", "h5", "hdf5", "traj", "db", "json", "xml", "OUTCAR", "cif", "vasp",
    "POSCAR", "CONTCAR", "out", "log", "lammpstrj",
)  # fmt: skip


class DataWarning(UserWarning):
    """Data that can be read but look wrong."""


def read_dataset(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
) -> Dataset:
    """Read one file or several as one data set.

    A path may be any file that ASE reads, an ``.npz`` archive (``read_npz`` lists its keys), an
    ``.h5`` file of ``write_hdf5`` (read frame by frame, for sets larger than memory) or of
    densities, each of the first two also compressed with xz or gz, or ``embedded:NAME``. Labels are
    found by their usual names unless a key is given; frames may lack labels (``Dataset.require``
    insists).

    Args:
        path: one path or several.
        energy_key: name of the energy in the file, eV.
        forces_key: name of the forces in the file, eV/Å.
        stress_key: name of the stress (eV/Å^3) or of the virial (eV) in the file.

    Raises:
        UserError: one sentence with file, frame and mend.

    Warns:
        DataWarning: energies that seem not to be in eV.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not paths:
        raise UserError("No data file is given.")
    keys = LabelKeys(energy_key, forces_key, stress_key)
    sources: list[Source] = []
    for one in paths:
        default = _stem(one) if len(paths) > 1 else "default"
        sources += _read_one(str(one), keys, default)
    dataset = Dataset(sources)
    _warn_of_units(dataset)
    return dataset


def _read_one(path: str, keys: LabelKeys, default_type: str) -> Sequence[Source]:
    if path.startswith(_EMBEDDED):
        name = path.removeprefix(_EMBEDDED)
        file = embedded_path(name)
        read = read_densities if file.suffix == ".h5" else partial(read_ase, keys=keys)
        source = read(file, default_type=default_type)
        source.file = source.path = path
        return [source]
    file = Path(path).expanduser()
    check_file(file)
    name = file.name.lower().removesuffix(".xz").removesuffix(".gz")
    if name.endswith(".npz"):
        return read_npz(file, keys, default_type)
    if name.endswith((".h5", ".hdf5")):
        if is_density_file(file):
            return [read_densities(file, default_type)]
        return [read_hdf5(file)]
    return [read_ase(file, keys, default_type)]


def check_file(file: Path) -> None:
    """Raise UserError if ``file`` is missing, a directory, unreadable or empty."""
    if file.is_dir():
        inside = sorted(p.name for p in file.iterdir() if _readable(p))
        if inside:
            shown = ", ".join(inside[:5]) + (", ..." if len(inside) > 5 else "")
            raise UserError(f"{file}: is a directory; name a file in it, for instance {shown}.")
        raise UserError(f"{file}: is a directory without any file of a known format.")
    if not file.exists():
        folder = file.parent
        if not folder.is_dir():
            raise UserError(f"{file}: there is no such file, nor the directory {folder}.")
        close = get_close_matches(file.name, [p.name for p in folder.iterdir()], n=1)
        hint = f"; did you mean {folder / close[0]}?" if close else "; check the path."
        raise UserError(f"{file}: there is no such file{hint}")
    if not os.access(file, os.R_OK):
        raise UserError(f"{file}: may not be read; change its permissions.")
    if file.stat().st_size == 0:
        raise UserError(f"{file}: the file is empty.")


def _readable(path: Path) -> bool:
    name = path.name.removesuffix(".xz").removesuffix(".gz")
    return path.is_file() and name.endswith(_READABLE)


def _stem(path: str | os.PathLike[str]) -> str:
    return Path(str(path).removeprefix(_EMBEDDED)).name.split(".")[0]


def _warn_of_units(dataset: Dataset) -> None:
    """Warn if the first energies of a file seem to be in another unit than eV."""
    for source in dataset.sources:
        for i in range(min(len(source), 5)):
            atoms = source.atoms(i)
            energy = label(atoms, "energy")
            unit = None if energy is None else suspected_unit(atoms.numbers, energy)
            if unit is None or energy is None:
                continue
            in_ev = energy * energy_unit_in_ev(unit, source.path)
            warnings.warn(
                f"{source.path}, frame {i}: the energy {energy:.6g} seems to be in {unit} "
                f"({in_ev:.6g} eV would be usual for {atoms.get_chemical_formula()}); "
                "energies must be in eV and forces in eV/Å.",
                DataWarning,
                stacklevel=3,
            )
            break
