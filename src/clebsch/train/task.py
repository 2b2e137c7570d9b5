"""What a kind of model learns: the one interface between data of a kind and the training loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from clebsch.structures import AtomGraph


class Task(Protocol):
    """Loss and errors of one kind of model. It is copied to every process of a run."""

    def loss(self, model: nn.Module, graph: AtomGraph) -> Tensor:
        """The scalar loss of a batch, with its graph."""

    def predict(self, model: nn.Module, batches: Iterable[AtomGraph], device: torch.device) -> Any:
        """Predictions and labels of all batches, in evaluation mode; picklable."""

    def merge(self, parts: Iterable[Any]) -> Any:
        """The predictions of several processes as one."""

    def errors(self, predictions: Any) -> dict[str, float]:
        """The ``loss`` by which the best epoch is chosen, and errors in the field's units."""

    def headline(self, row: Mapping[str, float]) -> str:
        """An epoch's validation errors in a few words; keys begin with ``valid_``."""
