"""``clebsch phonons compare``: a direct network and a potential on the same crystals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clebsch.cli.options import Device, Quiet
from clebsch.cli.phonons.options import (
    DrawingSeed,
    KeptFolder,
    LeastSide,
    NetworkOption,
    Part,
    Potential,
    ReferenceData,
    SplitFile,
    SupercellAtoms,
    split_file,
)


def compare_command(
    data: ReferenceData,
    direct: NetworkOption,
    potential: Potential = "sevennet-0",
    out: KeptFolder = Path("phonons-both-ways"),
    number: Annotated[
        int, typer.Option(help="How many crystals, drawn at random; 0: all.", min=0)
    ] = 100,
    seed: DrawingSeed = 0,
    split: SplitFile = None,
    part: Part = "test",
    least_side: LeastSide = 10.0,
    max_atoms: SupercellAtoms = 128,
    relax: Annotated[
        str, typer.Option(help="none, positions, hydrostatic or symmetric.")
    ] = "hydrostatic",
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """The same crystals by a direct network and through a potential, against the reference.

    Can be stopped and started again: finished crystals stay in the folder.
    """
    from rich.progress import Progress

    from clebsch.cli.phonons.tables import print_comparison
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
    file = split_file(data, split, part)
    import_phonopy()
    check_potential(potential)
    model = load_dos_model(direct, device)
    dataset = read_phonons(data)
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
