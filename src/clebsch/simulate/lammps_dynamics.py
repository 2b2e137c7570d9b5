"""Molecular dynamics by LAMMPS, from the same options and into the same files as by ASE."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms

import clebsch.lammps
from clebsch.errors import UserError
from clebsch.files import atomic_path, make_folder
from clebsch.lammps.box import Box, data_file
from clebsch.lammps.plugin import lammps_version
from clebsch.models import load_model
from clebsch.simulate.calculator import Calculator, check_elements
from clebsch.simulate.domain import DomainGuard
from clebsch.simulate.integrators import degrees_of_freedom, thermalise
from clebsch.simulate.interruption import interruptible
from clebsch.simulate.lammps_output import (
    ClosePair,
    DumpFrame,
    FrameReader,
    Orientation,
    Screen,
    ThermoLine,
    Totals,
)
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
    LammpsRun,
    Limits,
    continuation_script,
    input_script,
)
from clebsch.simulate.outcome import MDResult, analyse, summarise, write_summary
from clebsch.simulate.progress import RunBar
from clebsch.simulate.record import (
    RESTART,
    THERMO,
    TRAJECTORY,
    Kept,
    RunFiles,
    fixed_atoms,
)
from clebsch.simulate.settings import MDSettings
from clebsch.simulate.start import check_start, relax_start
from clebsch.structures.graph import AtomGraph

#: What a resumed run has to know; it tells which engine runs in a folder.
STATE = "lammps.json"
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
    state = _State(
        atoms=atoms,
        settings=chosen,
        orientation=Orientation.of(atoms, box, chosen.ensemble == "npt"),
        boundary=box.boundary.replace("f", "m"),  # it grows with the atoms
        triclinic=box.triclinic,
        n_dof=degrees_of_freedom(atoms, chosen.conserves_momentum),
        target_K=chosen.temperature_K,
        ranks=ranks,
        device=device,
    )
    guard = guard or DomainGuard.from_header(model.header)
    script = state.script(guard, source)
    make_folder(folder)
    _write(folder / SCRIPT, input_script(script))
    _write(folder / DATA, _data(atoms, box, script.elements))
    _copy(source, folder / MODEL)
    state.save(folder)
    result = _run(_Recorder(state, folder, guard, False), SCRIPT, progress, figures)
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

    Args:
        ranks: MPI processes; None keeps their number.
        time_ps: new total length; None keeps the one asked for at the start.

    Raises:
        UserError: there is nothing to resume, or LAMMPS stopped with an error.
    """
    folder, source = Path(out), Path(model_file)
    state = _State.load(folder)
    if time_ps is not None:
        values = state.settings.model_dump() | {"time_ps": time_ps}
        state.settings = MDSettings.checked(**values)
    if state.settings.steps <= state.step:
        done = state.step * state.settings.timestep_fs / 1000.0
        raise UserError(
            f"{folder}: the run has already reached {done:g} ps; ask for a longer --time to go on."
        )
    state.ranks = ranks or state.ranks
    state.device = device
    _check_lammps(state.ranks)
    restarts = [folder / name for name in RESTARTS if (folder / name).is_file()]
    if not restarts or not (folder / THERMO).is_file():
        raise UserError(
            f"{folder}: has no restart file of LAMMPS ({', '.join(RESTARTS)}), so the run cannot "
            "be resumed; start it again in another folder."
        )
    model = load_model(source, device=device)
    check_elements(model, state.atoms.numbers)
    guard = guard or DomainGuard.from_header(model.header)
    _copy(source, folder / MODEL)
    restarts.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    while True:
        text = continuation_script(
            state.script(guard, source), restarts[0].name, state.step, state.start_energy
        )
        _write(folder / CONTINUATION, text)
        recorder = _Recorder(state, folder, guard, True)
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


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


@dataclass
class _State:
    """What decides how a run goes on, but for what is in LAMMPS's restart files."""

    atoms: Atoms
    settings: MDSettings
    orientation: Orientation
    boundary: str
    triclinic: bool
    n_dof: int
    target_K: float
    ranks: int
    device: str = "cpu"
    step: int = 0
    start_energy: float = float("nan")
    wall_s: float = 0.0

    def script(self, guard: DomainGuard, model: Path) -> LammpsRun:
        """What the input script is made from."""
        settings, n_atoms = self.settings, len(self.atoms)
        force = guard.largest_force
        change = guard.largest_change(self.target_K) * n_atoms
        return LammpsRun(
            settings=settings,
            title=f"{settings.ensemble.upper()} dynamics of {self.atoms.get_chemical_formula()} "
            f"with {model.name}",
            elements=sorted(set(self.atoms.get_chemical_symbols())),
            boundary=self.boundary,
            triclinic=self.triclinic,
            lost_dof=3 * n_atoms - self.n_dof,
            fixed=[int(index) for index in fixed_atoms(self.atoms)],
            limits=Limits(
                temperature_K=guard.hottest(self.target_K, self.n_dof),
                force=force if np.isfinite(force) else None,
                energy=change if settings.ensemble == "nve" else None,
                distances=bool(guard.min_distance),
            ),
            device=self.device,
        )

    def save(self, folder: Path) -> None:
        """Write lammps.json."""
        atoms, way = self.atoms, self.orientation
        values = {
            "engine": "lammps",
            "step": self.step,
            "settings": self.settings.model_dump(),
            "start_energy": self.start_energy if np.isfinite(self.start_energy) else None,
            "target_K": self.target_K,
            "n_dof": self.n_dof,
            "wall_s": self.wall_s,
            "ranks": self.ranks,
            "boundary": self.boundary,
            "triclinic": self.triclinic,
            "rotation": way.rotation.tolist(),
            "offset": way.offset.tolist(),
            "lengths": way.lengths.tolist(),
            "cell": atoms.cell.array.tolist(),
            "pbc": atoms.pbc.tolist(),
            "fixed": fixed_atoms(atoms).tolist(),
            "masses": dict(zip(atoms.get_chemical_symbols(), atoms.get_masses(), strict=True)),
            "symbols": atoms.get_chemical_symbols(),
        }
        _write(folder / STATE, json.dumps(values) + "\n")

    @classmethod
    def load(cls, folder: Path) -> _State:
        """Read lammps.json.

        Raises:
            UserError: it is not there or not readable.
        """
        path = folder / STATE
        if not path.is_file():
            raise UserError(
                f"{path}: no such file, so there is no run of LAMMPS to resume; leave --resume out."
            )
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            atoms = Atoms(
                values["symbols"],
                cell=values["cell"],
                pbc=values["pbc"],
                masses=[values["masses"][symbol] for symbol in values["symbols"]],
            )
            if values["fixed"]:
                atoms.set_constraint(FixAtoms(values["fixed"]))
            settings = MDSettings.checked(**values["settings"])
            rotation, offset, lengths = (
                np.array(values[name]) for name in ("rotation", "offset", "lengths")
            )
            energy = values["start_energy"]
            return cls(
                atoms=atoms,
                settings=settings,
                orientation=Orientation(
                    atoms, rotation, offset, lengths, settings.ensemble == "npt"
                ),
                boundary=str(values["boundary"]),
                triclinic=bool(values["triclinic"]),
                n_dof=int(values["n_dof"]),
                target_K=float(values["target_K"]),
                ranks=int(values["ranks"]),
                step=int(values["step"]),
                start_energy=float("nan") if energy is None else float(energy),
                wall_s=float(values["wall_s"]),
            )
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{path}: does not describe a run ({error}); start the run again."
            ) from error


@dataclass
class _Snapshot:
    """A recorded frame as the domain guard wants it."""

    atoms: Atoms
    results: dict[str, Any]
    edge_src: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    edge_dst: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    edge_lengths: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, atoms: Atoms, guard: DomainGuard) -> _Snapshot:
        """With the distances that the guard may object to."""
        reach = max(guard.min_distance.values(), default=0.0)
        if reach <= 0 or not np.isfinite(atoms.positions).all():
            return cls(atoms, atoms.calc.results)
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        graph = AtomGraph.from_atoms(bare, reach, dtype=_float64())
        lengths = np.linalg.norm(graph.vectors().numpy(), axis=1)
        return cls(atoms, atoms.calc.results, graph.src.numpy(), graph.dst.numpy(), lengths)


def _float64() -> Any:
    import torch

    return torch.float64


class _Recorder:
    """Turns what LAMMPS writes into the files of a run while it runs.

    Every recorded frame is checked by the guard that the engine ase uses; what LAMMPS finds by
    itself between frames ends the run, too.
    """

    def __init__(self, state: _State, folder: Path, guard: DomainGuard, resumed: bool) -> None:
        self.state, self.folder, self.guard = state, folder, guard
        self.resumed = resumed
        self.begun = False
        self.first = self.row_step = self.frame_step = -1
        self.latest: ThermoLine | None = None
        self.atoms = state.atoms
        self.stopped: str | None = None
        self.halt: str | None = None
        self.close: ClosePair | None = None
        self._screen = Screen()
        self._frames = FrameReader(folder / DUMP, folder / TOTALS)
        self._files: RunFiles | None = None

    @property
    def files(self) -> RunFiles:
        """The files; there are none before LAMMPS has something to say."""
        assert self._files is not None
        return self._files

    def end_run(self) -> None:
        """Ask LAMMPS to end the run."""
        (self.folder / STOP).touch()

    def line(self, text: str) -> ThermoLine | None:
        """Read a line of LAMMPS's screen; the thermodynamic values in it."""
        self.halt = self._screen.halt(text) or self.halt
        pair = self._screen.close_pair(text)
        if pair is not None and self.close is None and self._too_close(pair):
            self.close = pair
            self.end_run()
        values = self._screen.thermo(text)
        if values is not None:
            if not self.begun:
                self._begin(values)
            self.latest = values
            self._row(values, force=False)
            self._poll()
        return values

    def finish(self) -> None:
        """Read the last state and find out why the run ended."""
        if self.latest is None:
            return
        self._poll()
        last = self.folder / LAST_DUMP
        if last.is_file() and self.stopped is None:
            totals = Totals.parse((self.folder / LAST_TOTALS).read_text())
            frame = DumpFrame.parse(last.read_text().splitlines())
            self.atoms = self.state.orientation.structure(frame, totals)
            self.state.step = frame.step
            if self.halt not in (None, "stop") or self.close is not None:
                self.stopped = self._objection(self.atoms, totals) or self._reported()
            if self.stopped is not None:
                self._row(self.latest, force=True)
                self._frame(frame, totals)
        elif self.stopped is None:
            self.state.step = max(self.frame_step, 0)
        if self._files is not None:
            self._files.close()

    def _begin(self, values: ThermoLine) -> None:
        self.begun = True
        self.first = values.step
        if self.resumed:
            kept = Kept.until(self.folder, self._time(values.step))
            steps_per_ps = 1000.0 / self.state.settings.timestep_fs
            self.row_step, self.frame_step = (
                round(time_ps * steps_per_ps) for time_ps in kept.times_ps
            )
            self._files = RunFiles(self.folder, kept.sizes)
        else:
            self._files = RunFiles(self.folder)
            self.state.start_energy = values.potential + values.kinetic
            self.state.save(self.folder)

    def _time(self, step: int) -> float:
        return step * self.state.settings.timestep_fs / 1000.0

    def _row(self, values: ThermoLine, force: bool) -> None:
        regular = values.step % self.state.settings.sample_steps == 0
        if self.stopped is not None and not force:
            return
        if values.step > self.row_step and (regular or force):
            self.row_step = values.step
            self.files.row(self.values(values))

    def values(self, line: ThermoLine) -> dict[str, float]:
        """A row of thermo.csv."""
        bulk = bool(self.state.atoms.pbc.all())
        return {
            "time_ps": self._time(line.step),
            "potential_eV": line.potential,
            "kinetic_eV": line.kinetic,
            "total_eV": line.potential + line.kinetic,
            "temperature_K": 2.0 * line.kinetic / (units.kB * self.state.n_dof),
            "pressure_GPa": line.pressure / units.GPa if bulk else float("nan"),
            "volume_A3": line.volume if bulk else float("nan"),
        }

    def _poll(self) -> None:
        for frame, totals in self._frames.frames():
            if frame.step > self.frame_step and self.stopped is None:
                self.atoms = self.state.orientation.structure(frame, totals)
                self._frame(frame, totals)
                self.stopped = self._objection(self.atoms, totals)
                if self.stopped is not None:
                    self.state.step = frame.step
                    self.end_run()

    def _frame(self, frame: DumpFrame, totals: Totals) -> None:
        if frame.step > self.frame_step:
            self.frame_step = frame.step
            self.files.frame(self.atoms, self._time(frame.step))

    def _objection(self, atoms: Atoms, totals: Totals) -> str | None:
        state = self.state
        kinetic = float(atoms.get_kinetic_energy())
        change = None
        if state.settings.ensemble == "nve":
            change = (totals.energy + kinetic - state.start_energy) / len(atoms)
        temperature = 2.0 * kinetic / (units.kB * state.n_dof)
        snapshot = _Snapshot.of(atoms, self.guard)
        return self.guard.check(snapshot, temperature, state.target_K, state.n_dof, change)

    def _too_close(self, pair: ClosePair) -> bool:
        """Whether this run's guard objects, and not only the one in the model's header."""
        seen = self.guard.min_distance.get("-".join(sorted(pair.elements)), 0.0)
        return pair.distance < (1.0 - self.guard.distance_margin) * seen + 0.005  # as printed

    def _reported(self) -> str:
        """What LAMMPS found, where the last state shows it no more."""
        if self.close is not None:
            (i, j), pair = sorted(self.close.atoms), "-".join(sorted(self.close.elements))
            seen = self.guard.min_distance.get(pair)
            return f"atoms {i} and {j} ({pair}) are {self.close.distance:.2f} Å apart" + (
                f"; the closest {pair} pair in training was {seen:.2f} Å" if seen else ""
            )
        what = {
            "too_hot": "the temperature was higher than a run here may be",
            "too_strong": "a force was larger than the largest in training allows",
            "drifted": "the total energy of an NVE run has moved by more than k_B T per atom",
        }
        return what.get(str(self.halt), f"LAMMPS's check {self.halt} ended the run")


@contextmanager
def _passing_files(folder: Path) -> Iterator[None]:
    """LAMMPS's own output, which becomes ours, is there only while it runs."""
    for name in _PASSING:
        (folder / name).unlink(missing_ok=True)
    yield
    for name in _PASSING:
        with suppress(FileNotFoundError):
            (folder / name).unlink()


def _run(recorder: _Recorder, script: str, progress: bool, figures: bool) -> MDResult:
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
