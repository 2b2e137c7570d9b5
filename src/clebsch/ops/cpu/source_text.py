"""The parts of a kernel's C++ that do not depend on its paths."""

TYPES = """\
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
"""

HEAD = """\
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
constexpr int LANES = NATIVE / sizeof(T);
// Rows of the next edge, fetched while this one is computed.
struct Next { const T *w, *aw, *x, *ax, *z, *gw; };
// In the place of a loop's fetches.
struct Nothing { void operator()(Int) const {} };
template <class P> constexpr Int width = sizeof(P) / sizeof(T);
template <class P> INLINE P load(const T* p) {
  P v;
  std::memcpy(&v, p, sizeof(P));
  return v;
}
template <class P> INLINE void store(T* p, P v) {
  std::memcpy(p, &v, sizeof(P));
}
INLINE T total(T v) { return v; }
INLINE T total(Vector v) {
  T sum = 0;
  for (int l = 0; l < LANES; l++) sum += v[l];
  return sum;
}
"""

# Stores past the caches, to aligned places: for rows that are not read again soon.
STREAM = """\
INLINE void stream(T* p, T v) {{ *p = v; }}
INLINE void stream(T* p, Vector v) {{
#if defined(__clang__)
  __builtin_nontemporal_store(v, reinterpret_cast<Vector*>(p));
#elif defined(__AVX512F__)
  __builtin_ia32_movntp{letter}512(p, v);
#elif defined(__AVX__)
  __builtin_ia32_movntp{letter}256(p, v);
#elif defined(__SSE2__)
  __builtin_ia32_movntp{letter}(p, v);
#else
  store<Vector>(p, v);
#endif
}}
// After these stores, so that other threads see them.
INLINE void settle() {{
#if defined(__SSE2__)
  __builtin_ia32_sfence();
#endif
}}
"""

# Weights of one edge, and their slopes, from a uniform cubic B-spline in u = r / r_c.
SPLINE = """\
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

SIGNATURE = """\
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
ROWS = """\
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
  // Neighbouring rows to one thread, so that it reads along memory; but no thread waits long.
  const Int share = {rows} / (8 * threads), chunk = share < 1 ? 1 : share > 16 ? 16 : share;
#pragma omp parallel for schedule(dynamic, chunk) num_threads(threads) if (threads > 1)
  for (Int n = 0; n < {rows}; n++) {{
    std::memset({out} + n * {width}, 0, sizeof(T) * {width});
"""

EDGES_OF_ROW = """\
    for (Int t = start[n]; t < start[n + 1]; t++) {
      const Int e = sorted ? t : order[t];
      const Int f = t + 1 == edges ? e : sorted ? t + 1 : order[t + 1];
"""

EDGES = """\
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (Int n = 0; n < edges; n++) {
"""

ONE_EDGE = """\
    {
      const Int e = n, f = e + 1 == edges ? e : e + 1;
"""
