"""C++ for the convolution: mode ``uvu``, one channel of y, weights per edge.

With M[i, k] = sum_j C[i, j, k] y[j] computed once per edge, a path costs about one multiply-add
per entry of M and channel. One kernel opens several slots at once, so that x, z and w are read
once for all of them; with *tangents* it is the derivative of such a kernel:

    sum over tangents a of the form with slot a replaced by its tangent,

which is what the second derivative of a convolution needs (the form is linear in each slot).
Kernels that open z or x sum over the edges of a row, in their order, within one thread; so the
result does not depend on the number of threads. Channels are done in pairs of the machine's
vectors, the rest in smaller steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clebsch.ops.specification import Specification, Term

_HEAD = """\
#include <cstdint>
#include <cstdlib>
#include <cstring>
typedef {real} T;
typedef std::int64_t Int;
// Not std::vector: its header would take a fifth of the time to build a kernel.
struct Integers {{
  Int* data;
  explicit Integers(Int n) : data(static_cast<Int*>(std::calloc(n + 1, sizeof(Int)))) {{}}
  ~Integers() {{ std::free(data); }}
  Int& operator[](Int i) const {{ return data[i]; }}
}};
#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline))
#if defined(__AVX512F__)
#define NATIVE 64
#elif defined(__AVX__)
#define NATIVE 32
#else
#define NATIVE 16
#endif
typedef T Vector __attribute__((vector_size(NATIVE)));
// Two vectors side by side: each entry of M is loaded once for both.
struct Pair {{ Vector a, b; }};
INLINE Pair operator+(Pair p, Pair q) {{ return {{p.a + q.a, p.b + q.b}}; }}
INLINE Pair operator*(Pair p, Pair q) {{ return {{p.a * q.a, p.b * q.b}}; }}
INLINE Pair operator*(T m, Pair q) {{ return {{m * q.a, m * q.b}}; }}
INLINE Pair& operator+=(Pair& p, Pair q) {{ p.a += q.a; p.b += q.b; return p; }}
template <class P> constexpr bool is_pair = sizeof(P) == 2 * NATIVE;
constexpr int LANES = NATIVE / sizeof(T);
// Rows of the next edge, fetched while this one is computed: they are too short for the processor
// to see a stream in them.
struct Next {{ const T *w, *aw, *x, *ax, *z, *gw; }};
template <class P> constexpr Int width = sizeof(P) / sizeof(T);
template <class P> INLINE P load(const T* p) {{
  if constexpr (is_pair<P>) return {{load<Vector>(p), load<Vector>(p + LANES)}};
  P v;
  std::memcpy(&v, p, sizeof(P));
  return v;
}}
template <class P> INLINE void store(T* p, P v) {{
  if constexpr (is_pair<P>) {{
    store(p, v.a);
    store(p + LANES, v.b);
  }} else std::memcpy(p, &v, sizeof(P));
}}
INLINE T total(T v) {{ return v; }}
INLINE T total(Vector v) {{
  T sum = 0;
  for (int l = 0; l < LANES; l++) sum += v[l];
  return sum;
}}
INLINE T total(Pair v) {{ return total(v.a + v.b); }}
"""

# Weights of one edge, and their slopes, from a uniform cubic B-spline in u = r / r_c.
_SPLINE = """\
template <bool slopes, int begin, int end>
INLINE bool spline(T u, const T* __restrict table, Int intervals, T* __restrict w,
                   T* __restrict slope) {{
  if (u >= T(1)) return false;
  const T s = u * T(intervals);
  Int k = s > 0 ? Int(s) : 0;  // not a number: the first interval, and so it shows in the result
  k = k > intervals - 1 ? intervals - 1 : k;
  const T t = s - T(k), v = 1 - t, n = T(intervals);
  const T b0 = v * v * v / 6, b1 = (t * t * (3 * t - 6) + 4) / 6;
  const T b3 = t * t * t / 6, b2 = 1 - b0 - b1 - b3;
  const T d0 = -n * v * v / 2, d1 = n * t * (3 * t - 4) / 2;
  const T d3 = n * t * t / 2, d2 = -(d0 + d1 + d3);
  const T* __restrict a = table + k * {width};
#pragma omp simd
  for (int c = begin; c < end; c++) {{
    const T p = a[c], q = a[{width} + c], r = a[2 * {width} + c], s = a[3 * {width} + c];
    w[c] = b0 * p + b1 * q + b2 * r + b3 * s;
    if (slopes) slope[c] = d0 * p + d1 * q + d2 * r + d3 * s;
  }}
  return true;
}}
"""

_SIGNATURE = """\
// 1 where an edge names a row that is not there.
extern "C" int run(Int n_src, Int n_dst, Int edges, const Int* src, const Int* dst,
                   const T* x, const T* y, const T* w, const T* z,
                   const T* ax, const T* ay, const T* aw,
                   T* gx, T* gy, T* gw, T* gz,
                   const T* u, const T* table, Int intervals, T* gu, int threads) {{
  // Signs are gathered, not branched on: so the compiler does several edges at a time.
  typedef std::uint64_t Signs;
  Signs outside = 0, falling = 0;
  for (Int e = 0; src && e < edges; e++)
    outside |= Signs(src[e]) | (Signs(n_src) - 1 - Signs(src[e])) | Signs(dst[e])
               | (Signs(n_dst) - 1 - Signs(dst[e]));
  if (Int(outside) < 0) return 1;
  for (Int e = 1; src && e < edges; e++) falling |= Signs({row}[e]) - Signs({row}[e - 1]);
  const bool sorted = Int(falling) >= 0;
  (void)sorted;
"""

# Edges by the row they add to: from where it changes, or by a counting sort (stable, linear).
_ROWS = """\
  const Integers start({rows} + 1), order(sorted ? 0 : edges), next(sorted ? 0 : {rows});
  if (sorted) {{
    Int n = 0;
    for (Int e = 0; e < edges; e++)
      while (n <= ({row} ? {row}[e] : e)) start[n++] = e;
    while (n <= {rows}) start[n++] = edges;
  }} else {{
    for (Int e = 0; e < edges; e++) start[{row}[e] + 1]++;
    for (Int n = 0; n < {rows}; n++) start[n + 1] += start[n];
    for (Int e = 0; e < edges; e++) order[start[{row}[e]] + next[{row}[e]]++] = e;
  }}
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads) if (threads > 1)
  for (Int n = 0; n < {rows}; n++) {{
    std::memset({out} + n * {width}, 0, sizeof(T) * {width});
"""

_EDGES_OF_ROW = """\
    for (Int t = start[n]; t < start[n + 1]; t++) {
      const Int e = sorted ? t : order[t];
      const Int f = t + 1 == edges ? e : sorted ? t + 1 : order[t + 1];
"""

_EDGES = """\
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (Int n = 0; n < edges; n++) {
"""

_ONE_EDGE = """\
    {
      const Int e = n, f = e + 1 == edges ? e : e + 1;
"""

# More entries of M than this, and each path is a function that is not inlined: one function of
# them all would take the compiler a minute.
_APART = 1000

# Bytes of a row of the result that are summed at a time: with the edge's factors they must fit
# the processor's first cache.
_SUMMED = 12 * 1024


@dataclass(frozen=True)
class Kernel:
    """What a kernel computes.

    Attributes:
        spec: of mode ``uvu`` only, see ``supported``.
        targets: the slots it opens: ``"z"``, or some of ``"xyw"`` in this order.
        tangents: slots of ``"xyw"`` with a tangent; empty for the form itself.
        splined: weights are a spline of the edge's u; its derivative is in the place of w's.
        real: ``"float"`` or ``"double"``.
    """

    spec: Specification
    targets: str
    tangents: str = ""
    splined: bool = False
    real: str = "float"


def supported(spec: Specification) -> bool:
    """Whether every path is ``uvu`` with one channel of y and weights per edge."""
    return bool(spec.paths) and all(
        path.mode == "uvu"
        and spec.y[path.y].mul == 1
        and not (spec.shared_weights and path.weighted)
        for path in spec.paths
    )


def source(kernel: Kernel) -> str:
    """C++ of a function ``run`` that computes ``kernel``."""
    spec, targets = kernel.spec, kernel.targets
    entries = _entries(spec)
    parts = [_HEAD.format(real=kernel.real)]
    if kernel.splined:
        parts.append(_SPLINE.format(width=spec.weight_numel))
    apart = sum(len(entry.pairs) for entry in dict.fromkeys(entries)) > _APART
    kind = "APART" if apart else "INLINE"
    # A loop over channels for each path: one loop for all of them touches so many lines of memory
    # at once that it runs at half the speed. Paths that differ in their places only share one.
    loops = [_Loop(kernel, index, entry).text(kind) for index, entry in enumerate(entries)]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(loops))}
    parts += [text.replace("channels", f"channels{number}") for text, number in numbers.items()]
    if apart:
        parts += [_matrix(entry) for entry in dict.fromkeys(entries)]

    parts.append(_SIGNATURE.format(row="src" if "x" in targets else "dst"))
    if "z" in targets:
        parts.append(_ROWS.format(row="dst", rows="n_dst", out="gz", width=spec.z.dim))
    elif "x" in targets:
        parts.append(_ROWS.format(row="src", rows="n_src", out="gx", width=spec.x.dim))
    else:
        parts.append(_EDGES)
    for group in _groups(kernel):
        parts.append(_EDGES_OF_ROW if "z" in targets or "x" in targets else _ONE_EDGE)
        lines = _edge(kernel, entries, group, [numbers[text] for text in loops], apart)
        parts += ["      " + line + "\n" if line[0] != "#" else line + "\n" for line in lines]
        parts.append("    }\n")
    parts.append("  }\n  return 0;\n}\n")
    return "".join(parts)


def _groups(kernel: Kernel) -> list[range]:
    """The paths that are summed together over the edges of a row: neighbours in the list."""
    spec, item = kernel.spec, 4 if kernel.real == "float" else 8
    if "z" not in kernel.targets:
        return [range(len(spec.paths))]
    groups, first, size = [], 0, 0
    for number, path in enumerate(spec.paths):
        mul, ir = spec.z[path.z]
        if size + mul * ir.dim * item > _SUMMED and number > first:
            groups.append(range(first, number))
            first, size = number, 0
        size += mul * ir.dim * item
    return [*groups, range(first, len(spec.paths))]


def _edge(
    kernel: Kernel, entries: list[_Entries], group: range, loops: list[int], apart: bool
) -> list[str]:
    """What is done for one edge and the paths of the group, whose loops have these numbers."""
    spec, targets, tangents = kernel.spec, kernel.targets, kernel.tangents
    weighted = any(path.weighted for path in spec.paths)
    by_dst = "z" in targets
    lines = ["const Int from = src ? src[e] : e, to = dst ? dst[e] : e;"]
    lines += ["(void)from; (void)to;"]
    lines += [f"const T* __restrict ye = y + e * {spec.y.dim};"]
    if "y" in targets:
        lines += [f"T* __restrict ge = gy + e * {spec.y.dim};"]
        lines += [f"std::memset(ge, 0, sizeof(T) * {spec.y.dim});"]
    if kernel.splined:
        slopes = "w" in targets
        begin, end = (spec.weight_slices[group[0]].start, spec.weight_slices[group[-1]].stop)
        lines += [f"alignas(64) T we[{spec.weight_numel}];"]
        lines += [f"alignas(64) T slope[{spec.weight_numel if slopes else 1}];"]
        if slopes:
            lines += [f"alignas(64) T ve[{spec.weight_numel}];", "gu[e] = 0;"]
        call = f"spline<{str(slopes).lower()}, {begin}, {end}>"
        lines += [f"if (!{call}(u[e], table, intervals, we, slope)) continue;"]
    else:
        lines += [f"const T* we = {f'w + e * {spec.weight_numel}' if weighted else 'nullptr'};"]
        if "w" in targets:
            lines += [f"T* ve = {f'gw + e * {spec.weight_numel}' if weighted else 'nullptr'};"]
    some = list(dict.fromkeys(entries[number] for number in group))
    size = max(1, sum(len(entry.pairs) for entry in dict.fromkeys(entries)))
    made = _matrix_calls if apart else _matrices
    lines += [f"T m[{size}];", *made(some, "m", "ye")]
    if "y" in tangents:
        lines += [f"const T* __restrict be = ay + e * {spec.y.dim};"]
        lines += [f"T b[{size}];", *made(some, "b", "be")]
    lines += _next(spec)
    shared = [
        "we",
        f"x + from * {spec.x.dim}",
        "nullptr" if by_dst else f"z + to * {spec.z.dim}",
        f"ax + from * {spec.x.dim}" if "x" in tangents else "nullptr",
        f"aw + e * {spec.weight_numel}" if "w" in tangents else "nullptr",
        f"gx + n * {spec.x.dim}" if "x" in targets else "nullptr",
        "ge" if "y" in targets else "nullptr",
        "ve" if "w" in targets else "nullptr",
        f"gz + n * {spec.z.dim}" if by_dst else "nullptr",
        "next",
    ]
    for number in group:
        path, entry = spec.paths[number], entries[number]
        starts = [
            spec.x.slices()[path.x].start,
            entry.y_start,
            spec.z.slices()[path.z].start,
            spec.weight_slices[number].start,
        ]
        second = f"b + {entry.first}" if "y" in tangents else "nullptr"
        own = [*map(str, starts), f"m + {entry.first}", second]
        lines += _calls(loops[number], spec.x[path.x].mul, ", ".join([*own, *shared]))
    if kernel.splined and "w" in targets:
        lines += ["T sum = 0;", "#pragma omp simd reduction(+ : sum)"]
        lines += [f"for (int c = 0; c < {spec.weight_numel}; c++) sum += ve[c] * slope[c];"]
        lines += ["gu[e] = sum;"]
    return lines


def _next(spec: Specification) -> list[str]:
    """Declaration of the rows of the next edge, f."""
    x, z, w = spec.x.dim, spec.z.dim, spec.weight_numel
    return [
        "const Int next_from = src ? src[f] : f, next_to = dst ? dst[f] : f;",
        f"const Next next{{w + f * {w}, aw + f * {w}, x + next_from * {x}, "
        f"ax + next_from * {x}, z + next_to * {z}, gw + f * {w}}};",
        "(void)next;",
    ]


def _calls(number: int, mul: int, arguments: str) -> list[str]:
    """The channels of a path: pairs of vectors, a vector, and the rest one by one."""
    return [
        "{",
        f"constexpr Int pairs = {mul} / (2 * LANES) * (2 * LANES);",
        f"constexpr Int whole = {mul} / LANES * LANES;",
        f"if constexpr (pairs > 0) channels{number}<Pair>(0, pairs, {arguments});",
        f"if constexpr (whole > pairs) channels{number}<Vector>(pairs, whole, {arguments});",
        f"if constexpr ({mul} > whole) channels{number}<T>(whole, {mul}, {arguments});",
        "}",
    ]


def _entries(spec: Specification) -> list[_Entries]:
    """Those of each path; one object for paths with the same M."""
    known: dict[tuple[int, tuple[Term, ...]], _Entries] = {}
    found, offset = [], 0
    for path in spec.paths:
        key = (spec.y.slices()[path.y].start, tuple(spec.terms(path)))
        if key not in known:
            known[key] = _Entries(*key, offset)
            offset += len(known[key].pairs)
        found.append(known[key])
    return found


class _Entries:
    """The non-zero entries (i, k) of a path's M and the terms that make them."""

    def __init__(self, y_start: int, terms: tuple[Term, ...], first: int) -> None:
        self.terms = terms
        self.pairs = sorted({(term.i, term.k) for term in terms})
        self.place = {pair: number for number, pair in enumerate(self.pairs)}
        self.y_start = y_start
        self.first = first

    def name(self, array: str, i: int, k: int) -> str:
        return f"{array}[{self.place[i, k]}]"

    def values(self, array: str, factor: str, first: int, y_start: int) -> list[str]:
        """Statements that fill ``array`` from ``first`` on."""
        parts: dict[tuple[int, int], list[str]] = {pair: [] for pair in self.pairs}
        for term in self.terms:
            product = f"T({term.value!r}) * {factor}[{y_start + term.j}]"
            parts[term.i, term.k].append(product)
        return [
            f"{array}[{first + self.place[pair]}] = {' + '.join(products)};"
            for pair, products in parts.items()
        ]


def _matrices(entries: list[_Entries], array: str, factor: str) -> list[str]:
    """The entries of M of these paths."""
    return [line for e in entries for line in e.values(array, factor, e.first, e.y_start)]


def _matrix(entry: _Entries) -> str:
    """A function that computes the M of a path."""
    body = "\n".join("  " + line for line in entry.values("m", "y", 0, entry.y_start))
    name = f"matrix{entry.first}"
    return f"APART void {name}(const T* __restrict y, T* __restrict m) {{\n{body}\n}}\n"


def _matrix_calls(entries: list[_Entries], array: str, factor: str) -> list[str]:
    return [f"matrix{entry.first}({factor}, {array} + {entry.first});" for entry in entries]


@dataclass
class _Loop:
    """The loop over the channels of one path."""

    kernel: Kernel
    index: int
    entry: _Entries
    lines: list[str] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)

    def text(self, kind: str) -> str:
        self._path()
        sums = sorted({term.j for term in self.entry.terms})
        sums = sums if "y" in self.kernel.targets else []
        body = "\n".join(f"    {line}" for line in self.lines)
        declared = "".join(f"  P r{j}{{}};\n" for j in sums)
        added = "".join(f"  ge[ys + {j}] += total(r{j});\n" for j in sums)
        return (
            f"template <class P>\n{kind} void channels(Int begin, Int end, "
            "Int xs, Int ys, Int zs, Int ws,\n"
            "    const T* __restrict m, const T* __restrict b, const T* __restrict we,\n"
            "    const T* __restrict x, const T* __restrict z, const T* __restrict ax,\n"
            "    const T* __restrict aw, T* __restrict gx, T* __restrict ge, T* __restrict ve,\n"
            "    T* __restrict gz, const Next& next) {\n"
            "  (void)xs; (void)ys; (void)zs; (void)ws;\n"
            f"{declared}"
            "  for (Int c = begin; c < end; c += width<P>) {\n"
            f"{body}\n  }}\n{added}}}\n"
        )

    def _load(self, name: str, array: str, start: str) -> str:
        if name not in self.loaded:
            self.loaded.add(name)
            self.lines.append(f"const P {name} = load<P>({array} + {start} + c);")
            self._fetch(array, start)
        return name

    def _fetch(self, array: str, start: str) -> None:
        """Fetch the next edge's row, but for the row that all edges of a sum have in common."""
        rows = {"aw": "aw"} | ({} if self.kernel.splined else {"we": "w", "ve": "gw"})
        if "x" not in self.kernel.targets:
            rows |= {"x": "x", "ax": "ax"}
        else:
            rows |= {"z": "z"}
        if array in rows:
            self.lines.append(f"__builtin_prefetch(next.{rows[array]} + {start} + c);")

    def _path(self) -> None:
        kernel, spec, entry, index = self.kernel, self.kernel.spec, self.entry, self.index
        path = spec.paths[index]
        mul = spec.x[path.x].mul
        rows = sorted({i for i, _ in entry.pairs})
        columns = sorted({k for _, k in entry.pairs})
        tangents = kernel.tangents

        def x(i: int) -> str:
            return self._load(f"x{i}", "x", f"xs + {i * mul}")

        def ax(i: int) -> str:
            return self._load(f"ax{i}", "ax", f"xs + {i * mul}")

        w = self._load("v0", "we", "ws") if path.weighted else None
        aw = None
        if "w" in tangents and path.weighted:
            aw = self._load("v1", "aw", "ws")

        def product(*names: str | None) -> str:
            return " * ".join(name for name in names if name is not None)

        # q: x and w with one tangent each in turn (or none at all); p: for the tangent of y.
        def mixed(i: int) -> list[str]:
            if not tangents:
                return [product(w, x(i))]
            parts = [product(w, ax(i))] if "x" in tangents else []
            return parts + ([product(aw, x(i))] if aw else [])

        if "z" in kernel.targets:
            with_q = not tangents or "x" in tangents or aw is not None
            for i in rows:
                if with_q:
                    self.lines.append(f"const P q{i} = {' + '.join(mixed(i))};")
                if "y" in tangents:
                    self.lines.append(f"const P p{i} = {product(w, x(i))};")
            for k in columns:
                sums = [f"P o{k} = load<P>(gz + zs + {k * mul} + c);"]
                for i in rows:
                    if (i, k) in entry.place:
                        if with_q:
                            sums.append(f"o{k} += {entry.name('m', i, k)} * q{i};")
                        if "y" in tangents:
                            sums.append(f"o{k} += {entry.name('b', i, k)} * p{i};")
                self.lines += [*sums, f"store<P>(gz + zs + {k * mul} + c, o{k});"]
            return

        def z(k: int) -> str:
            return self._load(f"z{k}", "z", f"zs + {k * mul}")

        def applied(name: str, array: str) -> None:
            for i in rows:
                ks = [k for k in columns if (i, k) in entry.place]
                terms = [f"{entry.name(array, i, k)} * {z(k)}" for k in ks]
                self.lines.append(f"P {name}{i} = {terms[0]};")
                self.lines += [f"{name}{i} += {term};" for term in terms[1:]]

        plain = not tangents
        open_x, open_w = "x" in kernel.targets, "w" in kernel.targets and path.weighted
        # s = M z where something of first order in y meets it; t = M' z for the tangent of y.
        if (
            (plain and (open_x or open_w))
            or (open_x and aw is not None)
            or (open_w and "x" in tangents)
        ):
            applied("s", "m")
        if "y" in tangents and (open_x or open_w):
            applied("t", "b")
        if open_x:
            for i in rows:
                if plain:
                    parts = [product(w, f"s{i}")]
                else:
                    parts = [product(aw, f"s{i}")] if aw else []
                    parts += [product(w, f"t{i}")] if "y" in tangents else []
                if parts:
                    pointer = f"gx + xs + {i * mul} + c"
                    self.lines.append(f"P o{i} = load<P>({pointer});")
                    self.lines += [f"o{i} += {part};" for part in parts]
                    self.lines.append(f"store<P>({pointer}, o{i});")
        if open_w:
            terms = []
            for i in rows:
                if plain:
                    terms.append(f"{x(i)} * s{i}")
                else:
                    terms += [f"{ax(i)} * s{i}"] if "x" in tangents else []
                    terms += [f"{x(i)} * t{i}"] if "y" in tangents else []
            self.lines.append(f"P v = {terms[0] if terms else 'P{}'};")
            self.lines += [f"v += {term};" for term in terms[1:]]
            self.lines.append("store<P>(ve + ws + c, v);")
            self._fetch("ve", "ws")
        if "y" in kernel.targets and (plain or "x" in tangents or aw is not None):
            for i in rows:
                self.lines.append(f"const P q{i} = {' + '.join(mixed(i))};")
            for i, k in entry.pairs:
                self.lines.append(f"const P h{i}_{k} = q{i} * {z(k)};")
                self.lines += [
                    f"r{term.j} += T({term.value!r}) * h{i}_{k};"
                    for term in entry.terms
                    if (term.i, term.k) == (i, k)
                ]
