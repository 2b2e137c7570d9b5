"""``clebsch lammps``: is everything there, the lines for an input script, and running one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def lammps(
    model: Annotated[
        Path | None, typer.Argument(help="Model file to print the lines for.", show_default=False)
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option("--in", help="Input script to run, in its own folder.", show_default=False),
    ] = None,
    ranks: Annotated[int, typer.Option(help="MPI processes for --in.")] = 1,
) -> None:
    """Check LAMMPS, build its plug-in, and say which lines an input script needs.

    With --in the script is run: as `lmp -in` does, and also where there is no C++ compiler (one
    process then, and no hybrid pair styles). Exit codes: 0 done; 2 wrong input, or LAMMPS stopped
    with an error.
    """
    from clebsch.compiler import NoCompiler
    from clebsch.errors import UserError
    from clebsch.lammps.launch import run
    from clebsch.lammps.plugin import build, lammps_version

    if script is not None and not script.is_file():
        raise UserError(f"{script}: no such input script; check the path.")
    if ranks < 1:
        raise UserError(f"--ranks {ranks}: give 1 or more.")
    version = lammps_version()
    try:
        print(f"LAMMPS {version} with pair_style clebsch: {build()}")
    except NoCompiler as error:
        print(
            f"LAMMPS {version} without the plug-in: {error}.\n"
            "Until then scripts run on one rank: clebsch lammps --in SCRIPT"
        )
    if model is not None:
        from clebsch.cli.simulation import load

        potential = load(model, "cpu")
        print(
            f"\n{model} knows {', '.join(potential.species)}, cutoff {potential.cutoff:g} Å. "
            "In the input script, with the elements in the order of your atom types:\n\n"
            "units          metal\n"
            "pair_style     clebsch\n"
            f"pair_coeff     * * {model} {' '.join(potential.species)}\n\n"
            "lmp -in in.file\n"
            "mpirun -np 4 lmp -in in.file"
        )
    if script is not None:
        run(script.name, ranks, script.resolve().parent, print)
