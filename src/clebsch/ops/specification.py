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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod, sqrt
from typing import Literal, NamedTuple

import torch

from clebsch.o3 import Irrep, Irreps, wigner_3j
from clebsch.ops.costs import Costs, path_cost

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
        x, y, z: irreps of the first factor, second factor and result, layout ``ir_mul``
            (strings are read as irreps).
        paths: the products that are summed.
        shared_weights: one weight vector (weight_numel,) for all rows, instead of one per row
            (rows, weight_numel).

    Raises:
        ValueError: a path names a block that is not there or an unknown mode, couples irreps that
            do not couple, or channels that do not match.

    Example:
        >>> spec = Specification.convolution("8x0e + 8x1o", "0e + 1o", "0e + 1o")
        >>> print(spec)
        8x0e+8x1o (x) 1x0e+1x1o -> 8x0e+8x0e+8x1o+8x1o
          z0[dst e, k u] += 1     3j(0e 0e 0e)[i j k] w0[e, u] x0[src e, i u] y0[e, j]
          z1[dst e, k u] += 1     3j(1o 1o 0e)[i j k] w1[e, u] x1[src e, i u] y1[e, j]
          z2[dst e, k u] += 1.732 3j(0e 1o 1o)[i j k] w2[e, u] x0[src e, i u] y1[e, j]
          z3[dst e, k u] += 1.732 3j(1o 0e 1o)[i j k] w3[e, u] x1[src e, i u] y0[e, j]
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

    def __reduce__(self) -> tuple[Callable[[str], Specification], tuple[str]]:
        return Specification.from_key, (self.key,)  # copies and pickles come back as one object

    def __post_init__(self) -> None:
        for slot in ("x", "y", "z"):
            object.__setattr__(self, slot, Irreps(getattr(self, slot)))
        object.__setattr__(self, "paths", tuple(self.paths))
        for path in self.paths:
            for slot in ("x", "y", "z"):
                block, irreps = getattr(path, slot), getattr(self, slot)
                if not 0 <= block < len(irreps):
                    raise ValueError(f"{slot} = {irreps} has no block {block}: {path}")
            if path.mode not in CHANNELS:
                modes = ", ".join(CHANNELS)
                raise ValueError(f"there is no mode {path.mode!r}; the modes are {modes}: {path}")
            (mul_x, ir_x), (mul_y, ir_y), (mul_z, ir_z) = self.blocks(path)
            if ir_z not in list(ir_x * ir_y):
                raise ValueError(f"{ir_x} (x) {ir_y} does not contain {ir_z}: path {path}")
            sizes = {"u": mul_x, "v": mul_y, "w": mul_z}
            x, y, _, z = CHANNELS[path.mode]
            if (sizes[x], sizes[y], prod(sizes[c] for c in z)) != (mul_x, mul_y, mul_z):
                raise ValueError(
                    f"mode {path.mode} does not fit channels {mul_x}, {mul_y} -> {mul_z}"
                )
        # What the operator reads is computed now: compilers cannot trace how it comes about.
        for name in ("_hash", "key", "widths"):
            getattr(self, name)

    @classmethod
    def convolution(
        cls,
        x: Irreps | str,
        y: Irreps | str,
        keep: Irreps | Iterable[Irrep] | str,
        merge: bool = False,
    ) -> Specification:
        """All ``uvu`` paths from x and y into the irreps named in ``keep``.

        Each path has a result block of its own, sorted by irrep, scaled to unit component
        variance for inputs and weights of unit variance (Batzner et al. 2022, eq. 8).

        Args:
            merge: add the paths that agree in irrep and channels into one block, its variance
                one again. The result is as small as the input, which high degrees need.

        Example:
            >>> Specification.convolution("8x0e + 8x1o", "0e + 1o", "0e + 1o", merge=True).z
            8x0e+8x1o
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
        blocks = [(mul, ir_z) for ir_z, mul, _, _ in found]
        into = list(range(len(found)))
        if merge:
            unique = list(dict.fromkeys(blocks))
            into, blocks = [unique.index(block) for block in blocks], unique
        paths = tuple(
            Path(i, j, k, "uvu", sqrt(ir_z.dim / (y[j].mul * into.count(k))))
            for k, (ir_z, _, i, j) in zip(into, found, strict=True)
        )
        return cls(x, y, Irreps(blocks), paths)

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

    @cached_property
    def widths(self) -> dict[str, int]:
        """Numbers in one row of each slot: x, y, z, and w."""
        return {"x": self.x.dim, "y": self.y.dim, "z": self.z.dim, "w": self.weight_numel}

    @cached_property
    def weighted(self) -> Specification:
        """The paths that take weights, with the same weights: the part that is linear in them.

        A tangent of the weights meets these paths only.
        """
        if all(path.weighted for path in self.paths):
            return self
        paths = tuple(path for path in self.paths if path.weighted)
        return Specification(self.x, self.y, self.z, paths, self.shared_weights)

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

    @cached_property
    def costs(self) -> Costs:
        """Multiply-adds, weights and bytes of each path and of the whole, per edge."""
        return Costs(
            tuple(path_cost(self, path, CHANNELS[path.mode]) for path in self.paths),
            x=self.x.dim,
            y=self.y.dim,
            z=self.z.dim,
            w=0 if self.shared_weights else self.weight_numel,
        )

    def table(self, dtype: torch.dtype = torch.float32) -> str:
        """The costs as aligned text: a line per path, sums, bytes that an edge reads.

        ``madd`` are multiply-adds per edge, ``madd/channel`` those that each channel of the
        result repeats (without the 3j symbol's meeting with y, which all channels share).

        Example:
            >>> print(Specification.convolution("8x0e + 8x1o", "0e + 1o", "0e + 1o").table())
            path                   mode  3j terms  madd/channel  madd  weights  bytes
            8x0e (x) 1x0e -> 8x0e  uvu          1             2    17        8     32
            8x1o (x) 1x1o -> 8x0e  uvu          3             4    35        8     32
            8x0e (x) 1x1o -> 8x1o  uvu          3             4    35        8     32
            8x1o (x) 1x0e -> 8x1o  uvu          3             6    51        8     32
            sum                                10            16   138       32    128
            reads 288 bytes per edge (128 x, 16 y, 128 w, 16 ends), 0.48 multiply-adds per byte
        """
        return self.costs.table(dtype.itemsize)

    def formula(self, edges: bool = True) -> str:
        """What is computed, a line per path, in index notation.

        Letters that stand only on the right are summed, the lines of one block too: i, j, k are
        components of the irreps, u, v, w channels of x, y, z (left out where there is one); the
        number is the path's coefficient.

        Args:
            edges: write the sum over edges (``convolve``), else the product of rows b
                (``tensor_product``).

        Example:
            >>> spec = Specification.fully_connected("8x0e", "4x1o", "2x1o")
            >>> print(spec.formula(edges=False))
            z0[b, k w] += 0.3062 3j(0e 1o 1o)[i j k] w0[u v w] x0[b, i u] y0[b, j v]
        """
        lines = [self._cells(path, number, edges) for number, path in enumerate(self.paths)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            " ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def _cells(self, path: Path, number: int, edges: bool) -> tuple[str, ...]:
        """One line of the formula in pieces that stand below each other."""
        x, y, w, z = CHANNELS[path.mode]
        blocks = self.blocks(path)
        single = {s for s, (mul, _) in zip("uvw", blocks, strict=True) if mul == 1}
        row_x, row, row_z = ("src e", "e", "dst e") if edges else ("b", "b", "b")

        def factor(name: str, row: str, letters: str) -> str:
            kept = " ".join(letter for letter in letters if letter not in single)
            inside = ", ".join(part for part in (row, kept) if part)
            return f"{name}[{inside}]" if inside else name

        weights = factor(f"w{number}", "" if self.shared_weights else row, w)
        return (
            f"{factor(f'z{path.z}', row_z, 'k' + z)} +=",
            f"{path.coefficient:.4g}",
            f"3j({' '.join(str(ir) for _, ir in blocks)})[i j k]",
            *([weights * path.weighted] if self.weight_numel else []),
            factor(f"x{path.x}", row_x, "i" + x),
            factor(f"y{path.y}", row, "j" + y),
        )

    def __str__(self) -> str:
        head = f"{self.x} (x) {self.y} -> {self.z}"
        return "\n  ".join([head, *(self.formula().splitlines())])


def linear_part(key: str, slot: str) -> str:
    """Key of the paths that are linear in ``slot``, where a tangent stands in its place.

    All are, but for those without weights where the slot is ``"w"``.
    """
    return Specification.from_key(key).weighted.key if slot == "w" else key
