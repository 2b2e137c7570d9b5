"""``clebsch phonons dos``: the density of states through a potential."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clebsch.cli.options import Device, Quiet
from clebsch.cli.phonons.options import Crystals, LeastSide, Model, SupercellAtoms


def dos_command(
    structures: Crystals,
    model: Model = "sevennet-0",
    out: Annotated[Path, typer.Option(help="Folder for JSON, CSV and figures.")] = Path("phonons"),
    relax: Annotated[
        str, typer.Option(help="none, positions, hydrostatic (volume too) or symmetric (cell too).")
    ] = "hydrostatic",
    fmax: Annotated[float, typer.Option(help="Largest force after relaxation, eV/Å.")] = 2e-3,
    max_steps: Annotated[int, typer.Option(help="Steps of the relaxation.")] = 300,
    least_side: LeastSide = 10.0,
    max_atoms: SupercellAtoms = 128,
    distance: Annotated[float, typer.Option(help="Displacement, Å.")] = 0.02,
    mesh: Annotated[float, typer.Option(help="Fineness of the q-mesh, Å.")] = 60.0,
    smearing: Annotated[float, typer.Option(help="Width of every mode, cm^-1.")] = 4.0,
    step: Annotated[float, typer.Option(help="Of the curve, cm^-1.")] = 1.0,
    temperature: Annotated[
        list[float] | None, typer.Option("--temperature", "-T", help="K, repeatable.")
    ] = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Phonon density of states through a potential: finite displacements with phonopy.

    The crystal is relaxed first, with its space group kept. Needs the extra phonons, and for the
    universal potentials the extra foundation.
    """
    from rich.progress import Progress

    from clebsch.cli.phonons.tables import print_phonons
    from clebsch.errors import UserError
    from clebsch.files import make_folder
    from clebsch.simulate.named_potentials import potential_calculator
    from clebsch.vibrations.crystals import check_crystal, read_crystals
    from clebsch.vibrations.displacement_output import (
        TEMPERATURES,
        file_names,
        write_lattice_dynamics,
    )
    from clebsch.vibrations.finite_displacements import (
        DisplacementSettings,
        finite_displacements,
        import_phonopy,
    )

    relaxation: Any = relax
    settings = DisplacementSettings(
        relax=relaxation,
        fmax=fmax,
        max_steps=max_steps,
        least_side=least_side,
        max_atoms=max_atoms,
        distance=distance,
        mesh=mesh,
        smearing=smearing,
        step=step,
    )
    for value in temperature or ():
        if not 0 < value < float("inf"):
            raise UserError(f"--temperature {value:g}: a temperature must be above 0 K.")
    import_phonopy()
    crystals = list(read_crystals(structures))
    for crystal in crystals:
        check_crystal(crystal.atoms, crystal.where)
    names = file_names([crystal.name for crystal in crystals])
    calculator = potential_calculator(model, device)
    make_folder(out)  # before minutes of work
    contents = []
    with Progress(disable=quiet) as progress:
        overall = progress.add_task("crystals", total=len(crystals))
        for crystal, name in zip(crystals, names, strict=True):
            task = progress.add_task(f"{name}: relaxation", total=None)

            def on_force(done: int, total: int, task: Any = task, name: str = name) -> None:
                progress.update(task, description=f"{name}: forces", completed=done, total=total)

            phonons = finite_displacements(
                crystal.atoms, calculator, settings, crystal.where, on_force
            )
            contents.append(
                write_lattice_dynamics(
                    phonons,
                    out,
                    name,
                    settings,
                    temperature or TEMPERATURES,
                    {"potential": model},
                )
            )
            progress.remove_task(task)
            progress.advance(overall)
    print_phonons(contents)
    print(f"JSON, CSV and figures: {out}")
