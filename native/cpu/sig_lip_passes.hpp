// SigLIP over a pair of blocks: the losses of the negatives and their coefficients at once. Included by unit.hpp in the namespace of an
// instruction set.
//
// With t = y + bias in log2 units and e = 2^-|t|, nothing is subtracted from 1:
//   softplus(t) = max(t, 0) ln 2 + log1p(e),   sigmoid(t) = (t > 0 ? 1 : e) / (1 + e)
// Where every t is far below 0 both are 2^t to the last digit: `raised` > 0 takes 2^(t + raised), which float32 can hold.
#pragma once

#include "cpu/contrast_passes.hpp"

namespace ck {
namespace CK_ISA {

// log1p(e) for e in [0, 1], relative error 1e-7: e times a polynomial for log1p(e) / e.
CK_INLINE Floats log1p_of(Floats e) {
  Floats p = broadcast(-3.176057013e-03f);
  p = fma(p, e, broadcast(1.954252832e-02f));
  p = fma(p, e, broadcast(-5.637361482e-02f));
  p = fma(p, e, broadcast(1.054362357e-01f));
  p = fma(p, e, broadcast(-1.526966691e-01f));
  p = fma(p, e, broadcast(1.966327429e-01f));
  p = fma(p, e, broadcast(-2.495161593e-01f));
  p = fma(p, e, broadcast(3.332971036e-01f));
  p = fma(p, e, broadcast(-4.999989271e-01f));
  p = fma(p, e, broadcast(1.0f));
  return mul(p, e);
}

// softplus and sigmoid of t in log2 units.
CK_INLINE void logistic(Floats t, Floats& softplus, Floats& sigmoid) {
  const Floats above = maximum(t, zero());
  const Floats e = exp2(sub(t, add(above, above)));  // t - 2 max(t, 0) = -|t|
  softplus = fma(above, broadcast(0.693147181f), log1p_of(e));
  sigmoid = select((Ints)(t > zero()), broadcast(1.0f), e) / add(broadcast(1.0f), e);
}

template <bool COEFFICIENTS, bool RAISED>
struct SigLip {
  float* losses;  // [rows][LANES]
  float* peaks;   // [rows][LANES]: largest y
  float* coefficients;
  Floats bias;  // with what t is raised by

  CK_INLINE void begin(int64_t) {}
  CK_INLINE void one(Floats y, Floats& loss, Floats& slope) const {
    const Floats t = add(y, bias);
    if (RAISED)
      loss = slope = exp2(t);
    else
      logistic(t, loss, slope);
  }
  CK_INLINE void row(int r, int64_t, Floats y0, Floats y1) {
    Floats l0, l1, c0, c1;
    one(y0, l0, c0);
    one(y1, l1, c1);
    float* of_row = losses + r * LANES;
    float* peak = peaks + r * LANES;
    store(of_row, add(load(of_row), add(l0, l1)));
    store(peak, maximum(load(peak), maximum(y0, y1)));
    if (!COEFFICIENTS) return;
    store(coefficients + r * BLOCK_STRIDE, c0);
    store(coefficients + r * BLOCK_STRIDE + LANES, c1);
  }
  CK_INLINE void end(int64_t) {
    if (COEFFICIENTS) coefficients += NR;
  }
};

// The sum of a block's coefficients: short sums in lanes, the rest in double.
static double coefficient_sum(const Block& block, const float* coefficients) {
  double total = 0.0;
  const int64_t covered = (block.col_last - block.col_first + NR - 1) / NR * NR;
  for (int64_t r = 0; r < block.row_last - block.row_first; ++r) {
    Floats sum = zero();
    for (int64_t c = 0; c < covered; c += LANES) sum = add(sum, load(coefficients + r * BLOCK_STRIDE + c));
    total += sum_lanes(sum);
  }
  return total;
}

template <bool COEFFICIENTS, bool RAISED>
CK_INLINE double sig_lip_blocks(const ContrastPass& pass, float bias, const BlockPair& pair, const Scratch& scratch) {
  double total = 0.0;
  for_blocks(pair, pass.block, [&](const Block& block) {
    SigLip<COEFFICIENTS, RAISED> policy;
    policy.losses = scratch.row_lanes;
    policy.peaks = scratch.row_peaks;
    policy.coefficients = scratch.coefficients;
    policy.bias = broadcast(bias);
    fill(policy.losses, BLOCK_LARGE * LANES, 0.0f);
    fill(policy.peaks, BLOCK_LARGE * LANES, EXCLUDED);
    walk(block, side(pass.rows), side(pass.cols), pass.partner, nullptr, scratch, policy);
    flush_lanes(block, policy.losses, pass.rows.totals);
    alignas(64) float largest[BLOCK_LARGE];
    fold(policy.peaks, block.count, largest, [](Floats a, Floats b) CK_LAMBDA_INLINE { return maximum(a, b); });
    raise_peaks(largest, block.row_first, block.row_last, pass.rows.peaks);
    if (!COEFFICIENTS) return;
    total += coefficient_sum(block, scratch.coefficients);
    apply_both(pass, block, scratch);
  });
  return total;
}

// Adds to pass.rows.totals and raises pass.rows.peaks; with pass.rows.sums the coefficients are applied, and their sum is returned.
double sig_lip(const ContrastPass& pass, float bias, float raised, const BlockPair& pair, const Scratch& scratch) {
  const bool coefficients = pass.rows.sums != nullptr || pass.cols.sums != nullptr;
  if (raised > 0.0f)
    return coefficients ? sig_lip_blocks<true, true>(pass, bias + raised, pair, scratch)
                        : sig_lip_blocks<false, true>(pass, bias + raised, pair, scratch);
  return coefficients ? sig_lip_blocks<true, false>(pass, bias, pair, scratch) : sig_lip_blocks<false, false>(pass, bias, pair, scratch);
}

}  // namespace CK_ISA
}  // namespace ck
