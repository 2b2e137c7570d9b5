"""``clebsch phonons``: lattice vibrations beyond one prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clebsch.cli.phonon_orbitals import orbitals_command
from clebsch.cli.phonon_partial import partial_command
from clebsch.cli.phonon_sweep import sweep_command

app = typer.Typer(
    help="Lattice vibrations: through a potential, compared, of alloys, atom by atom.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


app.command("sweep")(sweep_command)
app.command("partial")(partial_command)
app.command("orbitals")(orbitals_command)


@app.callback()
def phonons() -> None:
    """Lattice vibrations: through a potential, compared, of alloys, atom by atom."""


@app.command("dos")
def dos_command(
    structures: Annotated[
        list[str], typer.Argument(help="Crystals in any usual format.", show_default=False)
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Model file of a potential, sevennet-0 or sevennet-l3i5."
        ),
    ] = "sevennet-0",
    out: Annotated[Path, typer.Option(help="Folder for JSON, CSV and figures.")] = Path("phonons"),
    relax: Annotated[
        str, typer.Option(help="none, positions, hydrostatic (volume too) or symmetric (cell too).")
    ] = "hydrostatic",
    fmax: Annotated[float, typer.Option(help="Largest force after relaxation, eV/Å.")] = 2e-3,
    max_steps: Annotated[int, typer.Option(help="Steps of the relaxation.")] = 300,
    least_side: Annotated[
        float, typer.Option(help="Å from an atom to its image in the supercell.")
    ] = 10.0,
    max_atoms: Annotated[int, typer.Option(help="Atoms in a supercell.")] = 128,
    distance: Annotated[float, typer.Option(help="Displacement, Å.")] = 0.02,
    mesh: Annotated[float, typer.Option(help="Fineness of the q-mesh, Å.")] = 60.0,
    smearing: Annotated[float, typer.Option(help="Width of every mode, cm^-1.")] = 4.0,
    step: Annotated[float, typer.Option(help="Of the curve, cm^-1.")] = 1.0,
    temperature: Annotated[
        list[float] | None, typer.Option("--temperature", "-T", help="K, repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Phonon density of states through a potential: finite displacements with phonopy.

    The crystal is relaxed first, with its space group kept. Needs the extra phonons, and for the
    universal potentials the extra foundation.
    """
    from rich.progress import Progress

    from clebsch.cli.phonon_tables import print_phonons
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
    import_phonopy()
    crystals = list(read_crystals(structures))
    for crystal in crystals:
        check_crystal(crystal.atoms, crystal.where)
    names = file_names([crystal.name for crystal in crystals])
    calculator = potential_calculator(model, device)
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


@app.command("measured")
def measured_command(
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Model file of a potential, sevennet-0 or sevennet-l3i5."
        ),
    ] = "sevennet-0",
    direct: Annotated[
        Path | None, typer.Option(help="Model file of a network for the DoS.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The DFPT set of Petretto et al., for its values.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for measured.json and figures.")] = Path(
        "phonons-measured"
    ),
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Hold a potential's phonons of Si, diamond, GaAs, NaCl and MgO against measured values."""
    import json

    from rich.progress import Progress

    from clebsch.cli.phonon_tables import print_measured
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


@app.command("compare")
def compare_command(
    data: Annotated[Path, typer.Argument(help="Crystals with reference DoS.", show_default=False)],
    direct: Annotated[
        Path, typer.Option(help="Model file of a network for the DoS.", show_default=False)
    ],
    potential: Annotated[
        str, typer.Option(help="Model file of a potential, sevennet-0 or sevennet-l3i5.")
    ] = "sevennet-0",
    out: Annotated[
        Path, typer.Option(help="Folder; crystals that are in it already are not computed again.")
    ] = Path("phonons-both-ways"),
    number: Annotated[
        int, typer.Option(help="How many crystals, drawn at random; 0: all.", min=0)
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    split: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with the names of every part; by default tutorial_split_ids.json "
            "beside DATA.",
            show_default=False,
        ),
    ] = None,
    part: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    least_side: Annotated[
        float, typer.Option(help="Å from an atom to its image in the supercell.")
    ] = 10.0,
    max_atoms: Annotated[int, typer.Option(help="Atoms in a supercell.", min=1)] = 128,
    relax: Annotated[
        str, typer.Option(help="none, positions, hydrostatic or symmetric.")
    ] = "hydrostatic",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """The same crystals by a direct network and through a potential, against the reference.

    Can be stopped and started again: finished crystals stay in the folder.
    """
    from rich.progress import Progress

    from clebsch.cli.phonon_tables import print_comparison
    from clebsch.errors import UserError
    from clebsch.models import load_dos_model
    from clebsch.phonons.reading import read_phonons
    from clebsch.simulate.named_potentials import check_potential, potential_calculator
    from clebsch.vibrations.comparison import (
        choose_crystals,
        compare,
        compute_by_displacements,
        write_comparison,
    )
    from clebsch.vibrations.finite_displacements import DisplacementSettings, import_phonopy

    relaxation: Any = relax
    settings = DisplacementSettings(relax=relaxation, least_side=least_side, max_atoms=max_atoms)
    if part not in ("train", "valid", "test"):
        raise UserError(f"--part is train, valid or test, not {part!r}.")
    import_phonopy()
    check_potential(potential)
    model = load_dos_model(direct, device)
    dataset = read_phonons(data)
    file = split or data.parent / "tutorial_split_ids.json"
    if not file.exists() and split is None:
        raise UserError(f"{data}: there is no {file.name} beside it; name a --split file.")
    indices = choose_crystals(
        getattr(dataset.split_by_names(file), part).tolist(), number or None, seed
    )
    with Progress(disable=quiet) as progress:
        task = progress.add_task("finite displacements", total=len(indices) + 1)

        def next_crystal(name: str) -> None:
            progress.update(task, description=name, advance=1)

        computed = compute_by_displacements(
            dataset,
            indices,
            lambda: potential_calculator(potential, device),
            potential,
            out,
            settings,
            next_crystal,
        )
    rows = compare(dataset, indices, model, computed)
    content = write_comparison(
        rows,
        computed,
        out,
        {
            "data": data.name,
            "split": f"{file.name}, {part}: {number or 'all'} crystals drawn with seed {seed}",
            "direct": {
                "file": direct.name,
                "training_data_sha256": model.header.get("training_data", {}).get("sha256"),
                "n_train": model.header.get("n_train"),
                "epoch": model.header.get("epoch"),
            },
            "potential": {"name": potential, "settings": settings.__dict__},
        },
    )
    print_comparison(content)
    print(f"comparison.json, comparison.csv, comparison.png: {out}")
