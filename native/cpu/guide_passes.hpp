// What a guide model says of the pairs of a block (policies/guide.hpp): its cosines by the same tiles, a byte for each pair, 1 where the
// pair counts (mutual: for its row, and 4 where for its column). Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/block.hpp"
#include "policies/guide.hpp"

namespace ck {
namespace CK_ISA {

typedef int32_t Ints __attribute__((vector_size(sizeof(Floats))));
typedef uint8_t Bytes __attribute__((vector_size(LANES)));

CK_INLINE Ints load_ints(const int32_t* p) {
  Ints result;
  __builtin_memcpy(&result, p, sizeof result);
  return result;
}
CK_INLINE Ints broadcast_int(int32_t x) { return x - Ints{}; }
CK_INLINE Floats select(Ints condition, Floats yes, Floats no) { return (Floats)((condition & (Ints)yes) | (~condition & (Ints)no)); }

// guide_dot() of policies/guide.hpp, its lanes side by side.
typedef float LaneFloats __attribute__((vector_size(GUIDE_LANES * sizeof(float))));
typedef double LaneDoubles __attribute__((vector_size(GUIDE_LANES * sizeof(double))));
double guide_lanes(const float* x, const float* y, int64_t cols) {
  LaneDoubles sum = {};
  int64_t k = 0;
  for (; k + GUIDE_LANES <= cols; k += GUIDE_LANES) {
    LaneFloats a, b;
    __builtin_memcpy(&a, x + k, sizeof a);
    __builtin_memcpy(&b, y + k, sizeof b);
    sum += __builtin_convertvector(a, LaneDoubles) * __builtin_convertvector(b, LaneDoubles);
  }
  alignas(64) double sums[GUIDE_LANES];
  __builtin_memcpy(sums, &sum, sizeof sums);
  for (int lane = 0; k < cols; ++k, ++lane) sums[lane] += static_cast<double>(x[k]) * y[k];
  for (int half = GUIDE_LANES / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}

constexpr uint8_t GUIDE_COUNTS = 1, GUIDE_NEAR = 2, GUIDE_COUNTS_BACK = 4;  // NEAR: float32 does not decide

// Policy of the walk: bytes of the pairs of one side of the guide's queries with the columns [from, to).
struct GuideTiles {
  const GuidePass& pass;
  const GuideSide& side;
  uint8_t* bytes;  // [rows of the block][BLOCK_LARGE], from column `first_col`
  int64_t first_col, from, to;
  int64_t col;

  CK_INLINE void begin(int64_t c) { col = first_col + c; }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    const Floats threshold = broadcast(pass.rounded[i]);
    alignas(64) uint8_t tile[NR];
    Ints d0 = decide(sub(y0, threshold), GUIDE_COUNTS), d1 = decide(sub(y1, threshold), GUIDE_COUNTS);
    if (pass.mutual) {
      d0 |= decide(sub(y0, load(pass.rounded + col)), GUIDE_COUNTS_BACK);
      d1 |= decide(sub(y1, load(pass.rounded + col + LANES)), GUIDE_COUNTS_BACK);
    }
    put(d0, tile);
    put(d1, tile + LANES);
    uint64_t any = 0;
    for (int w = 0; w < NR; w += 8) {
      uint64_t word;
      __builtin_memcpy(&word, tile + w, sizeof word);
      any |= word;
    }
    if (any & (0x0101010101010101u * GUIDE_NEAR)) settle(i, tile);
    uint8_t* out = bytes + r * BLOCK_LARGE + (col - first_col);
    if (col >= from && col + NR <= to) {
      __builtin_memcpy(out, tile, NR);
    } else {
      for (int j = 0; j < NR; ++j)
        if (col + j >= from && col + j < to) out[j] = tile[j];
    }
  }
  CK_INLINE void end(int64_t) {}

  CK_INLINE Ints decide(Floats above, int32_t counting) const {
    const Floats band = broadcast(pass.band), less = broadcast(-pass.band);
    const Ints counts = (Ints)(above <= zero()), near = (Ints)(above <= band) & (Ints)(above >= less);
    return (counts & counting) | (near & GUIDE_NEAR);
  }
  static CK_INLINE void put(Ints decisions, uint8_t* tile) {
    const Bytes b = __builtin_convertvector(decisions, Bytes);
    __builtin_memcpy(tile, &b, LANES);
  }
  __attribute__((noinline)) void settle(int64_t i, uint8_t* tile) const {
    const int64_t cols = side.layout->cols;
    for (int j = 0; j < NR; ++j) {
      if (!(tile[j] & GUIDE_NEAR)) continue;
      tile[j] = 0;
      if (col + j < from || col + j >= to) continue;
      const double a = side.norms[i], b = pass.key_norms[col + j];
      const double dot = guide_lanes(side.data + i * cols, pass.key_data + (col + j) * cols, cols);
      const double cosine = a > 0.0 && b > 0.0 ? dot / (a * b) : 0.0;
      tile[j] = cosine <= pass.thresholds[i] ? GUIDE_COUNTS : 0;
      if (pass.mutual && cosine <= pass.thresholds[col + j]) tile[j] |= GUIDE_COUNTS_BACK;
    }
  }
};

// Fills scratch.guided for a block. mask: NULL, or [rows * keys], what counts besides. Before the block's own walk, whose memory it uses.
__attribute__((noinline)) static void guide_block(const GuidePass& pass, const Block& block, const uint8_t* mask, int64_t keys,
                                                  const Scratch& scratch) {
  for (int n = 0; n < 2; ++n) {
    const int64_t from = n == 0 || pass.split < block.col_first ? block.col_first : pass.split;
    const int64_t to = n == 1 || pass.split > block.col_last ? block.col_last : pass.split;
    if (from >= to) continue;
    Block part = block;
    part.col_first = block.col_first + (from - block.col_first) / NR * NR;
    part.col_last = to;
    part.triangle = part.diagonal = false;
    part.first = true;
    part.dim_first = 0;  // of the block's own rows
    part.dim_last = INT64_MAX;
    part.next_row = part.next_col = -1;
    const GuideSide& side = pass.sides[n];
    GuideTiles policy = {pass, side, scratch.guided + (part.col_first - block.col_first), part.col_first, from, to, 0};
    walk<true>(part, {*side.layout, side.panels, side.grouped}, {*pass.key_layout, pass.key_panels, nullptr}, nullptr, nullptr, scratch,
               policy);
  }
  if (mask == nullptr) return;
  for (int64_t i = block.row_first; i < block.row_last; ++i)
    for (int64_t j = block.col_first; j < block.col_last; ++j)
      scratch.guided[(i - block.row_first) * BLOCK_LARGE + (j - block.col_first)] &= mask[i * keys + j] != 0;
}

}  // namespace CK_ISA
}  // namespace ck
