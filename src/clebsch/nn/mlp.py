"""Multilayer perceptrons of unit variance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clebsch.nn.activations import Activation, ScaledActivation
from clebsch.o3 import Irrep, Irreps
from clebsch.ops.gating import Gating
from clebsch.ops.mixing import Mixing
from clebsch.ops.perceptron import Perceptron, perceive


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

        # The activation's constant is folded into the weights of the next layer.
        scales = [1.0] + [self.activation.scale] * (len(self.weights) - 1)
        self.perceptron = Perceptron(
            tuple(
                Mixing(_scalars(a), _scalars(b), scale)
                for a, b, scale in zip(self.widths, self.widths[1:], scales, strict=False)
            ),
            tuple(
                Gating(_scalars(width), Irreps(""), {1: (activation, 1.0)})
                for width in self.widths[1:-1]
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        return perceive(self.perceptron, x, *self.weights)

    def extra_repr(self) -> str:
        return " -> ".join(map(str, self.widths))


def _scalars(width: int) -> Irreps:
    return Irreps([(width, Irrep(0, 1))])
