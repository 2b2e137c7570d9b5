"""C++ of the SO(2) form. It reads the specification from tables, so one build serves all.

Channels are taken in blocks of two SIMD vectors; of one edge and one block of channels all turned
features stay in the nearest cache. Within a degree l the components are ordered by parity under
x -> -x: E_0..E_l (cosines, m >= 0) and O_0..O_l (sines, m < 0; O_0 is always 0), so that the turn
about x is two dense blocks and the turn about y mixes E_m with O_m.

Nothing is differentiated through the frame: with L the generators of rotations, the operator
M(n) of direction n obeys M(exp(h) n) = exp(L_h) M(n) exp(-L_h), so derivatives by the direction
are commutators. The *tangent* of x, n or w is the direction of such a derivative.
"""

from __future__ import annotations

LMAX = 10  # highest degree of the kernels; above it the PyTorch form computes

SOURCE = r"""
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
typedef {real} T;
typedef std::int64_t Int;
#ifdef __AVX512F__
constexpr int BYTES = 64;
#else
constexpr int BYTES = 32;
#endif
#define APART __attribute__((noinline)) static
constexpr int LMAX = {lmax};
constexpr int WIDTH = 2 * BYTES / int(sizeof(T));  // channels in a Row
typedef T Vector __attribute__((vector_size(BYTES)));
typedef T Loose __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
constexpr int LANES = WIDTH / 2;
// Two members, not an array, and copied one by one: so they stay in registers.
struct alignas(BYTES) Row {{
  Vector a, b;
  Row() : a(Vector{{}}), b(Vector{{}}) {{}}
  Row(Vector a, Vector b) : a(a), b(b) {{}}
  Row(const Row& o) : a(o.a), b(o.b) {{}}
  Row& operator=(const Row& o) {{
    a = o.a, b = o.b;
    return *this;
  }}
}};

static inline Row load(const T* p, Int n) {{
  if (n >= WIDTH)
    return Row(*reinterpret_cast<const Loose*>(p), *reinterpret_cast<const Loose*>(p + LANES));
  Row r;
  std::memcpy(static_cast<void*>(&r), p, sizeof(T) * n);
  return r;
}}
static inline void store(T* p, const Row& r, Int n) {{
  if (n >= WIDTH)
    *reinterpret_cast<Loose*>(p) = r.a, *reinterpret_cast<Loose*>(p + LANES) = r.b;
  else
    std::memcpy(p, &r, sizeof(T) * n);
}}
static inline void add(T* p, const Row& r, Int n) {{
  if (n >= WIDTH) {{
    *reinterpret_cast<Loose*>(p) += r.a, *reinterpret_cast<Loose*>(p + LANES) += r.b;
  }} else {{
    const T* a = reinterpret_cast<const T*>(&r);
    for (int c = 0; c < n; c++) p[c] += a[c];
  }}
}}
static inline Row times(T s, const Row& x) {{ return Row(s * x.a, s * x.b); }}
static inline void fma(Row& o, T s, const Row& x) {{ o.a += s * x.a, o.b += s * x.b; }}
static inline void fma(Row& o, const Row& x, const Row& y) {{ o.a += x.a * y.a, o.b += x.b * y.b; }}
static inline void fms(Row& o, const Row& x, const Row& y) {{ o.a -= x.a * y.a, o.b -= x.b * y.b; }}
static inline T sum(const Row& a) {{
  const T* p = reinterpret_cast<const T*>(&a);
  T s = 0;
  for (int c = 0; c < WIDTH; c++) s += p[c];
  return s;
}}

// ---- turning features into the frame of an edge and back

constexpr int even_at(int l) {{ return l * (2 * l * l + 1) / 3; }}
constexpr int odd_at(int l) {{ return even_at(l) + (l + 1) * (l + 1); }}
struct Frame {{
  T c[LMAX + 1], s[LMAX + 1];  // cos and sin of m alpha
  T d[even_at(LMAX + 1)];  // both blocks of every degree
  double F[3][3];
  bool alive;
  Row e[LMAX + 1], o[LMAX + 1];  // scratch
}};

// coefficients[n][entry]: Fourier series in beta of the blocks; n = 0..l cosines, then sines.
APART void set_frame(Frame& f, const T* xyz, int lmax, const T* coefficients) {{
  const double x = xyz[0], y = xyz[1], z = xyz[2], r = std::sqrt(x * x + y * y + z * z);
  f.alive = r > 0;
  const double rho = std::sqrt(x * x + z * z);
  const double cb = f.alive ? y / r : 1, sb = f.alive ? rho / r : 0;
  const double ca = rho > 0 ? z / rho : 1, sa = rho > 0 ? x / rho : 0;
  const double F[3][3] = {{{{ca, 0, -sa}}, {{sb * sa, cb, sb * ca}}, {{cb * sa, -sb, cb * ca}}}};
  std::memcpy(f.F, F, sizeof F);
  const int entries = even_at(lmax + 1);
  for (int i = 0; i < entries; i++) f.d[i] = coefficients[i];
  f.c[0] = 1, f.s[0] = 0;
  double cm = 1, sm = 0, cn = 1, sn = 0;
  for (int n = 1; n <= lmax; n++) {{
    double t = cm * ca - sm * sa;
    sm = sm * ca + cm * sa, cm = t;
    t = cn * cb - sn * sb;
    sn = sn * cb + cn * sb, cn = t;
    f.c[n] = T(cm), f.s[n] = T(sm);
    const T *cosine = coefficients + n * entries, *sine = coefficients + (lmax + n) * entries;
    const T tc = T(cn), ts = T(sn);
#pragma omp simd
    for (int i = even_at(n); i < entries; i++) f.d[i] += tc * cosine[i] + ts * sine[i];
  }}
}}

// Rows r .. r + R of out = d in, or of out = d^T in.
template <int R, bool BACK>
static inline void some_rows(const T* d, int N, int r, const Row* in, Row* out) {{
  Row a[R];
  for (int k = 0; k < N; k++)
#pragma GCC unroll 4
    for (int q = 0; q < R; q++) fma(a[q], d[BACK ? k * N + r + q : (r + q) * N + k], in[k]);
#pragma GCC unroll 4
  for (int q = 0; q < R; q++) out[r + q] = a[q];
}}
template <bool BACK>
APART void multiply(const T* d, int N, const Row* in, Row* out) {{
  int r = 0;
  for (; r + 4 <= N; r += 4) some_rows<4, BACK>(d, N, r, in, out);
  switch (N - r) {{
    case 3: some_rows<3, BACK>(d, N, r, in, out); break;
    case 2: some_rows<2, BACK>(d, N, r, in, out); break;
    case 1: some_rows<1, BACK>(d, N, r, in, out); break;
  }}
}}

// n: channels that are left at p
APART void turn_in(int l, Frame& f, const T* p, Int mul, Int n, Row* out) {{
  Row *e = f.e, *o = f.o;
  e[0] = load(p + l * mul, n);
  for (int m = 1; m <= l; m++) {{
    const Row a = load(p + (l + m) * mul, n), b = load(p + (l - m) * mul, n);
    e[m] = times(f.c[m], a), fma(e[m], f.s[m], b);
    o[m] = times(f.c[m], b), fma(o[m], -f.s[m], a);
  }}
  multiply<false>(f.d + even_at(l), l + 1, e, out);
  out[l + 1] = Row();
  multiply<false>(f.d + odd_at(l), l, o + 1, out + l + 2);
}}
APART void turn_back(int l, Frame& f, const Row* in, T* p, Int mul, Int n) {{
  Row *e = f.e, *o = f.o;
  multiply<true>(f.d + even_at(l), l + 1, in, e);
  multiply<true>(f.d + odd_at(l), l, in + l + 2, o + 1);
  add(p + l * mul, e[0], n);
  for (int m = 1; m <= l; m++) {{
    Row a = times(f.c[m], e[m]), b = times(f.c[m], o[m]);
    fma(a, -f.s[m], o[m]), fma(b, f.s[m], e[m]);
    add(p + (l + m) * mul, a, n);
    add(p + (l - m) * mul, b, n);
  }}
}}

// ---- generators

struct Generators {{
  T g[LMAX + 1][LMAX + 1];  // between m and m + 1 of degree l
  Generators() {{
    for (int l = 0; l <= LMAX; l++)
      for (int m = 0; m <= LMAX; m++)
        g[l][m] = m >= l ? T(0)
                         : T(std::sqrt((m ? 0.25 : 0.5) * (double(l - m) * (l + m + 1))));
  }}
}};
static const Generators generators;

// out += sign (h . L) in
APART void turn_slightly(int l, const T* h, T sign, const Row* in, Row* out) {{
  const Row *E = in, *O = in + l + 1;
  Row *e = out, *o = out + l + 1;
  const T hx = sign * h[0], hy = sign * h[1], hz = sign * h[2];
  for (int m = 0; m <= l; m++) {{
    fma(o[m], hy * m, E[m]), fma(e[m], -hy * m, O[m]);
    if (m == l) break;
    const T gx = hx * generators.g[l][m], gz = hz * generators.g[l][m];
    fma(e[m + 1], gx, E[m]), fma(e[m + 1], gz, O[m]);
    fma(e[m], -gx, E[m + 1]), fma(e[m], gz, O[m + 1]);
    fma(o[m + 1], gx, O[m]), fma(o[m + 1], -gz, E[m]);
    if (m) fma(o[m], -gx, O[m + 1]), fma(o[m], -gz, E[m + 1]);
  }}
}}

// t -= b . L a, for the axes x and z (about y nothing changes)
APART void torque(int l, const Row* a, const Row* b, Row* t) {{
  const Row *E = a, *O = a + l + 1, *e = b, *o = b + l + 1;
  for (int m = 0; m < l; m++) {{
    Row x, z;
    fma(x, e[m + 1], E[m]), fms(x, e[m], E[m + 1]), fma(x, o[m + 1], O[m]), fms(x, o[m], O[m + 1]);
    fma(z, e[m], O[m + 1]), fms(z, o[m + 1], E[m]), fma(z, e[m + 1], O[m]), fms(z, o[m], E[m + 1]);
    const T g = -generators.g[l][m];
    fma(t[0], g, x), fma(t[1], g, z);
  }}
}}

// ---- the plan: tables of integers and reals

struct Block {{
  Int l, start, row;  // degree, first element in a feature row, first row in the buffer
}};
struct Pair {{
  Int x, z, M, same, opposite;  // blocks, highest |m|, number of paths of either kind
}};
struct Path {{
  Int weight, factor, constant;  // first weight or -1, first factor, whether its harmonic is 0e
}};
struct Group {{  // everything with the same number of channels
  Int mul, n_x, n_z, n_pairs, n_paths, x_rows, z_rows;
  const Block *x, *z;
  const Pair* pairs;
  const Path* paths;
}};
static std::vector<Group> read(const Int* p) {{
  std::vector<Group> groups(*p++);
  for (Group& g : groups) {{
    std::memcpy(&g, p, 7 * sizeof(Int));
    p += 7;
    g.x = reinterpret_cast<const Block*>(p), p += 3 * g.n_x;
    g.z = reinterpret_cast<const Block*>(p), p += 3 * g.n_z;
    g.pairs = reinterpret_cast<const Pair*>(p), p += 5 * g.n_pairs;
    g.paths = reinterpret_cast<const Path*>(p), p += 3 * g.n_paths;
  }}
  return groups;
}}

// Where the weights of one edge lie, and those of the next edge, to be fetched meanwhile.
struct Weights {{
  const T *here, *next;
  Int first;  // channel
  Int left;   // channels from there on
  bool alive;
}};
// One product out += radial in; O and o belong to the same block as E and e.
struct Move {{
  const Row *E, *O;
  Row *e, *o;
  T sign;  // of the paths that mix m with -m: 1 from x to z, -1 from z to x
  Move(Int l_in, Int l_out, const Row* in, Row* out, T sign)
      : E(in), O(in + l_in + 1), e(out), o(out + l_out + 1), sign(sign) {{}}
}};

template <bool TANGENT>
static inline Row weight_of(const Path& path, const Weights& w) {{
  if (!w.alive && !path.constant) return Row();
  if (path.weight >= 0) return load(w.here + path.weight + w.first, w.left);
  const T one = TANGENT ? 0 : 1;
  return Row(Vector{{}} + one, Vector{{}} + one);
}}

// radial[m] = sum over paths of factor[m] weight, for R components, and the products with it
template <int R, bool TANGENT, bool OPPOSITE>
static inline void some_couple(const T* factors, const Path* paths, Int n, const Weights& w, Int m,
                               const Move* moves, int n_moves) {{
  Row a[R];
  for (Int p = 0; p < n; p++) {{
    const T* k = factors + paths[p].factor + m;
    const Row weight = weight_of<TANGENT>(paths[p], w);
    if (m == 0) __builtin_prefetch(w.next + paths[p].weight + w.first);
#pragma GCC unroll 4
    for (int q = 0; q < R; q++) fma(a[q], k[q], weight);
  }}
  for (int i = 0; i < n_moves; i++) {{
    const Row *E = moves[i].E + m, *O = moves[i].O + m;
    Row *e = moves[i].e + m, *o = moves[i].o + m;
#pragma GCC unroll 4
    for (int q = 0; q < R; q++) {{
      if (!OPPOSITE) {{
        fma(e[q], a[q], E[q]), fma(o[q], a[q], O[q]);
      }} else {{
        const Row s = times(moves[i].sign, a[q]);
        fma(o[q], s, E[q]), fms(e[q], s, O[q]);
      }}
    }}
  }}
}}
template <bool TANGENT, bool OPPOSITE>
APART void couple_kind(const T* factors, const Path* paths, Int n, const Weights& w, Int M,
                       const Move* moves, int n_moves) {{
  Int m = 0;
  for (; m + 4 <= M + 1; m += 4)
    some_couple<4, TANGENT, OPPOSITE>(factors, paths, n, w, m, moves, n_moves);
  switch (M + 1 - m) {{
    case 3: some_couple<3, TANGENT, OPPOSITE>(factors, paths, n, w, m, moves, n_moves); break;
    case 2: some_couple<2, TANGENT, OPPOSITE>(factors, paths, n, w, m, moves, n_moves); break;
    case 1: some_couple<1, TANGENT, OPPOSITE>(factors, paths, n, w, m, moves, n_moves); break;
  }}
}}
template <bool TANGENT>
static inline void couple(const T* factors, const Path* paths, const Pair& pair, const Weights& w,
                          const Move* moves, int n_moves) {{
  if (pair.same)
    couple_kind<TANGENT, false>(factors, paths, pair.same, w, pair.M, moves, n_moves);
  if (pair.opposite)
    couple_kind<TANGENT, true>(factors, paths + pair.same, pair.opposite, w, pair.M, moves,
                               n_moves);
}}
// products[m] += derivative by radial[m] of z . radial x
APART void differentiate(Row* same, Row* opposite, Int M, Int lx, Int lz, const Row* x,
                         const Row* z) {{
  const Row *E = x, *O = x + lx + 1, *e = z, *o = z + lz + 1;
  for (Int m = 0; m <= M; m++) {{
    if (same) fma(same[m], E[m], e[m]), fma(same[m], O[m], o[m]);
    if (opposite) fma(opposite[m], E[m], o[m]), fms(opposite[m], O[m], e[m]);
  }}
}}

struct Buffers {{
  std::vector<Row> x, xt, z, zt, p, pt, q, qt;
  Row same[LMAX + 1], opposite[LMAX + 1];
  Frame frame;
  T h[3];
  explicit Buffers(const std::vector<Group>& groups) {{
    Int nx = 0, nz = 0;
    for (const Group& g : groups) {{
      nx = nx > g.x_rows ? nx : g.x_rows;
      nz = nz > g.z_rows ? nz : g.z_rows;
    }}
    for (auto* b : {{&x, &xt, &q, &qt}}) b->resize(nx);
    for (auto* b : {{&z, &zt, &p, &pt}}) b->resize(nz);
  }}
}};
static inline void zero(std::vector<Row>& rows) {{
  for (Row& r : rows) r = Row();
}}
APART void turn_all(const Block* blocks, Int n, Frame& f, const T* from, Int mul, Int c,
                    Row* rows) {{
  for (Int b = 0; b < n; b++)
    turn_in(int(blocks[b].l), f, from + blocks[b].start + c, mul, mul - c, rows + blocks[b].row);
}}
// the tangent of turned features: t - (h . L) a
APART void move_all(const Block* blocks, Int n, const T* h, const Row* a, Row* t) {{
  for (Int b = 0; b < n; b++)
    turn_slightly(int(blocks[b].l), h, T(-1), a + blocks[b].row, t + blocks[b].row);
}}

// One edge of an open node slot: out += M in, with in = x (forward) or z (backward).
template <bool TANGENT, bool FORWARD>
static void node(const std::vector<Group>& groups, const T* factors, Buffers& B, const T* in,
                 const T* tin, Weights w, Weights tw, const T* h, T* out) {{
  Frame& f = B.frame;
  const T sign = FORWARD ? 1 : -1;
  std::vector<Row>&a = FORWARD ? B.x : B.z, &at = FORWARD ? B.xt : B.zt;
  std::vector<Row>&r = FORWARD ? B.p : B.q, &rt = FORWARD ? B.pt : B.qt;
  for (const Group& g : groups)
    for (Int c = 0; c < g.mul; c += WIDTH) {{
      w.first = tw.first = c;
      w.left = tw.left = g.mul - c;
      const Block *ins = FORWARD ? g.x : g.z, *outs = FORWARD ? g.z : g.x;
      const Int n_in = FORWARD ? g.n_x : g.n_z, n_out = FORWARD ? g.n_z : g.n_x;
      turn_all(ins, n_in, f, in, g.mul, c, a.data());
      zero(r);
      if (TANGENT) {{
        zero(rt);
        zero(at);
        if (tin) turn_all(ins, n_in, f, tin, g.mul, c, at.data());
        if (h) move_all(ins, n_in, h, a.data(), at.data());
      }}
      const Path* paths = g.paths;
      for (Int i = 0; i < g.n_pairs; i++) {{
        const Pair& pair = g.pairs[i];
        const Block &from = ins[FORWARD ? pair.x : pair.z], &to = outs[FORWARD ? pair.z : pair.x];
        const Move value(from.l, to.l, a.data() + from.row, r.data() + to.row, sign);
        const Move tangents[] = {{
            Move(from.l, to.l, at.data() + from.row, rt.data() + to.row, sign), value}};
        const Move change(from.l, to.l, a.data() + from.row, rt.data() + to.row, sign);
        if (TANGENT)
          couple<false>(factors, paths, pair, w, tangents, h ? 2 : 1);
        else
          couple<false>(factors, paths, pair, w, &value, 1);
        if (TANGENT && tw.here) couple<true>(factors, paths, pair, tw, &change, 1);
        paths += pair.same + pair.opposite;
      }}
      for (Int b = 0; b < n_out; b++) {{
        const Block& to = outs[b];
        Row* result = (TANGENT ? rt : r).data() + to.row;
        if (TANGENT && h) turn_slightly(int(to.l), h, T(1), r.data() + to.row, result);
        turn_back(int(to.l), f, result, out + to.start + c, g.mul, g.mul - c);
      }}
    }}
}}

// One edge of the open edge slots: weights (gw) and torque on the direction, either may be null.
template <bool TANGENT>
static void edge(const std::vector<Group>& groups, const T* factors, Buffers& B, const T* xe,
                 const T* txe, Weights w, Weights tw, const T* h, const T* ze, T* gw,
                 T* turn) {{
  Frame& f = B.frame;
  double tx = 0, tz = 0;
  for (const Group& g : groups)
    for (Int c = 0; c < g.mul; c += WIDTH) {{
      w.first = tw.first = c;
      w.left = tw.left = g.mul - c;
      turn_all(g.x, g.n_x, f, xe, g.mul, c, B.x.data());
      turn_all(g.z, g.n_z, f, ze, g.mul, c, B.z.data());
      if (TANGENT) {{
        zero(B.xt);
        zero(B.zt);
        if (txe) turn_all(g.x, g.n_x, f, txe, g.mul, c, B.xt.data());
        if (h) move_all(g.x, g.n_x, h, B.x.data(), B.xt.data());
        if (h) move_all(g.z, g.n_z, h, B.z.data(), B.zt.data());
      }}
      if (turn) {{
        zero(B.p), zero(B.q);
        if (TANGENT) zero(B.pt), zero(B.qt);
      }}
      const Path* paths = g.paths;
      for (Int i = 0; i < g.n_pairs; i++) {{
        const Pair& pair = g.pairs[i];
        const Int lx = g.x[pair.x].l, lz = g.z[pair.z].l, M = pair.M;
        const Int at_x = g.x[pair.x].row, at_z = g.z[pair.z].row, n = pair.same + pair.opposite;
        const Row *x = B.x.data() + at_x, *xt = B.xt.data() + at_x;
        const Row *z = B.z.data() + at_z, *zt = B.zt.data() + at_z;
        Row *same = pair.same ? B.same : nullptr, *opposite = pair.opposite ? B.opposite : nullptr;
        if (turn) {{
          const Move moves[] = {{Move(lx, lz, x, B.p.data() + at_z, T(1)),
                                Move(lz, lx, z, B.q.data() + at_x, T(-1)),
                                Move(lx, lz, xt, B.pt.data() + at_z, T(1)),
                                Move(lz, lx, zt, B.qt.data() + at_x, T(-1))}};
          const Move changes[] = {{Move(lx, lz, x, B.pt.data() + at_z, T(1)),
                                  Move(lz, lx, z, B.qt.data() + at_x, T(-1))}};
          couple<false>(factors, paths, pair, w, moves, TANGENT ? 4 : 2);
          if (TANGENT && tw.here) couple<true>(factors, paths, pair, tw, changes, 2);
        }}
        if (gw) {{
          for (Int m = 0; m <= M; m++) B.same[m] = B.opposite[m] = Row();
          if (TANGENT) {{
            differentiate(same, opposite, M, lx, lz, xt, z);
            differentiate(same, opposite, M, lx, lz, x, zt);
          }} else {{
            differentiate(same, opposite, M, lx, lz, x, z);
          }}
          for (Int p = 0; p < n; p++) {{
            if (paths[p].weight < 0) continue;
            Row total;
            const T* k = factors + paths[p].factor;
            const Row* product = p < pair.same ? B.same : B.opposite;
            if (f.alive || paths[p].constant)
              for (Int m = 0; m <= M; m++) fma(total, k[m], product[m]);
            store(gw + paths[p].weight + c, total, g.mul - c);
          }}
        }}
        paths += n;
      }}
      if (turn) {{
        Row t[2];
        for (Int b = 0; b < g.n_z; b++) {{
          const Int at = g.z[b].row;
          const int l = int(g.z[b].l);
          torque(l, (TANGENT ? B.zt : B.z).data() + at, B.p.data() + at, t);
          if (TANGENT) torque(l, B.z.data() + at, B.pt.data() + at, t);
        }}
        for (Int b = 0; b < g.n_x; b++) {{
          const Int at = g.x[b].row;
          const int l = int(g.x[b].l);
          torque(l, (TANGENT ? B.xt : B.x).data() + at, B.q.data() + at, t);
          if (TANGENT) torque(l, B.x.data() + at, B.qt.data() + at, t);
        }}
        tx += sum(t[0]), tz += sum(t[1]);
      }}
    }}
  if (turn)
    for (int a = 0; a < 3; a++) turn[a] = T(f.F[0][a] * tx + f.F[2][a] * tz);
}}

// Everything of one call; tangents (tx, th, tw) are null in a first derivative.
struct Call {{
  Int target;  // 0: z, 1: x, 2: weights and torque
  Int tangent, n_src, n_dst, edges, x_width, w_width, z_width, lmax, threads;
  const Int *src, *dst, *plan;
  const T *factors, *coefficients, *directions, *x, *w, *z, *tx, *th, *tw;
  T *out, *turn;  // turn: the torque, beside out = weights
}};

static void frame_of(Buffers& B, const Call& a, Int e) {{
  set_frame(B.frame, a.directions + 3 * e, int(a.lmax), a.coefficients);
  if (a.th)
    for (int i = 0; i < 3; i++) {{
      double s = 0;
      for (int j = 0; j < 3; j++) s += B.frame.F[i][j] * double(a.th[3 * e + j]);
      B.h[i] = T(s);
    }}
}}

static Weights weights_of(const Call& a, const T* w, Int e, Int next, const Buffers& B) {{
  const T *here = w ? w + e * a.w_width : nullptr, *then = w ? w + next * a.w_width : nullptr;
  return {{here, then, 0, 0, B.frame.alive}};
}}

template <bool TANGENT, bool FORWARD>
static void nodes(const Call& a, const std::vector<Group>& groups) {{
  const Int rows = FORWARD ? a.n_dst : a.n_src, width = FORWARD ? a.z_width : a.x_width;
  const Int in_width = FORWARD ? a.x_width : a.z_width;
  const Int *row = FORWARD ? a.dst : a.src, *other = FORWARD ? a.src : a.dst;
  const T *in = FORWARD ? a.x : a.z, *tin = FORWARD ? a.tx : nullptr;
  std::vector<Int> start(rows + 1, 0), order(a.edges);
  for (Int e = 0; e < a.edges; e++) start[row[e] + 1]++;
  for (Int n = 0; n < rows; n++) start[n + 1] += start[n];
  std::vector<Int> next(start.begin(), start.end() - 1);
  for (Int e = 0; e < a.edges; e++) order[next[row[e]]++] = e;
#pragma omp parallel num_threads(a.threads) if (a.threads > 1)
  {{
    Buffers B(groups);
#pragma omp for schedule(dynamic, 4)
    for (Int n = 0; n < rows; n++) {{
      T* out = a.out + n * width;
      std::memset(out, 0, sizeof(T) * width);
      for (Int t = start[n]; t < start[n + 1]; t++) {{
        const Int e = order[t], next = order[t + 1 < a.edges ? t + 1 : t];
        frame_of(B, a, e);
        node<TANGENT, FORWARD>(groups, a.factors, B, in + other[e] * in_width,
                               tin ? tin + other[e] * in_width : nullptr,
                               weights_of(a, a.w, e, next, B), weights_of(a, a.tw, e, next, B),
                               a.th ? B.h : nullptr, out);
      }}
    }}
  }}
}}

template <bool TANGENT>
static void all_edges(const Call& a, const std::vector<Group>& groups) {{
#pragma omp parallel num_threads(a.threads) if (a.threads > 1)
  {{
    Buffers B(groups);
#pragma omp for schedule(static)
    for (Int e = 0; e < a.edges; e++) {{
      const Int next = e + 1 < a.edges ? e + 1 : e;
      frame_of(B, a, e);
      edge<TANGENT>(groups, a.factors, B, a.x + a.src[e] * a.x_width,
                    a.tx ? a.tx + a.src[e] * a.x_width : nullptr, weights_of(a, a.w, e, next, B),
                    weights_of(a, a.tw, e, next, B), a.th ? B.h : nullptr,
                    a.z + a.dst[e] * a.z_width, a.out ? a.out + e * a.w_width : nullptr,
                    a.turn ? a.turn + 3 * e : nullptr);
    }}
  }}
}}

// 1 where an edge names a row that is not there, else 0.
extern "C" int contract(const Call* call) {{
  const Call& a = *call;
  for (Int e = 0; e < a.edges; e++)
    if (a.src[e] < 0 || a.src[e] >= a.n_src || a.dst[e] < 0 || a.dst[e] >= a.n_dst) return 1;
  const std::vector<Group> groups = read(a.plan);
  if (a.target == 0)
    a.tangent ? nodes<true, true>(a, groups) : nodes<false, true>(a, groups);
  else if (a.target == 1)
    a.tangent ? nodes<true, false>(a, groups) : nodes<false, false>(a, groups);
  else
    a.tangent ? all_edges<true>(a, groups) : all_edges<false>(a, groups);
  return 0;
}}
"""


def source(real: str) -> str:
    """C++ of a function ``contract``; ``real`` is float or double."""
    return SOURCE.format(real=real, lmax=LMAX)
