"""Molecular dynamics with a trained model, watched for leaving the model's domain."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import ase
import numpy as np
import torch
from ase import Atoms, units
from ase.optimize import FIRE
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import clebsch
from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.simulate.analysis import diffusion_coefficient, linear_drift, msd, rdf
from clebsch.simulate.calculator import Calculator, PotentialModel
from clebsch.simulate.domain import DomainGuard
from clebsch.simulate.integrators import degrees_of_freedom, make_integrator, thermalise
from clebsch.simulate.record import (
    RESTART,
    THERMO,
    TRAJECTORY,
    RestartState,
    RunFiles,
    fixed_atoms,
    read_thermo,
    read_trajectory,
)
from clebsch.simulate.settings import MDSettings

CHECKPOINT_SECONDS = 20.0


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


def run_md(
    model: PotentialModel,
    atoms: Atoms,
    out: str | os.PathLike[str],
    *,
    relax: bool = False,
    device: str | None = None,
    guard: DomainGuard | None = None,
    progress: bool = True,
    figures: bool = True,
    **settings: Any,
) -> MDResult:
    """Run molecular dynamics and write everything about it to the folder ``out``.

    ``thermo.csv``, ``trajectory.extxyz``, ``restart.npz``, ``md.json`` and ``figures/*.png``.

    Args:
        model: a loaded potential.
        atoms: start; its velocities are drawn anew. It is not changed.
        relax: move the atoms downhill first, until no force exceeds 0.05 eV/Å.
        device: where the model runs.
        guard: limits of the model's domain; by default those in the model's header.
        progress: show a progress bar.
        figures: draw the figures at the end.
        settings: see :class:`MDSettings`.

    Raises:
        UserError: settings out of range, an element that the model does not know, NPT without
            a 3-D periodic cell, or ``out`` already holds a run.
    """
    chosen = MDSettings.checked(**settings)
    chosen = chosen.model_copy(
        update={"frame_fs": chosen.frame_steps * chosen.timestep_fs}  # kept if resumed for longer
    )
    folder = Path(out)
    present = [name for name in (RESTART, THERMO, TRAJECTORY) if (folder / name).exists()]
    if present:
        raise UserError(
            f"{folder}: already holds a run ({present[0]}); resume it or choose another folder."
        )
    atoms = atoms.copy()
    _check_start(atoms, chosen)
    calculator = Calculator(model, device=device)
    atoms.calc = calculator
    atoms.get_potential_energy()  # an unknown element fails here, before any file is made
    relaxation = _relax(atoms) if relax else None
    rng = np.random.default_rng(chosen.seed)
    thermalise(atoms, chosen.temperature_K, rng, chosen.conserves_momentum)
    state = RestartState(
        atoms=atoms,
        step=0,
        settings=chosen,
        rng_state=rng.bit_generator.state,
        start_energy=float(atoms.get_total_energy()),
        target_K=chosen.temperature_K,
        wall_s=0.0,
        sizes=(0, 0),
    )
    files = RunFiles(folder)
    guard = guard or DomainGuard.from_header(model.header)
    result = _run(state, files, calculator, rng, guard, progress, figures)
    if relaxation is not None:
        result.summary["relaxation"] = relaxation
        _write_summary(result)
    return result


def resume_md(
    model: PotentialModel,
    out: str | os.PathLike[str],
    *,
    time_ps: float | None = None,
    device: str | None = None,
    guard: DomainGuard | None = None,
    progress: bool = True,
    figures: bool = True,
) -> MDResult:
    """Go on with the run in ``out``, bit for bit as if it had never stopped.

    Args:
        time_ps: new total length; None keeps the one asked for at the start.

    Raises:
        UserError: there is nothing to resume, or the files do not fit together.
    """
    folder = Path(out)
    state = RestartState.load(folder)
    if time_ps is not None:
        values = state.settings.model_dump() | {"time_ps": time_ps}
        state.settings = MDSettings.checked(**values)
    if state.settings.steps <= state.step:
        done = state.step * state.settings.timestep_fs / 1000.0
        raise UserError(
            f"{folder}: the run has already reached {done:g} ps; ask for a longer --time to go on."
        )
    rng = np.random.default_rng()
    rng.bit_generator.state = state.rng_state
    calculator = Calculator(model, device=device)
    state.atoms.calc = calculator
    state.atoms.get_potential_energy()
    files = RunFiles(folder, state.sizes)
    guard = guard or DomainGuard.from_header(model.header)
    return _run(state, files, calculator, rng, guard, progress, figures)


def _check_start(atoms: Atoms, settings: MDSettings) -> None:
    if not len(atoms):
        raise UserError("the structure has no atoms; give one that has.")
    fixed = fixed_atoms(atoms)
    if len(fixed) == len(atoms):
        raise UserError("every atom of the structure is fixed; free some of them.")
    if settings.ensemble != "nve" and settings.temperature_K == 0:
        raise UserError(f"{settings.ensemble.upper()} needs a temperature above 0 K.")
    if settings.ensemble == "npt":
        if not (atoms.pbc.all() and atoms.cell.rank == 3):
            raise UserError(
                "NPT needs a cell that is periodic in three directions; use NVT for a molecule, "
                "wire or slab."
            )
        if len(fixed):
            raise UserError("NPT cannot hold atoms fixed while the cell changes; use NVT.")
    if settings.conserves_momentum and len(atoms) == 1 and settings.ensemble != "nve":
        raise UserError("one atom alone cannot be thermostatted without net momentum.")


def _relax(atoms: Atoms, fmax: float = 0.05, steps: int = 500) -> dict[str, Any]:
    optimiser = FIRE(atoms, logfile=None)
    converged = bool(optimiser.run(fmax=fmax, steps=steps))
    return {
        "converged": converged,
        "steps": int(optimiser.nsteps),
        "max_force_eV_per_A": float(np.linalg.norm(atoms.get_forces(), axis=1).max()),
    }


@dataclass
class _Interruption:
    """Set by Ctrl-C; a second Ctrl-C stops at once."""

    asked: bool = False
    previous: dict[int, Any] = field(default_factory=dict)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        for signal_number, handler in self.previous.items():
            signal.signal(signal_number, handler)


@contextmanager
def _interruptible() -> Iterator[_Interruption]:
    """Turn SIGINT and SIGTERM into a flag, so that a step is never cut in two."""
    flag = _Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        flag.previous[number] = signal.signal(number, flag)
    try:
        yield flag
    finally:
        for number, handler in flag.previous.items():
            signal.signal(number, handler)


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.2f}/{task.total:g} ps"),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[temperature]}"),
        TimeRemainingColumn(),
        disable=not shown,
    )


def _run(
    state: RestartState,
    files: RunFiles,
    calculator: Calculator,
    rng: np.random.Generator,
    guard: DomainGuard,
    progress: bool,
    figures: bool,
) -> MDResult:
    settings, atoms = state.settings, state.atoms
    n_dof = degrees_of_freedom(atoms, settings.conserves_momentum)
    dynamics = make_integrator(atoms, settings, rng)
    dynamics.nsteps = first = state.step
    earlier_s, started = state.wall_s, time.perf_counter()
    saved = started
    stopped = None

    def save() -> None:
        state.step = int(dynamics.nsteps)
        state.rng_state = rng.bit_generator.state
        state.wall_s = earlier_s + time.perf_counter() - started
        state.sizes = files.sizes()
        state.save(files.folder)

    with _interruptible() as interruption, _bar(progress) as bar:
        task = bar.add_task(
            f"{settings.ensemble.upper()} {settings.temperature_K:g} K",
            total=settings.time_ps,
            speed="",
            temperature="",
        )
        bar.update(task, completed=first * settings.timestep_fs / 1000.0)
        for _ in dynamics.irun(settings.steps - first):
            step = int(dynamics.nsteps)
            values = _thermo(atoms, step * settings.timestep_fs / 1000.0, n_dof)
            change = None
            if settings.ensemble == "nve":
                change = (values["total_eV"] - state.start_energy) / len(atoms)
            stopped = guard.check(
                calculator, values["temperature_K"], state.target_K, n_dof, change
            )
            last = step == settings.steps or stopped is not None or interruption.asked
            if step > first or first == 0:
                if step % settings.sample_steps == 0 or stopped is not None:
                    files.row(values)
                if step % settings.frame_steps == 0 or stopped is not None:
                    files.frame(atoms, values["time_ps"])
            now = time.perf_counter()
            if last or now - saved > CHECKPOINT_SECONDS:
                save()
                saved = now
            if step > first and (last or step % settings.sample_steps == 0):
                speed = (step - first) * settings.timestep_fs * 1e-6 / (now - started) * 86400
                bar.update(
                    task,
                    completed=values["time_ps"],
                    speed=f"{speed:.3g} ns/day",
                    temperature=f"{values['temperature_K']:.0f} K",
                )
            if last:
                break
        interrupted = interruption.asked and int(dynamics.nsteps) < settings.steps
    files.close()
    speed_s = time.perf_counter() - started
    result = MDResult(
        out=files.folder,
        atoms=atoms,
        summary=_summarise(state, n_dof, (state.step - first), speed_s),
        stopped=stopped,
        interrupted=interrupted and stopped is None,
    )
    result.summary |= {"stopped": stopped, "interrupted": result.interrupted}
    _analyse(result, settings, figures)
    _write_summary(result)
    return result


def _thermo(atoms: Atoms, time_ps: float, n_dof: int) -> dict[str, float]:
    potential, kinetic = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
    pressure = volume = float("nan")
    if "stress" in atoms.calc.results:
        volume = float(atoms.get_volume())
        virial = -float(atoms.calc.results["stress"][:3].mean())
        pressure = (virial + 2.0 / 3.0 * kinetic / volume) / units.GPa
    return {
        "time_ps": time_ps,
        "potential_eV": potential,
        "kinetic_eV": kinetic,
        "total_eV": potential + kinetic,
        "temperature_K": 2.0 * kinetic / (units.kB * n_dof),
        "pressure_GPa": pressure,
        "volume_A3": volume,
    }


def _summarise(state: RestartState, n_dof: int, steps: int, seconds: float) -> dict[str, Any]:
    settings, atoms = state.settings, state.atoms
    return {
        "formula": atoms.get_chemical_formula(),
        "n_atoms": len(atoms),
        "n_degrees_of_freedom": n_dof,
        "settings": settings.model_dump(),
        "steps": state.step,
        "time_ps": state.step * settings.timestep_fs / 1000.0,
        "wall_s": state.wall_s,
        "ms_per_step": 1000.0 * seconds / steps if steps else None,
        "ns_per_day": steps * settings.timestep_fs * 1e-6 / seconds * 86400 if steps else None,
        "versions": {
            "clebsch": clebsch.__version__,
            "torch": str(torch.__version__),
            "ase": ase.__version__,
        },
    }


def _analyse(result: MDResult, settings: MDSettings, figures: bool) -> None:
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


def _write_summary(result: MDResult) -> None:
    with atomic_path(result.out / "md.json") as temporary:
        temporary.write_text(
            json.dumps(_finite(result.summary), indent=2, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
