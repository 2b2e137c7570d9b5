"""Functions of scalars, scaled to keep unit variance, and the parity that they give."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from clebsch.nn.arguments import check_features, named
from clebsch.o3 import Irrep, Irreps
from clebsch.o3.irreps import IrrepsLike
from clebsch.ops.nodewise.gating import Gating, gate

ScalarFunction = Callable[[Tensor], Tensor]


def moment(f: ScalarFunction, n: int) -> float:
    """E[f(z)^n] for z standard normal, by quadrature in float64.

    Gauss-Legendre on panels of length one from -16 to 16: exact to rounding where f is smooth
    between whole numbers (so also ReLU6, hard tanh). e3nn's estimate is Monte Carlo, to 1e-3.

    Example:
        >>> round(moment(torch.relu, 2), 12), round(moment(torch.abs, 4), 12)
        (0.5, 3.0)
    """
    x, weight = np.polynomial.legendre.leggauss(24)
    z = (np.arange(-16, 16)[:, None] + 0.5 + 0.5 * x).ravel()
    density = np.tile(0.5 * weight, 32) * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return math.fsum(density * _values(f, z) ** n)


@cache
def second_moment_scale(activation: ScalarFunction) -> float:
    """1 / sqrt(E[f(z)^2]) for z standard normal, exact to rounding; see ``moment``.

    Raises:
        ValueError: the function is zero everywhere, or has no second moment.
    """
    second = moment(activation, 2)
    if not (0 < second < math.inf):
        raise ValueError(
            f"{function_name(activation)}: its second moment under a standard normal is {second}, "
            "so that it can not be scaled to one"
        )
    return second**-0.5


def function_parity(f: ScalarFunction) -> int:
    """1 for an even function, -1 for an odd one, 0 for neither (on 257 points up to 10).

    Example:
        >>> function_parity(torch.abs), function_parity(torch.tanh), function_parity(torch.sigmoid)
        (1, -1, 0)
    """
    x = np.linspace(0.0, 10.0, 257)
    right, left = _values(f, x), _values(f, -x)
    tolerance = 1e-9 * max(1.0, float(np.abs(right).max()))
    if np.abs(right - left).max() <= tolerance:
        return 1
    return -1 if np.abs(right + left).max() <= tolerance else 0


class ScaledActivation(nn.Module):
    """``activation`` times the constant that gives unit second moment on normal input.

    e3nn's ``normalize2mom``, whose constants are Monte Carlo estimates.

    Shape: any to the same.

    Example:
        >>> act = ScaledActivation(torch.nn.functional.silu)
        >>> round(act.scale, 4)
        1.6765
    """

    def __init__(self, activation: ScalarFunction) -> None:
        super().__init__()
        self.activation = activation
        self.scale = second_moment_scale(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x) * self.scale

    def extra_repr(self) -> str:
        return f"{function_name(self.activation)}, scale={self.scale:.4f}"


class Activation(nn.Module):
    """A function for every block of scalars; blocks with ``None`` pass.

    Functions are scaled to unit second moment. Of an odd scalar an even function is an even
    scalar, an odd function an odd one.

    Args:
        irreps_in: irreps of the input.
        acts: one function, or ``None``, for every block.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim).

    Raises:
        ValueError: not as many functions as blocks; a function of a block with l > 0; one of odd
            scalars that is neither even nor odd.

    Example:
        >>> silu = torch.nn.functional.silu
        >>> Activation("16x0e + 8x0o + 4x1o", [silu, torch.abs, None]).irreps_out
        16x0e+8x0e+4x1o
    """

    def __init__(self, irreps_in: IrrepsLike, acts: Sequence[ScalarFunction | None]) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        self.irreps_out = activated_irreps("Activation", self.irreps_in, acts)
        self.acts = nn.ModuleList(nn.Identity() if f is None else ScaledActivation(f) for f in acts)
        none = Irreps("")
        self.gating = Gating(
            self.irreps_in, none, none, scaled_functions(acts), (), self.irreps_out
        )

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        return gate(self.gating, x)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}"


def activated_irreps(
    layer: str, irreps: Irreps, acts: Sequence[ScalarFunction | None], blocks: str = "irreps_in"
) -> Irreps:
    """What becomes of ``irreps`` under a function, or ``None``, for every block.

    Raises:
        ValueError: see ``Activation``; the sentence names ``layer`` and ``blocks``.
    """
    if len(acts) != len(irreps):
        raise ValueError(
            f"{layer}: {blocks} {named(irreps)} has {len(irreps)} blocks, but there are "
            f"{len(acts)} activations; give one, or None, for each"
        )
    result = []
    for (mul, ir), f in zip(irreps, acts, strict=True):
        if f is None:
            result.append((mul, ir))
            continue
        if ir.l > 0:
            raise ValueError(
                f"{layer}: {blocks} {irreps}: {function_name(f)} acts on {mul}x{ir}, but "
                "activations act on scalars only; give None, or gate the block"
            )
        parity = 1 if ir.p == 1 else function_parity(f)
        if parity == 0:
            raise ValueError(
                f"{layer}: {blocks} {irreps}: {function_name(f)} of {mul}x{ir} is neither even nor "
                "odd, so that its result has no parity; take one that is, such as tanh or abs"
            )
        result.append((mul, Irrep(0, parity)))
    return Irreps(result)


def scaled_functions(
    acts: Sequence[ScalarFunction | None],
) -> tuple[tuple[ScalarFunction | None, float], ...]:
    """Every function with its factor."""
    return tuple((f, 1.0 if f is None else second_moment_scale(f)) for f in acts)


def _values(f: ScalarFunction, z: np.ndarray) -> np.ndarray:
    if isinstance(f, nn.Module):  # it may have parameters in another precision
        f = copy.deepcopy(f).cpu().double()
    with torch.no_grad():
        return f(torch.from_numpy(z)).numpy()


def function_name(f: ScalarFunction) -> str:
    return getattr(f, "__name__", None) or str(f)
