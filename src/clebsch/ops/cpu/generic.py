"""C++ for one open slot of any specification: every channel mode, shared weights or not.

Per row and path the channels are nested loops, the last one over the letter that is contiguous
in most factors. Factors without that letter meet the 3j symbol outside of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from clebsch.ops.cpu.source_text import TYPES
from clebsch.ops.specification import CHANNELS, Path, Specification

_APART = 500  # terms; with more of them paths are not inlined
SHARES = 16  # partial sums of shared weights: a fixed number, so that threads change nothing

_HEAD = """\
// A function for each kind of path: one function of them all takes the compiler minutes.
#define PATH static {inline} void
"""

_SIGNATURE = """\
// 1 where an edge names a row that is not there. Shared weights: out has SHARES partial sums.
extern "C" int run(Int n_src, Int n_dst, Int edges, const Int* src, const Int* dst,
                   const T* __restrict x, const T* __restrict y, const T* __restrict w,
                   const T* __restrict z, T* __restrict out, int threads) {{
  for (Int e = 0; src && e < edges; e++)
    if (src[e] < 0 || src[e] >= n_src || dst[e] < 0 || dst[e] >= n_dst) return 1;
"""

_ROWS = """\
  const Int rows = {rows};
  const Int* row = {row};
  const Integers start(rows + 1), order(edges), next(rows);
  for (Int e = 0; e < edges; e++) start[(row ? row[e] : e) + 1]++;
  for (Int n = 0; n < rows; n++) start[n + 1] += start[n];
  for (Int e = 0; e < edges; e++) {{
    const Int n = row ? row[e] : e;
    order[start[n] + next[n]++] = e;
  }}
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads) if (threads > 1)
  for (Int n = 0; n < rows; n++) {{
    T* __restrict o = out + n * {width};
    std::memset(o, 0, sizeof(T) * {width});
    for (Int t = start[n]; t < start[n + 1]; t++) {{
      const Int e = order[t];
"""

_EDGES = """\
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (Int e = 0; e < edges; e++) {{
    {{
      T* __restrict o = out + e * {width};
      std::memset(o, 0, sizeof(T) * {width});
"""

_SHARED = """\
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
  for (Int n = 0; n < {shares}; n++) {{
    T* __restrict o = out + n * {width};
    std::memset(o, 0, sizeof(T) * {width});
    for (Int e = edges * n / {shares}; e < edges * (n + 1) / {shares}; e++) {{
"""

# mode -> order of the channel loops, the vectorised one last
_LOOPS = {"uvw": "uvw", "uvu": "vu", "uvv": "uv", "uuw": "uw", "uuu": "u", "uvuv": "uv"}


def source(spec: Specification, target: str, real: str) -> str:
    """C++ of a function ``run`` that opens ``target``; ``real`` is float or double."""
    width = spec.weight_numel if target == "w" else getattr(spec, target).dim
    if target in ("x", "z"):
        row, rows = ("src", "n_src") if target == "x" else ("dst", "n_dst")
        opening = _ROWS.format(row=row, rows=rows, width=width)
    elif target == "w" and spec.shared_weights:
        opening = _SHARED.format(shares=SHARES, width=width)
    else:
        opening = _EDGES.format(width=width)
    shared = "0" if spec.shared_weights else "e"
    factors = {
        "x": f"x + (src ? src[e] : e) * {spec.x.dim}",
        "y": f"y + e * {spec.y.dim}",
        "z": f"z + (dst ? dst[e] : e) * {spec.z.dim}",
        "w": f"w + {shared} * {spec.weight_numel}",
    }
    lines = [f"const T* __restrict {s}e = {p};" for s, p in factors.items() if s != target]
    lines += [f"(void){s}e;" for s in factors if s != target]
    functions: dict[str, int] = {}  # text -> number
    n_terms = 0
    for number, path in enumerate(spec.paths):
        if target == "w" and not path.weighted:
            continue
        text = "\n".join(_path(spec, path, target))
        if text not in functions:
            n_terms += len(spec.terms(path))
        called = functions.setdefault(text, len(functions))
        pointers = [f"{s}e + {_start(spec, path, number, s)}" for s in factors if s != target]
        pointers.append(f"o + {_start(spec, path, number, target)}")
        lines.append(f"path{called}({', '.join(pointers)});")
    body = "".join(f"      {line}\n" for line in lines)
    names = [f"const T* __restrict {s}e" for s in factors if s != target]
    declared = ", ".join([*names, "T* __restrict o"])
    unused = " ".join(f"(void){s}e;" for s in factors if s != target)
    bodies = [
        f"PATH path{n}({declared}) {{\n{unused}\n{text}\n}}\n" for text, n in functions.items()
    ]
    inline = "__attribute__((noinline))" if n_terms > _APART else "inline"
    head = TYPES.format(real=real) + _HEAD.format(inline=inline)
    end = "    }\n  }\n  return 0;\n}\n"
    return "".join([head, *bodies, _SIGNATURE.format(), opening, body, end])


def _start(spec: Specification, path: Path, number: int, slot: str) -> int:
    """Where the path's block or its weights begin in a row."""
    if slot == "w":
        return spec.weight_slices[number].start
    return getattr(spec, slot).slices()[getattr(path, slot)].start


def _channel(letters: str, sizes: dict[str, int]) -> str:
    """Index of a channel with these letters, the last one fastest."""
    index = letters[0]
    for letter in letters[1:]:
        index = f"({index}) * {sizes[letter]} + {letter}"
    return index


def _path(spec: Specification, path: Path, target: str) -> list[str]:
    """The product of one path, its factors and result given by their first elements."""
    letters = dict(zip("xywz", CHANNELS[path.mode], strict=True))
    blocks = spec.blocks(path)
    sizes = dict(zip("uvw", (mul for mul, _ in blocks), strict=True))
    muls = dict(zip("xyz", (mul for mul, _ in blocks), strict=True))
    # A letter with one channel needs no loop, and must not be the vectorised one.
    loops = "".join(c for c in _LOOPS[path.mode] if sizes[c] > 1) or _LOOPS[path.mode][-1]
    inner = loops[-1]
    terms = spec.terms(path)
    factors = [s for s in "xyz" if s != target]

    def element(slot: str, component: int) -> str:
        return f"{component * muls[slot]} + {_channel(letters[slot], sizes)}"

    def split(slots: list[str]) -> tuple[list[str], list[str]]:
        held = [s for s in slots if inner not in letters[s]]
        return held, [s for s in slots if s not in held]

    held, moving = split(factors)
    # The symbol contracted with the held factors: one number per target and moving components.
    sums: dict[tuple[int, ...], list[str]] = defaultdict(list)
    open_slots = [*([target] if target != "w" else []), *moving]
    for term in terms:
        components = {"x": term.i, "y": term.j, "z": term.k}
        product = [f"T({term.value!r})", *(f"{s}e[{element(s, components[s])}]" for s in held)]
        sums[tuple(components[s] for s in open_slots)].append(" * ".join(product))
    lines = [f"const int {c} = 0;" for c in _LOOPS[path.mode] if c not in loops]
    lines += [f"for (int {c} = 0; {c} < {sizes[c]}; {c}++) {{" for c in loops[:-1]]
    names = {key: f"m{position}" for position, key in enumerate(sums)}
    lines += [f"const T {names[key]} = {' + '.join(parts)};" for key, parts in sums.items()]

    weight = None
    if path.weighted and target != "w":
        weight = f"we[{_channel(letters['w'], sizes)}]"
    results: dict[int, list[str]] = defaultdict(list)
    for key, name in names.items():
        components = dict(zip(open_slots, key, strict=True))
        product = [name, *(f"{s}e[{element(s, components[s])}]" for s in moving)]
        results[components.get(target, 0)].append(" * ".join(product))
    place: Callable[[int], str]
    if target == "w":
        index = _channel(letters["w"], sizes)
        place = lambda _: f"o[{index}]"  # noqa: E731
    else:
        place = lambda component: f"o[{element(target, component)}]"  # noqa: E731
    reduced = inner not in letters[target]
    if reduced:
        lines += [f"T s{component} = 0;" for component in results]
        clause = f" reduction(+ : {', '.join(f's{component}' for component in results)})"
        lines += [f"#pragma omp simd{clause}"]
    else:
        lines += ["#pragma omp simd"]
    lines += [f"for (int {inner} = 0; {inner} < {sizes[inner]}; {inner}++) {{"]
    for component, parts in results.items():
        value = " + ".join(parts)
        if weight is not None:
            value = f"({value}) * {weight}"
        lines.append(f"{f's{component}' if reduced else place(component)} += {value};")
    lines += ["}"]
    if reduced:
        lines += [f"{place(component)} += s{component};" for component in results]
    return ["{", *lines, "}" * len(loops)]
