"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """A moving average of the trainable parameters of ``model``.

    After each optimiser step, average <- d average + (1 - d) weights with
    d = min(decay, (1 + n) / (10 + n)), n the number of updates so far: the average forgets the
    initial weights quickly. The averaged weights are the ones validated, tested and exported.

    Args:
        model: its parameters are read, never written, except inside `applied`.
        decay: between 0 (the average is the model itself) and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._names = [name for name, p in model.named_parameters() if p.requires_grad]
        self._weights: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's present weights into the average."""
        # The parameters may have moved to another device since the average was made.
        if self.average and self.average[0].device != self._weights[0].device:
            self.average = [
                a.to(p.device) for a, p in zip(self.average, self._weights, strict=True)
            ]
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(self.average, self._weights, 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the model holds the average; afterwards its own weights again."""
        own = [p.detach().clone() for p in self._weights]
        self._copy(self.average)
        try:
            yield
        finally:
            self._copy(own)

    def state_dict(self) -> dict[str, Tensor | int]:
        """Tensors by parameter name, and the number of updates."""
        state: dict[str, Tensor | int] = dict(zip(self._names, self.average, strict=True))
        return state | {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Restore what `state_dict` gave."""
        state = dict(state)
        self.updates = int(state.pop("updates"))
        for name, average in zip(self._names, self.average, strict=True):
            average.copy_(torch.as_tensor(state[name]))

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._weights, values, strict=True):
            parameter.copy_(value)
