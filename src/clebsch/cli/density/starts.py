"""The work of ``clebsch density restart``: density matrices, and what they save."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from clebsch.cli.density.input import NamedDensity, open_densities
from clebsch.density.level import Level
from clebsch.density.molecule import import_pyscf
from clebsch.density.reference import NotConvergedError
from clebsch.density.restart import (
    GUESSES,
    GuessResult,
    check_density,
    compare_guesses,
    effective_potential,
    initial_density_matrix,
)
from clebsch.errors import UserError
from clebsch.figures import COLOURS, figure
from clebsch.files import atomic_path, write_text

_GROWTH = 2.65  # exponent of the time in the number of electrons, measured on water clusters
_SAME_ENERGY = 1e-5  # eV within which two SCFs have found the same state


@dataclass(frozen=True)
class Compared:
    """The SCFs of one molecule, one from each guess."""

    number: int
    name: str
    formula: str
    electrons: int
    results: list[GuessResult]

    @property
    def spread(self) -> float:
        """Largest difference of the energies, eV."""
        energies = [r.energy for r in self.results]
        return max(energies) - min(energies)


def make_starts(
    file: str,
    structures: list[str],
    out: Path,
    options: Mapping[str, Any],
    compare: bool,
    split: str | None,
    device: str | None,
    quiet: bool,
) -> None:
    """Make the matrices, and with ``compare`` run the SCF from each guess.

    Args:
        file: of densities, or a model.
        structures: for a model.
        out: folder.
        options: fields of `Level` that the user gave; the others are those of the data.
        compare: run and compare SCFs.
        split: only this part of the molecules.
        device: where a model runs.
        quiet: no progress bar.

    Raises:
        UserError: a wrong file, option or molecule; nothing has been computed then.
    """
    import_pyscf()
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, but the results are a folder; give --out another name.")
    densities = open_densities(file, structures, device, split)
    known = {**densities.level, **options}
    level = Level.from_json(json.dumps(known))
    items = list(densities)
    for item in items:
        check_density(item.density, level, item.name)
    compared: list[Compared] = []
    left_out: list[tuple[str, str]] = []
    with _bar(quiet) as bar:
        costs = [float(item.density.numbers.sum()) ** _GROWTH for item in items]
        per = 1 + (1 + len(GUESSES)) * compare
        task = bar.add_task(level_text(level), total=per * sum(costs))
        for item, cost in zip(items, costs, strict=True):
            _save(out / f"{item.number:05d}.npz", item, level)
            bar.advance(task, cost)
            if not compare:
                continue
            finished: list[GuessResult] = []

            def follow(
                result: GuessResult, cost: float = cost, to: list[GuessResult] = finished
            ) -> None:
                to.append(result)
                bar.advance(task, cost)

            try:
                results = compare_guesses(item.density, level, GUESSES, follow)
            except NotConvergedError as error:
                left_out.append((item.name, str(error)))
                bar.advance(task, cost * (1 + len(GUESSES) - len(finished)))
                continue
            formula = Atoms(numbers=item.density.numbers.numpy()).get_chemical_formula()
            electrons = int(item.density.numbers.sum())
            compared.append(Compared(item.number, item.name, formula, electrons, results))
    print(f"{len(items)} density matrices at {level_text(level)} -> {out}")
    for name, reason in left_out:
        print(f"left out of the comparison: {name}: {reason}", file=sys.stderr)
    if compared:
        _report(compared, level, out)


def level_text(level: Level) -> str:
    """Functional and orbital basis."""
    return f"{level.xc}/{level.basis}"


def _save(path: Path, item: NamedDensity, level: Level) -> None:
    """dm0 and what it belongs to, without pickles."""
    numbers = item.density.numbers.numpy()
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            dm0=np.asarray(initial_density_matrix(item.density, level)),
            potential=effective_potential(item.density, level),
            symbols=np.array([chemical_symbols[z] for z in numbers]),
            positions=item.density.positions.numpy(),
            basis=level.basis,
            xc=level.xc,
            name=item.name,
        )


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=quiet,
    )


def _report(compared: list[Compared], level: Level, out: Path) -> None:
    summary = _summary(compared)
    Console().print(comparison_table(compared, summary))
    for guess, values in summary.items():
        if guess != "density":
            print(
                f"saved against {guess}: {values['cycles_saved_percent']:.0f} % of the cycles, "
                f"{values['time_saved_percent']:.0f} % of the processor time"
            )
    for row in compared:
        if row.spread > _SAME_ENERGY:
            print(
                f"warning: {row.name}: the guesses end {row.spread:.1e} eV apart, in different "
                "states or not converged tightly; lower --conv-tol",
                file=sys.stderr,
            )
    path = out / "comparison.json"
    write_text(
        path,
        json.dumps(
            {
                "level": asdict(level),
                "versions": {n: importlib.metadata.version(n) for n in ("clebsch", "pyscf")},
                "units": {"energy": "eV", "times": "s"},
                "summary": summary,
                "molecules": [{**asdict(row), "energy_spread": row.spread} for row in compared],
            },
            indent=1,
        )
        + "\n",
    )
    _draw(out / "comparison.png", compared, summary, level)
    print(f"Comparison: {path} and comparison.png beside it")


def comparison_table(
    compared: Sequence[Compared], summary: Mapping[str, Mapping[str, float]]
) -> Table:
    """Cycles and processor time of each molecule from each guess, and means; 80 columns wide."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("formula", overflow="fold")
    for guess in summary:
        table.add_column(f"{guess}\ncycles, s", justify="right", no_wrap=True)
    for row in compared:
        cells = (f"{r.cycles:2d}   {r.processor_seconds:7.1f}" for r in row.results)
        table.add_row(str(row.number), row.formula, *cells)
    mean = (f"{v['cycles']:4.1f} {v['processor_seconds']:7.1f}" for v in summary.values())
    table.add_row("mean", "", *mean)
    return table


def _summary(compared: Iterable[Compared]) -> dict[str, dict[str, float]]:
    """Means over the molecules; what is saved is the mean of each molecule's share."""
    summary: dict[str, dict[str, float]] = {}
    rows = [row.results for row in compared]
    for place, first in enumerate(rows[0]):
        mine = [row[place] for row in rows]
        summary[first.guess] = {
            name: float(np.mean([getattr(r, name) for r in mine]))
            for name in ("cycles", "seconds", "processor_seconds", "guess_seconds")
        }
        if place > 0:
            for name, of in (("cycles", "cycles"), ("time", "processor_seconds")):
                shares = [1 - getattr(row[0], of) / getattr(row[place], of) for row in rows]
                summary[first.guess][f"{name}_saved_percent"] = float(100 * np.mean(shares))
    return summary


def _draw(
    path: Path, compared: list[Compared], summary: dict[str, dict[str, float]], level: Level
) -> None:
    names = list(summary)
    electrons = np.array([row.electrons for row in compared])
    with figure(path, 7.0, 2.8) as canvas:
        cycles, times = canvas.subplots(1, 2)
        for place, guess in enumerate(names):
            mine = [row.results[place] for row in compared]
            cycles.bar(place, summary[guess]["cycles"], color=COLOURS[place], width=0.7, alpha=0.8)
            shift = np.linspace(-0.22, 0.22, len(mine)) if len(mine) > 1 else np.zeros(1)
            cycles.plot(place + shift, [r.cycles for r in mine], "o", ms=2.5, color="#333333")
            share = [
                r.processor_seconds / row.results[1].processor_seconds
                for r, row in zip(mine, compared, strict=True)
            ]
            aside = electrons + (place - 1.5) * 0.012 * electrons.max()
            times.plot(aside, share, "o", ms=3.5, color=COLOURS[place], label=guess)
        cycles.set_xticks(range(len(names)), names)
        cycles.set_ylabel("SCF cycles")
        cycles.set_title(f"{level_text(level)}, {len(compared)} molecules")
        cycles.grid(axis="x", visible=False)
        times.set_xlabel("electrons")
        times.set_ylabel(f"processor time / that of {names[1]}")
        times.set_xlim(0, 1.1 * electrons.max())
        times.set_ylim(bottom=0)
        times.legend(loc="lower left")
