"""A trained model at work: ASE calculator, molecular dynamics, prediction, evaluation.

Names are imported when they are first used, so that the calculator needs no plotting library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clebsch.simulate.analysis import diffusion_coefficient, linear_drift, msd, rdf
    from clebsch.simulate.calculator import Calculator
    from clebsch.simulate.domain import DomainGuard
    from clebsch.simulate.dynamics import resume_md, run_md
    from clebsch.simulate.evaluation import EvaluationResult, evaluate
    from clebsch.simulate.lammps_dynamics import resume_lammps_md, run_lammps_md
    from clebsch.simulate.outcome import MDResult
    from clebsch.simulate.prediction import predict, write_predictions
    from clebsch.simulate.settings import MDSettings
    from clebsch.simulate.start import read_structure

_HOMES = {
    "Calculator": "calculator",
    "DomainGuard": "domain",
    "EvaluationResult": "evaluation",
    "MDResult": "outcome",
    "MDSettings": "settings",
    "diffusion_coefficient": "analysis",
    "evaluate": "evaluation",
    "linear_drift": "analysis",
    "msd": "analysis",
    "predict": "prediction",
    "rdf": "analysis",
    "read_structure": "start",
    "resume_lammps_md": "lammps_dynamics",
    "resume_md": "dynamics",
    "run_lammps_md": "lammps_dynamics",
    "run_md": "dynamics",
    "write_predictions": "prediction",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "Calculator",
    "DomainGuard",
    "EvaluationResult",
    "MDResult",
    "MDSettings",
    "diffusion_coefficient",
    "evaluate",
    "linear_drift",
    "msd",
    "predict",
    "rdf",
    "read_structure",
    "resume_lammps_md",
    "resume_md",
    "run_lammps_md",
    "run_md",
    "write_predictions",
]
