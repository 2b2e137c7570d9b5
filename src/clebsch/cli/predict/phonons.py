"""``clebsch predict`` with a model of the phonon density of states."""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from clebsch.cli.simulation import check_device
from clebsch.errors import UserError
from clebsch.models import load_dos_model
from clebsch.phonons import convert_frequency
from clebsch.phonons.properties import check_amount
from clebsch.phonons.thermodynamics import Amount
from clebsch.vibrations import prediction as phonon_prediction
from clebsch.vibrations.crystals import Crystal, read_crystals, widest_gap
from clebsch.vibrations.output import PhononOutput, check_phonon_suffix, write_phonons
from clebsch.vibrations.prediction import PhononPrediction

MAX_FIGURES = 200
_LISTED = 20  # rows of the table on the screen
_COMPLAINTS = 10  # structures left out that are named one by one


def predict_phonons(
    model: Path,
    structures: list[str],
    out: Path,
    max_atoms: int,
    device: str,
    quiet: bool,
    given: dict[str, Any],
) -> None:
    """Predict, write, draw and rank.

    Args:
        model: file of a phonon-DoS model.
        structures: files and folders.
        out: ``.csv``, ``.json`` or ``.h5``.
        max_atoms: in one batch.
        device: where the model runs.
        quiet: no progress bar.
        given: the options that the user gave, by name.

    Raises:
        UserError: wrong options, files or structures; nothing has been written then.
    """
    check_phonon_suffix(out)
    if "figures" in given and given["figures"].is_file():
        raise UserError(f"{given['figures']}: is a file, not a folder for figures; name a folder.")
    output = _output(given, str(model))
    amount, top = _ranking(given)
    check_device(device)
    network = load_dos_model(model, device=device)
    left_out = _LeftOut() if given.get("skip") else None
    crystals = read_crystals(structures, left_out)
    began = time.perf_counter()
    with _report(left_out), _progress(quiet) as bar:
        task = bar.add_task("", total=1.0, crystals=0)
        followed = _follow(_few_enough(crystals, given, top), bar, task)
        found = phonon_prediction.predict_phonons(
            network, followed, max_atoms=max_atoms, on_error=left_out
        )
        count = _Counted(found, network.cutoff)
        predictions: Any = count
        if "rank" in given:
            predictions = phonon_prediction.rank(
                count, output.temperatures[0], amount, given["rank"] == "highest", top
            )
        elif "figures" in given:  # kept for them; else memory does not grow
            predictions = list(count)
        written = write_phonons(predictions, out, output)
    seconds = time.perf_counter() - began
    count.warn()
    if "rank" in given:
        _print_table(predictions, output, amount)
    best = f"{written} of " if written < count.n else ""
    print(f"{best}{count.n} crystals in {seconds:.1f} s -> {out}")
    if network.config.members == 1:
        print("no uncertainties: the model is one network, not an ensemble.")
    if "figures" in given:
        _draw(predictions, given["figures"], output, quiet)


@contextmanager
def _report(left_out: _LeftOut | None) -> Iterator[None]:
    """Says at the end what was left out, also where nothing else was left."""
    try:
        yield
    finally:
        if left_out is not None:
            left_out.report()


def _output(given: dict[str, Any], model: str) -> PhononOutput:
    temperatures = tuple(dict.fromkeys(given.get("temperature") or [300.0]))
    for value in temperatures:
        if not (value > 0 and math.isfinite(value)):
            raise UserError(f"--temperature {value:g}: a temperature must be above 0 K.")
    unit = {"cm-1": "cm^-1"}.get(given.get("unit", "cm^-1"), given.get("unit", "cm^-1"))
    try:
        convert_frequency(1.0, "cm^-1", unit)
    except UserError as error:
        raise UserError(f"--unit {unit}: {error}.") from None
    normalise = given.get("normalise", "3N")
    if normalise not in ("3N", "1", "maximum"):
        raise UserError(f"--normalise {normalise}: choose 3N, 1 or maximum.")
    return PhononOutput(temperatures, unit, normalise, model)


def _ranking(given: dict[str, Any]) -> tuple[Amount, int | None]:
    """What to compare per, and how many to keep."""
    if given.get("rank", "highest") not in ("highest", "lowest"):
        raise UserError(f"--rank {given['rank']}: choose highest or lowest.")
    for name in ("top", "per"):
        if name in given and "rank" not in given:
            raise UserError(f"--{name} goes with --rank highest or --rank lowest; add it.")
    if "max_figures" in given and "figures" not in given:
        raise UserError("--max-figures goes with --figures FOLDER; add it.")
    try:
        return check_amount(given.get("per", "mol of atoms")), given.get("top")
    except UserError as error:
        raise UserError(f"--per: {error}.") from None


def _few_enough(
    crystals: Iterator[Crystal], given: dict[str, Any], top: int | None
) -> Iterator[Crystal]:
    """The crystals, if there are not too many of them to draw."""
    most = given.get("max_figures", MAX_FIGURES)
    if "figures" not in given or (top is not None and top <= most):
        return crystals
    if top is None:
        first = list(itertools.islice(crystals, most + 1))
        if len(first) <= most:
            return iter(first)
    raise UserError(
        f"--figures would draw more than {most} figures; take --rank with --top, or allow them "
        "with --max-figures."
    )


def _progress(quiet: bool) -> Progress:
    return Progress(
        TextColumn("predicting"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[crystals]} crystals"),
        TimeRemainingColumn(),
        disable=quiet,
    )


def _follow(crystals: Iterator[Crystal], bar: Progress, task: TaskID) -> Iterator[Crystal]:
    """The same crystals; the bar shows how far the files are read."""
    for number, crystal in enumerate(crystals, 1):
        bar.update(task, completed=crystal.progress, crystals=number)
        yield crystal


class _Counted:
    """Passes predictions on, counts them, and remembers which are hardly crystals."""

    def __init__(self, predictions: Iterator[PhononPrediction], cutoff: float) -> None:
        self.predictions, self.cutoff, self.n = predictions, cutoff, 0
        self.hollow: list[str] = []

    def __iter__(self) -> Iterator[PhononPrediction]:
        for prediction in self.predictions:
            self.n += 1
            if widest_gap(prediction.atoms) > self.cutoff:
                self.hollow.append(prediction.where)
            yield prediction

    def warn(self) -> None:
        """Say that slabs in a periodic cell were predicted."""
        if self.hollow:
            more = f" and {len(self.hollow) - 1} more" if len(self.hollow) > 1 else ""
            warnings.warn(
                f"{self.hollow[0]}{more}: an empty layer is wider than the model's cutoff of "
                f"{self.cutoff:g} Å, across which it sees nothing; it knows crystals, not slabs or "
                "molecules.",
                stacklevel=2,
            )


class _LeftOut:
    """Counts structures that cannot be predicted, and names the first of them."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.count = 0

    def __call__(self, error: UserError) -> None:
        self.count += 1
        if len(self.errors) < _COMPLAINTS:
            self.errors.append(str(error))

    def report(self) -> None:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        for sentence in self.errors:
            console.print(f"left out: {sentence}", markup=False)
        if self.count > len(self.errors):
            console.print(f"left out: {self.count - len(self.errors)} more")


def _print_table(predictions: list[PhononPrediction], output: PhononOutput, amount: Amount) -> None:
    temperature = output.temperatures[0]
    first = predictions[0].thermodynamics([temperature])
    unit = first.heat_capacity(temperature, amount).unit
    table = Table()
    for title in ("", "crystal", "formula"):
        table.add_column(title, overflow="fold", justify="right" if not title else "left")
    for title in (f"C_v({temperature:g} K)\n{unit}", "Debye\nK", "mean frequency\ncm^-1"):
        table.add_column(title, justify="right")
    for place, prediction in enumerate(predictions[:_LISTED], 1):
        found = prediction.thermodynamics([temperature])
        values = (
            found.heat_capacity(temperature, amount),
            found.debye_temperature(),
            found.mean_frequency(),
        )
        shown = [f"{v.value:.4g}" + ("" if v.std is None else f" ± {v.std:.2g}") for v in values]
        formula = prediction.atoms.get_chemical_formula("metal")
        table.add_row(str(place), prediction.name, formula, *shown)
    Console().print(table)
    if len(predictions) > _LISTED:
        print(f"... and {len(predictions) - _LISTED} more in the file")


def _draw(
    predictions: list[PhononPrediction], folder: Path, output: PhononOutput, quiet: bool
) -> None:
    from rich.progress import track

    from clebsch.vibrations.figures import draw_phonons

    figures = draw_phonons(predictions, folder, output)
    count = sum(1 for _ in track(figures, "drawing", total=len(predictions), disable=quiet))
    print(f"{count} figures -> {folder}")
