"""C++ for one open slot of one specification: loops over edges, SIMD over channels.

Node slots (x, z) are summed by one thread per row, over the row's edges in their order, so the
result does not depend on the number of threads. Edge slots (y, w) are independent of each other.
"""

from __future__ import annotations

from collections import defaultdict

from clebsch.ops.specification import Path, Specification, Term

_HEAD = """\
#include <cstdint>
#include <cstring>
#include <vector>
typedef {real} T;
typedef std::int64_t Int;

// Rows of x, of the result, of the open slot; 1 where an edge names a row that is not there.
extern "C" int contract(Int n_src, Int n_dst, Int rows, Int edges, const Int* src,
                        const Int* dst, const T* __restrict x, const T* __restrict y,
                        const T* __restrict w, const T* __restrict z, T* __restrict out,
                        int threads) {{
  for (Int e = 0; src && e < edges; e++)
    if (src[e] < 0 || src[e] >= n_src || dst[e] < 0 || dst[e] >= n_dst) return 1;
"""

# Edges ordered by the row they add to (counting sort: stable, linear in the edges).
_ROWS = """\
  std::vector<Int> start(rows + 1, 0), order(edges);
  const Int* row = {row};
  for (Int e = 0; e < edges; e++) start[(row ? row[e] : e) + 1]++;
  for (Int n = 0; n < rows; n++) start[n + 1] += start[n];
  {{
    std::vector<Int> next(start.begin(), start.end() - 1);
    for (Int e = 0; e < edges; e++) order[next[row ? row[e] : e]++] = e;
  }}
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads) if (threads > 1)
  for (Int n = 0; n < rows; n++) {{
    T* __restrict o = out + n * {width};
    std::memset(o, 0, sizeof(T) * {width});
    for (Int t = start[n]; t < start[n + 1]; t++) {{
      const Int e = order[t];
      const T* __restrict a = {a} + ({other} ? {other}[e] : e) * {a_width};
      const T* __restrict ye = y + e * {y_width};
      const T* __restrict we = w + e * {w_width};
"""

_EDGES = """\
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (Int e = 0; e < edges; e++) {{
    {{
      T* __restrict o = out + e * {width};
      std::memset(o, 0, sizeof(T) * {width});
      const T* __restrict a = x + (src ? src[e] : e) * {a_width};
      const T* __restrict b = z + (dst ? dst[e] : e) * {b_width};
      const T* __restrict ye = y + e * {y_width};
      const T* __restrict we = w + e * {w_width};
"""

_TAIL = """\
    }
  }
  return 0;
}
"""


def supported(spec: Specification) -> bool:
    """Whether this back end computes the specification: ``uvu`` with one channel of y."""
    return bool(spec.paths) and all(
        path.mode == "uvu"
        and spec.y[path.y].mul == 1
        and not (spec.shared_weights and path.weighted)
        for path in spec.paths
    )


def source(spec: Specification, target: str, real: str) -> str:
    """C++ of a function ``contract`` that opens ``target``; ``real`` is float or double."""
    widths = {"x": spec.x.dim, "y": spec.y.dim, "z": spec.z.dim, "w": spec.weight_numel}
    common = {"y_width": widths["y"], "w_width": widths["w"], "width": widths[target]}
    body = {"x": _node, "z": _node, "y": _second_factor, "w": _weights}[target]
    if target in ("x", "z"):
        a = "z" if target == "x" else "x"
        row, other = ("src", "dst") if target == "x" else ("dst", "src")
        opening = _ROWS.format(row=row, other=other, a=a, a_width=widths[a], **common)
    else:
        opening = _EDGES.format(a_width=widths["x"], b_width=widths["z"], **common)
    paths = [
        body(spec, path, number, target)
        for number, path in enumerate(spec.paths)
        if not (target == "w" and not path.weighted)
    ]
    return _HEAD.format(real=real) + opening + "\n".join(paths) + _TAIL


def _offsets(spec: Specification, path: Path) -> tuple[int, int, int]:
    """First element of the path's blocks of x, y and z."""
    return (
        spec.x.slices()[path.x].start,
        spec.y.slices()[path.y].start,
        spec.z.slices()[path.z].start,
    )


def _matrix(terms: list[Term], y_start: int) -> tuple[list[str], dict[tuple[int, int], str]]:
    """Declarations of M[i, k] = sum_j C[i, j, k] y_j and the name of each non-zero entry."""
    entries: dict[tuple[int, int], list[str]] = defaultdict(list)
    for i, j, k, value in terms:
        entries[i, k].append(f"T({value!r}) * ye[{y_start + j}]")
    names = {(i, k): f"m{i}_{k}" for i, k in entries}
    lines = [f"const T {names[key]} = {' + '.join(sums)};" for key, sums in entries.items()]
    return lines, names


def _loop(channels: int, lines: list[str], reduction: str = "") -> list[str]:
    inner = "\n".join(f"          {line}" for line in lines)
    return [
        f"#pragma omp simd{reduction}",
        f"        for (int c = 0; c < {channels}; c++) {{",
        inner,
        "        }",
    ]


def _weight(spec: Specification, path: Path, number: int) -> str:
    return f"we[{spec.weight_slices[number].start} + c]" if path.weighted else "T(1)"


def _wrap(lines: list[str]) -> str:
    return (
        "      {\n"
        + "\n".join(line if line.startswith(("#", " ")) else f"        {line}" for line in lines)
        + "\n      }\n"
    )


def _node(spec: Specification, path: Path, number: int, target: str) -> str:
    """o[k] += M[i, k] w a[i], or with i and k exchanged for the slot x."""
    mul = spec.x[path.x].mul
    x_start, y_start, z_start = _offsets(spec, path)
    lines, names = _matrix(spec.terms(path), y_start)
    a_start, o_start = (x_start, z_start) if target == "z" else (z_start, x_start)
    pairs = {(i, k) if target == "z" else (k, i): name for (i, k), name in names.items()}
    inner = [f"const T v = {_weight(spec, path, number)};"]
    inner += [
        f"const T a{i} = v * a[{a_start + i * mul} + c];" for i in sorted({i for i, _ in pairs})
    ]
    for k in sorted({k for _, k in pairs}):
        sums = " + ".join(f"{name} * a{i}" for (i, kk), name in pairs.items() if kk == k)
        inner.append(f"o[{o_start + k * mul} + c] += {sums};")
    return _wrap(lines + _loop(mul, inner))


def _weights(spec: Specification, path: Path, number: int, target: str) -> str:
    """o[c] = sum_ik M[i, k] a[i] b[k]."""
    mul = spec.x[path.x].mul
    x_start, y_start, z_start = _offsets(spec, path)
    lines, names = _matrix(spec.terms(path), y_start)
    inner = [f"const T a{i} = a[{x_start + i * mul} + c];" for i in sorted({i for i, _ in names})]
    sums = []
    for k in sorted({k for _, k in names}):
        part = " + ".join(f"{name} * a{i}" for (i, kk), name in names.items() if kk == k)
        sums.append(f"b[{z_start + k * mul} + c] * ({part})")
    inner.append(f"o[{spec.weight_slices[number].start} + c] = {' + '.join(sums)};")
    return _wrap(lines + _loop(mul, inner))


def _second_factor(spec: Specification, path: Path, number: int, target: str) -> str:
    """o[j] += C[i, j, k] t[i, k] with t[i, k] = sum_c w a[i] b[k]."""
    mul = spec.x[path.x].mul
    x_start, y_start, z_start = _offsets(spec, path)
    terms = spec.terms(path)
    pairs = sorted({(term.i, term.k) for term in terms})
    names = [f"t{i}_{k}" for i, k in pairs]
    lines = [f"T {', '.join(f'{name} = 0' for name in names)};"]
    inner = [f"const T v = {_weight(spec, path, number)};"]
    inner += [
        f"const T a{i} = v * a[{x_start + i * mul} + c];" for i in sorted({i for i, _ in pairs})
    ]
    inner += [f"const T b{k} = b[{z_start + k * mul} + c];" for k in sorted({k for _, k in pairs})]
    inner += [f"t{i}_{k} += a{i} * b{k};" for i, k in pairs]
    lines += _loop(mul, inner, f" reduction(+ : {', '.join(names)})")
    sums: dict[int, list[str]] = defaultdict(list)
    for i, j, k, value in terms:
        sums[j].append(f"T({value!r}) * t{i}_{k}")
    lines += [f"o[{y_start + j}] += {' + '.join(parts)};" for j, parts in sums.items()]
    return _wrap(lines)
