"""Small data sets that ship with the package; each has a data card beside it."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from clebsch.errors import UserError

_FOLDER = Path(__file__).parent
_SUFFIX = ".extxyz.xz"


def embedded_names() -> list[str]:
    """Names of the embedded data sets, as in ``embedded:NAME``."""
    return sorted(p.name.removesuffix(_SUFFIX) for p in _FOLDER.glob(f"*{_SUFFIX}"))


def embedded_path(name: str) -> Path:
    """File of an embedded data set.

    Raises:
        UserError: there is no set of that name.
    """
    path = _FOLDER / f"{name}{_SUFFIX}"
    if not path.is_file() or "/" in name:
        known = embedded_names()
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean embedded:{close[0]}?" if close else f"there are: {', '.join(known)}."
        raise UserError(f"embedded:{name} is not an embedded data set; {hint}")
    return path
