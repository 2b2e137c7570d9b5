"""Molecular dynamics by LAMMPS, from the same options and into the same files as by ASE."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

import clebsch.lammps
from clebsch.errors import UserError
from clebsch.files import atomic_path, make_folder, write_text
from clebsch.lammps.box import Box, data_file
from clebsch.lammps.plugin import lammps_version
from clebsch.models import load_model
from clebsch.simulate.calculator import Calculator, check_elements
from clebsch.simulate.domain import DomainGuard
from clebsch.simulate.fingerprint import check_same, fingerprint
from clebsch.simulate.integrators import degrees_of_freedom, thermalise
from clebsch.simulate.interruption import interruptible
from clebsch.simulate.lammps_output import (
    Orientation,
)
from clebsch.simulate.lammps_recorder import Recorder
from clebsch.simulate.lammps_script import (
    CHECK_STEPS,
    CONTINUATION,
    DATA,
    DUMP,
    LAST_DUMP,
    LAST_TOTALS,
    MASS_FACTOR,
    MODEL,
    RESTARTS,
    SCRIPT,
    STOP,
    TOTALS,
    continuation_script,
    input_script,
    restart_steps,
)
from clebsch.simulate.lammps_state import RunState
from clebsch.simulate.outcome import (
    MDResult,
    analyse,
    summarise,
    summarised,
    write_summary,
)
from clebsch.simulate.progress import RunBar
from clebsch.simulate.record import (
    RESTART,
    THERMO,
    TRAJECTORY,
    Kept,
)
from clebsch.simulate.settings import MDSettings
from clebsch.simulate.start import check_start, relax_start
from clebsch.structures.graph import AtomGraph

_PASSING = (DUMP, TOTALS, LAST_DUMP, LAST_TOTALS, STOP)
_FLEW_APART = ("Non-numeric", "Lost atoms", "not a finite number", "at the same place")


def run_lammps_md(
    model_file: str | os.PathLike[str],
    atoms: Atoms,
    out: str | os.PathLike[str],
    *,
    ranks: int = 1,
    relax: bool = False,
    device: str = "cpu",
    guard: DomainGuard | None = None,
    progress: bool = True,
    figures: bool = True,
    **settings: Any,
) -> MDResult:
    """Run molecular dynamics in LAMMPS and write what `run_md` writes.

    The input script ``in.lammps``, its data file and a copy of the model stay in ``out`` and can
    be run by hand. The start (relaxation, velocities) is that of `run_md`, number by number.

    Args:
        model_file: the model.
        atoms: start; its velocities are drawn anew. It is not changed.
        ranks: MPI processes.
        relax: move the atoms downhill first.
        device: where the model runs.
        guard: limits of the model's domain; by default those in the model's header.
        progress: show a progress bar.
        figures: draw the figures at the end.
        settings: see `MDSettings`; ``bulk_modulus_GPa`` has no use in LAMMPS.

    Raises:
        UserError: as `run_md`; LAMMPS cannot run here, or stopped with an error.
    """
    if "bulk_modulus_GPa" in settings:
        raise UserError(
            "LAMMPS's barostat does not use a bulk modulus; leave bulk_modulus_GPa out, or run "
            "with the engine ase."
        )
    chosen = MDSettings.checked(**settings)
    chosen = chosen.model_copy(update={"frame_fs": chosen.frame_steps * chosen.timestep_fs})
    _check_lammps(ranks)
    folder, source = Path(out), Path(model_file)
    present = [name for name in (RESTART, THERMO, TRAJECTORY) if (folder / name).exists()]
    if present:
        raise UserError(
            f"{folder}: already holds a run ({present[0]}); resume it or choose another folder."
        )
    atoms = atoms.copy()
    check_start(atoms, chosen)
    model = load_model(source, device=device)
    check_elements(model, atoms.numbers)
    AtomGraph.from_atoms(atoms, 0.1)  # objects to what is not finite and cells without volume
    _check_masses(atoms)
    relaxation = None
    if relax:
        atoms.calc = Calculator(model)
        relaxation = relax_start(atoms)
        atoms.calc = None
    rng = np.random.default_rng(chosen.seed)
    thermalise(atoms, chosen.temperature_K, rng, chosen.conserves_momentum)
    box = Box.around(atoms)
    state = RunState(
        atoms=atoms,
        settings=chosen,
        orientation=Orientation.of(atoms, box, chosen.ensemble == "npt"),
        boundary=box.boundary.replace("f", "m"),  # it grows with the atoms
        triclinic=box.triclinic,
        n_dof=degrees_of_freedom(atoms, chosen.conserves_momentum),
        target_K=chosen.temperature_K,
        ranks=ranks,
        device=device,
        model=fingerprint(model),
    )
    guard = guard or DomainGuard.from_header(model.header)
    script = state.script(guard, source)
    make_folder(folder)
    write_text(folder / SCRIPT, input_script(script))
    write_text(folder / DATA, _data(atoms, box, script.elements))
    _copy(source, folder / MODEL)
    state.save(folder)
    result = _run(Recorder(state, folder, guard, False), SCRIPT, progress, figures)
    if relaxation is not None:
        result.summary["relaxation"] = relaxation
        write_summary(result)
    return result


def resume_lammps_md(
    model_file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    ranks: int | None = None,
    time_ps: float | None = None,
    device: str = "cpu",
    guard: DomainGuard | None = None,
    progress: bool = True,
    figures: bool = True,
) -> MDResult:
    """Go on with the run in ``out`` from LAMMPS's newest restart file.

    A run that was killed before it wrote the first one begins again.

    Args:
        ranks: MPI processes; None keeps their number.
        time_ps: new total length; None keeps the one asked for at the start.

    Raises:
        UserError: there is nothing to resume, the run began with another model, or LAMMPS stopped
            with an error.
    """
    folder, source = Path(out), Path(model_file)
    state = RunState.load(folder)
    every = restart_steps(state.settings)
    if time_ps is not None:
        values = state.settings.model_dump() | {"time_ps": time_ps}
        state.settings = MDSettings.checked(**values)
    left = state.settings.steps - state.step
    if left < 0 or (left == 0 and summarised(folder, state.step)):
        done = state.step * state.settings.timestep_fs / 1000.0
        raise UserError(
            f"{folder}: the run has already reached {done:g} ps; ask for a longer --time to go on."
        )
    state.ranks = ranks or state.ranks
    state.device = device
    _check_lammps(state.ranks)
    restarts = [folder / name for name in RESTARTS if (folder / name).is_file()]
    early = not restarts and _killed_early(folder, state, every)
    if not early and not (restarts and (folder / THERMO).is_file()):
        raise UserError(
            f"{folder}: has no restart file of LAMMPS ({', '.join(RESTARTS)}), so the run cannot "
            "be resumed; start it again in another folder."
        )
    model = load_model(source, device=device)
    check_elements(model, state.atoms.numbers)
    check_same(folder, state.model, fingerprint(model))
    guard = guard or DomainGuard.from_header(model.header)
    _copy(source, folder / MODEL)
    if early:
        state.step = 0
        write_text(folder / SCRIPT, input_script(state.script(guard, source)))
        return _run(Recorder(state, folder, guard, False), SCRIPT, progress, figures)
    restarts.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    while True:
        text = continuation_script(
            state.script(guard, source), restarts[0].name, state.step, state.start_energy
        )
        write_text(folder / CONTINUATION, text)
        recorder = Recorder(state, folder, guard, True)
        try:
            return _run(recorder, CONTINUATION, progress, figures)
        except UserError:  # the newest file may be the one that LAMMPS was killed over
            if recorder.begun or len(restarts) == 1:
                raise
            restarts.pop(0)


def differences(settings: MDSettings) -> list[str]:
    """Sentences: what is not the same as with the engine ase."""
    found = {
        "nve": "velocity Verlet as with ase: the same trajectory but for rounding",
        "nvt": "the Bussi thermostat (fix temp/csvr) as with ase, with other random numbers",
        "npt": "the Bussi thermostat as with ase, with other random numbers; the volume moves by "
        "fix nph (Martyna, Tobias, Klein: a cell with inertia, which rings with about the barostat "
        "time) and not by stochastic cell rescaling; averages and fluctuations are those of the "
        "same ensemble",
    }
    first = found[settings.ensemble]
    if not settings.conserves_momentum:
        first = (
            "fix langevin (one random force a step; its temperature is off by a term linear in "
            "the time step) and not the second-order integrator of ase; other random numbers"
        )
    return [
        first,
        f"LAMMPS checks temperature, largest force and drift every {CHECK_STEPS} steps, pair "
        "distances at every step; a run ends at the next of those checks",
        "a resumed run is the uninterrupted one but for rounding"
        if settings.ensemble == "nve"
        else "a resumed run goes on with other random numbers than the uninterrupted one",
    ]


def _check_lammps(ranks: int) -> None:
    if ranks < 1:
        raise UserError(f"{ranks} ranks cannot run anything; give 1 or more.")
    reason = clebsch.lammps.available()
    if reason is not None:
        raise UserError(f"LAMMPS cannot run here: {reason}")


def _check_masses(atoms: Atoms) -> None:
    symbols, masses = np.array(atoms.get_chemical_symbols()), atoms.get_masses()
    for symbol in np.unique(symbols):
        if np.ptp(masses[symbols == symbol]) > 0:
            raise UserError(
                f"atoms of {symbol} have different masses in the structure; the engine lammps "
                "gives an element one mass, the engine ase keeps them."
            )


def _data(atoms: Atoms, box: Box, elements: list[str]) -> str:
    heavier = atoms.copy()
    heavier.set_masses(atoms.get_masses() * MASS_FACTOR)
    return data_file(
        heavier,
        box,
        elements,
        velocities=atoms.get_velocities() * (1000.0 * units.fs),
        comment=f"{atoms.get_chemical_formula()}; masses carry a factor of {MASS_FACTOR:.9f} for "
        "LAMMPS's rounded units",
    )


def _killed_early(folder: Path, state: RunState, every: int) -> bool:
    """Whether a run ended before its first restart file, so that nothing else can be lost."""
    if not (folder / DATA).is_file():
        return False
    if not (folder / THERMO).is_file() or not (folder / TRAJECTORY).is_file():
        return True
    last_ps = max(Kept.until(folder, np.inf).times_ps)
    return 1000.0 * last_ps / state.settings.timestep_fs < every + 0.5


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


@contextmanager
def _passing_files(folder: Path) -> Iterator[None]:
    """LAMMPS's own output, which becomes ours, is there only while it runs."""
    for name in _PASSING:
        (folder / name).unlink(missing_ok=True)
    yield
    for name in _PASSING:
        with suppress(FileNotFoundError):
            (folder / name).unlink()


def _run(recorder: Recorder, script: str, progress: bool, figures: bool) -> MDResult:
    state, folder = recorder.state, recorder.folder
    settings = state.settings
    earlier_s, started = state.wall_s, time.perf_counter()
    began = started  # the first line comes when the model is loaded
    with (
        _passing_files(folder),
        interruptible(recorder.end_run),
        RunBar(settings, progress) as bar,
    ):

        def on_line(text: str) -> None:
            nonlocal began
            before = recorder.begun
            line = recorder.line(text)
            if line is None:
                return
            now, time_ps = time.perf_counter(), line.step * settings.timestep_fs / 1000.0
            if not before:
                began = now
                bar.start(time_ps)
            elif line.step > recorder.first:
                speed = (line.step - recorder.first) * settings.timestep_fs * 1e-6
                temperature = recorder.values(line)["temperature_K"]
                bar.update(time_ps, temperature, speed / (now - began) * 86400)

        try:
            clebsch.lammps.run(script, state.ranks, folder, on_line)
        except UserError as error:
            if not recorder.begun or not any(word in str(error) for word in _FLEW_APART):
                raise
            recorder.stopped = recorder.stopped or f"LAMMPS lost hold of the atoms ({error})"
        finally:
            ended = time.perf_counter()
            recorder.finish()
            state.wall_s = earlier_s + ended - started
            if recorder.begun:
                state.save(folder)
    steps = state.step - recorder.first
    result = MDResult(
        out=folder,
        atoms=recorder.atoms,
        summary=summarise(
            settings, state.atoms, state.n_dof, state.step, state.wall_s, steps, ended - began
        ),
        stopped=recorder.stopped,
        interrupted=recorder.stopped is None and state.step < settings.steps,
    )
    result.summary |= {
        "model_fingerprint": state.model,
        "stopped": result.stopped,
        "interrupted": result.interrupted,
        "engine": {
            "name": "lammps",
            "ranks": state.ranks,
            "script": script,
            "differences_from_ase": differences(settings),
        },
    }
    result.summary["versions"]["lammps"] = str(lammps_version())
    analyse(result, settings, figures)
    write_summary(result)
    return result
