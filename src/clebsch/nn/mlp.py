"""Multilayer perceptrons of unit variance."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from clebsch.nn.activations import Activation, ScaledActivation


class MLP(nn.Module):
    """Fully connected network without biases: zero in gives zero out if activation(0) = 0.

    Weights are standard normal, divided by sqrt(fan-in) when used, and activations are scaled,
    so the variance is one at every layer at initialisation (as e3nn's ``FullyConnectedNet``).

    Args:
        widths: input, hidden and output widths.
        activation: applied after every layer but the last.

    Shape: (..., widths[0]) -> (..., widths[-1]).
    """

    def __init__(self, widths: Sequence[int], activation: Activation = nn.functional.silu) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.activation = ScaledActivation(activation)
        self.weights = nn.ParameterList(
            torch.randn(a, b) for a, b in zip(self.widths, self.widths[1:], strict=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        last = len(self.weights) - 1
        scale = 1.0
        for number, weight in enumerate(self.weights):
            # The activation's constant is folded into the small weight matrix.
            x = x @ (weight * (scale / sqrt(weight.shape[0])))
            if number < last:
                x = self.activation.activation(x)
                scale = self.activation.scale
        return x

    def extra_repr(self) -> str:
        return " -> ".join(map(str, self.widths))
