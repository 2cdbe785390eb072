// Uniformity across two sets over a pair of blocks. Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/contrast_passes.hpp"

namespace ck {
namespace CK_ISA {

// e = 2^(y - shift - bias_i - bias_j): the coefficient of the pair, summed over rows and columns.
template <bool COEFFICIENTS>
struct CrossUniformity {
  LaneSums sums;
  float* coefficients;
  const float* row_bias;
  const float* col_bias;
  int64_t first_col;
  Floats shift, b0, b1;

  CK_INLINE void begin(int64_t c) {
    sums.begin(c);
    b0 = load(col_bias + first_col + c);
    b1 = load(col_bias + first_col + c + LANES);
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    const Floats b = broadcast(row_bias[i]);
    const Floats e0 = exp2(sub(sub(y0, add(b, b0)), shift)), e1 = exp2(sub(sub(y1, add(b, b1)), shift));
    sums.row(r, e0, e1);
    if (!COEFFICIENTS) return;
    store(coefficients + r * BLOCK_STRIDE, e0);
    store(coefficients + r * BLOCK_STRIDE + LANES, e1);
  }
  CK_INLINE void end(int64_t c) {
    sums.end(c);
    if (COEFFICIENTS) coefficients += NR;
  }
};

template <bool COEFFICIENTS>
CK_INLINE void cross_uniformity_blocks(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_blocks(pair, pass.block, [&](const Block& block) {
    CrossUniformity<COEFFICIENTS> policy;
    policy.sums.rows = scratch.row_lanes;
    policy.sums.cols = scratch.col_lanes;
    policy.sums.clear(block.count, BLOCK_LARGE);
    policy.coefficients = scratch.coefficients;
    policy.row_bias = pass.rows.weights;
    policy.col_bias = pass.cols.weights;
    policy.first_col = block.col_first;
    policy.shift = broadcast(pass.shift);
    walk(block, side(pass.rows), side(pass.cols), nullptr, nullptr, scratch, policy);
    policy.sums.flush_rows(block, pass.rows.totals);
    policy.sums.flush_cols(block, pass.cols.totals);
    if (COEFFICIENTS) apply_both(pass, block, scratch);
  });
}

// The biases are the weights of the pass.
void cross_uniformity(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch) {
  if (pass.rows.sums != nullptr)
    cross_uniformity_blocks<true>(pass, pair, scratch);
  else
    cross_uniformity_blocks<false>(pass, pair, scratch);
}

// The largest exponent of a pair, for totals that underflow.
struct CrossPeak {
  const float* row_bias;
  const float* col_bias;
  int64_t first_col;
  Floats b0, b1, peak;

  CK_INLINE void begin(int64_t c) {
    b0 = load(col_bias + first_col + c);
    b1 = load(col_bias + first_col + c + LANES);
  }
  CK_INLINE void row(int, int64_t i, Floats y0, Floats y1) {
    const Floats b = broadcast(row_bias[i]);
    peak = maximum(peak, maximum(sub(y0, add(b, b0)), sub(y1, add(b, b1))));
  }
  CK_INLINE void end(int64_t) {}
};

float cross_uniformity_peak(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch) {
  CrossPeak policy;
  policy.row_bias = pass.rows.weights;
  policy.col_bias = pass.cols.weights;
  policy.peak = broadcast(EXCLUDED);
  for_blocks(pair, pass.block, [&](const Block& block) {
    policy.first_col = block.col_first;
    walk(block, side(pass.rows), side(pass.cols), nullptr, nullptr, scratch, policy);
  });
  return max_lanes(policy.peak);
}

// The products of columns with columns (Barlow Twins, VICReg): the sum of their squares over each row, and factor * product as the
// coefficient of a pair.
template <bool COEFFICIENTS>
struct SquaredProducts {
  float* squares;  // [rows][LANES]
  float* coefficients;
  Floats factor;

  CK_INLINE void begin(int64_t) {}
  CK_INLINE void row(int r, int64_t, Floats y0, Floats y1) {
    const Floats least = broadcast(0.5f * EXCLUDED);
    y0 = select((Ints)(y0 > least), y0, zero());
    y1 = select((Ints)(y1 > least), y1, zero());
    float* lanes = squares + r * LANES;
    store(lanes, fma(y0, y0, fma(y1, y1, load(lanes))));
    if (!COEFFICIENTS) return;
    store(coefficients + r * BLOCK_STRIDE, mul(y0, factor));
    store(coefficients + r * BLOCK_STRIDE + LANES, mul(y1, factor));
  }
  CK_INLINE void end(int64_t) {
    if (COEFFICIENTS) coefficients += NR;
  }
};

template <bool COEFFICIENTS>
CK_INLINE void squared_products_blocks(const ContrastPass& pass, float factor, const BlockPair& pair, const Scratch& scratch) {
  for_blocks(pair, pass.block, [&](const Block& block) {
    SquaredProducts<COEFFICIENTS> policy;
    policy.squares = scratch.row_lanes;
    policy.coefficients = scratch.coefficients;
    policy.factor = broadcast(factor);
    fill(policy.squares, BLOCK_LARGE * LANES, 0.0f);
    walk(block, side(pass.rows), side(pass.cols), pass.partner, nullptr, scratch, policy);
    flush_lanes(block, policy.squares, pass.rows.totals);
    if (COEFFICIENTS) apply_both(pass, block, scratch);
  });
}

void squared_products(const ContrastPass& pass, float factor, const BlockPair& pair, const Scratch& scratch) {
  if (pass.rows.sums != nullptr)
    squared_products_blocks<true>(pass, factor, pair, scratch);
  else
    squared_products_blocks<false>(pass, factor, pair, scratch);
}

}  // namespace CK_ISA
}  // namespace ck
