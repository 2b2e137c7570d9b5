"""``clebsch density properties``: electrons, moments, energies and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def properties(
    source: Annotated[
        str,
        typer.Argument(
            help="File of densities (HDF5, npz, embedded:NAME), or a model.", show_default=False
        ),
    ],
    structures: Annotated[
        list[str] | None,
        typer.Argument(help="Of a model: files of any ASE format.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help=".json or .csv file for all of it.", show_default=False)
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="File of densities of the same molecules, to compare with."),
    ] = None,
    hartree: Annotated[
        bool, typer.Option("--hartree/--no-hartree", help="The Hartree energy; needs PySCF.")
    ] = True,
    forces: Annotated[
        bool,
        typer.Option(
            "--forces", help="Electrostatic forces on nuclei too: not the energy's gradient."
        ),
    ] = False,
    split: Annotated[
        str | None, typer.Option(help="Only this part of the data, such as test.")
    ] = None,
    device: Annotated[str, typer.Option(help="Of a model: cpu, cuda, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Electron count, dipole, quadrupole, Hartree energy, electrons of atoms; errors."""
    from clebsch.cli.density_tables import tabulate_properties

    tabulate_properties(
        source, structures or [], out, reference, hartree, forces, split, device, quiet
    )
