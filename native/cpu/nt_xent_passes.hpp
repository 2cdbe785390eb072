// The passes of NT-Xent over a pair of blocks: forward, backward, and both again for rows that need repair. Products says how the
// operands hold numbers (tile.hpp).
// Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/lane_sums.hpp"

namespace ck {
namespace CK_ISA {

CK_INLINE Side side(const NtXentPass& pass) { return {*pass.layout, pass.panels, pass.grouped}; }

// NT-Xent forward: e = 2^(y - shift) into the sums of both rows.
template <bool PEAKS, bool SHIFTED>
struct NtXentForward {
  LaneSums sums;
  LanePeaks peaks;
  Shift<SHIFTED> shifted;

  CK_INLINE void begin(int64_t c) {
    sums.begin(c);
    if (PEAKS) peaks.begin(c);
  }
  CK_INLINE void row(int r, int64_t, Floats y0, Floats y1) {
    if (PEAKS) peaks.row(r, y0, y1);
    sums.row(r, shifted.exp2(y0), shifted.exp2(y1));
  }
  CK_INLINE void end(int64_t c) {
    sums.end(c);
    if (PEAKS) peaks.end(c);
  }
};

template <class Products, bool PEAKS, bool SHIFTED>
CK_INLINE void nt_xent_forward_blocks(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_blocks(pair, pass.block, [&](const Block& block) {
    NtXentForward<PEAKS, SHIFTED> policy;
    policy.shifted.by = broadcast(pass.shift);
    policy.sums.rows = scratch.row_lanes;
    policy.sums.cols = scratch.col_lanes;
    policy.sums.clear(block.count, BLOCK_LARGE);
    policy.peaks.rows = scratch.row_peaks;
    policy.peaks.cols = scratch.col_peaks;
    if (PEAKS) policy.peaks.clear(block.count, BLOCK_LARGE);
    walk(block, side(pass), side(pass), pass.partner, pass.positive_peaks, scratch, policy, Products::of(pass.scale));
    policy.sums.flush_rows(block, pass.row_sums);
    policy.sums.flush_cols(block, pass.row_sums);
    if (PEAKS) policy.peaks.flush(block, pass.row_peaks);
  });
}

template <class Products>
void nt_xent_forward(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  const bool shifted = pass.shift != 0.0f;
  if (pass.row_peaks != nullptr)
    shifted ? nt_xent_forward_blocks<Products, true, true>(pass, pair, scratch)
            : nt_xent_forward_blocks<Products, true, false>(pass, pair, scratch);
  else
    shifted ? nt_xent_forward_blocks<Products, false, true>(pass, pair, scratch)
            : nt_xent_forward_blocks<Products, false, false>(pass, pair, scratch);
}

// NT-Xent backward: the coefficient of a pair is e (w_i + w_j), for both rows.
template <class Products, bool SHIFTED>
struct NtXentBackward {
  float* coefficients;
  const float* weights;
  int64_t first_col;
  Shift<SHIFTED> shifted;
  Floats w0, w1;

  CK_INLINE void begin(int64_t c) {
    w0 = load(weights + first_col + c);
    w1 = load(weights + first_col + c + LANES);
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    const Floats w = broadcast(weights[i]);
    Products::store_coefficients(coefficients + r * Products::ROW, mul(shifted.exp2(y0), add(w, w0)), mul(shifted.exp2(y1), add(w, w1)));
  }
  CK_INLINE void end(int64_t) { coefficients += NR / Products::PER_WORD; }
};

CK_INLINE bool any_weight(const float* weights, int64_t first, int64_t last) {
  bool any = false;
  for (int64_t i = first; i < last; ++i) any |= weights[i] != 0.0f;
  return any;
}

// Walks a block with a policy that stores coefficients, then applies them to the rows of both sides.
template <class Products, bool REPAIR, class Policy>
CK_INLINE void apply_coefficients(const Block& block, const NtXentPass& pass, const Scratch& scratch, Policy& policy) {
  const Products products = Products::of(pass.scale);
  // Words of two rows, which bfloat16's coefficients are applied to, are no operand of dot products.
  walk<REPAIR, Products::PER_WORD == 1>(block, side(pass), side(pass), pass.partner, nullptr, scratch, policy, products);
  apply(block, *pass.sums_layout, pass.applied, pass.sums, *pass.sums_layout, pass.applied, pass.sums, Products::coefficients(scratch),
        !REPAIR, products, scratch.coefficients);
}

template <class Products, bool SHIFTED>
CK_INLINE void nt_xent_backward_blocks(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_blocks(pair, pass.block, [&](const Block& block) {
    if (!any_weight(pass.weights, block.row_first, block.row_last) && !any_weight(pass.weights, block.col_first, block.col_last))
      return clear_fresh(block, *pass.sums_layout, pass.sums);
    NtXentBackward<Products, SHIFTED> policy;
    policy.coefficients = Products::coefficients(scratch);
    policy.weights = pass.weights;
    policy.first_col = block.col_first;
    policy.shifted.by = broadcast(pass.shift);
    apply_coefficients<Products, false>(block, pass, scratch, policy);
  });
}

template <class Products>
void nt_xent_backward(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  if (pass.shift != 0.0f)
    nt_xent_backward_blocks<Products, true>(pass, pair, scratch);
  else
    nt_xent_backward_blocks<Products, false>(pass, pair, scratch);
}

// Both directions of a pair of blocks with only the groups that hold rows to repair.
template <class Visit>
CK_INLINE void for_repairs(const NtXentPass& pass, const BlockPair& pair, Visit&& visit) {
  const auto select = [&](Block& block) {
    int kept = 0;
    for (int g = 0; g < block.count; ++g)
      if (pass.active[block.row_first / GROUP + g]) block.groups[kept++] = g;
    block.count = kept;
    return kept > 0;
  };
  for_blocks(pair, pass.block, [&](const Block& found) {
    Block block = found;
    block.triangle = false;
    if (select(block)) visit(block);
    if (found.diagonal) return;
    block = found;
    block.next_row = -1;
    block.row_first = found.col_first;
    block.row_last = found.col_last;
    block.col_first = found.row_first;
    block.col_last = found.row_last;
    block.count = static_cast<int>((block.row_last - block.row_first + GROUP - 1) / GROUP);
    if (select(block)) visit(block);
  });
}

// Repair of rows whose sum underflowed: e = 2^(y - own shift of the row), for the row only.
struct RepairForward {
  LaneSums sums;
  const float* own_shift;

  CK_INLINE void begin(int64_t c) { sums.begin(c); }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    const Floats shift = broadcast(own_shift[i]);
    sums.row(r, exp2(sub(y0, shift)), exp2(sub(y1, shift)));
  }
  CK_INLINE void end(int64_t c) { sums.end(c); }
};

template <class Products>
void nt_xent_repair_forward(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_repairs(pass, pair, [&](const Block& block) {
    RepairForward policy;
    policy.own_shift = pass.own_shift;
    policy.sums.rows = scratch.row_lanes;
    policy.sums.cols = scratch.col_lanes;
    policy.sums.clear(block.count, BLOCK_LARGE);
    walk<true>(block, side(pass), side(pass), pass.partner, nullptr, scratch, policy, Products::of(pass.scale));
    policy.sums.flush_rows(block, pass.row_sums);
  });
}

// The coefficient of a repaired row with any other: e w_i, applied to both.
template <class Products>
struct RepairBackward {
  float* coefficients;
  const float* weights;
  const float* own_shift;

  CK_INLINE void begin(int64_t) {}
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    const Floats shift = broadcast(own_shift[i]), w = broadcast(weights[i]);
    Products::store_coefficients(coefficients + r * Products::ROW, mul(exp2(sub(y0, shift)), w), mul(exp2(sub(y1, shift)), w));
  }
  CK_INLINE void end(int64_t) { coefficients += NR / Products::PER_WORD; }
};

template <class Products>
void nt_xent_repair_backward(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_repairs(pass, pair, [&](const Block& block) {
    RepairBackward<Products> policy;
    policy.coefficients = Products::coefficients(scratch);
    policy.weights = pass.weights;
    policy.own_shift = pass.own_shift;
    apply_coefficients<Products, true>(block, pass, scratch, policy);
  });
}

template <class Products>
constexpr NtXentTable nt_xent_table() {
  return {nt_xent_forward<Products>, nt_xent_backward<Products>, nt_xent_repair_forward<Products>, nt_xent_repair_backward<Products>};
}

}  // namespace CK_ISA
}  // namespace ck
