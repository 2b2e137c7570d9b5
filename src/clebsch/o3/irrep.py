"""Irreps as names: ``from clebsch.o3.irrep import l1o, l2e``."""

from __future__ import annotations

from clebsch.errors import UserError
from clebsch.o3.irreps import Irrep


def __getattr__(name: str) -> Irrep:
    """The irrep with the name ``l`` + degree + parity.

    >>> from clebsch.o3.irrep import l1o, l2e
    >>> l1o + l2e
    1x1o+1x2e
    """
    if not name.startswith("l") or not name[1:2].isdigit():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return Irrep(name[1:])
    except UserError as error:
        raise AttributeError(str(error)) from None
