"""What a tensor product computes, as plain data.

Every product here is one 4-linear form in the node features x, the second factor y, the
weights w and the result's cotangent z:

    S = sum_b sum_paths coefficient * C[i, j, k] x[b, i, X] y[b, j, Y] w[b, W] z[b, k, Z]

with C the 3j symbol of the path and X, Y, W, Z the channel letters of its mode (u is a channel
of x, v of y, w of the result). Opening one slot gives an operator; its derivatives are the same
form with another slot open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod, sqrt
from typing import Literal, NamedTuple

import torch

from clebsch.o3 import Irrep, Irreps, wigner_3j

Mode = Literal["uvw", "uvu", "uvv", "uuw", "uuu", "uvuv"]

# mode -> channel letters of x, y, weights, result
CHANNELS: dict[str, tuple[str, str, str, str]] = {
    "uvw": ("u", "v", "uvw", "w"),
    "uvu": ("u", "v", "uv", "u"),
    "uvv": ("u", "v", "uv", "v"),
    "uuw": ("u", "u", "uw", "w"),
    "uuu": ("u", "u", "u", "u"),
    "uvuv": ("u", "v", "uv", "uv"),
}


class Term(NamedTuple):
    """One non-zero entry of a path's 3j symbol, coefficient included."""

    i: int
    j: int
    k: int
    value: float


@dataclass(frozen=True)
class Path:
    """One product x[x] (x) y[y] -> z[z] between blocks of the three irreps.

    Attributes:
        x, y, z: indices of the blocks.
        mode: how channels combine, see ``CHANNELS``.
        coefficient: factor of the norm-1 3j symbol.
        weighted: whether the path takes weights; without them they count as one.
    """

    x: int
    y: int
    z: int
    mode: Mode = "uvu"
    coefficient: float = 1.0
    weighted: bool = True


@dataclass(frozen=True)
class Specification:
    """Irreps of the three factors and the paths between them.

    Attributes:
        x, y, z: irreps of the first factor, second factor and result, layout ``ir_mul``.
        paths: the products that are summed.
        shared_weights: one weight vector (weight_numel,) for all rows, instead of one per row
            (rows, weight_numel).

    Raises:
        ValueError: a path couples irreps that do not couple, or channels that do not match.

    Example:
        >>> spec = Specification.convolution("8x0e + 8x1o", "0e + 1o", "0e + 1o")
        >>> print(spec)
        8x0e+8x1o (x) 1x0e+1x1o -> 8x0e+8x0e+8x1o+8x1o
          8x0e (x) 1x0e -> 8x0e  uvu  8 weights
          8x1o (x) 1x1o -> 8x0e  uvu  8 weights
          8x0e (x) 1x1o -> 8x1o  uvu  8 weights
          8x1o (x) 1x0e -> 8x1o  uvu  8 weights
    """

    x: Irreps
    y: Irreps
    z: Irreps
    paths: tuple[Path, ...]
    shared_weights: bool = False

    def __hash__(self) -> int:
        return self._hash  # specifications are keys of every cache on the hot path

    @cached_property
    def _hash(self) -> int:
        return hash((self.x, self.y, self.z, self.paths, self.shared_weights))

    def __post_init__(self) -> None:
        for path in self.paths:
            (mul_x, ir_x), (mul_y, ir_y), (mul_z, ir_z) = self.blocks(path)
            if ir_z not in list(ir_x * ir_y):
                raise ValueError(f"{ir_x} (x) {ir_y} does not contain {ir_z}: path {path}")
            sizes = {"u": mul_x, "v": mul_y, "w": mul_z}
            x, y, _, z = CHANNELS[path.mode]
            if (sizes[x], sizes[y], prod(sizes[c] for c in z)) != (mul_x, mul_y, mul_z):
                raise ValueError(
                    f"mode {path.mode} does not fit channels {mul_x}, {mul_y} -> {mul_z}"
                )

    @classmethod
    def convolution(
        cls, x: Irreps | str, y: Irreps | str, keep: Irreps | Iterable[Irrep] | str
    ) -> Specification:
        """All ``uvu`` paths from x and y into the irreps named in ``keep``.

        Each path has a result block of its own, sorted by irrep, scaled to unit component
        variance for inputs and weights of unit variance (Batzner et al. 2022, eq. 8).
        """
        x, y, keep = Irreps(x), Irreps(y), Irreps(keep)
        wanted = {ir for _, ir in keep}
        found = [
            (ir_z, mul_x, i, j)
            for i, (mul_x, ir_x) in enumerate(x)
            for j, (_, ir_y) in enumerate(y)
            for ir_z in ir_x * ir_y
            if ir_z in wanted
        ]
        found.sort(key=lambda entry: (entry[0], entry[2], entry[3]))
        paths = tuple(
            Path(i, j, k, "uvu", sqrt(ir_z.dim / y[j].mul))
            for k, (ir_z, _, i, j) in enumerate(found)
        )
        return cls(x, y, Irreps([(mul, ir_z) for ir_z, mul, _, _ in found]), paths)

    @classmethod
    def fully_connected(
        cls, x: Irreps | str, y: Irreps | str, z: Irreps | str, shared_weights: bool = True
    ) -> Specification:
        """All ``uvw`` paths into the given result, unit variance (e3nn's ``element``)."""
        x, y, z = Irreps(x), Irreps(y), Irreps(z)
        found = [
            (i, j, k)
            for i, (_, ir_x) in enumerate(x)
            for j, (_, ir_y) in enumerate(y)
            for k, (_, ir_z) in enumerate(z)
            if ir_z in list(ir_x * ir_y)
        ]
        fan_in = [sum(x[i].mul * y[j].mul for i, j, k in found if k == b) for b in range(len(z))]
        paths = tuple(Path(i, j, k, "uvw", sqrt(z[k].ir.dim / fan_in[k])) for i, j, k in found)
        return cls(x, y, z, paths, shared_weights)

    @classmethod
    def elementwise(cls, x: Irreps | str, y: Irreps | str) -> Specification:
        """Channel by channel product (``uuu``, no weights) of irreps with equal channel counts.

        Raises:
            ValueError: the blocks of x and y do not have the same channel counts.
        """
        x, y = Irreps(x), Irreps(y)
        if [b.mul for b in x] != [b.mul for b in y]:
            raise ValueError(f"{x} and {y} differ in their channels: give them equal blocks")
        found = [(b, ir_z) for b in range(len(x)) for ir_z in x[b].ir * y[b].ir]
        paths = tuple(
            Path(b, b, k, "uuu", sqrt(ir_z.dim), weighted=False)
            for k, (b, ir_z) in enumerate(found)
        )
        return cls(x, y, Irreps([(x[b].mul, ir_z) for b, ir_z in found]), paths)

    def blocks(self, path: Path) -> tuple[tuple[int, Irrep], ...]:
        """(channels, irrep) of the path's blocks in x, y and z."""
        return tuple(
            (irreps[b].mul, irreps[b].ir)
            for irreps, b in ((self.x, path.x), (self.y, path.y), (self.z, path.z))
        )

    def weight_shape(self, path: Path) -> tuple[int, ...]:
        """Channel sizes of the path's weights (all one where the path is not weighted)."""
        sizes = dict(zip("uvw", (mul for mul, _ in self.blocks(path)), strict=True))
        return tuple(sizes[c] for c in CHANNELS[path.mode][2])

    @cached_property
    def weight_slices(self) -> tuple[slice, ...]:
        """Place of each path's weights in the flat weight vector."""
        slices, start = [], 0
        for path in self.paths:
            stop = start + (prod(self.weight_shape(path)) if path.weighted else 0)
            slices.append(slice(start, stop))
            start = stop
        return tuple(slices)

    @property
    def weight_numel(self) -> int:
        """Length of the flat weight vector."""
        return self.weight_slices[-1].stop if self.paths else 0

    def symbol(self, path: Path) -> torch.Tensor:
        """The path's 3j symbol times its coefficient, float64, (2l_x+1, 2l_y+1, 2l_z+1)."""
        (_, a), (_, b), (_, c) = self.blocks(path)
        return path.coefficient * wigner_3j(a.l, b.l, c.l, dtype=torch.float64)

    def terms(self, path: Path) -> list[Term]:
        """The non-zero entries of ``symbol(path)``."""
        symbol = self.symbol(path)
        return [
            Term(i, j, k, symbol[i, j, k].item())
            for i, j, k in (symbol.abs() > 1e-12).nonzero().tolist()
        ]

    @cached_property
    def key(self) -> str:
        """A string that ``from_key`` turns back into this specification."""
        paths = [[p.x, p.y, p.z, p.mode, p.coefficient, int(p.weighted)] for p in self.paths]
        return json.dumps(
            [str(self.x), str(self.y), str(self.z), paths, int(self.shared_weights)],
            separators=(",", ":"),
        )

    @staticmethod
    @cache
    def from_key(key: str) -> Specification:
        """The specification that printed this ``key``."""
        ir_x, ir_y, ir_z, paths, shared = json.loads(key)
        return Specification(
            Irreps(ir_x),
            Irreps(ir_y),
            Irreps(ir_z),
            tuple(Path(x, y, z, mode, c, bool(w)) for x, y, z, mode, c, w in paths),
            bool(shared),
        )

    def __str__(self) -> str:
        lines = [f"{self.x} (x) {self.y} -> {self.z}"]
        for path in self.paths:
            a, b, c = (f"{mul}x{ir}" for mul, ir in self.blocks(path))
            weights = f"{prod(self.weight_shape(path))} weights" if path.weighted else "no weights"
            lines.append(f"  {a} (x) {b} -> {c}  {path.mode}  {weights}")
        return "\n".join(lines)
