// The passes of losses made of sums of exponentials over the pairs of two matrices, or of one with itself: forward and backward. Both again
// for rows and columns whose sums underflow: contrast_repair.hpp. Included by unit.hpp in the namespace of an instruction set.
//
//   forward    e = 2^(y - shift) into the sum of the row, and of the column where the loss has column sums
//   backward   the coefficient of a pair is e (w_i + w_j), for both rows
#pragma once

#include "cpu/lane_sums.hpp"
#include "cpu/pair_mask.hpp"

namespace ck {
namespace CK_ISA {

CK_INLINE Side side(const ContrastSide& side) { return {*side.layout, side.panels, side.grouped}; }

// What labels leave of a block's pairs. Most blocks of sorted rows have labels of ranges apart, and those of one class have one label.
enum class LeftByLabels { all, some, none };

struct LabelRange {
  int32_t least = INT32_MAX, most = INT32_MIN;
  CK_INLINE void add(int32_t label) {
    least = label < least ? label : least;
    most = label > most ? label : most;
  }
  CK_INLINE bool empty() const { return least > most; }
  CK_INLINE bool is(const LabelRange& other) const { return least == most && other.least == least && other.most == most; }
  CK_INLINE bool meets(const LabelRange& other) const { return least <= other.most && other.least <= most; }
};

CK_INLINE LeftByLabels left_by_labels(const ContrastPass& pass, const Block& block) {
  if (pass.rows.labels == nullptr) return LeftByLabels::all;
  LabelRange rows, cols, owners;
  for (int64_t i = block.row_first; i < block.row_last; ++i) rows.add(pass.rows.labels[i]);
  for (int64_t j = block.col_first; j < block.col_last; ++j) {
    const int32_t label = pass.cols.labels[j];
    if (pass.owned && label < -1)
      owners.add(-2 - label);
    else
      cols.add(label);
  }
  if (owners.empty() && !rows.meets(cols)) return LeftByLabels::all;
  if ((cols.empty() || rows.is(cols)) && !rows.meets(owners)) return LeftByLabels::none;
  return LeftByLabels::some;
}

// for_blocks with what the columns of a block are zero outside of.
template <class Visit>
CK_INLINE void for_contrast_blocks(const ContrastPass& pass, const BlockPair& pair, Visit&& visit) {
  for_blocks(pair, pass.block, [&](const Block& found) {
    if (pass.spans == nullptr) return visit(found);
    Block block = found;
    Span span = pass.spans[block.col_first / PACK_ROWS];
    for (int64_t col = block.col_first + PACK_ROWS; col < block.col_last; col += PACK_ROWS) {
      const Span& next = pass.spans[col / PACK_ROWS];
      span = {smaller(span.first, next.first), -smaller(-span.last, -next.last)};
    }
    block.dim_first = span.first;
    block.dim_last = span.last;
    visit(block);
  });
}

template <bool PEAKS, bool MASKED>
struct ContrastForward {
  LaneSums sums;
  LanePeaks peaks;
  PairMask mask;
  PairTally tally;
  Floats shift;

  CK_INLINE void begin(int64_t c) {
    sums.begin(c);
    if (PEAKS) peaks.begin(c);
    if (MASKED) mask.begin(c);
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    if (MASKED) {
      mask.apply(i, y0, y1);
      tally.row(r, y0, y1);
    }
    if (PEAKS) peaks.row(r, y0, y1);
    sums.row(r, exp2(sub(y0, shift)), exp2(sub(y1, shift)));
  }
  CK_INLINE void end(int64_t c) {
    sums.end(c);
    if (PEAKS) peaks.end(c);
  }
};

// Adds the lanes of each row to totals in double.
static void flush_lanes(const Block& block, const float* lanes, double* totals) {
  alignas(64) float sums[BLOCK_LARGE];
  fold(lanes, block.count, sums, [](Floats a, Floats b) CK_LAMBDA_INLINE { return add(a, b); });
  for (int64_t row = block.row_first; row < block.row_last; ++row) totals[row] += sums[row - block.row_first];
}

static void raise_peaks(const float* found, int64_t first, int64_t last, float* peaks) {
  for (int64_t i = first; i < last; ++i)
    if (found[i - first] > peaks[i]) peaks[i] = found[i - first];
}

// Peaks of the rows, and of the columns where these have sums.
static void flush_peaks(const Block& block, const LanePeaks& found, const ContrastPass& pass) {
  alignas(64) float largest[BLOCK_LARGE];
  fold(found.rows, block.count, largest, [](Floats a, Floats b) CK_LAMBDA_INLINE { return maximum(a, b); });
  raise_peaks(largest, block.row_first, block.row_last, pass.rows.peaks);
  if (pass.cols.totals != nullptr) raise_peaks(found.cols, block.col_first, block.col_last, pass.cols.peaks);
}

// Where a forward policy gathers the sums and peaks of a block.
template <bool PEAKS, class Policy>
CK_INLINE void gather(Policy& policy, const ContrastPass& pass, const Block& block, const Scratch& scratch) {
  policy.shift = broadcast(pass.shift);
  policy.sums.rows = scratch.row_lanes;
  policy.sums.cols = scratch.col_lanes;
  policy.sums.clear(block.count, BLOCK_LARGE);
  policy.peaks.rows = scratch.row_peaks;
  policy.peaks.cols = scratch.col_peaks;
  if (PEAKS) policy.peaks.clear(block.count, BLOCK_LARGE);
}

template <bool PEAKS, bool MASKED>
__attribute__((noinline)) static void contrast_forward_block(const ContrastPass& pass, const Block& block, const Scratch& scratch) {
  ContrastForward<PEAKS, MASKED> policy;
  gather<PEAKS>(policy, pass, block, scratch);
  if (MASKED) {
    policy.mask.set(pass, block, scratch);
    policy.tally.sums = pass.similarities != nullptr ? scratch.coefficients : nullptr;  // not taken by the walk then
    policy.tally.counts = scratch.coefficients + BLOCK_LARGE * LANES;
    if (pass.similarities != nullptr) fill(scratch.coefficients, 2 * BLOCK_LARGE * LANES, 0.0f);
  }
  Scratch free = scratch;
  if (MASKED && policy.tally.sums != nullptr) free.coefficients = nullptr;
  walk<MASKED>(block, side(pass.rows), side(pass.cols), pass.partner, nullptr, free, policy);
  policy.sums.flush_rows(block, pass.rows.totals);
  if (pass.cols.totals != nullptr) policy.sums.flush_cols(block, pass.cols.totals);
  if (PEAKS) flush_peaks(block, policy.peaks, pass);
  if (MASKED && pass.similarities != nullptr) {
    flush_lanes(block, policy.tally.sums, pass.similarities);
    flush_lanes(block, policy.tally.counts, pass.counts);
  }
}

// Under a mutual guide, of one matrix with itself.
struct MutualForward {
  LaneSums sums, similarities, counts;
  LanePeaks peaks;
  PairMask mask;
  Floats shift;

  CK_INLINE void begin(int64_t c) {
    sums.begin(c);
    peaks.begin(c);
    mask.begin(c);
    if (similarities.rows == nullptr) return;
    similarities.begin(c);
    counts.begin(c);
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    Floats of_row[2], of_col[2];
    mask.split(i, y0, y1, of_row, of_col);
    peaks.row(r, of_row[0], of_row[1], of_col[0], of_col[1]);
    const auto e = [&](Floats y) CK_LAMBDA_INLINE { return exp2(sub(y, shift)); };
    sums.row(r, e(of_row[0]), e(of_row[1]), e(of_col[0]), e(of_col[1]));
    if (similarities.rows == nullptr) return;
    const auto in = [](Floats y, Floats value) CK_LAMBDA_INLINE { return select((Ints)(y > broadcast(0.5f * EXCLUDED)), value, zero()); };
    similarities.row(r, in(of_row[0], y0), in(of_row[1], y1), in(of_col[0], y0), in(of_col[1], y1));
    const Floats one = broadcast(1.0f);
    counts.row(r, in(of_row[0], one), in(of_row[1], one), in(of_col[0], one), in(of_col[1], one));
  }
  CK_INLINE void end(int64_t c) {
    sums.end(c);
    peaks.end(c);
    if (similarities.rows == nullptr) return;
    similarities.end(c);
    counts.end(c);
  }
};

__attribute__((noinline)) static void mutual_forward_block(const ContrastPass& pass, const Block& block, const Scratch& scratch) {
  MutualForward policy;
  gather<true>(policy, pass, block, scratch);
  policy.mask.set(pass, block, scratch);
  policy.similarities.rows = nullptr;
  Scratch free = scratch;
  if (pass.similarities != nullptr) {
    free.coefficients = nullptr;  // not taken by the walk then
    policy.similarities.rows = scratch.coefficients;
    policy.counts.rows = policy.similarities.rows + BLOCK_LARGE * LANES;
    policy.similarities.cols = policy.counts.rows + BLOCK_LARGE * LANES;
    policy.counts.cols = policy.similarities.cols + BLOCK_LARGE;
    policy.similarities.clear(block.count, BLOCK_LARGE);
    policy.counts.clear(block.count, BLOCK_LARGE);
  }
  walk<true>(block, side(pass.rows), side(pass.cols), pass.partner, nullptr, free, policy);
  policy.sums.flush_rows(block, pass.rows.totals);
  policy.sums.flush_cols(block, pass.cols.totals);
  flush_peaks(block, policy.peaks, pass);
  if (pass.similarities == nullptr) return;
  policy.similarities.flush_rows(block, pass.similarities);
  policy.similarities.flush_cols(block, pass.similarities);
  policy.counts.flush_rows(block, pass.counts);
  policy.counts.flush_cols(block, pass.counts);
}

template <bool PEAKS, bool MASKED>
CK_INLINE void contrast_forward_blocks(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_contrast_blocks(pass, pair, [&](const Block& block) {
    if constexpr (MASKED) {
      const LeftByLabels left = left_by_labels(pass, block);
      if (left == LeftByLabels::none) return;
      if (pass.guide != nullptr && pass.guide->mutual) return mutual_forward_block(pass, block, scratch);
      const bool all = left == LeftByLabels::all && pass.mask == nullptr && pass.guide == nullptr;
      if (pass.similarities != nullptr || !all) return contrast_forward_block<PEAKS, true>(pass, block, scratch);
    }
    contrast_forward_block<PEAKS, false>(pass, block, scratch);
  });
}

CK_INLINE bool is_masked(const ContrastPass& pass) { return pass.mask != nullptr || pass.guide != nullptr || pass.rows.labels != nullptr; }

// Under a mask peaks are always wanted: they say which rows have a pair at all.
void contrast_forward(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch) {
  if (is_masked(pass))
    contrast_forward_blocks<true, true>(pass, pair, scratch);
  else if (pass.rows.peaks != nullptr)
    contrast_forward_blocks<true, false>(pass, pair, scratch);
  else
    contrast_forward_blocks<false, false>(pass, pair, scratch);
}

template <bool MASKED>
struct ContrastBackward {
  PairMask mask;
  float* coefficients;
  const float* row_weights;
  const float* col_weights;
  int64_t first_col;
  Floats shift, w0, w1;

  CK_INLINE void begin(int64_t c) {
    w0 = load(col_weights + first_col + c);
    w1 = load(col_weights + first_col + c + LANES);
    if (MASKED) mask.begin(c);
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    const Floats w = broadcast(row_weights[i]);
    float* out = coefficients + r * BLOCK_STRIDE;
    if (MASKED && mask.mutual) {
      Floats of_row[2], of_col[2];
      mask.split(i, y0, y1, of_row, of_col);
      store(out, fma(exp2(sub(of_row[0], shift)), w, mul(exp2(sub(of_col[0], shift)), w0)));
      store(out + LANES, fma(exp2(sub(of_row[1], shift)), w, mul(exp2(sub(of_col[1], shift)), w1)));
      return;
    }
    if (MASKED) mask.apply(i, y0, y1);
    store(out, mul(exp2(sub(y0, shift)), add(w, w0)));
    store(out + LANES, mul(exp2(sub(y1, shift)), add(w, w1)));
  }
  CK_INLINE void end(int64_t) { coefficients += NR; }
};

CK_INLINE bool any_nonzero(const float* weights, int64_t first, int64_t last) {
  bool any = false;
  for (int64_t i = first; i < last; ++i) any |= weights[i] != 0.0f;
  return any;
}

CK_INLINE bool has_weights(const ContrastPass& pass, const Block& block) {
  return any_nonzero(pass.rows.weights, block.row_first, block.row_last) || any_nonzero(pass.cols.weights, block.col_first, block.col_last);
}

CK_INLINE void apply_both(const ContrastPass& pass, const Block& block, const Scratch& scratch) {
  apply(block, *pass.rows.layout, pass.rows.grouped, pass.rows.sums, *pass.cols.layout, pass.cols.grouped, pass.cols.sums,
        scratch.coefficients);
}

template <bool MASKED>
__attribute__((noinline)) static void contrast_backward_block(const ContrastPass& pass, const Block& block, const Scratch& scratch) {
  ContrastBackward<MASKED> policy;
  if (MASKED) policy.mask.set(pass, block, scratch);
  policy.coefficients = scratch.coefficients;
  policy.row_weights = pass.rows.weights;
  policy.col_weights = pass.cols.weights;
  policy.first_col = block.col_first;
  policy.shift = broadcast(pass.shift);
  walk<MASKED, true>(block, side(pass.rows), side(pass.cols), pass.partner, nullptr, scratch, policy);
  apply_both(pass, block, scratch);
}

template <bool MASKED>
CK_INLINE void contrast_backward_blocks(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_contrast_blocks(pass, pair, [&](const Block& block) {
    if (!has_weights(pass, block)) return;
    if constexpr (MASKED) {
      const LeftByLabels left = left_by_labels(pass, block);
      if (left == LeftByLabels::none) return;
      const bool all = left == LeftByLabels::all && pass.mask == nullptr && pass.guide == nullptr;
      if (!all) return contrast_backward_block<true>(pass, block, scratch);
    }
    contrast_backward_block<false>(pass, block, scratch);
  });
}

void contrast_backward(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch) {
  if (is_masked(pass))
    contrast_backward_blocks<true>(pass, pair, scratch);
  else
    contrast_backward_blocks<false>(pass, pair, scratch);
}

// Four pairs at a time, so that their chains of dependent additions overlap.
void pair_products(const PairProductJob& job) {
  constexpr int AT_ONCE = 4;
  const int64_t cols = job.row_layout->cols;
  const int64_t block = dot_block(cols);
  for (int64_t first = job.first; first < job.last; first += AT_ONCE) {
    const float* x[AT_ONCE];
    const float* y[AT_ONCE];
    Floats total[AT_ONCE];
    for (int n = 0; n < AT_ONCE; ++n) {
      const int64_t i = smaller(first + n, job.last - 1), j = job.partner[i];
      x[n] = panel_at(*job.row_layout, job.row_panels, i) + i % NR;
      y[n] = panel_at(*job.col_layout, job.col_panels, j) + j % NR;
      total[n] = zero();
    }
    for (int64_t done = 0; done < cols; done += block) {
      Floats sum[AT_ONCE] = {zero(), zero(), zero(), zero()};
      for (int64_t k = done; k < smaller(done + block, cols); ++k)
        for (int n = 0; n < AT_ONCE; ++n) sum[n] = fma(broadcast(x[n][k * NR]), broadcast(y[n][k * NR]), sum[n]);
      for (int n = 0; n < AT_ONCE; ++n) total[n] = done == 0 ? sum[n] : add(total[n], sum[n]);
    }
    for (int n = 0; n < AT_ONCE && first + n < job.last; ++n) {
      alignas(64) float lanes[LANES];
      store(lanes, total[n]);
      job.out[first + n] = lanes[0];
    }
  }
}

}  // namespace CK_ISA
}  // namespace ck
