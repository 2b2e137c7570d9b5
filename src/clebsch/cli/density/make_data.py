"""``clebsch density make-data``: reference densities with PySCF."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clebsch.cli.options import Quiet

if TYPE_CHECKING:
    from clebsch.density.making import Made


def make_data_command(
    structures: Annotated[
        list[str],
        typer.Argument(help="Molecules in any usual format (xyz, db, ...).", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="HDF5 file to make or to add to.")] = Path("data.h5"),
    xc: Annotated[str, typer.Option(help="Functional as PySCF names it, or hf.")] = "pbe0",
    basis: Annotated[str, typer.Option(help="Orbital basis.")] = "def2-tzvp",
    aux: Annotated[
        str, typer.Option(help="Auxiliary basis of the fit; it is decontracted.")
    ] = "def2-universal-jfit",
    metric: Annotated[
        str, typer.Option(help="In which the fit's error is least: coulomb or overlap.")
    ] = "coulomb",
    grid_level: Annotated[int, typer.Option(help="Of PySCF's grid, 0 to 9.")] = 3,
    conv_tol: Annotated[float, typer.Option(help="Of the SCF, hartree.")] = 1e-9,
    density_fit: Annotated[
        bool, typer.Option(help="Fit Coulomb and exchange within the SCF: much faster.")
    ] = True,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 1,
    keep_grid: Annotated[
        bool,
        typer.Option(
            "--keep-grid",
            help="Keep the Kohn-Sham density on a coarse grid too (some 5000 points per atom).",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Reference densities with PySCF: SCF in parallel processes, density fit, energy and forces.

    Molecules must be neutral with a closed shell. What is finished is kept: an interrupted command
    goes on when it is given again, and more structures can be added to the same file. Needs the
    extra density.
    """
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from clebsch.density.level import Level
    from clebsch.density.making import Progress, make_data
    from clebsch.density.molecule import import_pyscf
    from clebsch.structures import read_dataset

    chosen: Any = metric
    level = Level(xc, basis, aux, chosen, grid_level, conv_tol, density_fit)
    import_pyscf()
    dataset = read_dataset(structures[0] if len(structures) == 1 else structures)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, disable=quiet) as bar:
        task = bar.add_task("densities", total=None, count="")

        def show(now: Progress) -> None:
            # without work the bar is full
            count = f"{now.finished}/{now.molecules}"
            count += f", {now.failed} failed" if now.failed else ""
            bar.update(task, completed=now.done or None, total=now.total or 1.0, count=count)

        try:
            made = make_data(dataset, out, level, workers, keep_grid, show)
        except KeyboardInterrupt:
            bar.stop()
            print(
                f"{out}: interrupted; what is finished is kept: give the same command again.",
                file=sys.stderr,
            )
            raise
        bar.update(task, completed=bar.tasks[0].total)
    _say(made, str(level))


def _say(made: Made, level: str) -> None:
    import numpy as np

    errors = np.array([record.fit_error_percent for record in made.data.records])
    print(
        f"{len(made.data)} molecules at {level}: {made.computed} computed, {made.kept} kept\n"
        f"density error of the fit: {errors.mean():.3f} % on average, {errors.max():.3f} % at most"
    )
    for where, reason in made.failed:
        print(f"left out: {where}: {reason}", file=sys.stderr)
    print(f"Data: {made.data.path}")
