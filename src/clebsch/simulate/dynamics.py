"""Molecular dynamics with a trained model, watched for leaving the model's domain."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from clebsch.errors import UserError
from clebsch.simulate.calculator import Calculator, PotentialModel
from clebsch.simulate.domain import DomainGuard
from clebsch.simulate.fingerprint import check_same, fingerprint
from clebsch.simulate.integrators import degrees_of_freedom, make_integrator, thermalise
from clebsch.simulate.interruption import interruptible
from clebsch.simulate.outcome import (
    MDResult,
    analyse,
    summarise,
    summarised,
    write_summary,
)
from clebsch.simulate.progress import RunBar
from clebsch.simulate.record import RESTART, THERMO, TRAJECTORY, RestartState, RunFiles
from clebsch.simulate.settings import MDSettings
from clebsch.simulate.start import check_start, relax_start

CHECKPOINT_SECONDS = 20.0


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
        settings: see `MDSettings`.

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
    check_start(atoms, chosen)
    calculator = Calculator(model, device=device)
    atoms.calc = calculator
    atoms.get_potential_energy()  # an unknown element fails here, before any file is made
    relaxation = relax_start(atoms) if relax else None
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
        model=fingerprint(model),
    )
    files = RunFiles(folder)
    guard = guard or DomainGuard.from_header(model.header)
    result = _run(state, files, calculator, rng, guard, progress, figures)
    if relaxation is not None:
        result.summary["relaxation"] = relaxation
        write_summary(result)
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

    Where only the summary and the figures are missing, those are made.

    Args:
        time_ps: new total length; None keeps the one asked for at the start.

    Raises:
        UserError: there is nothing to resume, the files do not fit together, or the run began
            with another model.
    """
    folder = Path(out)
    state = RestartState.load(folder)
    if time_ps is not None:
        values = state.settings.model_dump() | {"time_ps": time_ps}
        state.settings = MDSettings.checked(**values)
    left = state.settings.steps - state.step
    if left < 0 or (left == 0 and summarised(folder, state.step)):
        done = state.step * state.settings.timestep_fs / 1000.0
        raise UserError(
            f"{folder}: the run has already reached {done:g} ps; ask for a longer --time to go on."
        )
    check_same(folder, state.model, fingerprint(model))
    rng = np.random.default_rng()
    rng.bit_generator.state = state.rng_state
    calculator = Calculator(model, device=device)
    state.atoms.calc = calculator
    state.atoms.get_potential_energy()
    files = RunFiles(folder, state.sizes)
    guard = guard or DomainGuard.from_header(model.header)
    return _run(state, files, calculator, rng, guard, progress, figures)


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
    written = state.sizes != (0, 0)
    earlier_s, started = state.wall_s, time.perf_counter()
    saved = started
    stopped = None

    def save() -> None:
        state.step = int(dynamics.nsteps)
        state.rng_state = rng.bit_generator.state
        state.wall_s = earlier_s + time.perf_counter() - started
        state.sizes = files.sizes()
        state.save(files.folder)

    with closing(files), interruptible() as interruption, RunBar(settings, progress) as bar:
        bar.start(first * settings.timestep_fs / 1000.0)
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
            if step > first or not written:
                if step % settings.sample_steps == 0 or stopped is not None:
                    files.row(values)
                if step % settings.frame_steps == 0 or stopped is not None:
                    files.frame(atoms, values["time_ps"])
            now = time.perf_counter()
            # the first one soon, so that a run that is killed can be resumed
            if last or step == 0 or now - saved > CHECKPOINT_SECONDS:
                save()
                saved = now
            if step > first and (last or step % settings.sample_steps == 0):
                speed = (step - first) * settings.timestep_fs * 1e-6 / (now - started) * 86400
                bar.update(values["time_ps"], values["temperature_K"], speed)
            if last:
                break
        interrupted = interruption.asked and int(dynamics.nsteps) < settings.steps
    speed_s = time.perf_counter() - started
    result = MDResult(
        out=files.folder,
        atoms=atoms,
        summary=summarise(
            settings, atoms, n_dof, state.step, state.wall_s, state.step - first, speed_s
        ),
        stopped=stopped,
        interrupted=interrupted and stopped is None,
    )
    result.summary |= {
        "model_fingerprint": state.model,
        "stopped": stopped,
        "interrupted": result.interrupted,
    }
    analyse(result, settings, figures)
    write_summary(result)
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
