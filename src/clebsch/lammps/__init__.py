"""A trained potential in LAMMPS, on any number of ranks.

``pair_style clebsch`` is a plug-in (``pair_clebsch.cpp``, built by ``plugin``) that the LAMMPS of
the ``lammps`` package loads by itself; it starts a ``worker`` beside each rank, whose ``engine``
evaluates the model. ``launch`` runs input scripts, ``point`` single structures; without a
compiler ``callback`` takes the plug-in's place.

Importing this package is quick: LAMMPS does it at every start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clebsch.lammps.plugin import plugin_folder

if TYPE_CHECKING:
    from clebsch.lammps.callback import session
    from clebsch.lammps.launch import available, run
    from clebsch.lammps.point import single_point

_HOMES = {"available": "launch", "run": "launch", "session": "callback", "single_point": "point"}

__all__ = ["available", "plugin_folder", "run", "session", "single_point"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
