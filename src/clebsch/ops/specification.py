"""What a tensor product computes, as plain data.

Every product here is one 4-linear form in the node features x, the second factor y, the
weights w and the result's cotangent z:

    S = sum_b sum_paths coefficient * C[i, j, k] x[b, i, X] y[b, j, Y] w[b, W] z[b, k, Z]

with C the 3j symbol of the path and X, Y, W, Z the channel letters of its mode (u is a channel
of x, v of y, w of the result). Opening one slot gives an operator; its derivatives are the same
form with another slot open.

Two more modes take the pairs u < v of equally many channels, ``uvu<v`` and ``u<vw``; they are
computed as ``uuu`` and ``uuw`` on gathered pairs (``ops.lowering``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod, sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from clebsch.o3 import Irrep, Irreps, wigner_3j
from clebsch.ops.costs import Costs, path_cost

if TYPE_CHECKING:
    from clebsch.ops.instructions import InstructionLike, IrrepNormalization, PathNormalization
    from clebsch.ops.lowering import Lowered

Mode = Literal["uvw", "uvu", "uvv", "uuw", "uuu", "uvuv", "uvu<v", "u<vw"]

# mode -> channel letters of x, y, weights, result
CHANNELS: dict[str, tuple[str, str, str, str]] = {
    "uvw": ("u", "v", "uvw", "w"),
    "uvu": ("u", "v", "uv", "u"),
    "uvv": ("u", "v", "uv", "v"),
    "uuw": ("u", "u", "uw", "w"),
    "uuu": ("u", "u", "u", "u"),
    "uvuv": ("u", "v", "uv", "uv"),
}

# modes of channel pairs u < v -> the mode that computes them once the pairs are gathered
PAIRS: dict[str, str] = {"uvu<v": "uuu", "u<vw": "uuw"}

# how the formula writes the channels of the modes of pairs
_PAIR_LETTERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "uvu<v": (("u",), ("v",), ("u<v",), ("u<v",)),
    "u<vw": (("u",), ("v",), ("u<v", "w"), ("w",)),
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
        mode: how channels combine, see ``CHANNELS`` and ``PAIRS``.
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
            if path.mode not in CHANNELS and path.mode not in PAIRS:
                modes = ", ".join([*CHANNELS, *PAIRS])
                raise ValueError(f"there is no mode {path.mode!r}; the modes are {modes}: {path}")
            (mul_x, ir_x), (mul_y, ir_y), (mul_z, ir_z) = self.blocks(path)
            if not couple(ir_x, ir_y, ir_z):
                raise ValueError(f"{ir_x} (x) {ir_y} does not contain {ir_z}: path {path}")
            sizes = self.channel_sizes(path)
            x, y, _, z = path_channels(path)
            if path.mode in PAIRS:
                fits = mul_x == mul_y and prod(sizes[c] for c in z) == mul_z
            else:
                fits = (sizes[x], sizes[y], prod(sizes[c] for c in z)) == (mul_x, mul_y, mul_z)
            if not fits:
                raise ValueError(
                    f"mode {path.mode} does not fit channels {mul_x}, {mul_y} -> {mul_z}"
                )
        # What the operator reads is computed now: compilers cannot trace how it comes about.
        for name in ("_hash", "key", "widths", "lowered"):
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
            for j, (mul_y, ir_y) in enumerate(y)
            for ir_z in ir_x * ir_y
            if mul_y and ir_z in wanted
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
    def from_instructions(
        cls,
        x: Irreps | str,
        y: Irreps | str,
        z: Irreps | str,
        instructions: Iterable[InstructionLike],
        *,
        in1_var: Iterable[float] | None = None,
        in2_var: Iterable[float] | None = None,
        out_var: Iterable[float] | None = None,
        irrep_normalization: IrrepNormalization = "component",
        path_normalization: PathNormalization = "element",
        shared_weights: bool = True,
    ) -> Specification:
        """The paths of e3nn's instructions, with e3nn's coefficients and order of weights.

        Args:
            instructions: ``(block of x, block of y, block of z, mode, weighted[, path_weight])``.
            in1_var, in2_var, out_var: variances of the blocks of x, y and z, one by default.
            irrep_normalization: ``"component"``: components of unit variance stay so; ``"norm"``:
                irreps of norm 1 stay so; ``"none"``: the bare 3j symbols.
            path_normalization: ``"element"``: a block's variance is shared by all products that
                are summed into it; ``"path"``: evenly by its paths; ``"none"``: not at all.

        Raises:
            ValueError: an instruction that is none, variances that do not fit, an unknown name,
                or what the class refuses.

        Example:
            >>> instructions = [(0, 0, 0, "uvu<v", False), (0, 0, 1, "u<vw", True)]
            >>> spec = Specification.from_instructions("4x1o", "4x1o", "6x1e + 2x0e", instructions)
            >>> print(spec.formula(edges=False))
            z0[b, k u<v] += 1.732  3j(1o 1o 1e)[i j k]           x0[b, i u] y0[b, j v]
            z1[b, k w] +=   0.4082 3j(1o 1o 0e)[i j k] w1[u<v w] x0[b, i u] y0[b, j v]
        """
        from clebsch.ops.instructions import paths

        x, y, z = Irreps(x), Irreps(y), Irreps(z)
        variances = (in1_var, in2_var, out_var)
        found = paths(x, y, z, instructions, variances, irrep_normalization, path_normalization)
        return cls(x, y, z, found, shared_weights)

    @classmethod
    def fully_connected(
        cls,
        x: Irreps | str,
        y: Irreps | str,
        z: Irreps | str,
        shared_weights: bool = True,
        *,
        irrep_normalization: IrrepNormalization = "component",
        path_normalization: PathNormalization = "element",
    ) -> Specification:
        """All ``uvw`` paths into the given result, unit variance (e3nn's ``element``)."""
        x, y, z = Irreps(x), Irreps(y), Irreps(z)
        found = [
            (i, j, k, "uvw", True)
            for i, (_, ir_x) in enumerate(x)
            for j, (_, ir_y) in enumerate(y)
            for k, (_, ir_z) in enumerate(z)
            if couple(ir_x, ir_y, ir_z)
        ]
        return cls.from_instructions(
            x,
            y,
            z,
            found,
            irrep_normalization=irrep_normalization,
            path_normalization=path_normalization,
            shared_weights=shared_weights,
        )

    @classmethod
    def full(
        cls,
        x: Irreps | str,
        y: Irreps | str,
        keep: Irreps | Iterable[Irrep | str] | str | None = None,
        *,
        irrep_normalization: IrrepNormalization = "component",
    ) -> Specification:
        """Every channel of x with every channel of y (``uvuv``, no weights), sorted by irrep.

        Args:
            keep: the irreps of the result that are wanted, all by default.

        Example:
            >>> Specification.full("2x0e + 3x1o", "1o").z
            3x0e+2x1o+3x1e+3x2e
        """
        x, y = Irreps(x), Irreps(y)
        wanted = _wanted(keep)
        found = [
            (mul_x * mul_y, ir_z, (i, j), "uvuv", 1.0)
            for i, (mul_x, ir_x) in enumerate(x)
            for j, (mul_y, ir_y) in enumerate(y)
            for ir_z in ir_x * ir_y
            if wanted(ir_z)
        ]
        return cls._blocks_of_their_own(x, y, found, irrep_normalization)

    @classmethod
    def elementwise(
        cls,
        x: Irreps | str,
        y: Irreps | str,
        keep: Irreps | Iterable[Irrep | str] | str | None = None,
        *,
        irrep_normalization: IrrepNormalization = "component",
    ) -> Specification:
        """Channel by channel product (``uuu``, no weights) of irreps with equal channel counts.

        Args:
            keep: the irreps of the result that are wanted, all by default.

        Raises:
            ValueError: the blocks of x and y do not have the same channel counts.

        Example:
            >>> Specification.elementwise("5x1o + 5x1e", "5x1e + 5x1e", keep=["0e", "0o"]).z
            5x0o+5x0e
        """
        x, y = Irreps(x), Irreps(y)
        if [b.mul for b in x] != [b.mul for b in y]:
            raise ValueError(f"{x} and {y} differ in their channels: give them equal blocks")
        wanted = _wanted(keep)
        found = [
            (x[b].mul, ir_z, (b, b), "uuu", 1.0)
            for b in range(len(x))
            for ir_z in x[b].ir * y[b].ir
            if wanted(ir_z)
        ]
        return cls._blocks_of_their_own(x, y, found, irrep_normalization, sort=False)

    @classmethod
    def square(
        cls,
        x: Irreps | str,
        z: Irreps | str | None = None,
        keep: Irreps | Iterable[Irrep | str] | str | None = None,
        *,
        irrep_normalization: IrrepNormalization = "component",
        path_normalization: PathNormalization = "element",
        shared_weights: bool = True,
    ) -> Specification:
        """The product of x with itself, each pair of channels once; give x as both factors.

        Without z every pair has a channel of its own and there are no weights; with z the pairs
        are fully connected to it. Unit variance for x of independent components of unit variance.

        Args:
            keep: without z, the irreps of the result that are wanted, all by default.

        Raises:
            ValueError: both z and ``keep`` are given.

        Example:
            >>> Specification.square("2x0e + 1x1o").z
            1x0e+2x0e+1x0e+2x1o+1x2e
            >>> Specification.square("2x0e + 1x1o", "4x0e").weight_numel
            16
        """
        from clebsch.ops.instructions import square_factor

        x = Irreps(x)
        if z is not None and keep is not None:
            raise ValueError(f"square: give the result {z} or the irreps {keep} to keep, not both")
        wanted = _wanted(keep)
        pairs = []  # (result irrep, blocks, mode without weights and with them, factor)
        for i, (mul, ir) in enumerate(x):
            for j, (_, other) in enumerate(x[i:], start=i):
                for ir_z in filter(wanted, ir * other):
                    factor = square_factor(ir, other, ir_z, irrep_normalization, same=False)
                    if i < j:
                        pairs.append((ir_z, (i, j), "uvuv", "uvw", factor))
                        continue
                    if mul > 1:
                        pairs.append((ir_z, (i, i), "uvu<v", "u<vw", factor))
                    if ir_z.l % 2 == 0:  # the symmetric part
                        factor = square_factor(ir, ir, ir_z, irrep_normalization, same=True)
                        pairs.append((ir_z, (i, i), "uuu", "uuw", factor))
        if z is None:
            sizes = {
                "uvuv": lambda i, j: x[i].mul * x[j].mul,
                "uvu<v": lambda i, _: x[i].mul * (x[i].mul - 1) // 2,
                "uuu": lambda i, _: x[i].mul,
            }
            found = [
                (sizes[mode](*blocks), ir_z, blocks, mode, factor)
                for ir_z, blocks, mode, _, factor in pairs
            ]
            return cls._blocks_of_their_own(x, x, found, "none", shared_weights=shared_weights)
        z = Irreps(z)
        # e3nn's order, for equal weights: blocks of x, block of z, pairs u < v before u = v
        into = [
            (blocks, k, position, mode, factor)
            for position, (ir_z, blocks, _, mode, factor) in enumerate(pairs)
            for k, block in enumerate(z)
            if block.ir == ir_z
        ]
        into.sort(key=lambda entry: entry[:3])
        return cls.from_instructions(
            x,
            x,
            z,
            [(i, j, k, mode, True, factor) for (i, j), k, _, mode, factor in into],
            irrep_normalization="none",
            path_normalization=path_normalization,
            shared_weights=shared_weights,
        )

    @classmethod
    def norm(cls, x: Irreps | str) -> Specification:
        """The squared length of every channel, from x as both factors.

        Example:
            >>> print(Specification.norm("4x1o").formula(edges=False))
            z0[b, k u] += 1.732 3j(1o 1o 0e)[i j k] x0[b, i u] y0[b, j u]
        """
        x = Irreps(x)
        z = Irreps([(mul, Irrep(0, 1)) for mul, _ in x])
        paths = (Path(b, b, b, "uuu", sqrt(ir.dim), False) for b, (_, ir) in enumerate(x))
        return cls(x, x, z, tuple(paths), shared_weights=True)

    @classmethod
    def _blocks_of_their_own(
        cls,
        x: Irreps,
        y: Irreps,
        found: list[tuple[int, Irrep, tuple[int, int], str, float]],
        irrep_normalization: IrrepNormalization,
        *,
        sort: bool = True,
        shared_weights: bool = False,
    ) -> Specification:
        """Paths without weights, (channels, irrep, blocks of x and y, mode, factor) each."""
        places = list(range(len(found)))
        z = Irreps([(mul, ir) for mul, ir, *_ in found])
        if sort:
            z, order, _ = z.sort()
            places = list(order)
        return cls.from_instructions(
            x,
            y,
            z,
            [(i, j, k, m, False, f) for k, (_, _, (i, j), m, f) in zip(places, found, strict=True)],
            irrep_normalization=irrep_normalization,
            shared_weights=shared_weights,
        )

    def blocks(self, path: Path) -> tuple[tuple[int, Irrep], ...]:
        """(channels, irrep) of the path's blocks in x, y and z."""
        return tuple(
            (irreps[b].mul, irreps[b].ir)
            for irreps, b in ((self.x, path.x), (self.y, path.y), (self.z, path.z))
        )

    def weight_shape(self, path: Path) -> tuple[int, ...]:
        """Channel sizes of the path's weights (all one where the path is not weighted)."""
        sizes = self.channel_sizes(path)
        return tuple(sizes[c] for c in path_channels(path)[2])

    def channel_sizes(self, path: Path) -> dict[str, int]:
        """How many values the path's letters u, v, w take; u counts the pairs in ``PAIRS``."""
        mul_x, mul_y, mul_z = self.x[path.x].mul, self.y[path.y].mul, self.z[path.z].mul
        if path.mode in PAIRS:
            mul_x = mul_y = mul_x * (mul_x - 1) // 2
        return {"u": mul_x, "v": mul_y, "w": mul_z}

    @cached_property
    def lowered(self) -> Lowered | None:
        """What the back ends compute instead, see ``ops.lowering``; None where it is this."""
        from clebsch.ops.lowering import lower

        return lower(self)

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
        places = (symbol.abs() > 1e-12).nonzero()
        values = symbol[tuple(places.T)].tolist()
        return [Term(i, j, k, v) for (i, j, k), v in zip(places.tolist(), values, strict=True)]

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
        read = self.lowered.specification if self.lowered else self
        return Costs(
            tuple(path_cost(self, path, path_channels(path)) for path in self.paths),
            x=read.x.dim,
            y=read.y.dim,
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
        x, y, w, z = _PAIR_LETTERS.get(path.mode) or CHANNELS[path.mode]
        blocks = self.blocks(path)
        single = {s for s, (mul, _) in zip("uvw", blocks, strict=True) if mul == 1}
        row_x, row, row_z = ("src e", "e", "dst e") if edges else ("b", "b", "b")

        def factor(name: str, row: str, letters: Iterable[str]) -> str:
            kept = " ".join(letter for letter in letters if letter not in single)
            inside = ", ".join(part for part in (row, kept) if part)
            return f"{name}[{inside}]" if inside else name

        weights = factor(f"w{number}", "" if self.shared_weights else row, w)
        return (
            f"{factor(f'z{path.z}', row_z, ['k', *z])} +=",
            f"{path.coefficient:.4g}",
            f"3j({' '.join(str(ir) for _, ir in blocks)})[i j k]",
            *([weights * path.weighted] if self.weight_numel else []),
            factor(f"x{path.x}", row_x, ["i", *x]),
            factor(f"y{path.y}", row, ["j", *y]),
        )

    def __str__(self) -> str:
        head = f"{self.x} (x) {self.y} -> {self.z}"
        return "\n  ".join([head, *(self.formula().splitlines())])


def couple(a: Irrep, b: Irrep, c: Irrep) -> bool:
    """Whether a (x) b contains c."""
    return a.p * b.p == c.p and abs(a.l - b.l) <= c.l <= a.l + b.l


def path_channels(path: Path) -> tuple[str, str, str, str]:
    """The path's letters in x, y, weights and result, of gathered pairs where it has pairs."""
    return CHANNELS[PAIRS.get(path.mode, path.mode)]


def _wanted(keep: Irreps | Iterable[Irrep | str] | str | None) -> Callable[[Irrep], bool]:
    if keep is None:
        return lambda _: True
    named = {ir for _, ir in Irreps(keep)}
    return named.__contains__


def linear_part(key: str, slot: str) -> str:
    """Key of the paths that are linear in ``slot``, where a tangent stands in its place.

    All are, but for those without weights where the slot is ``"w"``.
    """
    return Specification.from_key(key).weighted.key if slot == "w" else key
