// Register tiles: MR x NR dot products, and the second product that applies a block of coefficients to rows.
// Included by unit.hpp in the namespace of an instruction set, after its simd header.
#pragma once

#include <type_traits>

#include "cpu/kernels.hpp"
#include "cpu/tile_sizes.hpp"

#define CK_LAMBDA_INLINE __attribute__((always_inline))

namespace ck {
namespace CK_ISA {

constexpr int NR = 2 * LANES;
static_assert(GROUP % MR == 0 && PACK_ROWS % NR == 0 && PACK_ROWS % GROUP == 0, "blocks must be whole groups and tiles");
static_assert(NR <= MAX_WIDTH && LANES <= MAX_LANES, "scratch memory is sized for the widest tile");

// 2^y, relative error 1e-7: y = n + f, a polynomial for 2^f, n added to the exponent. MODERATE: |y| <= 120, or y is EXCLUDED, which gives
// 0.
template <bool MODERATE = false>
CK_INLINE Floats exp2(Floats y) {
  if (!MODERATE) y = clamp_exponent(y);
  Floats n;
  const Floats f = fraction(y, n);
  Floats p = broadcast(POWERS_OF_TWO[5]);
#pragma GCC unroll 5
  for (int k = 4; k >= 0; --k) p = fma(p, f, broadcast(POWERS_OF_TWO[k]));
  return scale_by_power(p, n);
}

CK_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
CK_INLINE const float* panel_at(const Layout& layout, const float* panels, int64_t row) { return panels + row / NR * layout.panel_stride; }

// Memory that will be read soon, asked for a little at a time while something else is computed: the caches' own prefetchers do not
// follow a dozen rows at once, and a line from another core's cache costs as much as a tile's worth of arithmetic.
class Ahead {
 public:
  CK_INLINE void clear() { at_ = count_ = 0; }
  CK_INLINE void add(const float* first, int64_t count) { ranges_[count_++] = {first, first + count}; }

  // Asks for the next LINES cache lines, into the second level.
  template <int LINES>
  CK_INLINE void step() {
    if (at_ == count_) return;
    Range& range = ranges_[at_];
#pragma GCC unroll 8
    for (int i = 0; i < LINES; ++i) __builtin_prefetch(range.next + i * CACHE_LINE, 0, 2);
    range.next += LINES * CACHE_LINE;
    if (range.next >= range.end) ++at_;
  }
  void rest() {
    while (at_ < count_) step<8>();
  }

 private:
  static constexpr int MAX_RANGES = BLOCK_LARGE / (NR < GROUP ? NR : GROUP) + 1;  // a block's rows, and a panel of columns
  struct Range {
    const float* next;
    const float* end;
  };
  Range ranges_[MAX_RANGES];
  int at_ = 0, count_ = 0;
};

// How operands hold numbers, and what is done with a word of them: here one float32 a word. A unit with other products (bfloat16.hpp)
// passes its own to the templates below.
struct Float32Products {
  static constexpr int PER_WORD = 1;
  static constexpr int ROW = BLOCK_STRIDE;  // words from one row of a block's coefficients to the next
  static Float32Products of(float) { return {}; }
  CK_INLINE Floats multiply_add(Floats a, Floats b, Floats c) const { return fma(a, b, c); }
  CK_INLINE Floats similarity(Floats sum) const { return sum; }  // of a finished dot product
  // A block's coefficients.
  static CK_INLINE float* coefficients(const Scratch& scratch) { return scratch.coefficients; }
  static CK_INLINE void store_coefficients(float* out, Floats g0, Floats g1) {
    store(out, g0);
    store(out + LANES, g1);
  }
  // The same with rows, not columns, together in a word: rows BLOCK_STRIDE words apart.
  static CK_INLINE const float* by_rows(float* coefficients, int, int, float*) { return coefficients; }
};

struct Accumulators {
  Floats a[MR];
  Floats b[MR];
};

CK_INLINE void clear(Accumulators& c) {
#pragma GCC unroll 12
  for (int i = 0; i < MR; ++i) {
    c.a[i] = zero();
    c.b[i] = zero();
  }
}

// The MR rows of a tile in the panels: runs of rows that never cross from one panel into the next, as a tile begins at a multiple of MR.
struct PanelRows {
  static constexpr int RUN = MR / 3;
  static_assert(MR == 3 * RUN && NR % RUN == 0, "a tile's rows are three runs, each within a panel");
  const float* runs[3];

  static CK_INLINE PanelRows of(const Layout& layout, const float* panels, int64_t row) {
    const auto run = [&](int64_t r) CK_LAMBDA_INLINE { return panel_at(layout, panels, r) + r % NR; };
    return {{run(row), run(row + RUN), run(row + 2 * RUN)}};
  }
  // The same rows from dimension k on.
  CK_INLINE PanelRows from(int64_t k) const { return {{runs[0] + k * NR, runs[1] + k * NR, runs[2] + k * NR}}; }
  // Asks for `count` dimensions, from k on, of rows [first, last).
  static CK_INLINE void ask(const Layout& layout, const float* panels, int64_t first, int64_t last, int64_t k, int64_t count,
                            Ahead& ahead) {
    for (; first < last; first += NR) ahead.add(panel_at(layout, panels, first) + k * NR, count * NR);
  }
  // Word k of row i.
  CK_INLINE float at(int i, int k) const { return runs[i / RUN][k * NR + i % RUN]; }
};

// The same in the grouped layout. from() takes whole chunks.
struct GroupRows {
  const float* first;

  static CK_INLINE GroupRows of(const Layout& layout, const float* grouped, int64_t row) {
    return {grouped + row / GROUP * layout.group_stride + row % GROUP * NR};
  }
  CK_INLINE GroupRows from(int64_t k) const { return {first + k * GROUP}; }
  static CK_INLINE void ask(const Layout& layout, const float* grouped, int64_t first, int64_t last, int64_t k, int64_t count,
                            Ahead& ahead) {
    for (; first < last; first += GROUP) ahead.add(grouped + first / GROUP * layout.group_stride + k * GROUP, count * GROUP);
  }
  CK_INLINE float at(int i, int k) const { return first[i * NR + k]; }
};

// Where a tile's rows are as many as a group's, they are read in panels: these need no second array packed, and are read front to back,
// as the caches' prefetchers like it (AVX-512: 5 % of a forward at 768 dimensions). A tile of fewer rows would use too little of the cache
// lines it touches (AVX2: 3 to 5 % slower). A pass that applies coefficients reads groups, which it needs anyhow (1 % of a forward +
// backward at 128 dimensions).
constexpr bool PANEL_ROWS = MR == GROUP;

// c += a column of MR words, column(i), times a row of NR words.
template <class Products, class Column>
CK_INLINE void multiply_add(const Products& products, Accumulators& c, Column&& column, const float* row) {
  const Floats r0 = load(row);
  const Floats r1 = load(row + LANES);
#pragma GCC unroll 12
  for (int i = 0; i < MR; ++i) {
    const Floats x = broadcast(column(i));
    c.a[i] = products.multiply_add(x, r0, c.a[i]);
    c.b[i] = products.multiply_add(x, r1, c.b[i]);
  }
}

// c += products of MR rows with NR columns (right: a panel) over `cols` dimensions.
template <class Products, class Rows>
CK_INLINE void dot_range(const Products& products, Accumulators& c, Rows rows, const float* right, int64_t cols, Ahead& ahead) {
  const auto add = [&](int k) CK_LAMBDA_INLINE {
    const auto column = [&](int i) CK_LAMBDA_INLINE { return rows.at(i, k); };
    multiply_add(products, c, column, right + k * NR);
  };
  for (; cols >= NR; cols -= NR) {
    ahead.step<8>();
#pragma GCC unroll 4
    for (int k = 0; k < NR; ++k) add(k);
    rows = rows.from(NR);
    right += NR * NR;
  }
  for (int k = 0; k < cols; ++k) add(k);
}

// Dot products of one tile over `cols` dimensions, in blocks of `block`, added to `sums` (rows BLOCK_STRIDE apart) unless that is NULL,
// and handed row by row to consume(row, y0, y1).
template <class Products, class Rows, class Consume>
CK_INLINE void dot_tile(const Products& products, Rows rows, const float* right, int64_t cols, int64_t block, const float* sums,
                        Ahead& ahead, Consume&& consume) {
  static_assert(DOT_BLOCK % NR == 0 && DOT_BLOCK_SHORT % NR == 0 && DOT_BLOCK_LONG % NR == 0, "a block of dimensions is whole chunks");
  Accumulators c;
  alignas(64) float total[MR * NR];
  int64_t stride = BLOCK_STRIDE;
  for (;; cols -= block, rows = rows.from(block), right += block * NR, sums = total, stride = NR) {
    clear(c);
    dot_range(products, c, rows, right, smaller(cols, block), ahead);
    if (cols <= block) break;
    if (sums == nullptr) {
#pragma GCC unroll 12
      for (int i = 0; i < MR; ++i) {
        store(total + i * NR, c.a[i]);
        store(total + i * NR + LANES, c.b[i]);
      }
    } else {
#pragma GCC unroll 12
      for (int i = 0; i < MR; ++i) {
        store(total + i * NR, add(load(sums + i * stride), c.a[i]));
        store(total + i * NR + LANES, add(load(sums + i * stride + LANES), c.b[i]));
      }
    }
  }
  if (sums != nullptr) {
#pragma GCC unroll 12
    for (int i = 0; i < MR; ++i) {
      c.a[i] = add(load(sums + i * stride), c.a[i]);
      c.b[i] = add(load(sums + i * stride + LANES), c.b[i]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < MR; ++i) consume(i, c.a[i], c.b[i]);
}

// The same, stored: tile[MR], rows STRIDE apart. FINISHED: as similarities; else as sums to go on with.
template <int STRIDE, bool FINISHED, class Products, class Rows>
__attribute__((noinline)) static void stored_dot_tile(const Products& products, const Rows& rows, const float* right, int64_t cols,
                                                      int64_t block, const float* sums, Ahead& ahead, float* tile) {
  dot_tile(products, rows, right, cols, block, sums, ahead, [tile, &products](int i, Floats y0, Floats y1) CK_LAMBDA_INLINE {
    store(tile + i * STRIDE, FINISHED ? products.similarity(y0) : y0);
    store(tile + i * STRIDE + LANES, FINISHED ? products.similarity(y1) : y1);
  });
}

// sums[MR][NR] += coefficients * rows, or = for fresh sums: for every listed group g of GROUP packed rows, coefficient (i, k) stands at
// coefficients[i * ROW + k * STEP], k counting through the words of the groups in order.
template <int ROW, int STEP, class Products>
CK_INLINE void apply_tile(const Products& products, const float* coefficients, const float* grouped, int64_t group_stride,
                          const int32_t* groups, int count, bool fresh, float* sums, Ahead& ahead) {
  Accumulators c;
  clear(c);
  for (int g = 0; g < count; ++g) {
    ahead.step<4>();
    const float* rows = grouped + groups[g] * group_stride;
#pragma GCC unroll 4
    for (int k = 0; k < GROUP / Products::PER_WORD; ++k) {
      const auto column = [coefficients](int i) CK_LAMBDA_INLINE { return coefficients[i * ROW]; };
      multiply_add(products, c, column, rows + k * NR);
      coefficients += STEP;
    }
  }
  if (fresh) {
#pragma GCC unroll 12
    for (int i = 0; i < MR; ++i) {
      store(sums + i * NR, c.a[i]);
      store(sums + i * NR + LANES, c.b[i]);
    }
    return;
  }
#pragma GCC unroll 12
  for (int i = 0; i < MR; ++i) {
    store(sums + i * NR, add(load(sums + i * NR), c.a[i]));
    store(sums + i * NR + LANES, add(load(sums + i * NR + LANES), c.b[i]));
  }
}

}  // namespace CK_ISA
}  // namespace ck
