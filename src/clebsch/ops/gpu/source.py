"""Triton for the convolution, as readable text: one kernel per direction.

A kernel computes what ``ops.cpu.convolution`` computes on a CPU: it opens z, or some of x, y
and w at once, of the form itself or of its derivative along tangents. With
M[i, k] = sum_j C[i, j, k] y[j] made once per edge, a path costs about one multiply-add per entry
of M and channel.

How the work is laid out, and why:

- A program sums one row of the open node slot (z over the edges that arrive, x over those that
  leave) for one block of channels, in registers, over the row's edges in their order. So there
  are no atomics, sums have one order, and no (E, channels, 2l+1) tensor exists.
- A tile is EDGES x CHANNELS with the channel fastest: loads of x, w and z are coalesced, a warp
  works on one edge (on several where channels are few), and the M of an edge is the same for
  all its lanes. More warps share the edges of a row where rows are too few to fill the device.
- w is the traffic: each weight is read once and used for 2l+1 components; x rows are read again
  and again, but from the L2 cache. Opening x, y and w in one kernel reads w and z once for three
  results, and walking over source rows keeps x and its gradient in registers.
- Accumulators that do not fit in registers would spill to memory. Paths are therefore dealt to
  groups of at most ``limit`` components, one program per group: blocks of the open slot stay
  together, those that read the same x side by side.
- Indices of the next tile are loaded before the current one is worked on, so that a tile waits
  for one memory latency, not two.
- Rows and edges are int64: E * weight_numel may pass 2^31.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from clebsch.ops.specification import Path, Specification, Term

_ARGUMENTS = (
    *("order", "src", "dst", "poison", "x", "y", "w", "z"),
    *("ax", "ay", "aw", "gx", "gy", "gw", "gz", "edges"),
)
_BLOCKS = "EDGES: tl.constexpr, CHANNELS: tl.constexpr, REAL: tl.constexpr"


@dataclass(frozen=True)
class Kernel:
    """What a kernel computes.

    Attributes:
        spec: one that is ``supported``.
        targets: the slots it opens: ``"z"``, or some of ``"xyw"`` in this order (``"w"`` alone
            where weights are shared).
        tangents: slots of ``"xyw"`` with a tangent; empty for the form itself.
        gather: whether rows of x and z belong to nodes; without, to edges.
        limit: components of the open node slot that one program holds.

    Where y is open, a tile must have at least ``spec.y.dim`` channels (``uvu`` only).
    """

    spec: Specification
    targets: str
    tangents: str = ""
    gather: bool = True
    limit: int = 48

    @property
    def walk(self) -> str:
        """What a program walks over: edges into a row (dst), out of it (src), or a chunk."""
        if not self.gather:
            return "chunk"
        return "dst" if self.targets == "z" else "src" if "x" in self.targets else "chunk"


@dataclass(frozen=True)
class Group:
    """Paths that one program computes; all have ``channels`` channels."""

    channels: int
    paths: tuple[int, ...]


def supported(spec: Specification) -> bool:
    """Whether the paths work channel by channel.

    That is ``uvu`` (or ``uvuv``) with one channel of y, or ``uuu`` throughout.
    """
    return bool(spec.paths) and (
        elementwise(spec)
        or all(p.mode in ("uvu", "uvuv") and spec.y[p.y].mul == 1 for p in spec.paths)
    )


def elementwise(spec: Specification) -> bool:
    """Whether y has the channels of x."""
    return all(path.mode == "uuu" for path in spec.paths)


@lru_cache(maxsize=4096)
def groups(kernel: Kernel) -> tuple[Group, ...]:
    """The paths by blocks of the open node slot (x where z is not open), see ``limit``."""
    spec, slot = kernel.spec, "z" if kernel.targets == "z" else "x"
    irreps = spec.z if slot == "z" else spec.x
    by_block: dict[int, list[int]] = {}
    for number, path in enumerate(spec.paths):
        by_block.setdefault(getattr(path, slot), []).append(number)
    # Blocks that read the same x side by side, so that a group reads few of them.
    order = sorted(
        by_block, key=lambda b: (irreps[b].mul, spec.paths[by_block[b][0]].x, irreps[b].ir.l, b)
    )
    # A block of y with channels may serve several blocks of x: it is summed in one place.
    limit = kernel.limit
    if elementwise(spec):
        limit = irreps.dim
    found: list[Group] = []
    held = 0
    for block in order:
        mul, dim = irreps[block].mul, irreps[block].ir.dim
        if mul == 0:
            continue
        if found and found[-1].channels == mul and held + dim <= limit:
            found[-1] = Group(mul, (*found[-1].paths, *by_block[block]))
            held += dim
        else:
            found.append(Group(mul, tuple(by_block[block])))
            held = dim
    return tuple(found)


def lanes(kernel: Kernel, channels: int) -> int:
    """Programs per row where each does ``channels`` channels of one group."""
    return sum(-(-group.channels // channels) for group in groups(kernel))


def name(kernel: Kernel) -> str:
    """Name of the kernel's function, as a profiler shows it."""
    return f"clebsch_{kernel.targets}" + (f"_along_{kernel.tangents}" if kernel.tangents else "")


class Text(NamedTuple):
    """A kernel as text.

    Attributes:
        arguments: their names in order: slots that are read, g before an open slot, a before a
            tangent, edges, and ``poison``, which is NaN where an edge names a row that is not
            there, else 0.
        code: Python; it expects ``tl`` (triton.language), ``jit`` and ``device`` (the decorators
            of kernels and of functions that they call) and ``total`` (sum of a tile on an axis).
        complete: the open slots of which every element is written.
    """

    arguments: tuple[str, ...]
    code: str
    complete: frozenset[str]


def source(kernel: Kernel) -> Text:
    """The kernel's text."""
    writers = [_Writer(kernel, group) for group in groups(kernel)]
    bodies = ["".join(f"    {line}\n" for line in writer.lines()) for writer in writers]
    used = set().union(*(writer.used for writer in writers))
    if kernel.walk == "chunk":
        used |= {"edges"}
    arguments = [name for name in _ARGUMENTS if name in used]
    given = ", ".join(arguments)
    parts = [f"# {line}\n" for line in str(kernel.spec).splitlines()]
    for number, body in enumerate(bodies):
        head = f"def group{number}(row, part, block, lo, hi, {given}, {_BLOCKS})"
        parts.append(f"\n\n@device\n{head}:\n{body}")

    rows = "start, " if kernel.walk != "chunk" else ""
    chunk = ", CHUNK: tl.constexpr" if kernel.walk == "chunk" else ""
    lines = [f"def {name(kernel)}({rows}{given}, {_BLOCKS}{chunk}):"]
    lines += ["    row = tl.program_id(0).to(tl.int64)", "    part = tl.program_id(1)"]
    if kernel.walk == "chunk":
        lines += ["    lo = row * CHUNK", "    hi = tl.minimum(lo + CHUNK, edges)"]
    else:
        lines += ["    lo = tl.load(start + row)", "    hi = tl.load(start + row + 1)"]
    before = "0"
    for number, writer in enumerate(writers):
        call = f"group{number}(row, part, part - ({before}), lo, hi, {given}, "
        before += f" + ({writer.group.channels} + CHANNELS - 1) // CHANNELS"
        word = "if" if number == 0 else "elif"
        lines += [f"    {word} part < {before}:", f"        {call}EDGES, CHANNELS, REAL)"]
    text = "".join(parts) + "\n\n@jit\n" + "\n".join(lines) + "\n"
    given_rows = ("start",) if rows else ()
    return Text((*given_rows, *arguments), text, _complete(kernel, writers))


def _complete(kernel: Kernel, writers: list[_Writer]) -> frozenset[str]:
    spec = kernel.spec
    widths = {"x": spec.x.dim, "y": spec.y.dim, "w": spec.weight_numel, "z": spec.z.dim}
    return frozenset(
        slot
        for slot in kernel.targets
        # y has a part per program, and each must be whole.
        if (min if slot == "y" else sum)(w.written.get(slot, 0) for w in writers) == widths[slot]
    )


@dataclass
class _Writer:
    """The text of one group: before, inside and after the loop over tiles of edges."""

    kernel: Kernel
    group: Group
    before: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    written: dict[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The function's body."""
        kernel = self.kernel
        self._open_loop()
        for number in self.group.paths:
            self._path(number, kernel.spec.paths[number])
        self._stores()
        yield "c = block * CHANNELS + tl.arange(0, CHANNELS)[None, :]"
        yield f"in_block = c < {self.group.channels}"
        yield "place = tl.arange(0, EDGES)[:, None]"
        yield from self.before
        yield "for t in range(lo, hi, EDGES):"
        yield from (f"    {line}" for line in self.inside)
        yield from self.after

    def _open_loop(self) -> None:
        """Which edges a tile holds: e, their sources s and destinations d."""
        kernel, inside = self.kernel, self.inside
        inside += ["at = t + place", "live = at < hi", "here = live & in_block"]
        if kernel.gather:
            self.used.add("poison")
            self.before += ["bad = tl.load(poison).to(REAL)"]
        if kernel.walk == "chunk":
            inside += ["e = at"]
            self.used |= {"src", "dst"} if kernel.gather else set()
            for letter, index in (("s", "src"), ("d", "dst")):
                load = f"tl.load({index} + at, mask=live, other=0)"
                inside += [f"{letter} = {load if kernel.gather else 'at'}"]
            return
        fixed, other = ("d", "s") if kernel.walk == "dst" else ("s", "d")
        index = {"s": "src", "d": "dst"}[other]
        self.used |= {"order", index}
        self.before += [f"{fixed} = row", "first = lo + place"]
        ahead = []
        for letter, array in (("e", "order"), (other, index)):
            self.before += [f"{letter}_next = tl.load({array} + first, mask=first < hi, other=0)"]
            inside += [f"{letter} = {letter}_next"]
            ahead += [f"{letter}_next = tl.load({array} + ahead, mask=ahead < hi, other=0)"]
        inside += ["ahead = at + EDGES", *ahead]

    def _load(self, name: str, array: str, row: str, width: int, start: int, kind: str) -> str:
        """One component as REAL: ``kind`` is channels, fixed (channels of the row) or scalar."""
        if name not in self.known:
            self.known.add(name)
            self.used.add(array)
            mask = {"channels": "here", "fixed": "in_block", "scalar": "live"}[kind]
            lines = self.before if kind == "fixed" else self.inside
            pointer = self._pointer(array, row, width, kind != "scalar", lines)
            lines.append(f"{name} = tl.load({pointer} + {start}, mask={mask}, other=0).to(REAL)")
        return name

    def _pointer(self, array: str, row: str, width: int, channels: bool, lines: list[str]) -> str:
        """Where a row begins (at this program's channels), so that components are offsets."""
        name = f"{array}_{'block' if channels else 'row'}"
        if name not in self.known:
            self.known.add(name)
            column = (f" + {row} * {width}" if row else "") + (" + c" if channels else "")
            lines.append(f"{name} = {array}{column}")
        return name

    def _node(self, slot: str, array: str, block: int, component: int) -> str:
        """A component of x or z (``array`` names it or its tangent)."""
        spec, kernel = self.kernel.spec, self.kernel
        irreps, row = (spec.x, "s") if slot == "x" else (spec.z, "d")
        start = irreps.slices()[block].start + component * irreps[block].mul
        fixed = slot == "x" and kernel.walk == "src"
        kind = "fixed" if fixed else "channels"
        return self._load(f"{array}{block}_{component}", array, row, irreps.dim, start, kind)

    def _second(self, array: str, block: int, j: int) -> str:
        """A component of y."""
        spec = self.kernel.spec
        mul = spec.y[block].mul
        start = spec.y.slices()[block].start + j * mul
        kind = "channels" if elementwise(spec) else "scalar"
        return self._load(f"{array}{block}_{j}", array, "e", spec.y.dim, start, kind)

    def _weight(self, array: str, number: int) -> str | None:
        spec = self.kernel.spec
        if not spec.paths[number].weighted:
            return None
        start = spec.weight_slices[number].start
        if spec.shared_weights:
            return self._load(f"{array}{number}", array, "", 0, start, "channels")
        return self._load(f"{array}{number}", array, "e", spec.weight_numel, start, "channels")

    def _add(self, name: str, value: str, summed: bool) -> None:
        """Add to an accumulator that lives as long as the tile, or as the program if summed."""
        if name in self.known:
            self.inside.append(f"{name} += {value}")
            return
        self.known.add(name)
        if summed:
            self.before.append(f"{name} = tl.full((EDGES, CHANNELS), 0, REAL)")
            self.inside.append(f"{name} += {value}")
        else:
            self.inside.append(f"{name} = {value}")

    def _matrix(
        self, letter: str, array: str, number: int, path: Path
    ) -> dict[tuple[int, int], str]:
        """Names of the entries of M, from y or its tangent."""
        entries: dict[tuple[int, int], list[str]] = {}
        for i, j, k, value in _terms(self.kernel.spec, path):
            entries.setdefault((i, k), []).append(f"{self._second(array, path.y, j)} * {value!r}")
        names = {(i, k): f"{letter}{number}_{i}_{k}" for i, k in entries}
        self.inside += [f"{names[key]} = {' + '.join(terms)}" for key, terms in entries.items()]
        return names

    def _path(self, number: int, path: Path) -> None:
        kernel = self.kernel
        targets, tangents, rows = kernel.targets, kernel.tangents, kernel.walk != "chunk"
        terms = _terms(kernel.spec, path)
        columns = sorted({term.i for term in terms})
        self.inside.append(
            "# {} (x) {} -> {}".format(*(f"{mul}x{ir}" for mul, ir in kernel.spec.blocks(path)))
        )
        along_w = "w" in tangents and path.weighted
        open_x, open_w = "x" in targets, "w" in targets and path.weighted

        def w() -> str | None:
            return self._weight("w", number)

        def aw() -> str | None:
            return self._weight("aw", number)

        def x(i: int) -> str:
            return self._node("x", "x", path.x, i)

        def ax(i: int) -> str:
            return self._node("x", "ax", path.x, i)

        def z(k: int) -> str:
            return self._node("z", "z", path.z, k)

        def mixed(i: int) -> str:
            """x and w, with one tangent each in turn where there are tangents."""
            if not tangents:
                return _product(w(), x(i))
            parts = [_product(w(), ax(i))] if "x" in tangents else []
            return " + ".join([*parts, _product(aw(), x(i))] if along_w else parts)

        first_order = not tangents or "x" in tangents or along_w
        if targets == "z":
            m = self._matrix("m", "y", number, path) if first_order else {}
            n = self._matrix("n", "ay", number, path) if "y" in tangents else {}
            for i in columns:
                if first_order:
                    self.inside.append(f"q{number}_{i} = {mixed(i)}")
                if n:
                    self.inside.append(f"p{number}_{i} = {_product(w(), x(i))}")
                for letter, matrix in (("q", m), ("p", n)):
                    for (row, k), entry in matrix.items():
                        if row == i:
                            self._add(f"gz{path.z}_{k}", f"{entry} * {letter}{number}_{i}", rows)
            return

        # s = M z where something of first order in y meets it; t = M' z for y's tangent.
        wanted_s = (
            ((open_x or open_w) and not tangents)
            or (open_x and along_w)
            or (open_w and "x" in tangents)
        )
        s: dict[int, str] = self._applied("s", "y", number, path) if wanted_s else {}
        t: dict[int, str] = {}
        if "y" in tangents and (open_x or open_w):
            t = self._applied("t", "ay", number, path)
        for i in columns if open_x else ():
            value = f"gx{path.x}_{i}"
            if s and not tangents:
                self._add(value, _product(w(), s[i]), rows)
            elif s and along_w:
                self._add(value, _product(aw(), s[i]), rows)
            if t:
                self._add(value, _product(w(), t[i]), rows)
        for i in columns if open_w else ():
            if s and (not tangents or "x" in tangents):
                self._add(
                    f"gw{number}", f"{x(i) if not tangents else ax(i)} * {s[i]}", self._shared
                )
            if t:
                self._add(f"gw{number}", f"{x(i)} * {t[i]}", self._shared)
        if open_w and f"gw{number}" in self.known:  # now, or all paths' would wait in registers
            spec = kernel.spec
            start = spec.weight_slices[number].start
            self._store(f"gw{number}", "w", start, spec.weight_numel, spec.shared_weights)
        if "y" in targets and first_order:
            for i in columns:
                self.inside.append(f"r{number}_{i} = {mixed(i)}")
            for i, k in sorted({(term.i, term.k) for term in terms}):
                self.inside.append(f"h = r{number}_{i} * {z(k)}")
                for term in terms:
                    if (term.i, term.k) == (i, k):
                        self._add(f"gy{path.y}_{term.j}", f"h * {term.value!r}", False)

    @property
    def _shared(self) -> bool:
        return self.kernel.spec.shared_weights

    def _applied(self, letter: str, array: str, number: int, path: Path) -> dict[int, str]:
        """Names of sum_k M[i, k] z[k] by i."""
        matrix = self._matrix("m" if array == "y" else "n", array, number, path)
        sums: dict[int, list[str]] = {}
        for (i, k), entry in matrix.items():
            sums.setdefault(i, []).append(f"{entry} * {self._node('z', 'z', path.z, k)}")
        names = {i: f"{letter}{number}_{i}" for i in sums}
        self.inside += [f"{names[i]} = {' + '.join(terms)}" for i, terms in sums.items()]
        return names

    def _stores(self) -> None:
        """Write the accumulators that several paths add to."""
        kernel, spec = self.kernel, self.kernel.spec
        self.used |= {f"g{slot}" for slot in kernel.targets}
        for slot in kernel.targets:
            if slot == "y" and not elementwise(spec):
                self._store_scalars()
            elif slot != "w":
                irreps = {"x": spec.x, "y": spec.y, "z": spec.z}[slot]
                for value in self._open(slot):
                    block, component = map(int, value[2:].split("_"))
                    start = irreps.slices()[block].start + component * irreps[block].mul
                    summed = slot != "y" and kernel.walk != "chunk"
                    self._store(value, slot, start, irreps.dim, summed)

    def _store(self, value: str, slot: str, start: int, width: int, summed: bool) -> None:
        """Write an accumulator: of an edge, or of the row where it is summed over a row."""
        self.written[slot] = self.written.get(slot, 0) + self.group.channels
        lines, row, mask = self.inside, "e", "here"
        if summed:
            lines, row, mask = self.after, "row", "in_block"
            value = f"total({value}, 0)[None, :]"
        pointer = self._pointer(f"g{slot}", row, width, True, lines)
        lines.append(f"tl.store({pointer} + {start}, {value}{self._bad}, mask={mask})")

    @property
    def _bad(self) -> str:
        """What is added to every result: NaN where an edge names a row that is not there."""
        return " + bad" if self.kernel.gather else ""

    def _open(self, slot: str) -> list[str]:
        """Names of the slot's accumulators."""
        return sorted(v for v in self.known if v[:2] == f"g{slot}" and v[2].isdigit())

    def _store_scalars(self) -> None:
        """Sums over channels side by side in one tile, so that a row of y is one store.

        Each program of a row writes a part of its own; they are added up afterwards, in order.
        """
        irreps = self.kernel.spec.y
        self.used.add("edges")
        self.written["y"] = irreps.dim
        self.before.append("column = tl.arange(0, CHANNELS)[None, :]")
        self.inside.append("row_y = tl.full((EDGES, CHANNELS), 0, REAL)")
        for value in self._open("y"):
            block, component = map(int, value[2:].split("_"))
            column = irreps.slices()[block].start + component
            sums = f"total({value}, 1)[:, None]"
            self.inside.append(f"row_y = tl.where(column == {column}, {sums}, row_y)")
        place = f"gy + (part * edges + e) * {irreps.dim} + column"
        mask = f"live & (column < {irreps.dim})"
        self.inside.append(f"tl.store({place}, row_y{self._bad}, mask={mask})")


@lru_cache(maxsize=1024)
def _terms(spec: Specification, path: Path) -> list[Term]:
    return spec.terms(path)


def _product(*names: str | None) -> str:
    return " * ".join(name for name in names if name is not None)
