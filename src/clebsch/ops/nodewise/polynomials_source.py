"""C++ of polynomials with channels: value, gradient by x, gradient by the coefficients.

Numbers are towers of derivatives along up to two tangents (dual numbers), so that one code gives
the derivatives of every target too. Lanes are channels, a tile holds several rows.
"""

SOURCE = """\
#include <cstdint>
#include <cstring>
#include <vector>
typedef {real} T;
typedef std::int64_t Int;
#ifdef __AVX512F__
constexpr int BYTES = 64;
#elif defined __AVX__
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif
constexpr Int LANES = BYTES / sizeof(T);
typedef T V __attribute__((vector_size(BYTES)));  // wider than the registers, it would be spilled

struct Plan {{
  Int in, out, terms, nodes, groups;
  const Int *node;       // products of variables: parent, variable; the first is 1
  const Int *component;  // of the result: where its groups start, and the end
  const Int *group;      // node, first leaf, one past the last
  const Int *leaf;       // variable; coefficients lie in the order of the leaves
  const Int *term;       // which coefficient a leaf is in memory
}};

// A number and its derivatives along tangents: component s is the one along the set of bits s.
template <int ORDER, int ROWS>
struct Tower {{ V c[1 << ORDER][ROWS]; }};

#define UNROLL _Pragma("GCC unroll 8")
#define EACH UNROLL for (int a = 0; a < ROWS; a++)

template <int ORDER, int ROWS>
static inline void top(V* __restrict o, const Tower<ORDER, ROWS>& p, const Tower<ORDER, ROWS>& q) {{
  constexpr int ALL = (1 << ORDER) - 1;
  UNROLL for (int t = 0; t <= ALL; t++) EACH o[a] += p.c[t][a] * q.c[ALL ^ t][a];
}}

template <int ORDER, int ROWS>
static inline void add(Tower<ORDER, ROWS>& o, const Tower<ORDER, ROWS>& p,
                       const Tower<ORDER, ROWS>& q) {{
  UNROLL for (int s = 0; s < 1 << ORDER; s++)
    UNROLL for (int t = 0; t <= s; t++)
      if ((t & s) == t) EACH o.c[s][a] += p.c[t][a] * q.c[s ^ t][a];
}}

static inline V load(const T* from, Int count) {{
  V v{{}};
  if (count >= LANES) std::memcpy(&v, from, sizeof(V));
  else std::memcpy(&v, from, count * sizeof(T));
  return v;
}}

static inline void store(T* to, V v, Int count) {{
  std::memcpy(to, &v, (count < LANES ? count : LANES) * sizeof(T));
}}

// Rows of one species, one block of channels. TARGET 0 opens the result, 1 the coefficients, 2 x.
template <int TARGET, int ORDER, int ROWS>
static void block(const Plan& p, Int channels, Int c0, const Int* rows, Int count, const T* x,
                  const T* w, const T* g, const T* const* u, T* out) {{
  typedef Tower<ORDER, ROWS> N;
  constexpr int ALL = (1 << ORDER) - 1;
  const Int width = channels - c0;
  std::vector<N> X(p.in), P(p.nodes), B(TARGET == 2 ? p.nodes : 0);
  std::vector<V> W(p.terms), G(p.out * ROWS), X_bar(TARGET == 2 ? p.in * ROWS : 0);
  if (TARGET == 1) for (V& v : W) v = V{{}};
  else for (Int t = 0; t < p.terms; t++) W[t] = load(w + p.term[t] * channels + c0, width);
  for (Int first = 0; first < count; first += ROWS) {{
    for (Int i = 0; i < p.in; i++)
      EACH {{
        const bool there = first + a < count;
        const Int from = there ? (rows[first + a] * p.in + i) * channels + c0 : 0;
        for (int s = 0; s <= ALL; s++) X[i].c[s][a] = V{{}};
        if (!there) continue;
        X[i].c[0][a] = load(x + from, width);
        for (int t = 0; t < ORDER; t++) X[i].c[1 << t][a] = load(u[t] + from, width);
      }}
    for (Int k = 0; k < p.out; k++)
      EACH {{
        G[k * ROWS + a] = V{{}};
        if (TARGET != 0 && first + a < count)
          G[k * ROWS + a] = load(g + (rows[first + a] * p.out + k) * channels + c0, width);
      }}
    for (V& v : X_bar) v = V{{}};
    for (Int q = 0; q < p.nodes; q++) {{
      N here{{}};
      if (q) add(here, P[p.node[2 * q]], X[p.node[2 * q + 1]]);
      else EACH here.c[0][a] = V{{}} + T(1);
      P[q] = here;
      if (TARGET == 2) B[q] = N{{}};
    }}
    for (Int k = 0; k < p.out; k++) {{
      V Gk[ROWS];  // one component after the other: its sum or cotangent stays in registers
      EACH Gk[a] = G[k * ROWS + a];
      for (Int j = p.component[k]; j < p.component[k + 1]; j++) {{
        const Int* group = p.group + 3 * j;
        const N& here = P[group[0]];
        if (TARGET == 1) {{
          N s;
          UNROLL for (int t = 0; t <= ALL; t++) EACH s.c[t][a] = Gk[a] * here.c[t][a];
          for (Int l = group[1]; l < group[2]; l++) {{
            V sum[ROWS] = {{}};
            top(sum, s, X[p.leaf[l]]);
            UNROLL for (int a = 1; a < ROWS; a++) sum[0] += sum[a];
            W[l] += sum[0];
          }}
        }} else {{
          N line{{}};
          V s[ROWS];
          if (TARGET == 2) EACH s[a] = Gk[a] * here.c[ALL][a];
          for (Int l = group[1]; l < group[2]; l++) {{
            const V coefficient = W[l];
            const N& v = X[p.leaf[l]];
            UNROLL for (int t = 0; t <= ALL; t++) EACH line.c[t][a] += coefficient * v.c[t][a];
            if (TARGET == 2) EACH X_bar[p.leaf[l] * ROWS + a] += coefficient * s[a];
          }}
          if (TARGET == 0) top(Gk, here, line);
          else
            UNROLL for (int t = 0; t <= ALL; t++) EACH B[group[0]].c[t][a] += Gk[a] * line.c[t][a];
        }}
      }}
      if (TARGET == 0) EACH G[k * ROWS + a] = Gk[a];
    }}
    if (TARGET == 2)
      for (Int q = p.nodes - 1; q > 0; q--) {{
        const Int parent = p.node[2 * q], variable = p.node[2 * q + 1];
        top(X_bar.data() + variable * ROWS, B[q], P[parent]);
        add(B[parent], B[q], X[variable]);
      }}
    const Int height = TARGET == 0 ? p.out : p.in;
    const V* from = TARGET == 0 ? G.data() : X_bar.data();
    if (TARGET != 1)
      for (int a = 0; a < ROWS && first + a < count; a++)
        for (Int k = 0; k < height; k++)
          store(out + (rows[first + a] * height + k) * channels + c0, from[k * ROWS + a], width);
  }}
  if (TARGET == 1)
    for (Int l = 0; l < p.terms; l++) store(out + p.term[l] * channels + c0, W[l], width);
}}

template <int TARGET>
static void choose(int order, const Plan& p, Int channels, Int c0, const Int* rows, Int count,
                   const T* x, const T* w, const T* g, const T* const* u, T* out) {{
  if (order == 0) block<TARGET, 0, 4>(p, channels, c0, rows, count, x, w, g, u, out);
  if (order == 1) block<TARGET, 1, 2>(p, channels, c0, rows, count, x, w, g, u, out);
  if (order == 2) block<TARGET, 2, 1>(p, channels, c0, rows, count, x, w, g, u, out);
}}

// ``rows``: row numbers sorted by species; ``starts``: where each species starts among them.
extern "C" int run(int target, int order, Int species, Int channels, const Int* numbers,
                   const Int* rows, const Int* starts, const T* x, const T* w, const T* g,
                   const T* u0, const T* u1, T* out, int threads) {{
  Plan p = {{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]}};
  p.node = numbers + 5;
  p.component = p.node + 2 * p.nodes;
  p.group = p.component + p.out + 1;
  p.leaf = p.group + 3 * p.groups;
  p.term = p.leaf + p.terms;
  const T* u[2] = {{u0, u1}};
  const Int blocks = (channels + LANES - 1) / LANES;
  const Int height = 128;  // rows of a task; sums over rows belong to one task
  struct Task {{ Int species, first, count; }};
  std::vector<Task> tasks;
  for (Int s = 0; s < species; s++)
    for (Int n = starts[s]; n < starts[s + 1] || (target == 1 && n == starts[s]); n += height) {{
      const Int count = starts[s + 1] - n;
      tasks.push_back({{s, n, target == 1 || count < height ? count : height}});
      if (target == 1) break;
    }}
  const Int total = Int(tasks.size()) * blocks;
  if (starts[species] * p.terms * channels < 200000) threads = 1;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (Int number = 0; number < total; number++) {{
    const Task& task = tasks[number / blocks];
    const Int c0 = number % blocks * LANES, offset = task.species * p.terms * channels;
    const Int* first = rows + task.first;
    if (target == 0) choose<0>(order, p, channels, c0, first, task.count, x, w + offset, g, u, out);
    if (target == 1)
      choose<1>(order, p, channels, c0, first, task.count, x, w, g, u, out + offset);
    if (target == 2) choose<2>(order, p, channels, c0, first, task.count, x, w + offset, g, u, out);
  }}
  return 0;
}}
"""
