"""``clebsch inspect``: look at a data set before training on it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated

import typer

from clebsch.errors import UserError
from clebsch.files import atomic_path, write_text


def inspect_command(
    data: Annotated[
        list[str], typer.Argument(help="Files with structures and labels, or embedded:NAME.")
    ],
    cutoff: Annotated[float, typer.Option(help="Neighbours are counted within this, Å.")] = 5.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the figures and inspection.json.")
    ] = None,
    energy_key: Annotated[str | None, typer.Option(help="Name of the energy in the files.")] = None,
    forces_key: Annotated[str | None, typer.Option(help="Name of the forces.")] = None,
    stress_key: Annotated[str | None, typer.Option(help="Name of the stress or virial.")] = None,
    split_file: Annotated[
        Path | None, typer.Option(help="Phonon data: JSON with the names in each part of a split.")
    ] = None,
) -> None:
    """Elements, energies, forces, stress, distances, duplicates and outliers of a data set.

    Ends with what will go wrong in training, with the numbers of the frames. Of phonon spectra
    (a folder, or one of the published sets): elements, cells, band tops, suspicious records.
    """
    from clebsch.phonons.reading import holds_phonons

    if len(data) == 1 and holds_phonons(data[0]):
        _inspect_phonons(data[0], cutoff, out, split_file)
        return
    if split_file is not None:
        raise UserError(f"{data[0]}: is no phonon data, which --split-file is for; leave it out.")
    from rich.console import Console

    from clebsch.structures.inspection import inspect_dataset
    from clebsch.structures.inspection_figures import save_figures
    from clebsch.structures.inspection_table import print_inspection
    from clebsch.structures.reading import DataWarning, read_dataset

    console = Console()
    with console.status("reading"), warnings.catch_warnings():
        # The table says the same of every frame, not only of the first.
        warnings.simplefilter("ignore", DataWarning)
        dataset = read_dataset(data, energy_key, forces_key, stress_key)
    with console.status(f"looking at the frames ({len(dataset)})"):
        found = inspect_dataset(dataset, cutoff)
    print_inspection(found, console)
    if out is not None:
        write_text(
            out / "inspection.json", json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n"
        )
        written = [out / "inspection.json", *save_figures(found, out)]
        console.print("Written: " + ", ".join(map(str, written)), soft_wrap=True, highlight=False)


def _inspect_phonons(data: str, cutoff: float, out: Path | None, split_file: Path | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    from clebsch.phonons.inspection import inspect_phonons
    from clebsch.phonons.inspection_figures import save_phonon_figures
    from clebsch.phonons.inspection_table import print_phonon_inspection
    from clebsch.phonons.reading import read_phonons
    from clebsch.structures.reading import DataWarning

    console, refused = Console(), list[str]()
    with console.status("reading"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # the table says the same
        dataset = read_phonons(data, refused=refused)
        split = None if split_file is None else dataset.split_by_names(split_file)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking", total=len(dataset))
        found = inspect_phonons(dataset, cutoff, split, lambda: progress.advance(task))
    print_phonon_inspection(found, console)
    for sentence in refused:
        console.print(f"Refused in training: {escape(sentence)}", soft_wrap=True, highlight=False)
    if out is not None:
        with atomic_path(out / "inspection.json") as temporary:
            content = {**found.to_dict(), "refused": refused}
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        written = [out / "inspection.json", *save_phonon_figures(found, out)]
        console.print("Written: " + ", ".join(map(str, written)), soft_wrap=True, highlight=False)
