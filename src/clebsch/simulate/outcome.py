"""The end of a run: averages, figures and md.json, whatever engine ran it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase import Atoms

import clebsch
from clebsch.files import write_text
from clebsch.simulate.analysis import diffusion_coefficient, linear_drift, msd, rdf
from clebsch.simulate.record import read_thermo, read_trajectory
from clebsch.simulate.settings import MDSettings

SUMMARY = "md.json"


@dataclass
class MDResult:
    """The end of a run.

    ``summary`` is what ``md.json`` holds. ``stopped`` is a sentence if the simulation left the
    model's domain, ``interrupted`` is true after Ctrl-C or a termination signal.
    """

    out: Path
    atoms: Atoms
    summary: dict[str, Any]
    stopped: str | None = None
    interrupted: bool = False


def summarise(
    settings: MDSettings,
    atoms: Atoms,
    n_dof: int,
    total_steps: int,
    wall_s: float,
    steps: int,
    seconds: float,
) -> dict[str, Any]:
    """What a run was and how fast.

    Args:
        settings: of the run.
        atoms: its atoms.
        n_dof: degrees of freedom.
        total_steps: done since its start.
        wall_s: that these took, s.
        steps: done by this call.
        seconds: that these took.
    """
    return {
        "formula": atoms.get_chemical_formula(),
        "n_atoms": len(atoms),
        "n_degrees_of_freedom": n_dof,
        "settings": settings.model_dump(),
        "steps": total_steps,
        "time_ps": total_steps * settings.timestep_fs / 1000.0,
        "wall_s": wall_s,
        "ms_per_step": 1000.0 * seconds / steps if steps else None,
        "ns_per_day": steps * settings.timestep_fs * 1e-6 / seconds * 86400 if steps else None,
        "versions": {
            "clebsch": clebsch.__version__,
            "torch": str(torch.__version__),
            "ase": ase.__version__,
        },
    }


def analyse(result: MDResult, settings: MDSettings, figures: bool) -> None:
    """Add averages to the summary and draw the figures, from the files of the whole run."""
    thermo, frames = read_thermo(result.out), list(read_trajectory(result.out))
    n_atoms = len(result.atoms)
    # The second half: the first one relaxes (in NVE an undisplaced start gives half its heat).
    half = slice(len(thermo["time_ps"]) // 2, None)
    averages: dict[str, Any] = {}
    for name in ("temperature_K", "pressure_GPa", "volume_A3"):
        values = thermo[name][half]
        if len(values) and np.isfinite(values).all():
            averages[name] = {"mean": float(values.mean()), "std": float(values.std())}
    result.summary["second_half"] = averages
    drift = None
    if settings.ensemble == "nve":
        drift = linear_drift(thermo["time_ps"], 1000.0 * thermo["total_eV"] / n_atoms)
        result.summary["nve_drift_meV_per_atom_ps"] = drift.slope
        result.summary["nve_drift_standard_error"] = drift.standard_error
        result.summary["nve_rms_fluctuation_meV_per_atom"] = drift.rms
    later = frames[len(frames) // 5 :]
    distribution = rdf(later, rmax=6.0) if later else None
    lags = displacement = diffusion = None
    if len(later) > 2:
        times = np.array([frame.info["time_ps"] for frame in later])
        spacing = times[1] - times[0]
        # a frame written because the run stopped may sit off the regular grid
        regular = later[: int((np.abs(np.diff(times) - spacing) < 1e-9).sum()) + 1]
        lags = spacing * np.arange(len(regular))
        displacement = msd(regular)
        if result.atoms.pbc.any():
            # an element that never moved by more than 1 Å vibrates, it does not diffuse
            diffusion = {
                element: diffusion_coefficient(lags, curve)
                for element, curve in displacement.items()
                if curve.max() > 1.0
            }
            result.summary["diffusion_coefficient_A2_per_ps"] = diffusion
    if not figures:
        return
    from clebsch.simulate.figures import plot_dynamics  # the plotting library is slow to load

    plot_dynamics(
        result.out / "figures",
        thermo,
        n_atoms,
        settings,
        drift,
        distribution,
        lags,
        displacement,
        diffusion,
    )


def _finite(value: Any) -> Any:
    """JSON has no NaN: replace it by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def summarised(folder: Path, steps: int) -> bool:
    """Whether md.json tells of a run of this length; one killed over its figures has none."""
    try:
        known = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(known == steps)


def write_summary(result: MDResult) -> None:
    """Write md.json, whole or not at all."""
    write_text(
        result.out / SUMMARY,
        json.dumps(_finite(result.summary), indent=2, ensure_ascii=False) + "\n",
    )
