"""The training loss: energy per atom, forces and stress, each masked where a label is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from clebsch.structures import AtomGraph

Kind = Literal["mse", "mae", "huber"]


def masked_mean(error: Tensor, kind: Kind, delta: float = 0.05) -> Tensor:
    """Mean penalty of ``error`` over its entries that are not NaN; zero if there is none.

    Args:
        error: any shape, prediction minus label; NaN where the label is missing.
        kind: "mse" e^2, "mae" |e|, or "huber": e^2 / 2 below ``delta`` and
            delta (|e| - delta / 2) above (Huber, Ann. Math. Statist. 35, 73 (1964)).
        delta: where Huber's penalty turns from quadratic to linear, unit of ``error``.
    """
    known = ~torch.isnan(error)
    # The where comes before the penalty, so that a NaN cannot reach the gradient.
    error = torch.where(known, error, torch.zeros_like(error))
    if kind == "mse":
        penalty = error.square()
    elif kind == "mae":
        penalty = error.abs()
    else:
        size = error.abs()
        penalty = torch.where(size < delta, 0.5 * error.square(), delta * (size - 0.5 * delta))
    return penalty.sum() / known.sum().clamp(min=1)


class PotentialLoss(nn.Module):
    """Weighted sum of the losses of energy per atom (eV), forces (eV/Å) and stress (eV/Å^3).

    Energies are divided by the number of atoms so that frames of different size count alike.
    """

    def __init__(
        self,
        energy: float = 1.0,
        forces: float = 1.0,
        stress: float = 0.0,
        kind: Kind = "mse",
        huber_delta: float = 0.05,
    ) -> None:
        super().__init__()
        self.weights = {"energy": energy, "forces": forces, "stress": stress}
        self.kind = kind
        self.huber_delta = huber_delta

    def forward(self, predicted: Mapping[str, Tensor], graph: AtomGraph) -> Tensor:
        """The scalar loss of a batch.

        Args:
            predicted: what ``Potential.forward`` returns; terms of weight zero may be absent.
            graph: a batch; its labels are NaN where missing.
        """
        total = predicted["energy"].new_zeros(())
        for name, weight in self.weights.items():
            if weight == 0:
                continue
            error = predicted[name] - getattr(graph, name)
            if name == "energy":
                error = error / torch.bincount(graph.batch, minlength=graph.n_graphs)
            total = total + weight * masked_mean(error, self.kind, self.huber_delta)
        return total
