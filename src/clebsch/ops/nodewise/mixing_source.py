"""C++ of the channel mixing: small matrix products on the ``ir_mul`` layout, in place.

One row of a product is one component of one atom: channels of equal irreps, gathered from the
blocks where they lie, so that nothing is copied but the weights. A register tile of ``ROWS`` by
``COLS`` sums over the inner index in its order, so the result does not depend on the number of
threads.
"""

SOURCE = """\
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>
typedef {real} T;
typedef std::int64_t Int;
#ifdef __AVX512F__
constexpr int BYTES = 64, ROWS = 12;
#else
constexpr int BYTES = 32, ROWS = 6;
#endif
typedef T V __attribute__((vector_size(BYTES), aligned(alignof(T)), may_alias));
constexpr int LANES = BYTES / sizeof(T), COLS = 2 * LANES;
constexpr Int CHUNK = 96;  // rows that stay in the first cache; a multiple of ROWS

struct Block {{ Int offset, mul; }};
struct Kind {{
  Int dim, weight, fan, width;
  T scale;
  std::vector<Block> in, out;
}};
struct Panel {{ Int offset, mul, column, row_mul; }};  // columns of one block, at most COLS
struct Rows {{  // atoms of one species
  const Int* order;
  Int count;
  Int atom(Int a) const {{ return order ? order[a] : a; }}
}};

static std::vector<Panel> panels(const std::vector<Block>& blocks) {{
  std::vector<Panel> found;
  Int column = 0;
  for (const Block& b : blocks) {{
    for (Int c = 0; c < b.mul; c += COLS)
      found.push_back({{b.offset + c, std::min<Int>(COLS, b.mul - c), column + c, b.mul}});
    column += b.mul;
  }}
  return found;
}}

// Where the rows first .. first + count of a kind lie: the atom's row and the component.
static void locate(const T* data, Int width, const Rows& rows, Int dim, Int first, Int count,
                   const T** base, Int* component) {{
  for (Int r = 0; r < count; r++) {{
    base[r] = data + rows.atom((first + r) / dim) * width;
    component[r] = (first + r) % dim;
  }}
}}

// out[row, :] = sum over the inner index of in[row, k] b[k, :], for one panel and ROWS rows.
static inline void product(const T* const* base, const Int* component,
                           const std::vector<Block>& in, const T* __restrict b, Int valid,
                           T* const* out, const Panel& panel) {{
  V c[ROWS][2];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++) c[r][0] = c[r][1] = V{{}};
  for (const Block& block : in) {{
    const T* p[ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) p[r] = base[r] + block.offset + component[r] * block.mul;
    for (Int k = 0; k < block.mul; k++, b += COLS) {{
      const V b0 = *(const V*)b, b1 = *(const V*)(b + LANES);
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; r++) {{
        const T a = p[r][k];
        c[r][0] += a * b0;
        c[r][1] += a * b1;
      }}
    }}
  }}
  alignas(64) T spare[ROWS][COLS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++) {{
    *(V*)spare[r] = c[r][0];
    *(V*)(spare[r] + LANES) = c[r][1];
  }}
  for (Int r = 0; r < valid; r++) {{
    T* o = out[r] + panel.offset + component[r] * panel.row_mul;
    if (panel.mul == COLS)
      std::memcpy(o, spare[r], sizeof(T) * COLS);
    else
      std::memcpy(o, spare[r], sizeof(T) * panel.mul);
  }}
}}

// The map itself, or its transpose where ``back``.
static void map(const Kind& kind, bool back, const Rows& rows, const T* in, Int in_width,
                const T* w, T* out, Int out_width, int threads) {{
  const std::vector<Block>& from = back ? kind.out : kind.in;
  const std::vector<Panel> to = panels(back ? kind.in : kind.out);
  const Int inner = back ? kind.width : kind.fan, n = rows.count * kind.dim;
  std::vector<T> packed(to.size() * inner * COLS, T(0));
  for (std::size_t p = 0; p < to.size(); p++)
    for (Int k = 0; k < inner; k++) {{
      T* b = &packed[(p * inner + k) * COLS];
      for (Int j = 0; j < to[p].mul; j++) {{
        const Int column = to[p].column + j;
        b[j] = kind.scale * (back ? w[column * kind.width + k] : w[k * kind.width + column]);
      }}
    }}
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (Int start = 0; start < n; start += CHUNK) {{
    const Int count = std::min<Int>(CHUNK, n - start);
    const T* base[CHUNK];
    Int component[CHUNK];
    T* result[CHUNK];
    locate(in, in_width, rows, kind.dim, start, count, base, component);
    for (Int r = 0; r < count; r++)
      result[r] = out + rows.atom((start + r) / kind.dim) * out_width;
    for (Int r = count; r < CHUNK; r++)
      base[r] = base[count - 1], component[r] = component[count - 1];
    for (std::size_t p = 0; p < to.size(); p++)
      for (Int r = 0; r < count; r += ROWS)
        product(base + r, component + r, from, &packed[p * inner * COLS],
                std::min<Int>(ROWS, count - r), result + r, to[p]);
  }}
}}

// c[k, :] += sum over rows of x[row, k] g[row, :] for R of the k.
template <int R>
static inline void outer(const T* const* x, Int first, const T* __restrict g, Int count, T* c) {{
  V s[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {{
    s[r][0] = *(const V*)(c + r * COLS);
    s[r][1] = *(const V*)(c + r * COLS + LANES);
  }}
  for (Int n = 0; n < count; n++, g += COLS) {{
    const V g0 = *(const V*)g, g1 = *(const V*)(g + LANES);
    const T* a = x[n] + first;
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {{
      s[r][0] += a[r] * g0;
      s[r][1] += a[r] * g1;
    }}
  }}
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {{
    *(V*)(c + r * COLS) = s[r][0];
    *(V*)(c + r * COLS + LANES) = s[r][1];
  }}
}}

template <int R>
static inline void outer_tail(Int left, const T* const* x, Int first, const T* g, Int count,
                              T* c) {{
  if (left == R) outer<R>(x, first, g, count, c);
  else if constexpr (R > 1) outer_tail<R - 1>(left, x, first, g, count, c);
}}

// The gradient by the weights of one kind and one species.
static void correlate(const Kind& kind, const Rows& rows, const T* x, Int x_width, const T* z,
                      Int z_width, T* w, int threads) {{
  const std::vector<Panel> to = panels(kind.out);
  const Int n = rows.count * kind.dim, many = to.size();
  const Int share = (many + threads - 1) / threads;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (Int first = 0; first < many; first += share) {{
    const Int last = std::min(many, first + share);
    std::vector<T> sums((last - first) * kind.fan * COLS, T(0)), g(CHUNK * COLS, T(0));
    for (Int start = 0; start < n; start += CHUNK) {{
      const Int count = std::min<Int>(CHUNK, n - start);
      const T *base[CHUNK], *other[CHUNK], *channels[CHUNK];
      Int component[CHUNK];
      locate(z, z_width, rows, kind.dim, start, count, other, component);
      locate(x, x_width, rows, kind.dim, start, count, base, component);
      for (Int p = first; p < last; p++) {{
        const Panel& panel = to[p];
        for (Int r = 0; r < count; r++) {{
          const T* from = other[r] + panel.offset + component[r] * panel.row_mul;
          for (Int j = 0; j < panel.mul; j++) g[r * COLS + j] = kind.scale * from[j];
          for (Int j = panel.mul; j < COLS; j++) g[r * COLS + j] = 0;
        }}
        T* c = &sums[(p - first) * kind.fan * COLS];
        for (const Block& block : kind.in) {{
          for (Int r = 0; r < count; r++)
            channels[r] = base[r] + block.offset + component[r] * block.mul;
          Int k = 0;
          for (; k + ROWS <= block.mul; k += ROWS, c += ROWS * COLS)
            outer<ROWS>(channels, k, g.data(), count, c);
          if (k < block.mul) {{
            outer_tail<ROWS - 1>(block.mul - k, channels, k, g.data(), count, c);
            c += (block.mul - k) * COLS;
          }}
        }}
      }}
    }}
    for (Int p = first; p < last; p++)
      for (Int k = 0; k < kind.fan; k++)
        std::memcpy(w + k * kind.width + to[p].column, &sums[((p - first) * kind.fan + k) * COLS],
                    sizeof(T) * to[p].mul);
  }}
}}

// Open the slot ``target`` (0 input x, 1 weights w, 2 result z) for ``n`` atoms.
// 1 where a species is not there.
extern "C" int run(Int target, Int n, Int n_species, const Int* plan, const double* scales,
                   const Int* species, const T* x, const T* w, const T* z, T* out, int threads) {{
  const Int x_width = *plan++, z_width = *plan++, n_kinds = *plan++;
  std::vector<Kind> kinds(n_kinds);
  Int weights = 0, in_width = 0, out_width = 0;
  for (Kind& kind : kinds) {{
    kind.dim = *plan++;
    const Int n_in = *plan++, n_out = *plan++;
    kind.in.resize(n_in), kind.out.resize(n_out);
    kind.fan = kind.width = 0;
    for (Block& b : kind.in) b.offset = *plan++, b.mul = *plan++, kind.fan += b.mul;
    for (Block& b : kind.out) b.offset = *plan++, b.mul = *plan++, kind.width += b.mul;
    kind.weight = weights;
    kind.scale = T(*scales++);
    weights += n_species * kind.fan * kind.width;
    in_width += kind.dim * kind.fan, out_width += kind.fan ? kind.dim * kind.width : 0;
  }}
  std::vector<Int> order, start(n_species + 1, 0);
  start[n_species] = n;
  if (species) {{
    std::fill(start.begin(), start.end(), 0);
    order.resize(n);
    for (Int a = 0; a < n; a++) {{
      if (species[a] < 0 || species[a] >= n_species) return 1;
      start[species[a] + 1]++;
    }}
    for (Int s = 0; s < n_species; s++) start[s + 1] += start[s];
    std::vector<Int> next(start.begin(), start.end() - 1);
    for (Int a = 0; a < n; a++) order[next[species[a]]++] = a;
  }}
  if (target == 2 && out_width < z_width) std::memset(out, 0, sizeof(T) * n * z_width);
  if (target == 0 && in_width < x_width) std::memset(out, 0, sizeof(T) * n * x_width);
  for (const Kind& kind : kinds)
    for (Int s = 0; kind.fan && s < n_species; s++) {{
      const Rows rows{{species ? order.data() + start[s] : nullptr, start[s + 1] - start[s]}};
      const Int matrix = kind.weight + s * kind.fan * kind.width;
      // A second thread pays from about a tenth of a millisecond of work on.
      const Int work = rows.count * kind.dim * kind.fan * kind.width;
      const int team = work > 2000000 ? threads : 1;
      if (target == 2)
        map(kind, false, rows, x, x_width, w + matrix, out, z_width, team);
      else if (target == 0)
        map(kind, true, rows, z, z_width, w + matrix, out, x_width, team);
      else
        correlate(kind, rows, x, x_width, z, z_width, out + matrix, team);
    }}
  return 0;
}}
"""
