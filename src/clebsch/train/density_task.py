"""What a density model learns: the reference coefficients, in a metric of densities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase.units import Hartree
from numpy.typing import NDArray
from torch import Tensor, nn

from clebsch.density.metric import Metric, metric_matrix, squared_norms
from clebsch.structures import AtomGraph
from clebsch.train.density_config import DensityLossConfig
from clebsch.train.density_data import DensityFrames

_ROOM = 4 * 2**30  # bytes of matrices that are kept


@dataclass
class DensityPredictions:
    """Predicted coefficients of some molecules.

    Attributes:
        frame: (G,) index in the data set.
        coefficients: G arrays.
        loss: (G,).
        distance: (G,) root of integral (rho - rho_ref)^2, electrons^(1/2)/bohr^(3/2).
        surplus: (G,) electrons per atom that the network had too many before they were set right.
    """

    frame: NDArray[np.int64]
    coefficients: list[NDArray[np.float64]]
    loss: NDArray[np.float64]
    distance: NDArray[np.float64]
    surplus: NDArray[np.float64]


class DensityTask:
    """The task of a ``DensityModel``.

    Args:
        frames: the molecules.
        loss: weights of the terms.
    """

    def __init__(self, frames: DensityFrames, loss: DensityLossConfig) -> None:
        self.frames = frames
        self.weights = loss
        self._matrices: dict[tuple[Metric, int], Tensor] = {}
        self._room = _ROOM

    def loss(self, model: nn.Module, graph: AtomGraph) -> Tensor:
        out = model(graph)["coefficients"]
        return self._losses(out - self._labels(graph), graph.frame.tolist()).mean()

    def predict(
        self, model: nn.Module, batches: Iterable[AtomGraph], device: torch.device
    ) -> DensityPredictions:
        training = model.training
        model.eval()
        parts = []
        for batch in batches:
            graph = batch.to(device)
            with torch.no_grad():
                out = model(graph)
                c = out["coefficients"]
                indices = graph.frame.tolist()
                difference = c - self._labels(graph)
                losses = self._losses(difference, indices)
                squares = self._squares(difference, indices, "overlap")
            own = [part.cpu().numpy() for part in c.split(self._sizes(indices))]
            parts.append(
                DensityPredictions(
                    graph.frame.cpu().numpy(),
                    own,
                    losses.cpu().numpy(),
                    squares.clamp_min(0).sqrt().cpu().numpy(),
                    out["surplus"].cpu().numpy(),
                )
            )
        model.train(training)
        return self.merge(parts)

    def merge(self, parts: Iterable[DensityPredictions]) -> DensityPredictions:
        found = list(parts)
        return DensityPredictions(
            np.concatenate([p.frame for p in found]),
            [c for p in found for c in p.coefficients],
            np.concatenate([p.loss for p in found]),
            np.concatenate([p.distance for p in found]),
            np.concatenate([p.surplus for p in found]),
        )

    def errors(self, predictions: DensityPredictions) -> dict[str, float]:
        electrons = np.array([self.frames.records[i].electrons for i in predictions.frame])
        return {
            "loss": float(predictions.loss.mean()),
            "distance_percent": float(100 * (predictions.distance / np.sqrt(electrons)).mean()),
            "surplus_electrons_per_atom": float(np.abs(predictions.surplus).mean()),
        }

    def headline(self, row: Mapping[str, float]) -> str:
        if "valid_distance_percent" not in row:
            return ""
        return (
            f"distance {row['valid_distance_percent']:.3f} %, electrons off by "
            f"{row['valid_surplus_electrons_per_atom']:.1e} per atom before they are set right"
        )

    def hartree_errors(self, predictions: DensityPredictions) -> NDArray[np.float64]:
        """Electrostatic self-energy of the error of each molecule, eV."""
        values = []
        for i, c in zip(predictions.frame.tolist(), predictions.coefficients, strict=True):
            difference = torch.from_numpy(c - self.frames.records[i].coefficients)
            values.append(float(self._squares(difference, [i], "coulomb")) / 2 * Hartree)
        return np.array(values)

    def _labels(self, graph: AtomGraph) -> Tensor:
        parts = [self.frames.records[i].coefficients for i in graph.frame.tolist()]
        return torch.from_numpy(np.concatenate(parts)).to(graph.positions.device)

    def _sizes(self, indices: Sequence[int]) -> list[int]:
        return [len(self.frames.records[i].coefficients) for i in indices]

    def _losses(self, difference: Tensor, indices: Sequence[int]) -> Tensor:
        """Of each molecule, (G,); times 1000, so that the gradient's norm is of order one."""
        total = difference.new_zeros(len(indices))
        for metric in ("overlap", "coulomb"):
            weight = getattr(self.weights, metric)
            if weight:
                total = total + weight * self._squares(difference, indices, metric)
        if self.weights.coefficients:
            each = torch.stack([d @ d for d in difference.split(self._sizes(indices))])
            total = total + self.weights.coefficients * each
        electrons = [self.frames.records[i].electrons for i in indices]
        return 1000 * total / torch.tensor(electrons).to(total)

    def _squares(self, difference: Tensor, indices: Sequence[int], metric: Metric) -> Tensor:
        offsets = torch.tensor(np.cumsum([0, *self._sizes(indices)]))
        matrices = [self._matrix(metric, i).to(difference.device) for i in indices]
        return squared_norms(difference, offsets, matrices)

    def _matrix(self, metric: Metric, i: int) -> Tensor:
        kept = self._matrices.get((metric, i))
        if kept is not None:
            return kept
        record = self.frames.records[i]
        matrix = metric_matrix(self.frames.basis, record.numbers, record.positions, metric)
        size = matrix.numel() * matrix.element_size()
        if size <= self._room:
            self._room -= size
            self._matrices[metric, i] = matrix
        return matrix
