"""One density of states in a text file: phonopy's ``total_dos.dat``, or CSV."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clebsch.errors import UserError
from clebsch.phonons.spectrum import PhononDos

_UNITS = {
    "cm^-1": r"cm\s*\^?\s*[-−]\s*\^?1|cm\*\*-1|1/cm|wave ?number|cm⁻¹",
    "THz": r"thz",
    "meV": r"mev",
}


class Curve(NamedTuple):
    """A curve with the unit that its file is in."""

    dos: PhononDos
    unit: str


def unit_in(text: str) -> str | None:
    """The unit of frequency that a text names.

    >>> [unit_in(t) for t in ("frequency_cm-1", "Frequency (THz)", "E / meV", "w")]
    ['cm^-1', 'THz', 'meV', None]
    """
    text = text.lower().replace("_", " ")
    return next((unit for unit, pattern in _UNITS.items() if re.search(pattern, text)), None)


def read_phonopy_curve(file: Path) -> Curve:
    """``total_dos.dat`` or ``projected_dos.dat`` (whose columns are added): THz, states per THz.

    Raises:
        UserError: not such a file.
    """
    rows = [line for line in _lines(file) if not line.startswith("#")]
    return _curve(file, [row.split() for row in rows], "THz")


def read_csv_curve(file: Path) -> Curve:
    """Two columns with a header that names the unit, such as ``frequency_THz,dos``.

    The density is per this unit, or in arbitrary units.

    Raises:
        UserError: no header, no unit in it, or what are no numbers.
    """
    lines = _lines(file)
    n = next((i for i, line in enumerate(lines) if is_number(_cells(line)[0])), len(lines))
    if n == 0:
        raise UserError(
            f"{file}: has no header; write a first line that names the unit of the frequencies, "
            "such as frequency_THz,dos (or cm^-1, meV)."
        )
    names = [_cells(line.lstrip("# "))[0] for line in lines[:n]]
    unit = next((unit for unit in map(unit_in, names) if unit), None)
    if unit is None:
        raise UserError(
            f"{file}: the first column, {names[-1]!r}, names no unit; call it frequency_cm-1, "
            "frequency_THz or frequency_meV."
        )
    return _curve(file, [_cells(line)[:2] for line in lines[n:]], unit)


def is_curve_table(file: Path) -> bool:
    """Whether the header of a CSV file speaks of frequencies."""
    try:
        first = _cells(_lines(file)[0].lower().lstrip("# "))[0]
    except (UserError, IndexError):
        return False
    return unit_in(first) is not None or "freq" in first or "energy" in first or first == "w"


def is_number(text: str) -> bool:
    """Whether a text is one number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _curve(file: Path, rows: list[list[str]], unit: str) -> Curve:
    try:
        table = np.array([[float(x) for x in row] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{file}: is no table of numbers ({error}); mend the line.") from None
    if table.ndim != 2 or table.shape[1] < 2:
        raise UserError(f"{file}: has not two columns, frequency and density; mend it.")
    try:
        return Curve(PhononDos.from_units(table[:, 0], table[:, 1:].sum(1), unit), unit)
    except UserError as error:
        raise UserError(f"{file}: {error}.") from None


def _cells(line: str) -> list[str]:
    parts = re.split(r"[,;\t]", line) if re.search(r"[,;\t]", line) else line.split()
    return [part.strip() for part in parts]


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); give a text file.") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
