"""Scalar activations scaled to keep unit variance."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


@cache
def second_moment_scale(activation: Activation) -> float:
    """1 / sqrt(E[f(z)^2]) for z standard normal, by Gauss-Hermite quadrature in float64.

    e3nn's ``normalize2mom`` estimates the same number by Monte Carlo, to about 1e-3.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(200)
    f = activation(torch.from_numpy(z)).numpy()
    return float((weight @ f**2 / weight.sum()) ** -0.5)


class ScaledActivation(nn.Module):
    """``activation`` times the constant that gives unit second moment on normal input.

    Shape: any to the same.

    Example:
        >>> act = ScaledActivation(torch.nn.functional.silu)
        >>> round(act.scale, 4)
        1.6765
    """

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.scale = second_moment_scale(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x) * self.scale

    def extra_repr(self) -> str:
        return f"{getattr(self.activation, '__name__', self.activation)}, scale={self.scale:.4f}"
