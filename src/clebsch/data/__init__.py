"""Small data sets that ship with the package; each has a data card beside it."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from clebsch.errors import UserError

PREFIX = "embedded:"  # of the name of a set, where a path may stand too
_FOLDER = Path(__file__).parent
_SUFFIXES = (".extxyz.xz", ".h5")  # structures with labels; densities


def embedded_names() -> list[str]:
    """Names of the embedded data sets, as in ``embedded:NAME``."""
    return sorted(p.name.removesuffix(s) for s in _SUFFIXES for p in _FOLDER.glob(f"*{s}"))


def embedded_path(name: str) -> Path:
    """File of an embedded data set: extended XYZ compressed with xz, or HDF5 of densities.

    Raises:
        UserError: there is no set of that name.
    """
    known = embedded_names()
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean embedded:{close[0]}?" if close else f"there are: {', '.join(known)}."
        raise UserError(f"embedded:{name} is not an embedded data set; {hint}")
    return next(path for s in _SUFFIXES if (path := _FOLDER / f"{name}{s}").is_file())
