"""Is a model in float64 exact to float64? Three ways in which a rounded constant shows.

A constant of float32 in a float64 model costs eight digits and no test of shapes or types sees it.

- While a structure is computed, every operator is watched: none may touch a tensor of float32.
- Constants that modules keep are looked at: a number of float64 that fits into 24 bits, yet needs
  more than 15, has been rounded to float32 before.
- The 3j symbols of every path must be invariant under rotations, with matrices that come from
  associated Legendre functions and not from 3j symbols, and of norm 1.
"""

from __future__ import annotations

import dataclasses
import math
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from scipy.special import lpmv
from torch.utils._python_dispatch import TorchDispatchMode

import clebsch
from clebsch.ops import Specification
from clebsch.verify.comparison import Array, Deviation, count
from clebsch.verify.engines import Eager, Model
from clebsch.verify.symmetries import random_rotation

_PACKAGE = Path(clebsch.__file__).parent
_LOW = (torch.float32, torch.float16, torch.bfloat16)
_SINGLE_BITS = 24
_FEW_BITS = 15  # 0.375, 1.5 or 4096 are exact in any type
#: Of a 3j symbol, whose elements are at most 1.
SYMBOL_TOLERANCE = 1e-12


def check_operators(engine: Eager, atoms: Atoms) -> Deviation:
    """Number of operators that touched a tensor of less than float64 along one evaluation.

    Args:
        engine: in float64.
        atoms: any structure with edges.
    """
    watch = _Watch()
    with watch:
        engine.evaluate([atoms])
    place = "" if not watch.seen else f"{watch.seen[0]}"
    return count("operators on float32", len(watch.seen), place)


def check_constants(model: Model) -> Deviation:
    """Number of constants of a float64 model that were rounded to float32.

    Weights are left out: trained in float32 they are what they are. So are numbers that stand in
    the configuration.
    """
    given = set(_numbers(model.config.model_dump()))
    rounded = [
        name for name, value in _constants(model) if was_single(value) and value not in given
    ]
    place = "" if not rounded else rounded[0]
    return count("rounded constants", len(rounded), place)


def check_symbols(model: Model) -> Deviation | None:
    """Largest error of a 3j symbol in any of the model's paths; None where there are no paths."""
    worst: Deviation | None = None
    for name, module in model.named_modules():
        found = getattr(module, "specification", None)
        if not isinstance(found, Specification):
            continue
        for number, path in enumerate(found.paths):
            degrees = tuple(
                block[index][1].l
                for block, index in (
                    (found.x, path.x),
                    (found.y, path.y),
                    (found.z, path.z),
                )
            )
            error = symbol_error(found.symbol(path).numpy() / path.coefficient, degrees)
            place = f"{name}, path {number} of degrees {degrees}"
            deviation = Deviation("3j symbol", error, "", SYMBOL_TOLERANCE, place)
            if worst is None or deviation.ratio > worst.ratio:
                worst = deviation
    return worst


def symbol_error(symbol: Array, degrees: tuple[int, ...]) -> float:
    """How far a 3j symbol is from norm 1 and from what it is in rotated axes."""
    a, b, c = (rotation_matrix(degree) for degree in degrees)
    rotated = np.einsum("ijk,ai,bj,ck->abc", symbol, a, b, c, optimize=True)
    norm = float(np.sqrt(np.square(symbol).sum()))
    return max(abs(norm - 1), float(np.abs(rotated - symbol).max()))


@cache
def rotation_matrix(degree: int) -> Array:
    """The matrix (2l+1, 2l+1) of one random rotation R: Y(R x) = D Y(x), by least squares."""
    draw = np.random.default_rng(1)
    rotation = random_rotation(draw)
    points = draw.standard_normal((8 * (2 * degree + 1), 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    before, after = (_harmonics(degree, x) for x in (points, points @ rotation.T))
    return np.asarray(np.linalg.lstsq(before, after, rcond=None)[0].T)


def was_single(value: float) -> bool:
    """Whether a number has the digits of float32 and not by being a short one."""
    if not math.isfinite(value) or value == 0.0:
        return False
    mantissa = int(abs(math.frexp(value)[0]) * 2**53)
    trailing = (mantissa & -mantissa).bit_length() - 1
    return _FEW_BITS < 53 - trailing <= _SINGLE_BITS


def _harmonics(degree: int, points: Array) -> Array:
    """Real harmonics (n, 2l+1) of unit vectors, polar axis y, m = -l..l from sine to cosine."""
    x, polar, z = points.T
    angle = np.arctan2(x, z)
    columns = []
    for m in range(-degree, degree + 1):
        k = abs(m)
        scale = math.sqrt((2 - (k == 0)) * math.factorial(degree - k) / math.factorial(degree + k))
        # lpmv has Condon and Shortley's phase, the real basis has not.
        columns.append((-1) ** k * scale * lpmv(k, degree, polar) * _wave(m, angle))
    return np.stack(columns, axis=1)


def _wave(m: int, angle: Array) -> Array:
    return np.asarray(np.sin(-m * angle) if m < 0 else np.cos(m * angle))


class _Watch(TorchDispatchMode):
    """Notes every operator with a tensor of less than float64, and the line that called it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = torch.utils._pytree.tree_leaves((args, kwargs, result))
        if any(isinstance(leaf, torch.Tensor) and leaf.dtype in _LOW for leaf in leaves):
            self.seen.append(f"{func} at {_caller()}")
        return result


def _caller() -> str:
    """The innermost line of the package outside of this one."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE) and path.parent.name != "verify":
            return f"{path.relative_to(_PACKAGE)}:{frame.lineno}"
    return "an unknown place"


def _constants(model: Model) -> Iterator[tuple[str, float]]:
    """Numbers that the model's modules keep and that are no weights."""
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        for key, value in vars(module).items():
            if key.startswith("_") or key in ("config", "header", "facts", "training"):
                continue
            for path, number in _floats(value, 3):
                yield f"{prefix}{key}{path}", number
        for key, buffer in module.named_buffers(recurse=False):
            if key in module._non_persistent_buffers_set and buffer.is_floating_point():
                for number in buffer.double().flatten().tolist():
                    yield f"{prefix}{key}", number


def _floats(value: Any, depth: int) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield "", value
    elif depth and isinstance(value, tuple | list):
        for number, item in enumerate(value):
            for path, found in _floats(item, depth - 1):
                yield f"[{number}]{path}", found
    elif depth and dataclasses.is_dataclass(value) and not isinstance(value, Specification):
        for field in dataclasses.fields(value):
            for path, found in _floats(getattr(value, field.name), depth - 1):
                yield f".{field.name}{path}", found


def _numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict):
        for value in content.values():
            yield from _numbers(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _numbers(value)
    elif isinstance(content, int | float):
        yield float(content)
