// The passes of contrast_passes.hpp again, for rows and columns whose sums underflow. Included by unit.hpp in the namespace of an
// instruction set.
#pragma once

#include "cpu/contrast_passes.hpp"

namespace ck {
namespace CK_ISA {

// Repair: each side's terms relative to its own shift. COEFFICIENTS: backward, else the sums again.
template <bool COEFFICIENTS>
struct ContrastRepair {
  PairMask mask;
  LaneSums sums;
  float* coefficients;
  const float *row_shift, *col_shift, *row_weights, *col_weights;
  float* row_lanes;
  int64_t first_col;
  Floats s0, s1, w0, w1, c0, c1;

  CK_INLINE void begin(int64_t c) {
    mask.begin(c);
    s0 = load(col_shift + first_col + c);
    s1 = load(col_shift + first_col + c + LANES);
    if (COEFFICIENTS) {
      w0 = load(col_weights + first_col + c);
      w1 = load(col_weights + first_col + c + LANES);
    } else {
      sums.begin(c);
    }
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    Floats of_row[2], of_col[2];
    if (mask.mutual) {
      mask.split(i, y0, y1, of_row, of_col);
    } else {
      mask.apply(i, y0, y1);
      of_row[0] = of_col[0] = y0;
      of_row[1] = of_col[1] = y1;
    }
    const Floats shift = broadcast(row_shift[i]);
    const Floats e0 = exp2(sub(of_row[0], shift)), e1 = exp2(sub(of_row[1], shift));
    const Floats f0 = exp2(sub(of_col[0], s0)), f1 = exp2(sub(of_col[1], s1));
    if (COEFFICIENTS) {
      const Floats w = broadcast(row_weights[i]);
      float* out = coefficients + r * BLOCK_STRIDE;
      store(out, fma(e0, w, mul(f0, w0)));
      store(out + LANES, fma(e1, w, mul(f1, w1)));
    } else {
      sums.c0 = add(sums.c0, f0);
      sums.c1 = add(sums.c1, f1);
      store(row_lanes + r * LANES, add(load(row_lanes + r * LANES), add(e0, e1)));
    }
  }
  CK_INLINE void end(int64_t c) {
    if (COEFFICIENTS)
      coefficients += NR;
    else
      sums.end(c);
  }
};

CK_INLINE bool any_repair(const float* own_shift, int64_t first, int64_t last) {
  bool any = false;
  for (int64_t i = first; i < last; ++i) any |= own_shift[i] != NO_REPAIR;
  return any;
}

template <bool COEFFICIENTS>
CK_INLINE void contrast_repair_blocks(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_contrast_blocks(pass, pair, [&](const Block& block) {
    if (!any_repair(pass.rows.own_shift, block.row_first, block.row_last) &&
        !any_repair(pass.cols.own_shift, block.col_first, block.col_last))
      return;
    ContrastRepair<COEFFICIENTS> policy;
    policy.mask.set(pass, block, scratch);
    policy.row_shift = pass.rows.own_shift;
    policy.col_shift = pass.cols.own_shift;
    policy.row_weights = pass.rows.weights;
    policy.col_weights = pass.cols.weights;
    policy.first_col = block.col_first;
    policy.coefficients = scratch.coefficients;
    policy.row_lanes = scratch.row_lanes;
    policy.sums.rows = scratch.row_lanes;
    policy.sums.cols = scratch.col_lanes;
    if (!COEFFICIENTS) policy.sums.clear(block.count, BLOCK_LARGE);
    walk<true>(block, side(pass.rows), side(pass.cols), pass.partner, nullptr, scratch, policy);
    if (COEFFICIENTS) {
      apply_both(pass, block, scratch);
    } else {
      policy.sums.flush_rows(block, pass.rows.totals);
      if (pass.cols.totals != nullptr) policy.sums.flush_cols(block, pass.cols.totals);
    }
  });
}

void contrast_repair_forward(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch) {
  contrast_repair_blocks<false>(pass, pair, scratch);
}
void contrast_repair_backward(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch) {
  contrast_repair_blocks<true>(pass, pair, scratch);
}

}  // namespace CK_ISA
}  // namespace ck
