"""``clebsch verify``: no simulation on a silently wrong number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clebsch.cli.options import Quiet

if TYPE_CHECKING:
    from rich.console import Console

    from clebsch.models import FrozenPotential, Potential
    from clebsch.verify import Case, Report, Settings

FAILED = 1


def verify_command(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    structures: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files with structures beside the built-in ones, or embedded:NAME.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for verify.json, verify.txt and verify.html [default: MODEL-verify].",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer structures and displacements, ranks 1 and 2.")
    ] = False,
    frames: Annotated[
        int | None,
        typer.Option(
            help="Most structures of the files, evenly spaced. [default: 10; 3 if quick]",
            show_default=False,
            min=1,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Some of plain, float32, frozen, source, compile, ase, domains, lammps "
            "(engines), derivatives, symmetries, neighbours, cutoff, exactness, conservation; "
            "separated by commas, or the option several times.",
            show_default=False,
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="Engines that must run: it is a failure where they cannot.", show_default=False
        ),
    ] = None,
    ranks: Annotated[
        str | None,
        typer.Option(help="Of LAMMPS. [default: 1,2,4; 1,2 if quick]", show_default=False),
    ] = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Ask torch.compile, too, which takes minutes.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(help="What a frozen model was made of.", show_default=False),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="verify.json of an earlier run: its numbers must come again.", show_default=False
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Of freezing the model, eV/atom; see clebsch freeze.")
    ] = 1e-6,
    quiet: Quiet = False,
) -> None:
    """Compare every engine's numbers, and check them against physics.

    Exit codes: 0 all passed; 1 a check failed; 2 wrong input. What could not run is listed with
    the reason and counts as neither.
    """
    from rich.console import Console

    from clebsch.cli.simulation import load
    from clebsch.errors import UserError
    from clebsch.files import make_folder
    from clebsch.models import FrozenPotential, Potential
    from clebsch.structures import read_dataset
    from clebsch.verify import Settings, given_cases, read_recorded, summary_table, write_page

    settings = Settings(
        quick=quick,
        only=_words(",".join(only or [])),
        require=_words(",".join(require or [])),
        ranks=_ranks(ranks) if ranks is not None else ((1, 2) if quick else (1, 2, 4)),
        compile=compile_,
        tolerance=tolerance,
    )
    potential = load(model, "cpu")
    made_of: Potential | None = None
    if source is not None:
        if not isinstance(potential, FrozenPotential):
            raise UserError(f"{model}: is not frozen, so it has no --source.")
        loaded = load(source, "cpu")
        if not isinstance(loaded, Potential):
            raise UserError(f"{source}: is frozen, too; give the model that it was made of.")
        made_of = loaded
    cases: list[Case] = []
    if structures:
        dataset = read_dataset(structures[0] if len(structures) == 1 else structures)
        cases = given_cases(dataset, potential, frames or (3 if quick else 10))
    before = read_recorded(against) if against is not None else []
    folder = out or model.with_name(f"{model.stem}-verify")
    make_folder(folder)  # before minutes of work
    report = run(potential, cases, settings, model, made_of, model, before, quiet)
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    console.print(summary_table(report, console.width))
    say(report, console)
    write_table(report, folder / "verify.txt")
    report.write_json(folder / "verify.json")
    write_page(folder / "verify.html", report)
    console.print(
        f"Everything: {folder / 'verify.html'}, .txt and .json", highlight=False, soft_wrap=True
    )
    if not report.passed:
        raise typer.Exit(FAILED)


def run(
    potential: Potential | FrozenPotential,
    cases: list[Case],
    settings: Settings,
    model: Path,
    source: Potential | None,
    model_file: Path | None,
    before: list[dict[str, Any]],
    quiet: bool,
) -> Report:
    """``clebsch.verify.verify`` with a progress bar; ``model`` names the potential."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from clebsch.verify import verify

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    off = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=off) as bar:
        line = bar.add_task("verify", total=1.0)
        return verify(
            potential,
            cases,
            settings,
            name=str(model),
            model_file=model_file,
            source=source,
            before=before,
            advance=lambda done, name: bar.update(line, completed=done, description=name),
        )


def say(report: Report, console: Console) -> None:
    """What was not run, every failure, and the verdict."""
    from clebsch.verify import sentence

    rows = [row for row in report.rows() if row.status == "not run"] + report.failures
    for row in rows:
        console.print(sentence(row), highlight=False, markup=False, soft_wrap=True)
    console.print(report.verdict(), highlight=False, soft_wrap=True)


def write_table(report: Report, path: Path) -> None:
    """The summary and all checks as text."""
    import io

    from rich.console import Console

    from clebsch.files import write_text
    from clebsch.verify import full_table, summary_table

    console = Console(file=io.StringIO(), width=160, no_color=True)
    console.print(summary_table(report))
    console.print(full_table(report))
    console.print(report.verdict(), highlight=False)
    write_text(path, console.file.getvalue())  # type: ignore[attr-defined]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _ranks(text: str) -> tuple[int, ...]:
    from clebsch.errors import UserError

    try:
        return tuple(dict.fromkeys(int(word) for word in _words(text)))
    except ValueError:
        raise UserError(f"--ranks are whole numbers separated by commas, not {text!r}.") from None
