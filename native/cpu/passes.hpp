// The passes of the losses over one pair of blocks: policies for walk(), and the functions of the kernel table.
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
  CK_INLINE void row(int r, Floats e0, Floats e1) {
    c0 = add(c0, e0);
    c1 = add(c1, e1);
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
  CK_INLINE void row(int r, Floats y0, Floats y1) {
    c0 = maximum(c0, y0);
    c1 = maximum(c1, y1);
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

// NT-Xent forward: e = 2^(y - shift) into the sums of both rows.
template <bool PEAKS>
struct NtXentForward {
  LaneSums sums;
  LanePeaks peaks;
  Floats shift;

  CK_INLINE void begin(int64_t c) {
    sums.begin(c);
    if (PEAKS) peaks.begin(c);
  }
  CK_INLINE void row(int r, int64_t, Floats y0, Floats y1) {
    if (PEAKS) peaks.row(r, y0, y1);
    sums.row(r, exp2(sub(y0, shift)), exp2(sub(y1, shift)));
  }
  CK_INLINE void end(int64_t c) {
    sums.end(c);
    if (PEAKS) peaks.end(c);
  }
};

template <bool PEAKS>
CK_INLINE void nt_xent_forward_blocks(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_blocks(pair, pass.block, [&](const Block& block) {
    NtXentForward<PEAKS> policy;
    policy.shift = broadcast(pass.shift);
    policy.sums.rows = scratch.row_lanes;
    policy.sums.cols = scratch.col_lanes;
    policy.sums.clear(block.count, BLOCK_LARGE);
    policy.peaks.rows = scratch.row_peaks;
    policy.peaks.cols = scratch.col_peaks;
    if (PEAKS) policy.peaks.clear(block.count, BLOCK_LARGE);
    walk(block, *pass.layout, pass.left, *pass.layout, pass.right, pass.partner, pass.positive_peaks, scratch.tile, policy);
    policy.sums.flush_rows(block, pass.row_sums);
    policy.sums.flush_cols(block, pass.row_sums);
    if (PEAKS) policy.peaks.flush(block, pass.row_peaks);
  });
}

void nt_xent_forward(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  if (pass.row_peaks != nullptr)
    nt_xent_forward_blocks<true>(pass, pair, scratch);
  else
    nt_xent_forward_blocks<false>(pass, pair, scratch);
}

// NT-Xent backward: the coefficient of a pair is e (w_i + w_j), for both rows.
struct NtXentBackward {
  float* coefficients;
  const float* weights;
  int64_t first_col;
  Floats shift, w0, w1;

  CK_INLINE void begin(int64_t c) {
    w0 = load(weights + first_col + c);
    w1 = load(weights + first_col + c + LANES);
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    const Floats w = broadcast(weights[i]);
    float* out = coefficients + r * BLOCK_STRIDE;
    store(out, mul(exp2(sub(y0, shift)), add(w, w0)));
    store(out + LANES, mul(exp2(sub(y1, shift)), add(w, w1)));
  }
  CK_INLINE void end(int64_t) { coefficients += NR; }
};

CK_INLINE bool any_weight(const float* weights, int64_t first, int64_t last) {
  bool any = false;
  for (int64_t i = first; i < last; ++i) any |= weights[i] != 0.0f;
  return any;
}

void nt_xent_backward(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_blocks(pair, pass.block, [&](const Block& block) {
    if (!any_weight(pass.weights, block.row_first, block.row_last) && !any_weight(pass.weights, block.col_first, block.col_last)) return;
    NtXentBackward policy;
    policy.coefficients = scratch.coefficients;
    policy.weights = pass.weights;
    policy.first_col = block.col_first;
    policy.shift = broadcast(pass.shift);
    walk(block, *pass.layout, pass.left, *pass.layout, pass.right, pass.partner, nullptr, scratch.tile, policy);
    apply(block, *pass.layout, pass.left, pass.sums, *pass.layout, pass.left, pass.sums, scratch.coefficients);
  });
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

void nt_xent_repair_forward(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_repairs(pass, pair, [&](const Block& block) {
    RepairForward policy;
    policy.own_shift = pass.own_shift;
    policy.sums.rows = scratch.row_lanes;
    policy.sums.cols = scratch.col_lanes;
    policy.sums.clear(block.count, BLOCK_LARGE);
    walk(block, *pass.layout, pass.left, *pass.layout, pass.right, pass.partner, nullptr, scratch.tile, policy);
    policy.sums.flush_rows(block, pass.row_sums);
  });
}

// The coefficient of a repaired row with any other: e w_i, applied to both.
struct RepairBackward {
  float* coefficients;
  const float* weights;
  const float* own_shift;

  CK_INLINE void begin(int64_t) {}
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    const Floats shift = broadcast(own_shift[i]), w = broadcast(weights[i]);
    float* out = coefficients + r * BLOCK_STRIDE;
    store(out, mul(exp2(sub(y0, shift)), w));
    store(out + LANES, mul(exp2(sub(y1, shift)), w));
  }
  CK_INLINE void end(int64_t) { coefficients += NR; }
};

void nt_xent_repair_backward(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_repairs(pass, pair, [&](const Block& block) {
    RepairBackward policy;
    policy.coefficients = scratch.coefficients;
    policy.weights = pass.weights;
    policy.own_shift = pass.own_shift;
    walk(block, *pass.layout, pass.left, *pass.layout, pass.right, pass.partner, nullptr, scratch.tile, policy);
    apply(block, *pass.layout, pass.left, pass.sums, *pass.layout, pass.left, pass.sums, scratch.coefficients);
  });
}

// Uniformity: e = 2^(y - shift [- bias_i - bias_j]), its total, as the coefficient of the pair, and summed over rows.
template <bool BIAS, bool COEFFICIENTS, bool ROW_SUMS>
struct Uniformity {
  LaneSums sums;
  float* coefficients;
  const float* bias;
  int64_t first_col;
  Floats shift, b0, b1, total;
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
    y0 = sub(y0, shift);
    y1 = sub(y1, shift);
    const Floats e0 = exp2(y0), e1 = exp2(y1);
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

template <bool BIAS, bool COEFFICIENTS, bool ROW_SUMS>
CK_INLINE double uniformity_blocks(const UniformityPass& pass, const BlockPair& pair, const Scratch& scratch) {
  double total = 0.0;
  for_blocks(pair, pass.block, [&](const Block& block) {
    Uniformity<BIAS, COEFFICIENTS, ROW_SUMS> policy;
    policy.sums.rows = scratch.row_lanes;
    policy.sums.cols = scratch.col_lanes;
    if (ROW_SUMS) policy.sums.clear(block.count, BLOCK_LARGE);
    policy.coefficients = scratch.coefficients;
    policy.bias = pass.bias;
    policy.first_col = block.col_first;
    policy.shift = broadcast(pass.shift);
    walk(block, *pass.layout, pass.left, *pass.layout, pass.right, nullptr, nullptr, scratch.tile, policy);
    total += policy.sum;
    if (ROW_SUMS) {
      policy.sums.flush_rows(block, pass.row_sums);
      policy.sums.flush_cols(block, pass.row_sums);
    }
    if (COEFFICIENTS) apply(block, *pass.layout, pass.left, pass.sums, *pass.layout, pass.left, pass.sums, scratch.coefficients);
  });
  return total;
}

double uniformity(const UniformityPass& pass, const BlockPair& pair, const Scratch& scratch) {
  if (pass.sums == nullptr)
    return pass.bias == nullptr ? uniformity_blocks<false, false, false>(pass, pair, scratch)
                                : uniformity_blocks<true, false, false>(pass, pair, scratch);
  if (pass.row_sums != nullptr) return uniformity_blocks<true, true, true>(pass, pair, scratch);
  return pass.bias == nullptr ? uniformity_blocks<false, true, false>(pass, pair, scratch)
                              : uniformity_blocks<true, true, false>(pass, pair, scratch);
}

// y_ii / 2 of rows [first, last), by the same arithmetic as every other y: the diagonal of the tiles that hold it.
void half_squares(const Layout& layout, const float* left, const float* right, int64_t first, int64_t last, float* tile, float* out) {
  for (int64_t row = first; row < last; row += MR) {
    const float* rows = left + row / GROUP * layout.group_stride + row % GROUP * NR;
    for (int64_t col = row / NR * NR; col < row + MR; col += NR) {
      stored_dot_tile(rows, right + col / NR * layout.panel_stride, layout.cols, tile);
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
    walk(block, *pass.layout, pass.left, *pass.layout, pass.right, nullptr, nullptr, scratch.tile, policy);
  });
  return max_lanes(policy.peak);
}

// The stored cosine matrix: a block is computed into cache, then copied to its place and, mirrored, to the other half.
struct CosineStore {
  float* values;

  CK_INLINE void begin(int64_t) {}
  CK_INLINE void row(int r, int64_t, Floats y0, Floats y1) {
    store(values + r * BLOCK_STRIDE, y0);
    store(values + r * BLOCK_STRIDE + LANES, y1);
  }
  CK_INLINE void end(int64_t) { values += NR; }
};

void cosine_store(const CosinePass& pass, const BlockPair& pair, const Scratch& scratch) {
  const int64_t stride = pass.y_layout->rows;
  for_blocks(pair, pass.block, [&](const Block& found) {
    Block block = found;
    const bool mirrored = pass.mirror && block.row_first != block.col_first;
    block.triangle = block.diagonal = false;
    CosineStore policy;
    policy.values = scratch.coefficients;
    walk(block, *pass.x_layout, pass.left, *pass.y_layout, pass.right, nullptr, nullptr, scratch.tile, policy);
    const int64_t width = block.col_last - block.col_first;
    for (int64_t row = block.row_first; row < block.row_last; ++row) {
      const float* in = scratch.coefficients + (row - block.row_first) * BLOCK_STRIDE;
      float* out = pass.out + row * stride + block.col_first;
      for (int64_t c = 0; c < width; ++c) out[c] = in[c];
    }
    if (!mirrored) return;
    for (int64_t col = block.col_first; col < block.col_last; ++col) {
      const float* in = scratch.coefficients + (col - block.col_first);
      float* out = pass.out + col * stride + block.row_first;
      for (int64_t r = 0; r < block.row_last - block.row_first; ++r) out[r] = in[r * BLOCK_STRIDE];
    }
  });
}

// Applies a block of a given matrix to both sides. Returns its largest magnitude, NaN if it holds a non-finite value.
float cosine_apply(const ApplyPass& pass, const BlockPair& pair, const Scratch& scratch) {
  const int64_t stride = pass.y_layout->rows;
  Floats peak = zero(), poison = zero();
  for_blocks(pair, pass.block, [&](const Block& block) {
    const Floats scale = broadcast(pass.scale);
    const int64_t width = block.col_last - block.col_first;
    const int64_t covered = (width + NR - 1) / NR * NR;
    for (int64_t r = 0; r < block.count * GROUP; ++r) {
      float* out = scratch.coefficients + r * BLOCK_STRIDE;
      int64_t c = 0;
      if (block.row_first + r < block.row_last) {
        const float* in = pass.upstream + (block.row_first + r) * stride + block.col_first;
        const auto take = [&](Floats g, float* to) CK_LAMBDA_INLINE {
          peak = maximum(peak, maximum(g, sub(zero(), g)));
          poison = add(poison, mul(g, zero()));
          store(to, mul(g, scale));
        };
        for (; c + LANES <= width; c += LANES) take(load(in + c), out + c);
        if (c < width) {
          alignas(64) float tail[LANES] = {};
          for (int64_t k = c; k < width; ++k) tail[k - c] = in[k];
          take(load(tail), out + c);
          c += LANES;
        }
      }
      for (; c < covered; ++c) out[c] = 0.0f;
    }
    apply(block, *pass.x_layout, pass.x_left, pass.x_sums, *pass.y_layout, pass.y_left, pass.y_sums, scratch.coefficients);
  });
  const float bad = sum_lanes(poison);
  return bad == 0.0f ? max_lanes(peak) : bad;
}

}  // namespace CK_ISA
}  // namespace ck
