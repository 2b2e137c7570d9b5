"""Boys' function, the potential of a Gaussian charge.

F_n(x) = integral from 0 to 1 of t^(2n) exp(-x t^2) dt, and F_n' = -F_(n+1).
T. Helgaker, P. Jorgensen, J. Olsen, Molecular Electronic-Structure Theory (2000), section 9.8.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_SMALL = 2.0  # below the series, above the upward recursion, which loses no digit there
_TERMS = 26


def boys(n: int, x: Tensor) -> Tensor:
    """F_n(x) for x >= 0, differentiable to any order; computed in float64.

    >>> boys(2, torch.zeros(1, dtype=torch.float64))  # 1 / (2n + 1)
    tensor([0.2000], dtype=torch.float64)
    """
    return _Boys.apply(x, n)


class _Boys(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.n = n
        wide = x.double()
        result = _recursion(n, wide.clamp(min=_SMALL))
        small = wide < _SMALL
        if small.any():
            result[small] = _series(n, wide[small])
        return result.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return -grad * boys(ctx.n + 1, x), None


def _recursion(n: int, x: Tensor) -> Tensor:
    """(2m+1) F_m = 2x F_(m+1) + exp(-x), upwards from the error function."""
    root = x.sqrt()
    result = math.sqrt(math.pi) / 2 * torch.erf(root) / root
    if n > 0:
        decay, half = torch.exp(-x), 0.5 / x
        for m in range(n):
            result = ((2 * m + 1) * result - decay) * half
    return result


def _series(n: int, x: Tensor) -> Tensor:
    """exp(-x) sum over k of (2x)^k / ((2n+1)(2n+3)...(2n+2k+1)): only positive terms."""
    term = torch.full_like(x, 1 / (2 * n + 1))
    result = term
    for k in range(1, _TERMS):
        term = term * (2 * x / (2 * n + 2 * k + 1))
        result = result + term
    return result * torch.exp(-x)
