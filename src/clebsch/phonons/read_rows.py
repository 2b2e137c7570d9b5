"""Structures with arrays: ASE databases (``.db``, ``.json``) and extended XYZ."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.db
import ase.io
from ase import Atoms

from clebsch.errors import UserError
from clebsch.phonons.read_curve import Curve, unit_in
from clebsch.phonons.spectrum import PhononDos

_FREQUENCIES = ("frequencies", "frequency", "dos_frequencies", "wavenumbers", "freq")
_DENSITIES = ("dos", "phonon_dos", "ph_dos", "phdos", "density", "densities")
_UNIT_KEYS = ("unit", "frequency_unit", "frequencies_unit", "dos_unit")


def is_ase_json(content: Any) -> bool:
    """Whether a JSON object is an ASE database."""
    return isinstance(content, dict) and {"ids", "nextid"} <= set(content)


def read_rows(file: Path) -> Iterator[tuple[str, str, Atoms, Curve]]:
    """Name, place, structure and curve of every row that has a curve.

    A row's ``data`` (or a frame's ``info``) holds ``frequencies`` and ``dos``, in the unit that
    ``unit`` says, or the key of the frequencies, such as ``frequencies_THz``; states per that
    unit. ``name`` in it is the record's name.

    Raises:
        UserError: a file that cannot be read, arrays of different lengths, or no unit.
    """
    for number, (default, atoms, facts) in enumerate(_rows(file)):
        where = f"{file}, row {number + 1}"
        w = _first(facts, lambda key: _bare(key) in _FREQUENCIES)
        g = _first(facts, lambda key: key.lower() in _DENSITIES)
        if w is None and g is None:
            continue
        if w is None or g is None:
            has, lacks = ("frequencies", "dos") if g is None else ("dos", "frequencies")
            raise UserError(f"{where}: has {has!r} but no {lacks!r}; give both arrays.")
        said = next((str(facts[key]) for key in _UNIT_KEYS if key in facts), w)
        unit = unit_in(said)
        if unit is None:
            raise UserError(
                f"{where}: no unit is given; add unit='THz' (or 'cm^-1', 'meV') beside {w!r}, or "
                "call the array frequencies_THz."
            )
        try:
            curve = Curve(PhononDos.from_units(facts[w], facts[g], unit), unit)
        except (UserError, TypeError, ValueError) as error:
            raise UserError(f"{where}: {error}.") from None
        name = str(facts.get("name", default))
        yield name, f"{file}, {name}", atoms, curve


def _first(facts: dict[str, Any], wanted: Any) -> str | None:
    return next((key for key in facts if wanted(key)), None)


def _bare(key: str) -> str:
    """A key without the unit at its end."""
    low = key.lower()
    for word in ("_thz", "_mev", "_cm-1", "_cm^-1", "_cm1"):
        low = low.removesuffix(word)
    return low


def _rows(file: Path) -> Iterator[tuple[str, Atoms, dict[str, Any]]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if file.suffix in (".db", ".json"):
                with ase.db.connect(file) as database:
                    for row in database.select():
                        facts = {**row.key_value_pairs, **row.data}
                        yield f"{file.stem}-{row.id}", row.toatoms(), facts
            else:
                for number, atoms in enumerate(ase.io.iread(file, ":")):
                    yield f"{file.stem}-{number}", atoms, dict(atoms.info)
    except UserError:
        raise
    except Exception as error:  # of each ASE reader
        raise UserError(
            f"{file}: ASE cannot read it ({type(error).__name__}: {error}); mend the file."
        ) from error
