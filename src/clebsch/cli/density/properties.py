"""``clebsch density properties``: electrons, moments, energies and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clebsch.cli.density.options import ModelDevice, Source, Split, Structures
from clebsch.cli.options import Quiet


def properties_command(
    source: Source,
    structures: Structures = None,
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
    split: Split = None,
    device: ModelDevice = None,
    quiet: Quiet = False,
) -> None:
    """Electron count, dipole, quadrupole, Hartree energy, electrons of atoms; errors."""
    from clebsch.cli.density.tables import tabulate_properties

    tabulate_properties(
        source, structures or [], out, reference, hartree, forces, split, device, quiet
    )
