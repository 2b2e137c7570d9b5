"""``clebsch bench``: time and memory beside those of the peers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench_command(
    name: Annotated[str, typer.Argument(help="operator, model, build, framework or density.")],
    json_: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON and nothing else.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="End within 50 s: what carries a bar comes first.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where NAME.json and NAME.png go.")] = Path(
        "results/bench"
    ),
    threads: Annotated[int, typer.Option(min=0, help="Threads of each side; 0 for all cores.")] = 0,
    same_process: Annotated[
        bool,
        typer.Option("--same-process", help="Measure both sides in one process instead of two."),
    ] = False,
    case: Annotated[
        list[str] | None,
        typer.Option(help="operator, framework: only cases whose name has this; repeatable."),
    ] = None,
) -> None:
    """Measure against e3nn, nequip or PySCF in alternating runs; write results/bench/NAME.json."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from clebsch import bench, machine
    from clebsch.bench.pair import Clock
    from clebsch.bench.report import notes, table
    from clebsch.bench.settings import QUICK_SECONDS, Settings

    bench.check_name(name)
    clock = Clock(QUICK_SECONDS if quick else None)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        line = bar.add_task(f"bench {name}", total=None)
        settings = Settings(
            quick=quick,
            threads=threads or machine.cores(),
            same_process=same_process,
            clock=clock,
            only=tuple(case or ()),
            progress=lambda case, number, total: bar.update(
                line, description=case, completed=number, total=total
            ),
        )
        content = bench.run(name, settings, out)
    if json_:
        typer.echo((out / f"{name}.json").read_text(encoding="utf-8"), nl=False)
        return
    shown = Console()
    shown.print(table(name, content))
    for note in notes(name, content):
        shown.print(note, highlight=False, soft_wrap=True)
    shown.print(
        f"Written to {out / name}.json and {out / name}.png", highlight=False, soft_wrap=True
    )
