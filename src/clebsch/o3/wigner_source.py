"""C++ of the Wigner D matrices of many rotations: ``wigner_recursion``, step by step.

A SIMD lane is a rotation, and all that a block of rotations needs stays in the nearest cache. The
coefficients come from tables, so one build serves all degrees.
"""

SOURCE = """\
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>
typedef {real} T;
typedef std::int64_t Int;
#ifdef __AVX512F__
constexpr int BYTES = 64;
#else
constexpr int BYTES = 32;
#endif
constexpr int LANES = BYTES / int(sizeof(T));
typedef T V __attribute__((vector_size(BYTES), may_alias));

struct Outermost {{ Int a[2], b[2]; T scale[2], of_a[2], of_b[2]; }};  // for m' >= 0, m' <= 0
struct Step {{ T once, mixed, twice; }};

// Real and imaginary part of the powers 0..highest of re + i im.
static void powers(V re, V im, Int highest, V* out_re, V* out_im) {{
  out_re[0] = V{{}} + 1, out_im[0] = V{{}};
  for (Int k = 0; k < highest; k++) {{
    out_re[k + 1] = out_re[k] * re - out_im[k] * im;
    out_im[k + 1] = out_re[k] * im + out_im[k] * re;
  }}
}}

// The row of 4 q q^T with the largest factor, normalised, for the rotation sign R; the sign.
static T quaternion(const T* R, T* q) {{
  const T det = R[0] * (R[4] * R[8] - R[5] * R[7]) - R[1] * (R[3] * R[8] - R[5] * R[6]) +
                R[2] * (R[3] * R[7] - R[4] * R[6]);
  const T sign = det > 0 ? 1 : det < 0 ? -1 : det;
  const T xx = sign * R[0], yy = sign * R[4], zz = sign * R[8];
  const T x = sign * (R[7] - R[5]), y = sign * (R[2] - R[6]), z = sign * (R[3] - R[1]);
  const T xy = sign * (R[1] + R[3]), xz = sign * (R[2] + R[6]), yz = sign * (R[5] + R[7]);
  const T rows[4][4] = {{{{1 + xx + yy + zz, x, y, z}},
                        {{x, 1 + xx - yy - zz, xy, xz}},
                        {{y, xy, 1 - xx + yy - zz, yz}},
                        {{z, xz, yz, 1 - xx - yy + zz}}}};
  int best = 0;
  for (int i = 1; i < 4; i++)
    if (rows[i][i] > rows[best][best]) best = i;
  T square = 0;
  for (int i = 0; i < 4; i++) square += rows[best][i] * rows[best][i];
  for (int i = 0; i < 4; i++) q[i] = rows[best][i] / std::sqrt(square);
  return sign;
}}

// rotations: quaternions (n, 4) or matrices (n, 9), as the width says. outermost: (lmax + 1)^2 of
// them. steps, order: of all degrees, one after the other. out: for each l (n, (2l+1)^2), or null.
extern "C" void run(Int n, Int width, Int lmax, const T* rotations, const Outermost* outermost,
                    const Step* steps, const Int* order, T* const* out, int threads) {{
  const Int N = (lmax + 1) * (lmax + 1), P = 2 * lmax + 1, blocks = (n + LANES - 1) / LANES;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {{
    std::vector<V> scratch(12 * N + 4 * P);
    // The parts of an element lie N apart: re and im for m' >= 0, re and im for m' <= 0.
    V *last = scratch.data(), *now = last + 4 * N, *rows = now + 4 * N;
    V *a_re = rows + 4 * N, *a_im = a_re + P, *b_re = a_im + P, *b_im = b_re + P;
#pragma omp for schedule(dynamic, 8)
    for (Int block = 0; block < blocks; block++) {{
      const Int first = block * LANES, count = n - first < LANES ? n - first : LANES;
      V w{{}}, x{{}}, y{{}}, z{{}};
      T sign[LANES], converted[4];
      for (Int i = 0; i < count; i++) {{
        const T* one = rotations + width * (first + i);
        if (width == 9) sign[i] = quaternion(one, converted), one = converted;
        w[i] = one[0], x[i] = one[1], y[i] = one[2], z[i] = one[3];
      }}
      powers(w, y, 2 * lmax, a_re, a_im);
      powers(x, -z, 2 * lmax, b_re, b_im);
      const V cos_beta = w * w + y * y - x * x - z * z;
      const Step* step = steps;
      const Int* place = order;
      for (Int l = 0; l <= lmax; l++) {{
        std::swap(last, now);  // now holds l - 2 and is overwritten
        for (Int e = 0; e < l * l; e++, step++) {{
          const bool three = e < (l - 1) * (l - 1);  // l - 2 has this element
          const V factor = cos_beta * step->once;
          for (int s = 0; s < 2; s++) {{
            const V up = s ? factor + step->mixed : factor - step->mixed;
            for (Int k = 2 * s * N + e; k < (2 * s + 2) * N; k += N)
              now[k] = three ? up * last[k] - step->twice * now[k] : up * last[k];
          }}
        }}
        for (Int e = l * l; e < (l + 1) * (l + 1); e++)
          for (int s = 0; s < 2; s++) {{
            const Outermost& o = outermost[e];
            const V ar = a_re[o.a[s]], ai = a_im[o.a[s]] * o.of_a[s];
            const V br = b_re[o.b[s]], bi = b_im[o.b[s]] * o.of_b[s];
            now[2 * s * N + e] = (ar * br - ai * bi) * o.scale[s];
            now[(2 * s + 1) * N + e] = (ar * bi + ai * br) * o.scale[s];
          }}
        const Int half = (l + 1) * (l + 1), size = (2 * l + 1) * (2 * l + 1);
        if (T* to = out[l]; to && l == 1 && width == 9) {{  // the rotation itself, to the last bit
          for (Int i = 0; i < count; i++)
            for (Int k = 9 * (first + i); k < 9 * (first + i + 1); k++)
              to[k] = sign[i] * rotations[k];
        }} else if (to) {{
          for (Int e = 0; e < half; e++) {{
            const V pr = now[e], pi = now[N + e], mr = now[2 * N + e], mi = now[3 * N + e];
            rows[e] = pr + mr, rows[half + e] = pi + mi;
            rows[2 * half + e] = pr - mr, rows[3 * half + e] = mi - pi;
          }}
          const T* numbers = reinterpret_cast<const T*>(rows);
          for (Int i = 0; i < count; i++)
            for (Int k = 0; k < size; k++)
              to[(first + i) * size + k] = numbers[place[k] * LANES + i];
        }}
        place += size;
      }}
    }}
  }}
}}
"""
