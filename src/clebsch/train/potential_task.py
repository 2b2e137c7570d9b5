"""What a potential learns: energies, forces and stresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from clebsch.structures import AtomGraph
from clebsch.train.losses import PotentialLoss, masked_mean
from clebsch.train.metrics import (
    Predictions,
    error_metrics,
    merge_predictions,
    predict_batches,
)


class PotentialTask:
    """The task of a model that is called as ``Potential.forward``.

    Args:
        loss: weights and kind of the three terms.
    """

    def __init__(self, loss: PotentialLoss) -> None:
        self.weighted = loss
        self.needs = {name: loss.weights[name] > 0 for name in ("forces", "stress")}

    def loss(self, model: nn.Module, graph: AtomGraph) -> Tensor:
        return self.weighted(model(graph, **self.needs), graph)

    def predict(
        self, model: nn.Module, batches: Iterable[AtomGraph], device: torch.device
    ) -> Predictions:
        return predict_batches(model, batches, self.needs["stress"], device)

    def merge(self, parts: Iterable[Predictions]) -> Predictions:
        return merge_predictions(parts)

    def errors(self, predictions: Predictions) -> dict[str, float]:
        return {"loss": predictions_loss(predictions, self.weighted)} | error_metrics(predictions)

    def headline(self, row: Mapping[str, float]) -> str:
        errors = ", ".join(
            f"{short} {row[name]:.1f} {unit}"
            for short, name, unit in (
                ("F", "valid_forces_mae_meV_per_A", "meV/Å"),
                ("E", "valid_energy_mae_meV_per_atom", "meV/atom"),
                ("S", "valid_stress_mae_meV_per_A3", "meV/Å³"),
            )
            if name in row
        )
        return f"MAE {errors}" if errors else ""


def predictions_loss(predictions: Predictions, loss: PotentialLoss) -> float:
    """The training loss's value over a whole set, from its predictions."""
    p = predictions
    total = 0.0
    for name, error in (
        ("energy", p.energy - p.energy_label),
        ("forces", p.forces - p.forces_label),
        ("stress", p.stress - p.stress_label),
    ):
        if loss.weights[name]:
            mean = masked_mean(torch.from_numpy(error), loss.kind, loss.huber_delta)
            total += loss.weights[name] * float(mean)
    return total
