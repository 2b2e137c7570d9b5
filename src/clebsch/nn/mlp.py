"""Multilayer perceptrons of unit variance."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from clebsch.nn.activations import ScalarFunction, ScaledActivation
from clebsch.nn.arguments import check_features
from clebsch.o3 import Irrep, Irreps
from clebsch.ops.nodewise.gating import Gating, gate
from clebsch.ops.nodewise.mixing import Mixing
from clebsch.ops.nodewise.perceptron import Perceptron, perceive


class MLP(nn.Module):
    """Fully connected network without biases: zero in gives zero out if activation(0) = 0.

    Weights are standard normal, divided by sqrt(fan-in) when used, and activations are scaled,
    so the variance is one at every layer at initialisation (as e3nn's ``FullyConnectedNet``).

    Args:
        widths: input, hidden and output widths.
        activation: applied after every layer but the last; ``None`` for none.
        variance_in: variance of the input.
        variance_out: variance of the result.
        out_act: also apply the activation after the last layer.

    Shape: (..., widths[0]) -> (..., widths[-1]).

    Raises:
        ValueError: fewer than two widths, or none; a variance that is not positive.

    Example:
        >>> mlp = MLP([8, 64, 64, 5], variance_out=0.5)
        >>> mlp(torch.randn(3, 8)).shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: ScalarFunction | None = nn.functional.silu,
        *,
        variance_in: float = 1.0,
        variance_out: float = 1.0,
        out_act: bool = False,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        if len(self.widths) < 2 or min(self.widths[:-1]) < 1:
            raise ValueError(f"MLP: widths are input, hidden and output, not {widths}")
        if not (variance_in > 0 and variance_out > 0):
            raise ValueError(
                f"MLP: variances must be positive, not {variance_in} in and {variance_out} out"
            )
        self.activation = None if activation is None else ScaledActivation(activation)
        self.weights = nn.ParameterList(
            torch.randn(a, b) for a, b in zip(self.widths, self.widths[1:], strict=False)
        )
        self.irreps_in, self.irreps_out = _scalars(self.widths[0]), _scalars(self.widths[-1])

        # The activation's constant is folded into the weights of the next layer.
        scale = 1.0 if self.activation is None else self.activation.scale
        scales = [1 / sqrt(variance_in)] + [scale] * (len(self.weights) - 1)
        last = activation if out_act else None
        if last is None:
            scales[-1] *= sqrt(variance_out)
        self.perceptron = Perceptron(
            tuple(
                Mixing(_scalars(a), _scalars(b), factor)
                for a, b, factor in zip(self.widths, self.widths[1:], scales, strict=False)
            ),
            tuple(_activation(width, activation, 1.0) for width in self.widths[1:-1]),
        )
        self.last = None
        if last is not None:
            self.last = _activation(self.widths[-1], last, scale * sqrt(variance_out))

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        y = perceive(self.perceptron, x, *self.weights)
        return y if self.last is None else gate(self.last, y)

    def extra_repr(self) -> str:
        return " -> ".join(map(str, self.widths))


def _scalars(width: int) -> Irreps:
    return Irreps([(width, Irrep(0, 1))])


def _activation(width: int, function: ScalarFunction | None, scale: float) -> Gating:
    scalars, none = _scalars(width), Irreps("")
    return Gating(scalars, none, none, ((function, scale),), (), scalars)
