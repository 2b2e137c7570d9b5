"""Crystals from many files, one after the other."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import numpy as np
from ase import Atoms

from clebsch.errors import UserError
from clebsch.phonons.read_pymatgen import is_pymatgen_structure, pymatgen_atoms
from clebsch.phonons.reading import read_phonons
from clebsch.structures import read_dataset
from clebsch.structures.reading import check_file
from clebsch.structures.sites import describe_shares, is_whole, shared_site

OnError = Callable[[UserError], None]

_OPEN: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
#: Files of a folder that are taken for structures.
_SUFFIXES = (
    ".cif", ".mcif", ".vasp", ".poscar", ".xyz", ".extxyz", ".traj", ".db", ".json", ".xsf",
    ".cell", ".res", ".gen", ".pdb", ".jsonl", ".cssr", ".yaml",
)  # fmt: skip
_NAMES = ("POSCAR", "CONTCAR", "OUTCAR", "vasprun.xml", "geometry.in")


class Crystal(NamedTuple):
    """One structure of a file.

    Attributes:
        name: the record's own, or the file's, with the frame's number where there are several.
        where: file and frame, for messages.
        atoms: the structure.
        progress: share of all files' bytes up to here, 0 to 1.
    """

    name: str
    where: str
    atoms: Atoms
    progress: float = 1.0


def read_crystals(paths: Sequence[str], on_error: OnError | None = None) -> Iterator[Crystal]:
    """Every structure of files and folders, in their order, one file in memory at a time.

    Whatever ASE reads; what it cannot read is tried with pymatgen, if that is installed. Also
    ``embedded:NAME``, ``.npz`` and ``.h5`` data sets, and the two published sets that
    `read_phonons` knows.

    Args:
        paths: files, and folders, whose structure files are taken in the order of their names.
        on_error: receives the error of a file that cannot be read, which is then left out;
            without it the first one is raised.

    Raises:
        UserError: one sentence with file and mend.
    """
    files = list(itertools.chain.from_iterable(_expand(path) for path in paths))
    sizes = [_size(file) for file in files]
    total, before = float(sum(sizes)) or 1.0, 0.0
    for file, size in zip(files, sizes, strict=True):
        try:
            for name, where, atoms, along in _read(file):
                yield Crystal(name, where, atoms, (before + along * size) / total)
        except UserError as error:
            if on_error is None:
                raise
            on_error(error)
        before += size


def check_crystal(atoms: Atoms, where: str) -> None:
    """Make sure that a structure is an ordered crystal.

    Raises:
        UserError: no atoms, no cell, not periodic in three directions, positions that are not
            finite, sites shared by elements.
    """
    if len(atoms) == 0:
        raise UserError(f"{where}: there are no atoms in it; remove it.")
    periodic = int(atoms.pbc.sum())
    if not abs(np.linalg.det(atoms.cell.array)) > 1e-8:
        raise UserError(
            f"{where}: has no cell; a phonon density of states is predicted of crystals: give "
            "three cell vectors (CIF, POSCAR, or extended XYZ with a Lattice)."
        )
    if periodic < 3:
        raise UserError(
            f"{where}: is periodic in {periodic} of 3 directions, a molecule, wire or slab; the "
            'model knows crystals only: set pbc="T T T" if it is one.'
        )
    if not np.isfinite(atoms.positions).all():
        raise UserError(f"{where}: has positions that are not finite; mend or remove it.")
    shared = shared_site(atoms)
    if shared is not None:
        raise _disordered(where, shared)


def widest_gap(atoms: Atoms) -> float:
    """Thickness in A of the widest layer without atoms along a cell vector's normal.

    >>> slab = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2]], cell=[3, 3, 15], pbc=True)
    >>> round(widest_gap(slab), 12)
    13.0
    """
    cell = atoms.cell.array
    share = np.sort(np.linalg.solve(cell.T, atoms.positions.T).T % 1.0, axis=0)
    gaps = np.diff(np.vstack([share, share[:1] + 1]), axis=0).max(0)
    # distances of lattice planes
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return float((gaps * heights).max())


def _disordered(where: str, shared: str) -> UserError:
    return UserError(
        f"{where}: {shared}, a disordered crystal; take an ordered one, or treat it as an alloy "
        "with clebsch phonons sweep MODEL FILE."
    )


def _expand(path: str) -> list[str]:
    folder = Path(path).expanduser()
    if path.startswith("embedded:") or not folder.is_dir():
        return [path]
    inside = sorted(str(p) for p in folder.iterdir() if p.is_file() and _looks_readable(p.name))
    if not inside:
        raise UserError(f"{folder}: is a folder without any structure file (CIF, POSCAR, XYZ, ...)")
    return inside


def _plain(name: str) -> str:
    """A file's name in lower case without the suffix of a compressor."""
    name = name.lower()
    for suffix in _OPEN:
        name = name.removesuffix(suffix)
    return name


def _looks_readable(name: str) -> bool:
    if name.startswith("."):
        return False
    return _plain(name).endswith(_SUFFIXES) or name.startswith(_NAMES)


def _size(path: str) -> int:
    file = Path(path).expanduser()
    return file.stat().st_size if file.is_file() else 1


def _read(path: str) -> Iterator[tuple[str, str, Atoms, float]]:
    """Name, place, structure and share of the file."""
    file = Path(path).expanduser()
    name = _plain(file.name)
    if path.startswith("embedded:") or name.endswith((".npz", ".h5", ".hdf5")):
        dataset = read_dataset(path)
        for i, atoms in enumerate(dataset):
            yield _name(file, atoms, i, True), dataset.where(i), atoms, (i + 1) / len(dataset)
        return
    check_file(file)
    if name.endswith((".json", ".jsonl")) and (name.endswith("l") or _is_jarvis(file)):
        records = read_phonons(file).records
        for i, record in enumerate(records):
            yield record.name, record.where, record.atoms, (i + 1) / len(records)
        return
    frames = _xyz(file) if name.endswith("xyz") else _ase(file)
    # one frame ahead: a file of a single frame needs no number
    index, waiting = 0, None
    for atoms, along in frames:
        if waiting is not None:
            yield _name(file, waiting[0], index, True), f"{file}, frame {index}", *waiting
            index += 1
        waiting = (atoms, along)
    if waiting is None:
        raise UserError(f"{file}: there is no structure in the file.")
    where = f"{file}, frame {index}" if index else str(file)
    yield _name(file, waiting[0], index, index > 0), where, waiting[0], 1.0


def _is_jarvis(file: Path) -> bool:
    """Whether the first characters are those of the JARVIS phonon set."""
    opened = _OPEN.get(file.suffix.lower(), open)
    try:
        with opened(file, "rt", encoding="utf-8") as handle:
            return '"freq_cm1"' in handle.read(100)
    except (OSError, EOFError, ValueError, lzma.LZMAError):
        return False


def _name(file: Path, atoms: Atoms, index: int, several: bool) -> str:
    for key in ("name", "material_id", "id"):
        if isinstance(atoms.info.get(key), (str, int)):
            return str(atoms.info[key])
    # the file's name says nothing in a folder per calculation
    anonymous = file.name.startswith(_NAMES) and file.parent.name
    packed = file.suffix.lower() in _OPEN
    stem = file.parent.name if anonymous else (Path(file.stem).stem if packed else file.stem)
    return f"{stem}-{index}" if several else stem


def _xyz(file: Path) -> Iterator[tuple[Atoms, float]]:
    """Frames of an extended XYZ file, as they are read."""
    frame = 0
    try:
        if file.suffix.lower() in _OPEN:
            # ASE seeks back and forth, which takes minutes in a compressed file
            with _OPEN[file.suffix.lower()](file, "rt", encoding="utf-8") as packed:
                text = io.StringIO(packed.read())
            size = text.seek(0, io.SEEK_END)
            text.seek(0)
            handle: io.StringIO | io.TextIOWrapper = text
            position = text.tell
        else:
            binary = file.open("rb")
            handle = io.TextIOWrapper(binary, encoding="utf-8")
            size, position = file.stat().st_size, binary.tell
        with handle:
            for atoms in ase.io.iread(handle, index=":", format="extxyz"):
                frame += 1
                yield atoms, min(position() / max(size, 1), 1.0)
    except UserError:
        raise
    except Exception as error:  # the reader's own, of many kinds
        raise _broken(file, frame, error) from error


def _ase(file: Path) -> Iterator[tuple[Atoms, float]]:
    """Frames of any other file, by ASE or else by pymatgen."""
    try:
        with warnings.catch_warnings():
            # of ASE's CIF reader, about settings that it then finds itself
            warnings.simplefilter("ignore")
            frames = list(ase.io.iread(str(file), index=":"))
    except Exception as error:  # each reader has its own
        found = _pymatgen_json(file) or _pymatgen(file)
        if found is None:
            raise _broken(file, None, error) from error
        frames = [found]
    for number, atoms in enumerate(frames, 1):
        yield atoms, number / len(frames)


def _pymatgen_json(file: Path) -> Atoms | None:
    """The structure of pymatgen's JSON, for which it need not be installed, or None."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not is_pymatgen_structure(content):
        return None
    for number, site in enumerate(content["sites"]):
        species = site.get("species", []) if isinstance(site, dict) else []
        shares = {str(one.get("element")): float(one.get("occu", 1)) for one in species}
        if shares and not is_whole(shares):
            raise _disordered(str(file), describe_shares(str(number), shares))
    return pymatgen_atoms(content, str(file))


def _pymatgen(file: Path) -> Atoms | None:
    """The structure of a file that ASE does not read, or None."""
    try:
        from pymatgen.core.structure import Structure
    except ImportError:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = Structure.from_file(file)
    except Exception:  # of the parsers, and of what is no structure
        return None
    for number, site in enumerate(structure):
        shares = {str(k): float(v) for k, v in site.species.get_el_amt_dict().items()}
        if not is_whole(shares):
            raise _disordered(str(file), describe_shares(str(number), shares))
    return Atoms(
        numbers=[site.specie.Z for site in structure],
        cell=structure.lattice.matrix,
        scaled_positions=structure.frac_coords,
        pbc=True,
    )


def _broken(file: Path, frame: int | None, error: Exception) -> UserError:
    place = "" if frame is None else f", frame {frame}"
    lines = str(error).strip().splitlines()
    reason = lines[0].rstrip(".") if lines else type(error).__name__
    return UserError(
        f"{file}{place}: cannot be read ({reason}); give a structure in a format that ASE or, "
        "where it is installed, pymatgen reads."
    )
