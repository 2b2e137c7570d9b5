"""What the operator asks of its arguments; each check is an attribute or two, no data is read.

Whether edges name rows that are there is seen by the back ends, which read them anyway.
"""

from __future__ import annotations

import operator
from typing import NamedTuple

import torch
from torch import Tensor

from clebsch.ops.nodewise import autocast
from clebsch.ops.specification import Specification

_MOST_ROWS = 2**40  # more do not fit in any memory, and their bytes not in an int64
_HALF = (torch.float16, torch.bfloat16)


class Edges(NamedTuple):
    """Who sends to whom.

    Attributes:
        src: (E,) int64 (int32 is converted), row of x that each edge reads.
        dst: (E,) like src, row of the result that each edge adds to. Ascending order is fastest.
        n_dst: number of rows of the result.
    """

    src: Tensor
    dst: Tensor
    n_dst: int


def checked_factors(
    spec: Specification, x: Tensor, y: Tensor, w: Tensor | None, src: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The factors, of one floating-point type; without ``src`` each row is an edge of its own.

    Under autocast, half precision becomes float32, as it does for torch's own sums.

    Raises:
        TypeError: a factor is no tensor.
        ValueError: a shape, type or device that does not fit; the sentence names the factor.
    """
    width = spec.widths
    factors = {"x": x, "y": y} if w is None else {"x": x, "y": y, "w": w}
    for name, factor in factors.items():
        if not isinstance(factor, Tensor):
            raise TypeError(f"{name} is a {type(factor).__name__}; it must be a tensor")
    if x.dim() != 2 or x.shape[1] != width["x"]:
        raise ValueError(f"x is {tuple(x.shape)}; it must be (rows, {width['x']})")
    rows = x.shape[0] if src is None else src.shape[0]
    of_w = (width["w"],) if spec.shared_weights else (rows, width["w"])
    if w is None and width["w"]:
        raise ValueError(f"the specification takes weights w of shape {of_w}; none given")
    for name, other, shape in (("y", y, (rows, width["y"])), ("w", w, of_w)):
        if other is not None and other.shape != shape:
            raise ValueError(f"{name} is {tuple(other.shape)}; it must be {shape}")
    for name, other in (("y", y), ("w", w), ("edges.src", src)):
        if other is not None and other.device != x.device:
            raise ValueError(
                f"{name} is on {other.device} and x on {x.device}; move them to one device"
            )
    dtype = x.dtype
    one = y.dtype is dtype and (w is None or w.dtype is dtype)
    if one and (dtype is torch.float32 or dtype is torch.float64):
        return x, y, w
    factors = _of_one_type(factors)
    return factors["x"], factors["y"], factors.get("w")


def checked_ends(
    spec: Specification, x: Tensor, y: Tensor, z: Tensor, edges: Edges
) -> tuple[Tensor, Tensor, Tensor]:
    """The factors but the weights, of one floating-point type; see ``checked_factors``.

    Raises:
        TypeError: a factor is no tensor.
        ValueError: weights that are shared; a shape, type or device that does not fit.
    """
    if spec.shared_weights:
        raise ValueError("the specification shares its weights; here each edge has its own")
    rows = {"y": edges.src.shape[0], "z": edges.n_dst}
    factors = {"x": x, "y": y, "z": z}
    for name, factor in factors.items():
        if not isinstance(factor, Tensor):
            raise TypeError(f"{name} is a {type(factor).__name__}; it must be a tensor")
        width = spec.widths[name]
        shape = (rows.get(name, factor.shape[0] if factor.dim() else 0), width)
        if factor.shape != shape:
            wanted = f"(rows, {width})" if name == "x" else shape
            raise ValueError(f"{name} is {tuple(factor.shape)}; it must be {wanted}")
        if factor.device != edges.src.device:
            raise ValueError(
                f"{name} is on {factor.device} and edges.src on {edges.src.device}; "
                "move them to one device"
            )
    factors = _of_one_type(factors)
    return factors["x"], factors["y"], factors["z"]


def _of_one_type(factors: dict[str, Tensor]) -> dict[str, Tensor]:
    x = factors["x"]
    types = {name: factor.dtype for name, factor in factors.items()}
    if autocast(x.device.type) and all(
        dtype is torch.float32 or dtype in _HALF for dtype in types.values()
    ):
        return {name: factor.float() for name, factor in factors.items()}
    for name, dtype in types.items():
        if dtype not in (torch.float32, torch.float64, *_HALF):
            raise ValueError(f"{name} is {_name(dtype)}; factors are floating-point numbers")
    if len(set(types.values())) > 1:
        listed = ", ".join(f"{name} is {_name(dtype)}" for name, dtype in types.items())
        raise ValueError(f"{listed}; give all factors one floating-point type")
    return factors


def checked_edges(edges: Edges) -> Edges:
    """The edges, as contiguous int64.

    Raises:
        TypeError: src or dst is no tensor of integers, or n_dst no integer.
        ValueError: a shape, device or number of rows that does not fit.
    """
    src, dst, n_dst = edges
    for name, index in (("src", src), ("dst", dst)):
        if not isinstance(index, Tensor):
            raise TypeError(f"edges.{name} is a {type(index).__name__}; it must be a tensor")
        if index.dtype is not torch.int64 and index.dtype is not torch.int32:
            raise TypeError(f"edges.{name} is {_name(index.dtype)}; rows are numbered in int64")
        if index.dim() != 1:
            raise ValueError(f"edges.{name} is {tuple(index.shape)}; it must be (E,)")
    if src.shape[0] != dst.shape[0]:
        raise ValueError(f"edges.src has {src.shape[0]} entries and edges.dst {dst.shape[0]}")
    if src.device != dst.device:
        raise ValueError(
            f"edges.dst is on {dst.device} and edges.src on {src.device}; move them to one device"
        )
    if type(n_dst) is not int and not isinstance(n_dst, torch.SymInt):
        try:
            n_dst = operator.index(n_dst)
        except TypeError:
            raise TypeError(f"edges.n_dst is {n_dst!r}; it must be an integer") from None
    if n_dst < 0:
        raise ValueError(f"edges.n_dst is {n_dst}; a number of rows is not negative")
    if type(n_dst) is int and n_dst > _MOST_ROWS:
        raise ValueError(f"edges.n_dst is {n_dst}; so many rows fit in no memory")
    return Edges(src.long().contiguous(), dst.long().contiguous(), n_dst)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
