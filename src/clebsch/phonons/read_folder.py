"""A user's own phonon data: a folder with structures and densities of states."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from clebsch.errors import UserError
from clebsch.phonons.dataset import PhononRecord
from clebsch.phonons.plausible import check_curve, whole_curve
from clebsch.phonons.read_curve import Curve, is_curve_table, read_csv_curve, read_phonopy_curve
from clebsch.phonons.read_phonopy import (
    MESH,
    Mesh,
    has_forces,
    is_phonopy_yaml,
    phonopy_cell,
    phonopy_record,
)
from clebsch.phonons.read_pymatgen import (
    is_pymatgen_dos,
    is_pymatgen_structure,
    pymatgen_atoms,
    pymatgen_curve,
)
from clebsch.phonons.read_rows import is_ase_json, read_rows
from clebsch.structures.reading import DataWarning

_STRUCTURES = (".cif", ".vasp", ".poscar", ".xyz", ".extxyz", ".xsf", ".res", ".cell", ".gen")
#: Files called by their program's name, the best description of the cell first.
_NAMED = ("CONTCAR", "POSCAR-unitcell", "POSCAR", "structure", "geometry.in")
_CURVES = ("total_dos.dat", "projected_dos.dat")


def read_folder(
    folder: Path, mesh: Mesh = MESH, refused: list[str] | None = None
) -> list[PhononRecord]:
    """Every crystal of a folder and its sub-folders with its density of states.

    One sub-folder for each crystal, named by it, or files with a common stem (``NaCl.cif``,
    ``NaCl.csv``). Curves: phonopy's ``total_dos.dat`` (THz), CSV whose header names the unit,
    pymatgen's ``PhononDos`` as JSON, phonopy's YAML with force constants or forces. Structures:
    what ASE reads, the cells of phonopy's YAML, pymatgen's ``Structure`` as JSON. Files that
    hold both: pymatgen's ``CompletePhononDos``, ASE databases and extended XYZ (`read_rows`).

    Args:
        folder: where they are.
        mesh: of q-points where forces are given; see `phonopy_record`.
        refused: receives a sentence for every implausible curve, which is then left out; without
            it the first one is raised.

    Raises:
        UserError: names the file of a curve without structure, of one that is none, in another
            unit, or with imaginary modes.

    Warns:
        DataWarning: integrals that are not 3N, and structures without a curve.
    """
    return _checked(_in_folder(folder, mesh), refused)


def read_single(
    file: Path, mesh: Mesh = MESH, refused: list[str] | None = None
) -> list[PhononRecord] | None:
    """The crystals of one file of `read_folder`; None where it is no such file.

    A curve alone takes the structure beside it.

    Raises:
        UserError: as `read_folder`.
    """
    entry = _Files(file.parent, [file])
    if not (entry.curves or entry.both):
        return None
    if entry.curves:
        beside = _Files(file.parent, sorted(p for p in file.parent.iterdir() if p.is_file()))
        entry.structures, entry.named = beside.structures, beside.named
        entry.loose = beside.loose
    return _checked(_pairs(entry, file.parent, mesh, alone=True), refused)


def is_single(file: Path) -> bool:
    """Whether a file is one of those that `read_single` reads, by name and first look."""
    entry = _Files(file.parent, [file])
    if entry.both == [file] and (file.suffix == ".db" or is_ase_json(entry.loose.get(file))):
        return next(read_rows(file), None) is not None  # or one to train a potential on
    return bool(entry.curves or entry.both)


def holds_curves(folder: Path) -> bool:
    """Whether `read_folder` would find something."""
    return any(entry.curves or entry.both for entry in _entries(folder))


Found = tuple[str, str, Atoms, Curve]


class _Files:
    """What the files of one folder are good for.

    Attributes:
        curves: files of one curve, by stem.
        structures: files of one structure, by stem.
        named: structures called by a program's name, best first.
        both: files that hold structures and curves.
        loose: JSON contents that were read already, by file.
    """

    def __init__(self, folder: Path, files: list[Path]) -> None:
        self.folder = folder
        self.curves: list[Path] = []
        self.structures: dict[str, list[Path]] = {}
        self.named: list[Path] = []
        self.both: list[Path] = []
        self.loose: dict[Path, Any] = {}
        tables = []
        for file in files:
            if file.name.startswith("."):
                continue
            if file.name in _CURVES or re.search(r"[._-](total_)?dos\.dat$", file.name):
                self.curves.append(file)
            elif file.suffix in (".csv", ".dat", ".txt"):
                tables.append(file)
            elif file.suffix == ".json":
                self._json(file)
            elif file.suffix == ".db":
                self.both.append(file)
            elif file.suffix in (".yaml", ".yml"):
                if is_phonopy_yaml(file):
                    (self.both if has_forces(file) else self.named).append(file)
            elif re.fullmatch(r"POSCAR-\d+", file.name):
                continue  # phonopy's displaced supercells
            elif file.name.startswith(_NAMED):
                self.named.append(file)
            elif file.suffix.lower() in _STRUCTURES:
                self.structures.setdefault(file.stem, []).append(file)
        for file in tables:
            known = curve_stem(file) in {*self.structures, *(f.stem for f in self.named)}
            if known or "dos" in file.stem.lower() or is_curve_table(file):
                self.curves.append(file)
        names = [file.name for file in self.curves]
        if _CURVES[0] in names and _CURVES[1] in names:
            self.curves.remove(self.curves[names.index(_CURVES[1])])
        for file in [f for stem in self.structures.values() for f in stem]:
            if file.suffix in (".xyz", ".extxyz") and _names_curve(file):
                self.structures[file.stem].remove(file)
                self.both.append(file)
        if _CURVES[0] in names:  # the curve that the user made comes before one that we make
            self.named += [f for f in self.both if f.suffix in (".yaml", ".yml")]
            self.both = [f for f in self.both if f.suffix not in (".yaml", ".yml")]
        self.curves.sort(key=lambda file: (curve_stem(file), file.name))
        self.named.sort(key=_rank)

    def _json(self, file: Path) -> None:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        several = list(content.values()) if isinstance(content, dict) else content
        first = several[0] if isinstance(several, list) and several else None
        if is_ase_json(content):
            self.both.append(file)
        elif is_pymatgen_structure(content):
            self.structures.setdefault(file.stem, []).append(file)
        elif is_pymatgen_dos(content):
            (self.both if content.get("structure") else self.curves).append(file)
        elif is_pymatgen_dos(first):
            self.both.append(file)
        else:
            return
        self.loose[file] = content


def curve_stem(file: Path) -> str:
    """The name that a curve shares with its structure.

    >>> [curve_stem(Path(f)) for f in ("NaCl.csv", "NaCl_dos.csv", "mp-22862.total_dos.dat")]
    ['NaCl', 'NaCl', 'mp-22862']
    """
    return re.sub(r"[._-](total_|phonon_|ph)?dos$", "", file.stem)


def _entries(folder: Path) -> Iterator[_Files]:
    inside = sorted(folder.iterdir())
    yield _Files(folder, [p for p in inside if p.is_file()])
    for sub in inside:
        if sub.is_dir() and not sub.name.startswith("."):
            yield from _entries(sub)


def _in_folder(folder: Path, mesh: Mesh) -> Iterator[Found]:
    lonely: list[Path] = []
    for entry in _entries(folder):
        if entry.curves or entry.both:
            yield from _pairs(entry, folder, mesh)
            stems = {curve_stem(f) for f in (*entry.curves, *entry.both)}
            if stems & set(entry.structures):
                lonely += [f[0] for stem, f in entry.structures.items() if f and stem not in stems]
    if lonely:
        some = ", ".join(str(f) for f in lonely[:3]) + (", ..." if len(lonely) > 3 else "")
        warnings.warn(
            f"{len(lonely)} structures without a density of states are left out: {some}.",
            DataWarning,
            stacklevel=4,
        )


def _pairs(entry: _Files, root: Path, mesh: Mesh, alone: bool = False) -> Iterator[Found]:
    """Every crystal of one folder."""
    own_name = "/".join(entry.folder.relative_to(root).parts) or entry.folder.resolve().name
    prefix = "" if entry.folder == root else f"{own_name}/"
    only = len(entry.both) == 1 and not entry.curves
    for file in entry.both:
        yield from _of_both(file, entry.loose.get(file), own_name, prefix, only, mesh)
    single = len(entry.curves) == 1
    seen: dict[str, Path] = {}
    for file in entry.curves:
        stem = curve_stem(file)
        curve = _read_curve(file, entry.loose.get(file))
        matching = entry.structures.get(stem, [])
        if not matching and (single or alone or file.name in _CURVES):
            others = [f for files in entry.structures.values() for f in files]
            matching = others if not entry.named else [entry.named[0]]
            name = own_name if prefix or alone or file.name in _CURVES else stem
        else:
            name = own_name if single and prefix else prefix + stem
        if not matching:
            wanted = "POSCAR" if file.name in _CURVES else f"{stem}.cif"
            raise UserError(
                f"{file}: there is no structure for this density of states; put {wanted} (or what "
                "else ASE reads, or phonopy.yaml) beside it."
            )
        if len(matching) > 1:
            some = ", ".join(f.name for f in matching[:3])
            raise UserError(
                f"{file}: more than one structure could belong to it ({some}); leave one, or name "
                f"it {stem}{matching[0].suffix}."
            )
        if stem in seen:
            raise UserError(
                f"{file}: {seen[stem].name} beside it is a density of states of {stem} too; "
                "remove one."
            )
        seen[stem] = file
        yield name, str(file), _read_structure(matching[0], entry.loose), curve


def _of_both(
    file: Path, content: Any, own_name: str, prefix: str, only: bool, mesh: Mesh
) -> Iterator[Found]:
    if file.suffix in (".yaml", ".yml"):
        atoms, curve = phonopy_record(file, mesh)
        standard = file.stem.startswith(("phonopy", "phonon"))
        yield own_name if standard else prefix + file.stem, str(file), atoms, curve
    elif content is None or is_ase_json(content):
        for name, where, atoms, curve in read_rows(file):
            yield prefix + name, where, atoms, curve
    elif is_pymatgen_dos(content):
        atoms = pymatgen_atoms(content["structure"], str(file))
        name = own_name if prefix and only else prefix + curve_stem(file)
        yield name, str(file), atoms, pymatgen_curve(content, str(file))
    else:
        named = content.items() if isinstance(content, dict) else enumerate(content)
        for key, each in named:
            name = str(key) if isinstance(content, dict) else f"{file.stem}-{key}"
            where = f"{file}, {name}"
            if not is_pymatgen_dos(each) or not each.get("structure"):
                raise UserError(f"{where}: is no CompletePhononDos with its structure; remove it.")
            atoms = pymatgen_atoms(each["structure"], where)
            yield prefix + name, where, atoms, pymatgen_curve(each, where)


def _read_curve(file: Path, content: Any) -> Curve:
    if content is not None:
        return pymatgen_curve(content, str(file))
    if file.suffix == ".dat" and not is_curve_table(file):
        return read_phonopy_curve(file)
    return read_csv_curve(file)


def _read_structure(file: Path, contents: dict[Path, Any]) -> Atoms:
    if file in contents:
        return pymatgen_atoms(contents[file], str(file))
    if file.suffix in (".yaml", ".yml"):
        atoms = phonopy_cell(file)
        if atoms is None:
            raise UserError(f"{file}: holds no cell; put a POSCAR or CIF beside it.")
        return atoms
    vasp = file.name.startswith(("POSCAR", "CONTCAR")) or file.suffix in (".poscar", ".vasp")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms = ase.io.read(file, format="vasp" if vasp else None)
    except Exception as error:  # of each ASE reader
        lines = str(error).splitlines()
        raise UserError(
            f"{file}: ASE cannot read the structure ({lines[0] if lines else error!r}); mend it."
        ) from error
    return atoms


def _checked(found: Iterator[Found], refused: list[str] | None) -> list[PhononRecord]:
    """Records of plausible curves with 3N states."""
    records: list[PhononRecord] = []
    odd: list[str] = []
    for name, where, atoms, curve in found:
        if not atoms.cell.rank == 3 or not len(atoms):
            raise UserError(f"{where}: its structure has no cell; give a crystal (CIF, POSCAR).")
        atoms.pbc = True
        try:
            check_curve(curve.dos, atoms, curve.unit)
        except UserError as error:
            sentence = f"{where}: {error}.".replace("?.", "?")
            if refused is None:
                raise UserError(sentence) from None
            refused.append(sentence)
            continue
        dos, whole, problem = whole_curve(curve.dos, atoms, curve.unit)
        if problem:
            odd.append(f"{where}: {problem}")
        atoms.info["name"] = name
        records.append(
            PhononRecord(
                name, where, atoms, dos, whole, facts={"unit": curve.unit, "problem": problem}
            )
        )
    if odd:
        more = f" (and {len(odd) - 3} more)" if len(odd) > 3 else ""
        warnings.warn(
            f"{'; '.join(odd[:3])}{more}: the shape is taken, as if its unit were arbitrary; mend "
            f"the density (states per unit of frequency and cell) if it is not.",
            DataWarning,
            stacklevel=3,
        )
    return records


def _rank(file: Path) -> tuple[int, str]:
    if file.suffix in (".yaml", ".yml"):  # phonopy's own cell is the one of its curve
        return (0, file.name)
    return (1 + next(i for i, n in enumerate(_NAMED) if file.name.startswith(n)), file.name)


def _names_curve(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as stream:
        head = stream.readline() + stream.readline()
    return re.search(r"\bfreq|wavenumber", head) is not None and "dos" in head
