"""What LAMMPS prints and dumps, turned into the files of a run while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units

from clebsch.simulate.domain import DomainGuard
from clebsch.simulate.lammps_output import (
    ClosePair,
    DumpFrame,
    FrameReader,
    Screen,
    ThermoLine,
    Totals,
)
from clebsch.simulate.lammps_script import DUMP, LAST_DUMP, LAST_TOTALS, STOP, TOTALS
from clebsch.simulate.lammps_state import RunState
from clebsch.simulate.record import Kept, RunFiles
from clebsch.structures.graph import AtomGraph


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
        graph = AtomGraph.from_atoms(bare, reach, dtype=torch.float64)
        lengths = np.linalg.norm(graph.vectors().numpy(), axis=1)
        return cls(atoms, atoms.calc.results, graph.src.numpy(), graph.dst.numpy(), lengths)


class Recorder:
    """Turns what LAMMPS writes into the files of a run while it runs.

    Every recorded frame is checked by the guard that the engine ase uses; what LAMMPS finds by
    itself between frames ends the run, too.
    """

    def __init__(self, state: RunState, folder: Path, guard: DomainGuard, resumed: bool) -> None:
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
