"""Which back end computes an open slot of the form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Literal

from torch import Tensor

from clebsch.ops import cpu, gpu, reference
from clebsch.ops.reference import SLOTS
from clebsch.ops.specification import Specification

_backend = "auto"


@contextmanager
def backend(name: Literal["auto", "reference", "cpu", "triton"]) -> Iterator[None]:
    """Compute with the named back end inside this context.

    ``"auto"`` is the fastest that there is for the tensors' device; the others serve where they
    can, and the reference where not. ``"triton"`` takes CPU tensors too, in Triton's interpreter.

    Raises:
        ValueError: there is no back end of this name.

    Example:
        >>> with backend("reference"):
        ...     pass
    """
    if name not in ("auto", "reference", "cpu", "triton"):
        raise ValueError(f"there is no back end {name!r}: auto, reference, cpu or triton")
    global _backend
    before, _backend = _backend, name
    try:
        yield
    finally:
        _backend = before


def chosen() -> str:
    """The name that ``backend`` was given last."""
    return _backend


def accelerated(spec: Specification, some: Tensor) -> ModuleType | None:
    """The back end for the specification and tensors like ``some``; None for the reference."""
    if _backend == "reference":
        return None
    fast = gpu if _backend == "triton" or (some.is_cuda and _backend == "auto") else cpu
    return fast if fast.available(spec, some) else None


def fused(spec: Specification, some: Tensor) -> ModuleType | None:
    """The back end that opens several slots at once (``open_slots``), or None."""
    fast = accelerated(spec, some)
    return fast if fast is not None and fast.fused(spec, some) else None


def compute(
    spec: str,
    target: str,
    x: Tensor | None,
    y: Tensor | None,
    w: Tensor | None,
    z: Tensor | None,
    src: Tensor | None,
    dst: Tensor | None,
    rows: int,
) -> Tensor:
    """Open ``target``; ``rows`` is its number of rows. Without src and dst no gather."""
    parsed = Specification.from_key(spec)
    factors = {s: f for s, f in zip(SLOTS, (x, y, w, z), strict=True) if f is not None}
    some = next(iter(factors.values()))
    if src is not None:
        edges = src.shape[0]
    elif target == "w" and parsed.shared_weights:
        edges = factors["y"].shape[0]
    else:
        edges = rows
    fast = accelerated(parsed, some) or reference
    value: Tensor = fast.contract(parsed, target, factors, src, dst, rows, edges)
    return value
