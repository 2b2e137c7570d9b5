"""``clebsch evaluate``: the errors of a model on reference calculations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clebsch.cli.options import BatchAtoms, Device, Quiet


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    data: Annotated[
        list[str],
        typer.Argument(
            help="Files with structures and reference values, or embedded:NAME.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json and parity.png.")] = Path(
        "evaluation"
    ),
    energy_key: Annotated[str | None, typer.Option(help="Key of the energies.")] = None,
    forces_key: Annotated[str | None, typer.Option(help="Key of the forces.")] = None,
    stress_key: Annotated[str | None, typer.Option(help="Key of the stresses.")] = None,
    worst: Annotated[int, typer.Option(help="How many of the worst frames to name.", min=0)] = 5,
    max_atoms: BatchAtoms = 1000,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Compare a model with reference energies, forces and stress."""
    from rich.progress import Progress

    from clebsch.cli.simulation import load, print_evaluation
    from clebsch.simulate import evaluate as evaluate_model
    from clebsch.structures import read_dataset

    potential = load(model, device)
    paths = data[0] if len(data) == 1 else data
    dataset = read_dataset(
        paths, energy_key=energy_key, forces_key=forces_key, stress_key=stress_key
    )
    with Progress(disable=quiet) as progress:
        task = progress.add_task("evaluating", total=len(dataset))
        result = evaluate_model(
            potential,
            dataset,
            out,
            max_atoms=max_atoms,
            worst=worst,
            on_batch=lambda count: progress.advance(task, count),
        )
    print_evaluation(result.metrics)
    print(f"metrics and parity figure: {out}")
