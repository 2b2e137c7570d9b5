"""C++ for the convolution: mode ``uvu``, one channel of y, weights per edge.

With M[i, k] = sum_j C[i, j, k] y[j] computed once per edge, a path costs about one multiply-add
per entry of M and channel. One kernel opens several slots at once, so that x, z and w are read
once for all of them; with *tangents* it is the derivative of such a kernel:

    sum over tangents a of the form with slot a replaced by its tangent,

which is what the second derivative of a convolution needs (the form is linear in each slot).
Kernels that open z or x sum over the edges of a row, in their order, within one thread; so the
result does not depend on the number of threads. Channels are done in the machine's vectors, the
rest one by one.
"""

from __future__ import annotations

from clebsch.ops.cpu import matrices
from clebsch.ops.cpu.fetch import fetches, short
from clebsch.ops.cpu.kernel import Kernel
from clebsch.ops.cpu.loop import Loop
from clebsch.ops.cpu.matrices import Entries, entries_of
from clebsch.ops.cpu.source_text import (
    EDGES,
    EDGES_OF_ROW,
    HEAD,
    ONE_EDGE,
    ROWS,
    SIGNATURE,
    SPLINE,
    STREAM,
    TYPES,
)
from clebsch.ops.specification import Specification

# More entries of M than this, and each path is a function that is not inlined: one function of
# them all would take the compiler a minute.
_APART = 1000

# Bytes of a row of the result that are summed at a time: with the factors of two edges they must
# fit the processor's first cache.
_SUMMED = 9 * 1024

# Entries of M of the paths that share a loop.
_TOGETHER = 48


def source(kernel: Kernel) -> str:
    """C++ of a function ``run`` that computes ``kernel``."""
    spec, targets = kernel.spec, kernel.targets
    entries = entries_of(spec)
    parts = [TYPES.format(real=kernel.real), HEAD]
    if kernel.streamed:
        parts.append(STREAM.format(letter="s" if kernel.real == "float" else "d"))
    if kernel.splined:
        parts.append(SPLINE.format(width=spec.weight_numel))
    apart = sum(len(entry.pairs) for entry in dict.fromkeys(entries)) > _APART
    passes = [_loops(kernel, entries, paths, apart) for paths in _passes(kernel)]
    texts = {loop: loop.text("APART" if apart else "INLINE") for loops in passes for loop in loops}
    # Loops that differ in the places of their blocks only are one function.
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts.values()))}
    parts += [text.replace("channels", f"channels{number}") for text, number in numbers.items()]
    if apart:
        parts += [matrices.function(entry) for entry in dict.fromkeys(entries)]

    parts.append(SIGNATURE.format(row="src" if "x" in targets else "dst"))
    if "z" in targets:
        parts.append(ROWS.format(row="dst", rows="n_dst", out="gz", width=spec.z.dim))
    elif "x" in targets:
        parts.append(ROWS.format(row="src", rows="n_src", out="gx", width=spec.x.dim))
    else:
        parts.append(EDGES)
    for loops in passes:
        parts.append(EDGES_OF_ROW if "z" in targets or "x" in targets else ONE_EDGE)
        calls = [(loop, numbers[texts[loop]]) for loop in loops]
        lines = _edge(kernel, entries, calls, apart)
        parts += ["      " + line + "\n" if line[0] != "#" else line + "\n" for line in lines]
        parts.append("    }\n")
    parts.append("    settle();\n" if kernel.streamed else "")
    parts.append("  }\n  return 0;\n}\n")
    return "".join(parts)


def _passes(kernel: Kernel) -> list[list[int]]:
    """The paths that are summed together over the edges of a row, by their block of x.

    So an edge's blocks of x are loaded once or little more often, whatever the size of z.
    """
    spec = kernel.spec
    ordered = sorted(range(len(spec.paths)), key=lambda number: spec.paths[number].x)
    if "z" not in kernel.targets:
        return [ordered]
    sizes = []
    for path in spec.paths:
        mul, ir = spec.z[path.z]
        sizes.append(mul * ir.dim * kernel.item)
    blocks: dict[int, list[int]] = {}
    for number in ordered:
        blocks.setdefault(spec.paths[number].x, []).append(number)
    passes: list[list[int]] = [[]]
    for paths in blocks.values():
        if sum(sizes[number] for number in [*passes[-1], *paths]) > _SUMMED:
            passes.append([])
        for number in paths:
            if sum(sizes[other] for other in passes[-1]) + sizes[number] > _SUMMED:
                passes.append([])
            passes[-1].append(number)
    return [paths for paths in passes if paths]


def _loops(kernel: Kernel, entries: list[Entries], paths: list[int], apart: bool) -> list[Loop]:
    """The loops of a pass: neighbours with one block of x."""
    loops: list[Loop] = []
    size = 0
    for number in paths:
        own = len(entries[number].pairs)
        last = loops[-1].paths if loops else None
        shares = last is not None and kernel.spec.paths[last[0]].x == kernel.spec.paths[number].x
        if last is not None and shares and not apart and size + own <= _TOGETHER:
            last.append(number)
            size += own
        else:
            loops.append(Loop(kernel, [number], entries))
            size = own
    return loops


def _edge(
    kernel: Kernel,
    entries: list[Entries],
    calls: list[tuple[Loop, int]],
    apart: bool,
) -> list[str]:
    """What a pass does for one edge; its loops come with the numbers of their functions."""
    spec, targets, tangents = kernel.spec, kernel.targets, kernel.tangents
    paths = [number for loop, _ in calls for number in loop.paths]
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
        lines += [f"alignas(64) T we[{spec.weight_numel}];"]
        lines += [f"alignas(64) T slope[{spec.weight_numel if slopes else 1}];"]
        if slopes:
            lines += [f"alignas(64) T ve[{spec.weight_numel}];", "gu[e] = 0;"]
        for begin, end in _runs(spec, paths):
            call = f"spline<{str(slopes).lower()}, {begin}, {end}>"
            lines += [f"if (!{call}(u[e], table, intervals, we, slope)) continue;"]
    else:
        lines += [f"const T* we = {f'w + e * {spec.weight_numel}' if weighted else 'nullptr'};"]
        if "w" in targets:
            lines += [f"T* ve = {f'gw + e * {spec.weight_numel}' if weighted else 'nullptr'};"]
    some = list(dict.fromkeys(entries[number] for number in paths))
    size = max(1, sum(len(entry.pairs) for entry in dict.fromkeys(entries)))
    made = matrices.calls if apart else matrices.inline
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
    ]
    fetched = fetches(kernel, [loop.paths for loop, _ in calls])
    for (loop, number), fetch in zip(calls, fetched, strict=True):
        own = [str(spec.x.slices()[spec.paths[loop.paths[0]].x].start)]
        for at in loop.paths:
            path, entry = spec.paths[at], entries[at]
            own += [
                str(entry.y_start),
                str(spec.z.slices()[path.z].start),
                str(spec.weight_slices[at].start),
                f"m + {entry.first}",
                f"b + {entry.first}" if "y" in tangents else "nullptr",
            ]
        lines += fetch if short(kernel, loop.mul) else []
        along = [] if short(kernel, loop.mul) else fetch
        lines += _calls(number, loop.mul, ", ".join([*own, *shared]), along, apart)
    if kernel.splined and "w" in targets:
        lines += ["T sum = 0;", "#pragma omp simd reduction(+ : sum)"]
        lines += [f"for (int c = 0; c < {spec.weight_numel}; c++) sum += ve[c] * slope[c];"]
        lines += ["gu[e] = sum;"]
    return lines


def _runs(spec: Specification, paths: list[int]) -> list[tuple[int, int]]:
    """The weights of these paths as few ranges."""
    runs: list[tuple[int, int]] = []
    for part in (spec.weight_slices[number] for number in sorted(paths)):
        if runs and runs[-1][1] == part.start:
            runs[-1] = (runs[-1][0], part.stop)
        elif part.stop > part.start:
            runs.append((part.start, part.stop))
    return runs


def _next(spec: Specification) -> list[str]:
    """Declaration of the rows of the next edge, f."""
    x, z, w = spec.x.dim, spec.z.dim, spec.weight_numel
    return [
        "const Int next_from = src ? src[f] : f, next_to = dst ? dst[f] : f;",
        f"const Next next{{w + f * {w}, aw + f * {w}, x + next_from * {x}, "
        f"ax + next_from * {x}, z + next_to * {z}, gw + f * {w}}};",
        "(void)next;",
    ]


def _calls(number: int, mul: int, arguments: str, fetch: list[str], apart: bool) -> list[str]:
    """The channels of a loop: whole vectors, with fetches along them, and the rest one by one."""
    lines = ["{", f"constexpr Int whole = {mul} / LANES * LANES;", "constexpr Int lanes = LANES;"]
    if apart or not fetch:
        lines += ["const Nothing fetch;", "for (Int c = 0; c < whole; c += lanes) {", *fetch, "}"]
    else:
        lines += ["const auto fetch = [&](Int c) __attribute__((always_inline)) {", *fetch, "};"]
    return [
        *lines,
        f"if constexpr (whole > 0) channels{number}<Vector>(0, whole, fetch, {arguments});",
        f"if constexpr ({mul} > whole) channels{number}<T>(whole, {mul}, fetch, {arguments});",
        "}",
    ]
