"""How far a model is from reference calculations, overall and where it is worst."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from clebsch.errors import UserError
from clebsch.files import check_place, write_text
from clebsch.simulate.calculator import PotentialModel
from clebsch.simulate.prediction import MAX_ATOMS, graph_batches
from clebsch.structures import AtomGraph, Dataset
from clebsch.structures.dataset import label
from clebsch.train.figures import plot_parity
from clebsch.train.metrics import (
    Predictions,
    error_metrics,
    metrics_by_config_type,
    metrics_by_element,
    predict_batches,
)


@dataclass
class EvaluationResult:
    """``metrics`` is what ``metrics.json`` holds; ``predictions`` are the values behind it."""

    metrics: dict[str, Any]
    predictions: Predictions


def evaluate(
    model: PotentialModel,
    dataset: Dataset,
    out: str | os.PathLike[str] | None = None,
    *,
    device: str | None = None,
    max_atoms: int = MAX_ATOMS,
    worst: int = 5,
    on_batch: Callable[[int], None] | None = None,
) -> EvaluationResult:
    """Compare a model with the labels of a data set; missing labels are left out.

    Args:
        model: a loaded potential.
        dataset: structures with energies, forces or stress.
        out: folder for ``metrics.json`` and ``parity.png``.
        device: where the model runs.
        max_atoms: in one batch.
        worst: how many of the worst frames to name.
        on_batch: called with its number of frames after each batch.

    Raises:
        UserError: no frame, no label at all, or an element that the model does not know.
    """
    frames = dataset.frames.tolist()  # isolated atoms are references, not structures to judge
    if not frames:
        raise UserError(f"{dataset.path}: holds no frame to evaluate.")
    if not any(_labelled(dataset[i]) for i in frames):  # before minutes of work
        raise _nothing_to_compare(dataset)
    if out is not None:
        check_place(Path(out) / "metrics.json")
    if device is not None:
        model = model.to(device=device)
    target = next(iter((*model.parameters(), *model.buffers()))).device

    def counted(batches: Iterable[AtomGraph]) -> Iterator[AtomGraph]:
        for batch in batches:
            yield batch
            if on_batch is not None:
                on_batch(batch.n_graphs)

    predictions = predict_batches(
        model,  # type: ignore[arg-type]
        counted(graph_batches(model, dataset, max_atoms, indices=frames)),
        stress=True,
        device=target,
    )
    overall = error_metrics(predictions)
    if not overall:
        raise _nothing_to_compare(dataset)
    metrics = {
        "data": dataset.path,
        "frames": len(frames),
        "atoms": len(predictions.numbers),
        "overall": overall,
        "by_element": metrics_by_element(predictions),
        "by_config_type": metrics_by_config_type(predictions),
        "worst_frames": worst_frames(predictions, dataset, worst),
    }
    if out is not None:
        folder = Path(out)
        write_text(
            folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n"
        )
        plot_parity(predictions, folder / "parity.png")
    return EvaluationResult(metrics, predictions)


def _labelled(atoms: Atoms) -> bool:
    """Whether a frame has any finite energy, force or stress."""
    values = (label(atoms, name) for name in ("energy", "forces", "stress"))
    return any(v is not None and np.isfinite(v).any() for v in values)


def _nothing_to_compare(dataset: Dataset) -> UserError:
    return UserError(
        f"{dataset.path}: has no energy, forces or stress to compare with; name its keys with "
        "--energy-key, --forces-key or --stress-key, or use predict."
    )


def worst_frames(predictions: Predictions, dataset: Dataset, count: int) -> list[dict[str, Any]]:
    """The frames with the largest force RMSE; without forces, the largest energy error.

    Each names file and frame, its index in the data set, its errors, and the worst atom.
    """
    p = predictions
    square = np.square(p.forces - p.forces_label).sum(axis=1)
    labelled = ~np.isnan(square)
    atoms = np.bincount(p.batch[labelled], minlength=len(p.frame))
    total = np.bincount(p.batch[labelled], square[labelled], minlength=len(p.frame))
    with np.errstate(invalid="ignore", divide="ignore"):
        force_rmse = 1000.0 * np.sqrt(total / (3 * atoms))
    energy = 1000.0 * np.abs(p.energy - p.energy_label)
    by = force_rmse if np.isfinite(force_rmse).any() else energy
    order = np.argsort(np.where(np.isfinite(by), -by, np.inf), kind="stable")
    rows = []
    for place in order[:count].tolist():
        if not np.isfinite(by[place]):
            break
        index = int(p.frame[place])
        row: dict[str, Any] = {"index": index, "where": dataset.where(index)}
        if np.isfinite(energy[place]):
            row["energy_error_meV_per_atom"] = float(
                1000.0 * (p.energy[place] - p.energy_label[place])
            )
        if np.isfinite(force_rmse[place]):
            row["forces_rmse_meV_per_A"] = float(force_rmse[place])
            inside = np.flatnonzero(p.batch == place)
            error = np.nan_to_num(square[inside])
            row["worst_atom"] = int(error.argmax())
            row["worst_atom_error_meV_per_A"] = float(1000.0 * np.sqrt(error.max()))
        rows.append(row)
    return rows
