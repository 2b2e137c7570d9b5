"""The loop over channels of the paths that share a block of x, in C++.

The block's components are loaded once for all of the paths. A weight multiplies the shorter side
of its path: x before M is applied, or what M makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clebsch.ops.cpu.kernel import Kernel
from clebsch.ops.cpu.matrices import Entries

# Of each path: starts of its blocks of y and z and of its weights, its M and that of y's tangent.
_OWN = "Int ys{0}, Int zs{0}, Int ws{0}, const T* __restrict m{0}, const T* __restrict b{0}"


@dataclass(eq=False)
class Loop:
    """One loop.

    Attributes:
        kernel: the kernel.
        paths: numbers of the paths, all of one block of x.
        entries: those of every path of the specification.
    """

    kernel: Kernel
    paths: list[int]
    entries: list[Entries]
    lines: list[str] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)

    @property
    def mul(self) -> int:
        """Channels."""
        spec = self.kernel.spec
        return spec.x[spec.paths[self.paths[0]].x].mul

    def text(self, kind: str) -> str:
        """A function template ``channels``; *kind* is INLINE or APART."""
        targets = self.kernel.targets
        for place in range(len(self.paths)):
            path = _Path(self, place)
            path.sum_z() if "z" in targets else path.open_factors()
        if "x" in targets:
            self._close_x()
        body = "\n".join(f"    {line}" for line in self.lines)
        sums = [
            (place, j)
            for place, number in enumerate(self.paths)
            for j in sorted({term.j for term in self.entries[number].terms})
            if "y" in targets
        ]
        declared = "".join(f"  P r{place}_{j}{{}};\n" for place, j in sums)
        added = "".join(f"  ge[ys{place} + {j}] += total(r{place}_{j});\n" for place, j in sums)
        own = ", ".join(_OWN.format(place) for place in range(len(self.paths)))
        return (
            f"template <class P, class F>\n{kind} void channels(Int begin, Int end, F fetch,\n"
            f"    Int xs, {own},\n"
            "    const T* __restrict we, const T* __restrict x, const T* __restrict z,\n"
            "    const T* __restrict ax, const T* __restrict aw, T* __restrict gx,\n"
            "    T* __restrict ge, T* __restrict ve, T* __restrict gz) {\n"
            f"{declared}"
            "  for (Int c = begin; c < end; c += width<P>) {\n"
            "    if constexpr (width<P> > 1) fetch(c);\n"
            f"{body}\n  }}\n{added}}}\n"
        )

    def load(self, name: str, array: str, start: str) -> str:
        """Load a vector of channels once; its name."""
        if name not in self.loaded:
            self.loaded.add(name)
            self.lines.append(f"const P {name} = load<P>({array} + {start} + c);")
        return name

    def x(self, i: int) -> str:
        """The i-th component of the loop's block of x."""
        return self.load(f"x{i}", "x", f"xs + {i * self.mul}")

    def ax(self, i: int) -> str:
        """The same of x's tangent."""
        return self.load(f"ax{i}", "ax", f"xs + {i * self.mul}")

    def _close_x(self) -> None:
        """Add the sums of all paths to the row of the result."""
        for i in sorted(int(name[1:]) for name in self.loaded if name[0] == "o"):
            pointer = f"gx + xs + {i * self.mul} + c"
            self.lines.append(f"store<P>({pointer}, load<P>({pointer}) + o{i});")


class _Path:
    """One path of a loop: names of what it has loaded carry its place."""

    def __init__(self, loop: Loop, place: int) -> None:
        self.loop, self.place = loop, place
        self.kernel = loop.kernel
        number = loop.paths[place]
        self.entry = loop.entries[number]
        self.add = loop.lines.append
        weighted = self.kernel.spec.paths[number].weighted
        self.w = loop.load(f"v{place}", "we", f"ws{place}") if weighted else None
        self.aw = None
        if weighted and "w" in self.kernel.tangents:
            self.aw = loop.load(f"av{place}", "aw", f"ws{place}")

    def _entry(self, array: str, i: int, k: int) -> str:
        return f"{array}{self.place}[{self.entry.place[i, k]}]"

    def _z(self, k: int) -> str:
        start = f"zs{self.place} + {k * self.loop.mul}"
        return self.loop.load(f"z{self.place}_{k}", "z", start)

    def _mixed(self, i: int) -> list[str]:
        """x and w with one tangent each in turn, or none at all."""
        if not self.kernel.tangents:
            return [_product(self.w, self.loop.x(i))]
        parts = [_product(self.w, self.loop.ax(i))] if "x" in self.kernel.tangents else []
        return parts + ([_product(self.aw, self.loop.x(i))] if self.aw else [])

    def sum_z(self) -> None:
        """Add the path's share to the row of z."""
        if self.kernel.tangents:
            self._sum_z_tangents()
            return
        entry = self.entry
        diagonal = len(entry.pairs) == len(entry.rows) == len(entry.columns)
        # Equal but for the last digit of a 3j symbol.
        constant = diagonal and len({(t.j, round(t.value, 12)) for t in entry.terms}) == 1
        before = len(entry.rows) < len(entry.columns) or constant
        name = f"q{self.place}_"
        if self.w is None:
            before, name = True, "x"
            for i in entry.rows:
                self.loop.x(i)
        elif constant:
            self.add(f"const P u{self.place} = {self._entry('m', *entry.pairs[0])} * {self.w};")
        elif before:
            for i in entry.rows:
                self.add(f"const P {name}{i} = {_product(self.w, self.loop.x(i))};")
        for k in entry.columns:
            rows = [i for i in entry.rows if (i, k) in entry.place]
            if constant and self.w is not None:
                terms = [f"u{self.place} * {self.loop.x(rows[0])}"]
            elif before:
                terms = [f"{self._entry('m', i, k)} * {name}{i}" for i in rows]
            else:
                inner = [f"{self._entry('m', i, k)} * {self.loop.x(i)}" for i in rows]
                own = f"t{self.place}_{k}"
                self.add(f"P {own} = {inner[0]};")
                for term in inner[1:]:
                    self.add(f"{own} += {term};")
                terms = [_product(self.w, own)]
            self._add_to_z(k, terms)

    def _sum_z_tangents(self) -> None:
        entry, tangents, place = self.entry, self.kernel.tangents, self.place
        with_q = "x" in tangents or self.aw is not None
        for i in entry.rows:
            if with_q:
                self.add(f"const P q{place}_{i} = {' + '.join(self._mixed(i))};")
            if "y" in tangents:
                self.add(f"const P p{place}_{i} = {_product(self.w, self.loop.x(i))};")
        for k in entry.columns:
            terms = []
            for i in entry.rows:
                if (i, k) in entry.place:
                    if with_q:
                        terms.append(f"{self._entry('m', i, k)} * q{place}_{i}")
                    if "y" in tangents:
                        terms.append(f"{self._entry('b', i, k)} * p{place}_{i}")
            self._add_to_z(k, terms)

    def _add_to_z(self, k: int, terms: list[str]) -> None:
        pointer, own = f"gz + zs{self.place} + {k * self.loop.mul} + c", f"o{self.place}_{k}"
        self.add(f"P {own} = load<P>({pointer});")
        for term in terms:
            self.add(f"{own} += {term};")
        self.add(f"store<P>({pointer}, {own});")

    def _applied(self, name: str, array: str) -> None:
        """M z, or M of y's tangent times z."""
        entry = self.entry
        for i in entry.rows:
            ks = [k for k in entry.columns if (i, k) in entry.place]
            terms = [f"{self._entry(array, i, k)} * {self._z(k)}" for k in ks]
            self.add(f"P {name}{self.place}_{i} = {terms[0]};")
            for term in terms[1:]:
                self.add(f"{name}{self.place}_{i} += {term};")

    def open_factors(self) -> None:
        """What the path adds to the open slots among x, y and w."""
        targets, tangents, place = self.kernel.targets, self.kernel.tangents, self.place
        entry, loop = self.entry, self.loop
        plain = not tangents
        open_x, open_w = "x" in targets, "w" in targets and self.w is not None
        s, t = f"s{place}_", f"t{place}_"
        # s = M z where something of first order in y meets it; t = M' z for the tangent of y.
        if (
            (plain and (open_x or open_w))
            or (open_x and self.aw is not None)
            or (open_w and "x" in tangents)
        ):
            self._applied(s[:1], "m")
        if "y" in tangents and (open_x or open_w):
            self._applied(t[:1], "b")
        if open_x:
            for i in entry.rows:
                if plain:
                    parts = [_product(self.w, f"{s}{i}")]
                else:
                    parts = [_product(self.aw, f"{s}{i}")] if self.aw else []
                    parts += [_product(self.w, f"{t}{i}")] if "y" in tangents else []
                for part in parts:
                    first = f"o{i}" not in loop.loaded
                    loop.loaded.add(f"o{i}")
                    self.add(f"P o{i} = {part};" if first else f"o{i} += {part};")
        if open_w:
            terms = []
            for i in entry.rows:
                if plain:
                    terms.append(f"{loop.x(i)} * {s}{i}")
                else:
                    terms += [f"{loop.ax(i)} * {s}{i}"] if "x" in tangents else []
                    terms += [f"{loop.x(i)} * {t}{i}"] if "y" in tangents else []
            self.add(f"P g{place} = {terms[0] if terms else 'P{}'};")
            for term in terms[1:]:
                self.add(f"g{place} += {term};")
            store = "stream" if self.kernel.streamed else "store<P>"
            self.add(f"{store}(ve + ws{place} + c, g{place});")
        if "y" in targets and (plain or "x" in tangents or self.aw is not None):
            self._open_y()

    def _open_y(self) -> None:
        entry, place = self.entry, self.place
        for i in entry.rows:
            self.add(f"const P q{place}_{i} = {' + '.join(self._mixed(i))};")
        for i, k in entry.pairs:
            self.add(f"const P h{place}_{i}_{k} = q{place}_{i} * {self._z(k)};")
            for term in entry.terms:
                if (term.i, term.k) == (i, k):
                    self.add(f"r{place}_{term.j} += T({term.value!r}) * h{place}_{i}_{k};")


def _product(*names: str | None) -> str:
    return " * ".join(name for name in names if name is not None)
