"""What a specification costs per edge: multiply-adds, weights, bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clebsch.ops.specification import Path, Specification

_ENDS = 2 * 8  # bytes of an edge's source and destination, int64


@dataclass(frozen=True)
class PathCost:
    """Costs of one path, per edge.

    Attributes:
        name: the path, ``"8x1o (x) 1x1o -> 8x0e"``.
        mode: how its channels combine.
        channels: of the result.
        terms: non-zero entries of the 3j symbol.
        symbol_multiply_adds: of the 3j symbol with y; the channels of x have no part in them.
        channel_multiply_adds: of all that follows, over all channels.
        weights: how many the path takes.
    """

    name: str
    mode: str
    channels: int
    terms: int
    symbol_multiply_adds: int
    channel_multiply_adds: int
    weights: int

    @property
    def per_channel(self) -> float:
        """Multiply-adds per edge and channel of the result."""
        return self.channel_multiply_adds / max(self.channels, 1)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per edge."""
        return self.symbol_multiply_adds + self.channel_multiply_adds


@dataclass(frozen=True)
class Costs:
    """Costs of a specification, per edge, for a back end that keeps no message in memory.

    Attributes:
        paths: costs of each path, in order.
        x, y, z, w: numbers in one row of each factor; w is 0 where the weights are shared.
    """

    paths: tuple[PathCost, ...]
    x: int
    y: int
    z: int
    w: int

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per edge of the forward operator."""
        return sum(path.multiply_adds for path in self.paths)

    def bytes_per_edge(self, itemsize: int = 4) -> int:
        """Bytes read per edge: rows of x, y and w, source and destination.

        The result is not counted: its row is summed where it is, and written once per atom.
        """
        return itemsize * (self.x + self.y + self.w) + _ENDS

    def table(self, itemsize: int = 4) -> str:
        """The costs as aligned text, a line per path; see ``Specification.table``."""
        head = ("path", "mode", "3j terms", "madd/channel", "madd", "weights", "bytes")
        rows = [
            (
                path.name,
                path.mode,
                f"{path.terms}",
                f"{path.per_channel:.4g}",
                f"{path.multiply_adds}",
                f"{path.weights}",
                f"{path.weights * itemsize if self.w else 0}",
            )
            for path in self.paths
        ]
        rows.append(
            (
                "sum",
                "",
                f"{sum(path.terms for path in self.paths)}",
                f"{sum(path.per_channel for path in self.paths):.4g}",
                f"{self.multiply_adds}",
                f"{sum(path.weights for path in self.paths)}",
                f"{self.w * itemsize}",
            )
        )
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if n < 2 else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (head, *rows)
        ]
        total = self.bytes_per_edge(itemsize)
        parts = ", ".join(
            f"{n * itemsize} {s}" for s, n in zip("xyw", (self.x, self.y, self.w), strict=True)
        )
        lines.append(
            f"reads {total} bytes per edge ({parts}, {_ENDS} ends), "
            f"{self.multiply_adds / total:.2g} multiply-adds per byte"
        )
        return "\n".join(lines)


def path_cost(spec: Specification, path: Path, letters: tuple[str, str, str, str]) -> PathCost:
    """Count one path whose channels have these ``letters`` in x, y, w and z.

    The 3j symbol meets y first, M[i, k] = sum_j C[i, j, k] y[j]; then x meets the weights and
    M, or M and the weights, whichever is less.
    """
    x, y, w, z = map(set, letters)
    weighted = path.weighted
    w = w if weighted else set()
    blocks = spec.blocks(path)
    sizes = spec.channel_sizes(path)

    def count(some: Iterable[str]) -> int:
        return prod(sizes[letter] for letter in some)

    terms = spec.terms(path)
    i, k = len({term.i for term in terms}), len({term.k for term in terms})
    pairs = len({(term.i, term.k) for term in terms})  # non-zero entries of M
    weights_first = weighted * i * count(x | w) + pairs * count((x | w) & (y | z) | y)
    weights_last = pairs * count(x | y) + weighted * k * count((x | y) & (w | z) | w)
    return PathCost(
        name="{} (x) {} -> {}".format(*(f"{mul}x{ir}" for mul, ir in blocks)),
        mode=path.mode,
        channels=blocks[2][0],
        terms=len(terms),
        symbol_multiply_adds=len(terms) * count(y),
        channel_multiply_adds=min(weights_first, weights_last),
        weights=weighted * count(letters[2]),
    )
