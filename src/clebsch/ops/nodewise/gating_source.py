"""C++ of the gated nonlinearity with its first and second derivatives, one pass each."""

SOURCE = """\
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
typedef {real} T;
typedef std::int64_t Int;
constexpr bool SINGLE = sizeof(T) == 4;
constexpr Int WIDE = 64;  // channels at a time

// exp - 1 by the series of the remainder after powers of two: vectorises, is exact near 0.
static inline T exponential_less_one(T x) {{
  const T top = SINGLE ? T(80) : T(700);
  const T y = x > top ? top : (x < -top ? -top : x);
  const T n = std::rint(y * T(1.4426950408889634));
  const T r = SINGLE ? (y - n * T(0.693359375)) + n * T(2.12194440e-4)
                     : (y - n * T(6.93147180369123816490e-01)) - n * T(1.90821492927058770002e-10);
  T p = SINGLE ? T(1.0 / 5040) : T(1.0 / 6227020800.0);
  if (!SINGLE)
    for (int k = 13; k > 7; k--) {{
      const double factorial[] = {{5040, 40320, 362880, 3628800, 39916800, 479001600}};
      p = p * r + T(1 / factorial[k - 8]);
    }}
  p = p * r + T(1.0 / 720), p = p * r + T(1.0 / 120), p = p * r + T(1.0 / 24);
  p = p * r + T(1.0 / 6), p = p * r + T(0.5), p = p * r + T(1), p = p * r;
  T power;
  if (SINGLE) {{
    const std::int32_t bits = (std::int32_t(n) + 127) << 23;
    std::memcpy(&power, &bits, sizeof(T));
  }} else {{
    const std::int64_t bits = (std::int64_t(n) + 1023) << 52;
    std::memcpy(&power, &bits, sizeof(T));
  }}
  return n == 0 ? p : p * power + (power - 1);  // fast arithmetic merges the second form
}}

// ``value``, or x where that is NaN; by bits, as fast arithmetic takes it that there is none.
static inline T known(T x, T value) {{
  std::int32_t high[sizeof(T) / 4], bound = SINGLE ? 0x7f800000 : 0x7ff00000;
  std::memcpy(high, &x, sizeof(T));
  return (high[sizeof(T) / 4 - 1] & 0x7fffffff) > bound ? x : value;
}}

// f, f' and f'' of silu (0) or tanh (1), times the scale, for ``n`` channels.
template <int ORDER>
static inline void activate(Int kind, T scale, const T* __restrict x, Int n, T* __restrict f,
                            T* __restrict f1, T* __restrict f2) {{
  if (kind == 0) {{
    for (Int c = 0; c < n; c++) {{
      const T s = 1 / (2 + exponential_less_one(-x[c])), q = 1 - s;
      f[c] = scale * x[c] * s;
      if (ORDER > 0) f1[c] = scale * s * (1 + x[c] * q);
      if (ORDER > 1) f2[c] = scale * s * q * (2 + x[c] * (q - s));
    }}
  }} else {{
    for (Int c = 0; c < n; c++) {{
      const T e = exponential_less_one(2 * x[c]), t = known(x[c], e / (e + 2)), d = 1 - t * t;
      f[c] = scale * t;
      if (ORDER > 0) f1[c] = scale * d;
      if (ORDER > 1) f2[c] = -2 * scale * t * d;
    }}
  }}
}}

struct Segment {{ Int kind, dim, mul, in, gate, out; T scale; }};

// One row: 0 the result; 1 (g) the gradient by x; 2 (u) the derivative along u; 3 (g, u) the
// gradient by x of the second.
template <int MODE>
static void row(const std::vector<Segment>& segments, const T* __restrict x,
                const T* __restrict g, const T* __restrict u, T* __restrict o) {{
  T f[WIDE], f1[WIDE], f2[WIDE];
  for (const Segment& s : segments)
    for (Int first = 0; first < s.mul; first += WIDE) {{
      const Int n = s.mul - first < WIDE ? s.mul - first : WIDE;
      const T* a = x + s.gate + first;  // the scalars themselves, or the gates
      activate<(MODE + 1) / 2>(s.kind, s.scale, a, n, f, f1, f2);
      const T* v = x + s.in + first;
      const Int in = s.in + first, gate = s.gate + first, out = s.out + first;
      if (s.dim == 0) {{
        for (Int c = 0; c < n; c++) {{
          if (MODE == 0) o[out + c] = f[c];
          if (MODE == 1) o[in + c] = f1[c] * g[out + c];
          if (MODE == 2) o[out + c] = f1[c] * u[in + c];
          if (MODE == 3) o[in + c] = f2[c] * g[out + c] * u[in + c];
        }}
        continue;
      }}
      T by_gate[WIDE];
      for (Int c = 0; c < n; c++) by_gate[c] = 0;
      for (Int m = 0; m < s.dim; m++) {{
        const Int k = m * s.mul;
        for (Int c = 0; c < n; c++) {{
          if (MODE == 0) o[out + k + c] = f[c] * v[k + c];
          if (MODE == 2) o[out + k + c] = f[c] * u[in + k + c] + f1[c] * u[gate + c] * v[k + c];
          if (MODE == 1) {{
            o[in + k + c] = f[c] * g[out + k + c];
            by_gate[c] += f1[c] * v[k + c] * g[out + k + c];
          }}
          if (MODE == 3) {{
            o[in + k + c] = f1[c] * u[gate + c] * g[out + k + c];
            by_gate[c] += (f2[c] * u[gate + c] * v[k + c] + f1[c] * u[in + k + c]) * g[out + k + c];
          }}
        }}
      }}
      if (MODE == 1 || MODE == 3)
        for (Int c = 0; c < n; c++) o[gate + c] = by_gate[c];
    }}
}}

extern "C" int run(Int mode, Int rows, const Int* plan, const double* scales, const T* x,
                   const T* g, const T* u, T* out, int threads) {{
  const Int in = *plan++, width = *plan++, count = *plan++;
  std::vector<Segment> segments(count);
  for (Segment& s : segments) {{
    s = {{plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], T(*scales++)}};
    plan += 6;
  }}
  const Int to = mode == 1 || mode == 3 ? in : width;
  if (rows * in < 100000) threads = 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (Int n = 0; n < rows; n++) {{
    const T *xn = x + n * in, *gn = g + n * width, *un = u + n * in;
    T* o = out + n * to;
    if (mode == 0) row<0>(segments, xn, gn, un, o);
    if (mode == 1) row<1>(segments, xn, gn, un, o);
    if (mode == 2) row<2>(segments, xn, gn, un, o);
    if (mode == 3) row<3>(segments, xn, gn, un, o);
  }}
  return 0;
}}
"""
