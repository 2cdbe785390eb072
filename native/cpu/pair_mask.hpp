// Which pairs of a block count, and statistics of those that do. Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/guide_passes.hpp"

namespace ck {
namespace CK_ISA {

// Which pairs of a tile count, by labels and by a byte a pair: the caller's, or what the guide has decided for the block.
struct PairMask {
  const int32_t* row_labels;
  const int32_t* col_labels;
  bool owned;
  bool mutual;
  const uint8_t* bytes;  // of the block's first pair; NULL: none
  int64_t stride;
  int64_t first_row, first_col, rows;
  int64_t cols;  // past these there are no bytes
  int64_t col;
  Ints l0, l1;  // of the columns: labels that leave a pair out, or
  Ints o0, o1;  // where all bits are set here, the only ones that do not

  void set(const ContrastPass& pass, const Block& block, const Scratch& scratch) {
    row_labels = pass.rows.labels;
    col_labels = pass.cols.labels;
    owned = pass.owned;
    mutual = pass.guide != nullptr && pass.guide->mutual;
    first_row = block.row_first;
    first_col = block.col_first;
    l0 = l1 = o0 = o1 = Ints{};
    rows = pass.rows.layout->rows;
    cols = pass.cols.layout->rows;
    stride = cols;
    bytes = pass.mask != nullptr ? pass.mask + first_row * stride + first_col : nullptr;
    if (pass.guide == nullptr) return;
    guide_block(*pass.guide, block, pass.mask, cols, scratch);
    bytes = scratch.guided;
    stride = BLOCK_LARGE;
    cols = INT64_MAX;  // whole tiles of them
  }
  CK_INLINE void begin(int64_t c) {
    col = first_col + c;
    if (row_labels == nullptr) return;
    l0 = load_ints(col_labels + col);
    l1 = load_ints(col_labels + col + LANES);
    if (!owned) return;
    const Ints two = broadcast_int(-2);
    o0 = l0 <= two;
    o1 = l1 <= two;
    l0 = (l0 & ~o0) | ((two - l0) & o0);
    l1 = (l1 & ~o1) | ((two - l1) & o1);
  }
  CK_INLINE Ints counts(const uint8_t* p, int32_t bits = -1) const {
    Bytes b;
    __builtin_memcpy(&b, p, LANES);
    return (__builtin_convertvector(b, Ints) & bits) != 0;
  }
  // Mutual: for the row and for the columns.
  CK_INLINE void split(int64_t i, Floats y0, Floats y1, Floats* of_row, Floats* of_col) const {
    const Floats none = broadcast(EXCLUDED);
    if (i >= rows) {  // all of it is excluded already
      of_row[0] = of_col[0] = y0;
      of_row[1] = of_col[1] = y1;
      return;
    }
    const uint8_t* row = bytes + (i - first_row) * stride + (col - first_col);
    of_row[0] = select(counts(row, GUIDE_COUNTS), y0, none);
    of_row[1] = select(counts(row + LANES, GUIDE_COUNTS), y1, none);
    of_col[0] = select(counts(row, GUIDE_COUNTS_BACK), y0, none);
    of_col[1] = select(counts(row + LANES, GUIDE_COUNTS_BACK), y1, none);
  }
  // Excluded pairs become EXCLUDED.
  CK_INLINE void apply(int64_t i, Floats& y0, Floats& y1) const {
    const Floats none = broadcast(EXCLUDED);
    if (row_labels != nullptr) {
      const Ints l = broadcast_int(row_labels[i]);
      y0 = select((l == l0) ^ o0, none, y0);
      y1 = select((l == l1) ^ o1, none, y1);
    }
    if (bytes == nullptr || i >= rows) return;
    const uint8_t* row = bytes + (i - first_row) * stride + (col - first_col);
    uint8_t edge[NR];
    if (col + NR > cols) {  // the rest of the tile is excluded already
      for (int j = 0; j < NR; ++j) edge[j] = col + j < cols ? row[j] : 0;
      row = edge;
    }
    y0 = select(counts(row), y0, none);
    y1 = select(counts(row + LANES), y1, none);
  }
};

// For statistics under a mask: per row the sum of y and the number of pairs, in lanes.
struct PairTally {
  float* sums;  // [rows][LANES]; NULL: not wanted
  float* counts;

  CK_INLINE void row(int r, Floats y0, Floats y1) const {
    if (sums == nullptr) return;
    const Ints in0 = (Ints)(y0 > broadcast(0.5f * EXCLUDED)), in1 = (Ints)(y1 > broadcast(0.5f * EXCLUDED));
    const Floats one = broadcast(1.0f);
    float* s = sums + r * LANES;
    float* n = counts + r * LANES;
    store(s, add(load(s), add(select(in0, y0, zero()), select(in1, y1, zero()))));
    store(n, add(load(n), add(select(in0, one, zero()), select(in1, one, zero()))));
  }
};

}  // namespace CK_ISA
}  // namespace ck
