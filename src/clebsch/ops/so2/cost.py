"""Which form of a convolution with spherical harmonics costs less, from the specification alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from clebsch.ops.so2.reference import supported
from clebsch.ops.specification import Specification

LOWEST = 4  # degree of features below which the dense form is taken unasked
_WIDTH = 16  # channels that the SO(2) kernels take at a time

# Nanoseconds of one core, fitted to float32 forward passes of merged convolutions, l = 2..6,
# 16 and 64 channels, 5,000 edges. Only their ratios matter.
_DENSE_CHANNEL, _DENSE_EDGE = 0.055, 0.8
_SO2_CHANNEL, _SO2_EDGE = 0.14, 0.1


@dataclass(frozen=True)
class FormCosts:
    """Multiply-adds per edge of both forms.

    Attributes:
        dense_channels: over all channels: the non-zero (i, k) of each path's 3j symbol.
        dense_edge: once per edge: the 3j symbols with the harmonics.
        so2_channels: over all channels: turning into the frame and back, weights of each m,
            products.
        so2_edge: once per edge: the matrices of the turn.
    """

    dense_channels: int
    dense_edge: int
    so2_channels: int
    so2_edge: int

    @property
    def ratio(self) -> float:
        """Estimated time of the dense form over that of the SO(2) form, on a CPU."""
        dense = _DENSE_CHANNEL * self.dense_channels + _DENSE_EDGE * self.dense_edge
        return dense / (_SO2_CHANNEL * self.so2_channels + _SO2_EDGE * self.so2_edge)


@lru_cache(maxsize=256)
def costs(spec: Specification) -> FormCosts:
    """Count both forms of a convolution.

    >>> costs(Specification.convolution("1x1o", "1o", "1x2e", merge=True))
    FormCosts(dense_channels=11, dense_edge=11, so2_channels=560, so2_edge=95)
    """
    dense_channels = dense_edge = so2_channels = 0
    in_pair: dict[tuple[int, int], int] = defaultdict(int)
    for path in spec.paths:
        nonzero = spec.symbol(path).abs() > 1e-12
        dense_edge += int(nonzero.sum())
        dense_channels += int(nonzero.any(1).sum()) * spec.x[path.x].mul
        in_pair[path.x, path.z] += 1
    blocks = {("x", x) for x, _ in in_pair} | {("z", z) for _, z in in_pair}
    degrees = [0]
    for slot, block in blocks:
        mul, ir = (spec.x if slot == "x" else spec.z)[block]
        degrees.append(ir.l)
        so2_channels += _padded(mul) * (_entries(ir.l) + 4 * ir.l)
    for (x, z), paths in in_pair.items():
        (mul, a), b = spec.x[x], spec.z[z].ir
        M = min(a.l, b.l)
        so2_channels += _padded(mul) * (paths * (M + 1) + 2 * M + 1)
    lmax = max(degrees)
    so2_edge = (2 * lmax + 1) * sum(map(_entries, range(lmax + 1)))
    return FormCosts(dense_channels, dense_edge, so2_channels, so2_edge)


def cheaper(spec: Specification) -> Literal["dense", "so2"]:
    """The form that ``"auto"`` takes; dense where no feature has degree ``LOWEST`` or more."""
    highest = max([0, *(ir.l for irreps in (spec.x, spec.z) for _, ir in irreps)])
    if highest < LOWEST or not supported(spec):
        return "dense"
    return "so2" if costs(spec).ratio > 1 else "dense"


def _entries(l: int) -> int:
    """Entries of the turn about x: one block for m >= 0, one for m < 0."""
    return (l + 1) ** 2 + l**2


def _padded(mul: int) -> int:
    return -(-mul // _WIDTH) * _WIDTH
