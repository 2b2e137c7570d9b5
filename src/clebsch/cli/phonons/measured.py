"""``clebsch phonons measured``: a potential against measured values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clebsch.cli.options import Device, Quiet
from clebsch.cli.phonons.options import Model


def measured_command(
    model: Model = "sevennet-0",
    direct: Annotated[
        Path | None, typer.Option(help="Model file of a network for the DoS.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The DFPT set of Petretto et al., for its values.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for measured.json and figures.")] = Path(
        "phonons-measured"
    ),
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Hold a potential's phonons of Si, diamond, GaAs, NaCl and MgO against measured values."""
    import json

    from rich.progress import Progress

    from clebsch.cli.phonons.tables import print_measured
    from clebsch.files import atomic_path
    from clebsch.models import load_dos_model
    from clebsch.phonons.reading import read_phonons
    from clebsch.simulate.named_potentials import potential_calculator
    from clebsch.vibrations.displacement_output import draw_lattice_dynamics
    from clebsch.vibrations.finite_displacements import import_phonopy
    from clebsch.vibrations.measured_phonons import MEASURED, against_measured

    import_phonopy()
    network = None if direct is None else load_dos_model(direct, device)
    reference = None if data is None else read_phonons(data)
    calculator = potential_calculator(model, device)
    with Progress(disable=quiet) as progress:
        task = progress.add_task("crystals", total=len(MEASURED))

        def on_crystal(name: str, phonons: Any) -> None:
            draw_lattice_dynamics(phonons, out / f"{name}.png")
            progress.advance(task)

        rows = against_measured(calculator, network, reference, on_crystal=on_crystal)
    with atomic_path(out / "measured.json") as temporary:
        text = json.dumps({"potential": model, "rows": rows}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    print_measured(rows)
    print(f"measured.json and figures: {out}")
