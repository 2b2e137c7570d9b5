"""Phonons of crystals with trained models: from structure, from forces, of alloys.

Names are imported when they are first used, so that a prediction needs no plotting library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clebsch.vibrations.crystals import read_crystals
    from clebsch.vibrations.output import PhononOutput, write_phonons
    from clebsch.vibrations.prediction import PhononPrediction, predict_phonons

_HOMES = {
    "PhononOutput": "output",
    "PhononPrediction": "prediction",
    "predict_phonons": "prediction",
    "read_crystals": "crystals",
    "write_phonons": "output",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "PhononOutput",
    "PhononPrediction",
    "predict_phonons",
    "read_crystals",
    "write_phonons",
]
