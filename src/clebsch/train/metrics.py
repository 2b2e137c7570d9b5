"""Errors of a potential against reference labels, in the field's units."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor, nn

from clebsch.structures import AtomGraph

Array = NDArray[np.float64]


@dataclass
class Predictions:
    """Predicted and reference values over a set of G frames with N atoms in all.

    Attributes:
        energy, energy_label: (G,) eV per atom; a label is NaN where absent.
        forces, forces_label: (N, 3) eV/Å.
        stress, stress_label: (G, 3, 3) eV/Å^3; the prediction is NaN where it was not asked for.
        numbers: (N,) atomic numbers.
        batch: (N,) frame of each atom.
        config_type: G names.
        frame: (G,) index in the data set.
    """

    energy: Array
    energy_label: Array
    forces: Array
    forces_label: Array
    stress: Array
    stress_label: Array
    numbers: NDArray[np.int64]
    batch: NDArray[np.int64]
    config_type: tuple[str, ...]
    frame: NDArray[np.int64]


def predict_batches(
    model: nn.Module,
    batches: Iterable[AtomGraph],
    stress: bool = False,
    device: torch.device | str | None = None,
) -> Predictions:
    """Run ``model`` (called as ``Potential.forward``) in evaluation mode over ``batches``."""
    training = model.training
    model.eval()
    parts: list[dict[str, Tensor]] = []
    types: list[str] = []
    first = 0
    for graph in batches:
        if device is not None:
            graph = graph.to(device)
        with torch.enable_grad():  # forces are a derivative
            out = model(graph, forces=True, stress=stress)
        size = torch.bincount(graph.batch, minlength=graph.n_graphs)
        label = graph.stress
        part = {
            "energy": out["energy"] / size,
            "energy_label": graph.energy / size,
            "forces": out["forces"],
            "forces_label": graph.forces,
            "stress": out["stress"] if stress else torch.full_like(label, torch.nan),
            "stress_label": label,
            "numbers": graph.numbers,
            "batch": graph.batch + first,
            "frame": graph.frame,
        }
        first += graph.n_graphs
        types.extend(graph.config_type)
        parts.append({name: value.detach() for name, value in part.items()})
    model.train(training)
    joined = {}
    for name in parts[0]:
        values = torch.cat([part[name] for part in parts]).cpu()
        joined[name] = (values.double() if values.is_floating_point() else values).numpy()
    return Predictions(**joined, config_type=tuple(types))


def merge_predictions(parts: Iterable[Predictions]) -> Predictions:
    """Put the predictions of several sets, or of several processes, one after the other."""
    parts = list(parts)
    first = np.cumsum([0] + [len(part.energy) for part in parts[:-1]])
    joined: dict[str, Array] = {}
    for field in fields(Predictions):
        if field.name not in ("batch", "config_type"):
            joined[field.name] = np.concatenate([getattr(part, field.name) for part in parts])
    return Predictions(
        **joined,  # type: ignore[arg-type]
        batch=np.concatenate(
            [part.batch + start for part, start in zip(parts, first, strict=True)]
        ),
        config_type=tuple(name for part in parts for name in part.config_type),
    )


def error_metrics(predictions: Predictions) -> dict[str, float]:
    """MAE and RMSE of energy (meV/atom), forces (meV/Å) and stress (meV/Å^3).

    Force errors are per Cartesian component. A quantity without any label has no entry.
    """
    p = predictions
    metrics: dict[str, float] = {}
    for name, unit, error in (
        ("energy", "meV_per_atom", p.energy - p.energy_label),
        ("forces", "meV_per_A", p.forces - p.forces_label),
        ("stress", "meV_per_A3", p.stress - p.stress_label),
    ):
        known = 1000.0 * error[~np.isnan(error)]
        if known.size:
            metrics[f"{name}_mae_{unit}"] = float(np.abs(known).mean())
            metrics[f"{name}_rmse_{unit}"] = float(np.sqrt(np.square(known).mean()))
    return metrics


def select_frames(predictions: Predictions, frames: NDArray[np.bool_]) -> Predictions:
    """The predictions of the frames where ``frames`` (G,) is true."""
    p = predictions
    atoms = frames[p.batch]
    place = np.cumsum(frames) - 1
    return Predictions(
        energy=p.energy[frames],
        energy_label=p.energy_label[frames],
        forces=p.forces[atoms],
        forces_label=p.forces_label[atoms],
        stress=p.stress[frames],
        stress_label=p.stress_label[frames],
        numbers=p.numbers[atoms],
        batch=place[p.batch[atoms]],
        config_type=tuple(n for n, keep in zip(p.config_type, frames, strict=True) if keep),
        frame=p.frame[frames],
    )


def metrics_by_config_type(predictions: Predictions) -> dict[str, dict[str, float]]:
    """`error_metrics` and the number of frames of each configuration type."""
    names = np.array(predictions.config_type)
    result = {}
    for name in sorted(set(predictions.config_type)):
        chosen = names == name
        errors = error_metrics(select_frames(predictions, chosen))
        result[name] = {"frames": float(chosen.sum())} | errors
    return result


def metrics_by_element(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Number of atoms, and MAE and RMSE of the forces (meV/Å), of each element."""
    p = predictions
    result = {}
    for z in np.unique(p.numbers):
        chosen = p.numbers == z
        error = 1000.0 * (p.forces - p.forces_label)[chosen]
        error = error[~np.isnan(error)]
        row = {"atoms": float(chosen.sum())}
        if error.size:
            row["forces_mae_meV_per_A"] = float(np.abs(error).mean())
            row["forces_rmse_meV_per_A"] = float(np.sqrt(np.square(error).mean()))
        result[chemical_symbols[z]] = row
    return result
