// The passes of uniformity over a pair of blocks: terms and coefficients at once, and the largest exponent.
// Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/lane_sums.hpp"

namespace ck {
namespace CK_ISA {

// Uniformity: e = 2^(y - shift [- bias_i - bias_j]), its total, as the coefficient of the pair, and summed over rows.
template <bool BIAS, bool COEFFICIENTS, bool ROW_SUMS, bool SHIFTED>
struct Uniformity {
  LaneSums sums;
  float* coefficients;
  const float* bias;
  int64_t first_col;
  Shift<SHIFTED> shifted;
  Floats b0, b1, total;
  double sum = 0.0;  // of the columns done: lanes stay short, so that rounding does not add up

  CK_INLINE void begin(int64_t c) {
    total = zero();
    if (ROW_SUMS) sums.begin(c);
    if (BIAS) {
      b0 = load(bias + first_col + c);
      b1 = load(bias + first_col + c + LANES);
    }
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    if (BIAS) {
      const Floats b = broadcast(bias[i]);
      y0 = sub(y0, add(b, b0));
      y1 = sub(y1, add(b, b1));
    }
    const Floats e0 = shifted.exp2(y0), e1 = shifted.exp2(y1);
    total = add(total, add(e0, e1));
    if (ROW_SUMS) sums.row(r, e0, e1);
    if (COEFFICIENTS) {
      store(coefficients + r * BLOCK_STRIDE, e0);
      store(coefficients + r * BLOCK_STRIDE + LANES, e1);
    }
  }
  CK_INLINE void end(int64_t c) {
    sum += sum_lanes(total);
    if (ROW_SUMS) sums.end(c);
    if (COEFFICIENTS) coefficients += NR;
  }
};

CK_INLINE Side side(const UniformityPass& pass) { return {*pass.layout, pass.panels, pass.grouped}; }

template <bool BIAS, bool COEFFICIENTS, bool ROW_SUMS, bool SHIFTED = true>
CK_INLINE double uniformity_blocks(const UniformityPass& pass, const BlockPair& pair, const Scratch& scratch) {
  double total = 0.0;
  for_blocks(pair, pass.block, [&](const Block& block) {
    Uniformity<BIAS, COEFFICIENTS, ROW_SUMS, SHIFTED> policy;
    policy.sums.rows = scratch.row_lanes;
    policy.sums.cols = scratch.col_lanes;
    if (ROW_SUMS) policy.sums.clear(block.count, BLOCK_LARGE);
    policy.coefficients = scratch.coefficients;
    policy.bias = pass.bias;
    policy.first_col = block.col_first;
    policy.shifted.by = broadcast(pass.shift);
    walk<false, COEFFICIENTS>(block, side(pass), side(pass), nullptr, nullptr, scratch, policy);
    total += policy.sum;
    if (ROW_SUMS) {
      policy.sums.flush_rows(block, pass.row_sums);
      policy.sums.flush_cols(block, pass.row_sums);
    }
    if (COEFFICIENTS)
      apply(block, *pass.layout, pass.grouped, pass.sums, *pass.layout, pass.grouped, pass.sums, scratch.coefficients, true);
  });
  return total;
}

double uniformity(const UniformityPass& pass, const BlockPair& pair, const Scratch& scratch) {
  const bool plain = pass.bias == nullptr && pass.shift == 0.0f;  // the usual call
  if (pass.sums == nullptr)
    return plain                  ? uniformity_blocks<false, false, false, false>(pass, pair, scratch)
           : pass.bias == nullptr ? uniformity_blocks<false, false, false>(pass, pair, scratch)
                                  : uniformity_blocks<true, false, false>(pass, pair, scratch);
  if (pass.row_sums != nullptr) return uniformity_blocks<true, true, true>(pass, pair, scratch);
  return plain                  ? uniformity_blocks<false, true, false, false>(pass, pair, scratch)
         : pass.bias == nullptr ? uniformity_blocks<false, true, false>(pass, pair, scratch)
                                : uniformity_blocks<true, true, false>(pass, pair, scratch);
}

// y_ii / 2 of rows [first, last), by the same arithmetic as every other y: the diagonal of the tiles that hold it.
void half_squares(const Layout& layout, const float* panels, int64_t first, int64_t last, float* tile, float* out) {
  Ahead none;
  for (int64_t row = first; row < last; row += MR) {
    const PanelRows rows = PanelRows::of(layout, panels, row);
    for (int64_t col = row / NR * NR; col < row + MR; col += NR) {
      stored_dot_tile<NR, true>(Float32Products(), rows, panel_at(layout, panels, col), layout.cols, dot_block(layout.cols), nullptr, none,
                                tile);
      for (int64_t i = row > col ? row : col; i < row + MR && i < col + NR; ++i) out[i] = 0.5f * tile[(i - row) * NR + i - col];
    }
  }
}

// The largest exponent of a pair, for totals that underflow.
struct UniformityPeak {
  const float* bias;
  int64_t first_col;
  Floats shift, b0, b1, peak;

  CK_INLINE void begin(int64_t c) {
    b0 = bias != nullptr ? load(bias + first_col + c) : zero();
    b1 = bias != nullptr ? load(bias + first_col + c + LANES) : zero();
  }
  CK_INLINE void row(int, int64_t i, Floats y0, Floats y1) {
    const Floats b = broadcast(bias != nullptr ? bias[i] : 0.0f);
    peak = maximum(peak, maximum(sub(y0, add(b, b0)), sub(y1, add(b, b1))));
  }
  CK_INLINE void end(int64_t) {}
};

float uniformity_peak(const UniformityPass& pass, const BlockPair& pair, const Scratch& scratch) {
  UniformityPeak policy;
  policy.bias = pass.bias;
  policy.peak = broadcast(EXCLUDED);
  for_blocks(pair, pass.block, [&](const Block& block) {
    policy.first_col = block.col_first;
    walk<true>(block, side(pass), side(pass), nullptr, nullptr, scratch, policy);
  });
  return max_lanes(policy.peak);
}

}  // namespace CK_ISA
}  // namespace ck
