"""Data in, a trained model and its report out.

Names are imported when they are first used: metrics and figures need no training framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clebsch.train.config import TrainConfig, load_config, save_config
    from clebsch.train.density_config import DensityTrainConfig
    from clebsch.train.density_run import train_density
    from clebsch.train.dos_config import DosTrainConfig
    from clebsch.train.dos_run import train_dos
    from clebsch.train.fit import RunResult
    from clebsch.train.potential_run import train_potential
    from clebsch.train.report import Picture, Section, Table, write_report

_HOMES = {
    "DensityTrainConfig": "density_config",
    "DosTrainConfig": "dos_config",
    "Picture": "report",
    "RunResult": "fit",
    "Section": "report",
    "Table": "report",
    "TrainConfig": "config",
    "load_config": "config",
    "save_config": "config",
    "train_density": "density_run",
    "train_dos": "dos_run",
    "train_potential": "potential_run",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "DensityTrainConfig",
    "DosTrainConfig",
    "Picture",
    "RunResult",
    "Section",
    "Table",
    "TrainConfig",
    "load_config",
    "save_config",
    "train_density",
    "train_dos",
    "train_potential",
    "write_report",
]
