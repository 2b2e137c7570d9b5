"""Which back end computes an open slot of the form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import Tensor

from clebsch.ops import cpu, reference
from clebsch.ops.reference import SLOTS
from clebsch.ops.specification import Specification

_backend = "auto"


@contextmanager
def backend(name: Literal["auto", "reference"]) -> Iterator[None]:
    """Compute with the reference inside this context, or with the fastest that there is.

    Example:
        >>> with backend("reference"):
        ...     pass
    """
    global _backend
    before, _backend = _backend, name
    try:
        yield
    finally:
        _backend = before


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
    if _backend != "reference" and cpu.available(parsed, some):
        return cpu.contract(parsed, target, factors, src, dst, rows, edges)
    return reference.contract(parsed, target, factors, src, dst, rows, edges)
