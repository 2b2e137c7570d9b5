"""What a phonon-DoS model learns: the shape of each crystal's spectrum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clebsch.errors import UserError
from clebsch.phonons import FrequencyGrid, published_target
from clebsch.phonons.dataset import PhononDataset
from clebsch.structures import AtomGraph
from clebsch.train.dos_config import DosLossConfig, DosTargetConfig
from clebsch.train.dos_metrics import DosPredictions, dos_metrics, merge


class DosTask:
    """The task of a ``PhononDosModel``.

    Args:
        targets: (frames, K + 1) states of each crystal of the data set; the last, what lies
            beyond the grid, is NaN where unknown.
        grid: the K bins.
        loss: weights of the terms.
    """

    def __init__(
        self, targets: NDArray[np.float64], grid: FrequencyGrid, loss: DosLossConfig
    ) -> None:
        self.targets = torch.from_numpy(targets)
        self.grid = grid
        self.weights = loss

    def loss(self, model: nn.Module, graph: AtomGraph) -> Tensor:
        out = model(graph)
        label = self._labels(graph)
        if "member_states" in out:
            each = [spectrum_loss(m, label, self.grid, self.weights) for m in out["member_states"]]
            return torch.stack(each).mean()
        return spectrum_loss(out["states"], label, self.grid, self.weights)

    def predict(
        self, model: nn.Module, batches: Iterable[AtomGraph], device: torch.device
    ) -> DosPredictions:
        training = model.training
        model.eval()
        parts = []
        for batch in batches:
            graph = batch.to(device)
            with torch.no_grad():
                out = model(graph)
            size = torch.bincount(graph.batch, minlength=graph.n_graphs)
            low = graph.numbers.new_full((graph.n_graphs,), 200)
            low = low.scatter_reduce(0, graph.batch, graph.numbers, "amin")
            high = graph.numbers.new_zeros(graph.n_graphs)
            high = high.scatter_reduce(0, graph.batch, graph.numbers, "amax")
            states = out["states"].double()
            spread = out.get("spread", torch.zeros_like(states)).double()
            columns = (states, self._labels(graph), spread, size, low == high, graph.frame)
            parts.append(DosPredictions(*(c.cpu().numpy() for c in columns)))
        model.train(training)
        return merge(parts)

    def merge(self, parts: Iterable[DosPredictions]) -> DosPredictions:
        return merge(list(parts))

    def errors(self, predictions: DosPredictions) -> dict[str, float]:
        p = predictions
        value = spectrum_loss(
            torch.from_numpy(p.states), torch.from_numpy(p.label), self.grid, self.weights
        )
        return {"loss": float(value)} | dos_metrics(p, self.grid)

    def headline(self, row: Mapping[str, float]) -> str:
        if "valid_dos_mae" not in row:
            return ""
        return (
            f"MAE DoS {row['valid_dos_mae']:.4f} of maximum, "
            f"mean frequency {row['valid_mean_frequency_mae_cm1']:.1f} cm^-1"
        )

    def _labels(self, graph: AtomGraph) -> Tensor:
        return self.targets.to(graph.positions.device)[graph.frame]


def spectrum_loss(
    states: Tensor, label: Tensor, grid: FrequencyGrid, weights: DosLossConfig
) -> Tensor:
    """The mean over crystals of a weighted sum of distances; see ``DosLossConfig``.

    Args:
        states: (G, K + 1) predicted.
        label: (G, K + 1); where the last is NaN, what lies beyond the grid does not count.
    """
    label = label.to(states.dtype)
    unknown = torch.isnan(label[:, -1:])
    beyond = torch.arange(label.shape[1], device=label.device) == label.shape[1] - 1
    ignored = unknown & beyond
    p = states.masked_fill(ignored, 0.0)
    q = label.masked_fill(ignored, 0.0)
    p = p / p.sum(-1, keepdim=True).clamp(min=1e-12)
    q = q / q.sum(-1, keepdim=True).clamp(min=1e-12)
    total = states.new_zeros(())
    if weights.kl:
        # 1e-6: a bin where the prediction is nought and the label is not must not cost infinity
        total = total + weights.kl * (q * ((q + 1e-6).log() - (p + 1e-6).log())).sum(-1).mean()
    if weights.wasserstein:
        distance = (p - q).cumsum(-1)[:, :-1].abs().sum(-1).mean() * (grid.step / 100.0)
        total = total + weights.wasserstein * distance
    if weights.mse:
        a, b = p[:, :-1], q[:, :-1]
        a = a / a.amax(-1, keepdim=True).clamp(min=1e-12)
        b = b / b.amax(-1, keepdim=True).clamp(min=1e-12)
        total = total + weights.mse * (a - b).square().mean()
    return total


def dos_targets(
    dataset: PhononDataset, grid: FrequencyGrid, target: DosTargetConfig
) -> NDArray[np.float64]:
    """States (frames, K + 1) of every crystal on the grid, 3N in all where the curve is whole.

    Raises:
        UserError: a curve without states on the grid.
    """
    rows = []
    for i, record in enumerate(dataset.records):
        curve = record.dos
        whole = grid.states(curve.smoothed(target.smoothing))
        if target.kind == "published":
            shape = published_target(curve)
            whole[:-1] = shape * (whole[:-1].sum() / shape.sum())
        if not whole[:-1].sum() > 0:
            raise UserError(
                f"{dataset.where(i)}: has no states from {grid.start:g} to {grid.stop:g} cm^-1; "
                "check its unit or choose another grid."
            )
        whole *= 3 * len(record.atoms) / whole.sum()
        if not record.whole:
            whole[-1] = np.nan
        rows.append(whole)
    return np.stack(rows)
