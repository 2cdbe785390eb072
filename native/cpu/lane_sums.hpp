// What the passes gather over a block: sums and largest values of its rows and columns.
// Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/block.hpp"

namespace ck {
namespace CK_ISA {

CK_INLINE void fill(float* p, int64_t count, float value) {
  for (int64_t i = 0; i < count; ++i) p[i] = value;
}

// result[r] = the lanes of rows[r][LANES] combined, for the rows of `groups` groups and on to whole vectors: a square of lanes is
// transposed, so that LANES rows are folded at once.
template <class Combine>
CK_INLINE void fold(const float* rows, int groups, float* result, Combine&& combine) {
  static_assert(BLOCK_LARGE % LANES == 0, "folding runs over whole vectors of rows");
  for (int r = 0; r < groups * GROUP; r += LANES) {
    Floats square[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i) square[i] = load(rows + (r + i) * LANES);
    transpose(square);
#pragma GCC unroll 4
    for (int step = LANES / 2; step > 0; step /= 2)
#pragma GCC unroll 8
      for (int i = 0; i < step; ++i) square[i] = combine(square[i], square[i + step]);
    store(result + r, square[0]);
  }
}

// What 2^y is taken relative to: a shift of all pairs, or without SHIFTED nothing.
template <bool SHIFTED>
struct Shift {
  Floats by;
  CK_INLINE Floats exp2(Floats y) const { return SHIFTED ? CK_ISA::exp2(sub(y, by)) : CK_ISA::exp2<true>(y); }
};

// Sums e over rows and columns of a block: per row one vector of partial sums in memory, per column two registers.
struct LaneSums {
  float* rows;  // [rows][LANES]
  float* cols;
  Floats c0, c1;

  void clear(int count, int64_t width) {
    fill(rows, static_cast<int64_t>(count) * GROUP * LANES, 0.0f);
    fill(cols, width, 0.0f);
  }
  CK_INLINE void begin(int64_t c) {
    c0 = load(cols + c);
    c1 = load(cols + c + LANES);
  }
  CK_INLINE void row(int r, Floats e0, Floats e1) { row(r, e0, e1, e0, e1); }
  // What the row adds, and what the columns add.
  CK_INLINE void row(int r, Floats e0, Floats e1, Floats of_col0, Floats of_col1) {
    c0 = add(c0, of_col0);
    c1 = add(c1, of_col1);
    store(rows + r * LANES, add(load(rows + r * LANES), add(e0, e1)));
  }
  CK_INLINE void end(int64_t c) {
    store(cols + c, c0);
    store(cols + c + LANES, c1);
  }
  // Adds the sums of the block to per-row totals in double.
  void flush_rows(const Block& block, double* totals) const {
    alignas(64) float sums[BLOCK_LARGE];
    fold(rows, block.count, sums, [](Floats a, Floats b) CK_LAMBDA_INLINE { return add(a, b); });
    for (int g = 0; g < block.count; ++g) {
      const int64_t first = block.row_first + block.groups[g] * GROUP;
      const int64_t count = smaller(GROUP, block.row_last - first);
      for (int64_t i = 0; i < count; ++i) totals[first + i] += sums[g * GROUP + i];
    }
  }
  void flush_cols(const Block& block, double* totals) const {
    for (int64_t c = block.col_first; c < block.col_last; ++c) totals[c] += cols[c - block.col_first];
  }
};

// The largest y of rows and columns, in the same shape.
struct LanePeaks {
  float* rows;
  float* cols;
  Floats c0, c1;

  void clear(int count, int64_t width) {
    fill(rows, static_cast<int64_t>(count) * GROUP * LANES, EXCLUDED);
    fill(cols, width, EXCLUDED);
  }
  CK_INLINE void begin(int64_t c) {
    c0 = load(cols + c);
    c1 = load(cols + c + LANES);
  }
  CK_INLINE void row(int r, Floats y0, Floats y1) { row(r, y0, y1, y0, y1); }
  CK_INLINE void row(int r, Floats y0, Floats y1, Floats of_col0, Floats of_col1) {
    c0 = maximum(c0, of_col0);
    c1 = maximum(c1, of_col1);
    store(rows + r * LANES, maximum(load(rows + r * LANES), maximum(y0, y1)));
  }
  CK_INLINE void end(int64_t c) {
    store(cols + c, c0);
    store(cols + c + LANES, c1);
  }
  void flush(const Block& block, float* peaks) const {
    alignas(64) float largest[BLOCK_LARGE];
    fold(rows, block.count, largest, [](Floats a, Floats b) CK_LAMBDA_INLINE { return maximum(a, b); });
    for (int g = 0; g < block.count; ++g) {
      const int64_t first = block.row_first + block.groups[g] * GROUP;
      const int64_t count = smaller(GROUP, block.row_last - first);
      for (int64_t i = 0; i < count; ++i)
        if (largest[g * GROUP + i] > peaks[first + i]) peaks[first + i] = largest[g * GROUP + i];
    }
    for (int64_t c = block.col_first; c < block.col_last; ++c)
      if (cols[c - block.col_first] > peaks[c]) peaks[c] = cols[c - block.col_first];
  }
};

}  // namespace CK_ISA
}  // namespace ck
