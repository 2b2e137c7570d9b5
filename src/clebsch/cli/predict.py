"""``clebsch predict``: energies, forces and stress of many structures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    structures: Annotated[
        list[str],
        typer.Argument(help="Files of any ASE format, or embedded:NAME.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(help="Result; .extxyz, .csv or .json says the format.")
    ] = Path("predictions.extxyz"),
    max_atoms: Annotated[int, typer.Option(help="Atoms in one batch.", min=1)] = 1000,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Predict energies, per-atom energies, forces and stress of structures."""
    from rich.progress import track

    from clebsch.cli.simulation import load
    from clebsch.simulate import predict as predict_structures
    from clebsch.simulate import write_predictions
    from clebsch.simulate.prediction import check_suffix
    from clebsch.structures import read_dataset

    check_suffix(out)
    potential = load(model, device)
    dataset = read_dataset(structures[0] if len(structures) == 1 else structures)
    predictions = track(
        predict_structures(potential, dataset, max_atoms=max_atoms),
        "predicting",
        total=len(dataset),
        disable=quiet,
    )
    count = write_predictions(predictions, out)
    print(f"{count} structures -> {out}")
