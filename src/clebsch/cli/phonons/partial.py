"""``clebsch phonons partial``: partial densities of states against phonopy's projected ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clebsch.cli.options import Device, Quiet
from clebsch.cli.phonons.options import (
    DrawingSeed,
    KeptFolder,
    NetworkOption,
    Part,
    Potential,
    ReferenceData,
    SplitFile,
    SupercellAtoms,
    split_file,
)


def partial_command(
    data: ReferenceData,
    model: NetworkOption,
    potential: Potential = "sevennet-0",
    out: KeptFolder = Path("phonons-partial"),
    number: Annotated[int, typer.Option(help="Crystals, drawn at random.", min=1)] = 15,
    seed: DrawingSeed = 0,
    split: SplitFile = None,
    part: Part = "test",
    most_atoms: Annotated[int, typer.Option(help="Atoms in a cell.", min=2)] = 8,
    max_atoms: SupercellAtoms = 128,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Hold a network's states per atom, learnt from totals only, against a potential's.

    Distances of spectra per element from phonopy's projected ones, beside four guesses that need
    no network's atoms. Can be stopped and started again.
    """
    from functools import cache

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from clebsch.models import load_dos_model
    from clebsch.phonons.reading import read_phonons
    from clebsch.simulate.named_potentials import check_potential, potential_calculator
    from clebsch.vibrations.displacement_output import file_names
    from clebsch.vibrations.finite_displacements import DisplacementSettings, import_phonopy
    from clebsch.vibrations.partial_dos import (
        GUESSES,
        choose_compounds,
        compare_partial,
        projected_dos,
        write_partial,
    )

    file = split_file(data, split, part)
    import_phonopy()
    check_potential(potential)
    network = load_dos_model(model, device)
    dataset = read_phonons(data)
    indices = getattr(dataset.split_by_names(file), part).tolist()
    chosen = choose_compounds(dataset, indices, network, number, seed, most_atoms)
    settings = DisplacementSettings(max_atoms=max_atoms)

    @cache
    def calculator() -> Any:
        return potential_calculator(potential, device)

    rows, failed = [], {}
    with Progress(disable=quiet) as progress:
        task = progress.add_task("", total=len(chosen))
        for index in chosen:
            record = dataset.records[index]
            progress.update(task, description=record.name)
            path = out / "crystals" / f"{file_names([record.name])[0]}.json"
            content = projected_dos(record, calculator, settings, {"potential": potential}, path)
            if "error" in content:
                failed[record.name] = content["error"]
            elif content["imaginary"] > 0.01:
                failed[record.name] = f"{content['imaginary']:.1%} of its modes are imaginary"
            else:
                rows.append(compare_partial(network, record, content))
            progress.advance(task)
    content = write_partial(
        rows,
        out,
        {
            "data": data.name,
            "selection": f"{part} of {file.name}: {len(chosen)} crystals of several elements and "
            f"at most {most_atoms} atoms, drawn with seed {seed}",
            "model": {"file": model.name, "training": network.header.get("metrics", {})},
            "potential": potential,
        },
        failed,
    )
    table = Table(title="Distance from phonopy's partial DoS (cm^-1)", title_justify="left")
    for column in ("crystal", "element", *GUESSES):
        table.add_column(column)
    for row in rows:
        for symbol in row.offsets:
            cells = [f"{row.distances[guess][symbol]:.1f}" for guess in GUESSES]
            table.add_row(row.formula, symbol, *cells)
    means = content["summary"]["wasserstein_cm1"]
    table.add_row("mean", "", *(f"{means[guess]:.1f}" for guess in GUESSES), style="bold")
    console = Console()
    console.print(table)
    for name, why in failed.items():
        console.print(f"left out: {name}: {why}")
    nearer = content["summary"]["model_nearer_than"]
    console.print(
        f"The spectra of {content['summary']['assigned_rightly']:.0%} of the crystals are given to "
        f"the right elements ({content['summary']['by_chance']:.0%} by chance).",
        soft_wrap=True,
    )
    console.print(
        f"The network is nearer than its total / N for {nearer['equal']:.0%} of the elements, than "
        f"its total by mass for {nearer['mass']:.0%}; offsets of the elements: r = "
        f"{content['summary']['offsets_correlation']:.2f}, slope "
        f"{content['summary']['offsets_slope']:.2f}",
        soft_wrap=True,
    )
    print(f"partial.json, partial.csv, partial.png: {out}")
