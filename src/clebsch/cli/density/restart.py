"""``clebsch density restart``: density matrices for PySCF to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clebsch.cli.density.options import ModelDevice, Source, Split, Structures
from clebsch.cli.options import Quiet


def restart_command(
    source: Source,
    structures: Structures = None,
    out: Annotated[Path, typer.Option(help="Folder for the density matrices.")] = Path("restart"),
    xc: Annotated[str | None, typer.Option(help="Functional. [that of the data]")] = None,
    basis: Annotated[str | None, typer.Option(help="Orbital basis. [that of the data]")] = None,
    grid_level: Annotated[int | None, typer.Option(help="Of PySCF's grid, 0 to 9.")] = None,
    conv_tol: Annotated[float | None, typer.Option(help="Of the SCF, hartree.")] = None,
    density_fit: Annotated[
        bool | None,
        typer.Option(
            "--density-fit/--no-density-fit", help="Fit Coulomb and exchange within the SCF."
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Run the SCF from each guess (minao, atom, huckel too): slow."
        ),
    ] = False,
    split: Split = None,
    device: ModelDevice = None,
    quiet: Quiet = False,
) -> None:
    """Start PySCF from a density: matrices dm0, and with --compare what they save.

    Each molecule gets an .npz file with dm0 and the effective potential, in PySCF's order of
    functions. Needs the extra density.
    """
    from clebsch.cli.density.starts import make_starts

    options = {
        "xc": xc, "basis": basis, "grid_level": grid_level, "conv_tol": conv_tol,
        "density_fit": density_fit,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    make_starts(source, structures or [], out, given, compare, split, device, quiet)
