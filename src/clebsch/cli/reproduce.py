"""``clebsch reproduce``: get a published figure of this project again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def reproduce_command(
    row: Annotated[str | None, typer.Argument(help="Name of a row.", show_default=False)] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name the rows.")] = False,
    runs: Annotated[Path, typer.Option(help="Where the run directories go.")] = Path(
        "runs/reproduce"
    ),
    results: Annotated[Path, typer.Option(help="Where the result file goes.")] = Path("results"),
) -> None:
    """Train what a row says and write results/ROW.json: figures, published ones, versions."""
    from clebsch.errors import UserError
    from clebsch.reproduce import load_row, reproduce, row_names

    if list_:
        for name in row_names():
            typer.echo(f"{name:24s} {load_row(name).title}")
        return
    if row is None:
        raise UserError("name a row, or use --list to see them.")
    content = reproduce(row, runs, results)
    for name, figure in content["figures"].items():
        joint = figure.get("ensembles")
        more = f", ensembles of {joint['of']} {_with_spread(joint)}" if joint else ""
        typer.echo(f"{name}: {_with_spread(figure)}{more}")
        for published in figure["published"]:
            typer.echo(f"    {published['value']:.3g}  {published['what']}, {published['source']}")
    typer.echo(f"Written to {results / row}.json")


def _with_spread(figure: dict[str, Any]) -> str:
    """Mean and standard deviation.

    >>> _with_spread({"mean": 1.2345, "standard_deviation": 0.04})
    '1.23 +- 0.04'
    """
    spread = figure["standard_deviation"]
    return f"{figure['mean']:.3g}" + (f" +- {spread:.1g}" if spread is not None else "")
