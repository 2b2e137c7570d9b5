"""``clebsch predict`` with a potential."""

from __future__ import annotations

from pathlib import Path

from rich.progress import track

from clebsch.cli.simulation import load
from clebsch.simulate import predict, write_predictions
from clebsch.simulate.prediction import check_suffix
from clebsch.structures import read_dataset


def predict_energies(
    model: Path, structures: list[str], out: Path, max_atoms: int, device: str, quiet: bool
) -> None:
    """Predict every structure and write ``out``: .extxyz, .csv or .json.

    Raises:
        UserError: wrong options, files or structures; nothing has been written then.
    """
    check_suffix(out)
    potential = load(model, device)
    dataset = read_dataset(structures[0] if len(structures) == 1 else structures)
    predictions = track(
        predict(potential, dataset, max_atoms=max_atoms),
        "predicting",
        total=len(dataset),
        disable=quiet,
    )
    count = write_predictions(predictions, out)
    print(f"{count} structure{'' if count == 1 else 's'} -> {out}")
