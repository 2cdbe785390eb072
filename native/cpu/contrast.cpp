// See contrast.hpp.
#include "cpu/contrast.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace ck {
namespace {

constexpr int64_t ROWS_PER_JOB = PACK_ROWS;

}  // namespace

ContrastArrays::ContrastArrays(Arena& arena, int64_t padded) {
  totals = arena.take<double>(padded);
  peaks = arena.take<float>(padded);
  weights = arena.take<float>(padded);
  repair_weights = arena.take<float>(padded);
  own_shift = arena.take<float>(padded);
}

void ContrastArrays::clear(int64_t padded) const {
  std::fill_n(totals, padded, 0.0);
  std::fill_n(peaks, padded, EXCLUDED);
  std::fill_n(weights, padded, 0.0f);
  std::fill_n(repair_weights, padded, 0.0f);
  std::fill_n(own_shift, padded, NO_REPAIR);
}

ContrastBuffers::ContrastBuffers(Arena& arena, const Packed& row_matrix, const Packed& col_matrix, bool tally)
    : block(block_rows(std::max(row_matrix.layout.rows, col_matrix.layout.rows))),
      job(job_rows(std::max(row_matrix.layout.rows, col_matrix.layout.rows))),
      rows(arena, row_matrix.layout.padded_rows),
      cols(arena, &row_matrix == &col_matrix ? 0 : col_matrix.layout.padded_rows) {
  const int64_t other = &row_matrix == &col_matrix ? -1 : col_matrix.layout.rows;
  jobs = arena.take<PairJob>(Schedule::job_count(row_matrix.layout.rows, other, job));
  turns = arena.take<std::atomic<uint32_t>>(Schedule::turn_count(row_matrix.layout.rows, other, job));
  similarities = tally ? arena.take<double>(row_matrix.layout.padded_rows) : nullptr;
  counts = tally ? arena.take<double>(row_matrix.layout.padded_rows) : nullptr;
}

Contrast::Contrast(Call& call, int threads, const ScratchSet& scratch, const ContrastBuffers& buffers, const ContrastPairs& pairs)
    : call_(call),
      threads_(threads),
      scratch_(scratch),
      b_(buffers),
      pairs_(pairs),
      schedule_(pairs.rows.layout.rows, pairs.itself() ? -1 : pairs.cols.layout.rows, buffers.job, buffers.jobs, buffers.turns) {
  b_.rows.clear(pairs.rows.layout.padded_rows);
  if (!pairs.itself()) b_.cols.clear(pairs.cols.layout.padded_rows);
  if (b_.similarities != nullptr) {
    std::fill_n(b_.similarities, pairs.rows.layout.padded_rows, 0.0);
    std::fill_n(b_.counts, pairs.rows.layout.padded_rows, 0.0);
  }
}

ContrastPass Contrast::pass() const {
  const auto side = [](const Packed& packed, const ContrastArrays& arrays, const int32_t* labels) {
    ContrastSide side = {};
    side.layout = &packed.layout;
    side.panels = packed.panels;
    side.grouped = packed.grouped;
    side.totals = arrays.totals;
    side.weights = arrays.weights;
    side.own_shift = arrays.own_shift;
    side.labels = labels;
    return side;
  };
  ContrastPass pass = {};
  pass.rows = side(pairs_.rows, b_.rows, pairs_.row_labels);
  pass.cols = side(pairs_.cols, cols(), pairs_.col_labels);
  if (!pairs_.column_sums) pass.cols.totals = nullptr;
  pass.partner = pairs_.partner;
  pass.owned = pairs_.owned;
  pass.mask = pairs_.mask;
  pass.guide = pairs_.guide;
  pass.spans = pairs_.spans;
  pass.shift = shift_;
  pass.block = static_cast<int32_t>(b_.block);
  return pass;
}

template <class Kernel>
void Contrast::run(const ContrastPass& pass, Kernel kernel) {
  call_.pairs(threads_, schedule_, [&](const BlockPair& pair, int64_t, int slot) { kernel(pass, pair, scratch_.of(slot)); });
}

void Contrast::forward(double bound, bool peaks) {
  shift_ = static_cast<float>(fixed_shift(bound));
  const bool may_underflow = 2.0 * bound > SHIFT_HEADROOM - ROW_SUM_FLOOR;
  peaks_ = peaks || may_underflow || pairs_.masked();
  ContrastPass forward = pass();
  if (peaks_) {
    forward.rows.peaks = b_.rows.peaks;
    forward.cols.peaks = cols().peaks;
  }
  forward.similarities = b_.similarities;
  forward.counts = b_.counts;
  run(forward, call_.kernels().contrast.forward);
  if (!may_underflow) return;
  repairs_ = flag(b_.rows, pairs_.rows.layout.rows);
  if (!pairs_.itself() && pairs_.column_sums && flag(b_.cols, pairs_.cols.layout.rows)) repairs_ = true;
  if (repairs_) run(pass(), call_.kernels().contrast.repair_forward);
}

// Marks the rows whose sum fell under the floor, and clears it.
bool Contrast::flag(const ContrastArrays& side, int64_t rows) const {
  const double floor = std::ldexp(1.0, static_cast<int>(ROW_SUM_FLOOR));
  bool any = false;
  for (int64_t i = 0; i < rows; ++i) {
    if (!(side.totals[i] < floor) || side.peaks[i] == EXCLUDED) continue;
    side.own_shift[i] = side.peaks[i];
    side.totals[i] = 0.0;
    any = true;
  }
  return any;
}

double Contrast::log_sum(const ContrastArrays& side, int64_t i) const {
  const double total = side.totals[i];
  if (!(total > 0.0)) return -INFINITY;
  const float own = side.own_shift[i];
  return std::log(total) + LN_2 * (own == NO_REPAIR ? shift_ : own);
}

void Contrast::weigh(const ContrastArrays& side, int64_t i, double factor, double log_total) const {
  if (!(side.totals[i] > 0.0)) return;
  const float own = side.own_shift[i];
  const bool repaired = own != NO_REPAIR;
  (repaired ? side.repair_weights : side.weights)[i] = static_cast<float>(factor * std::exp(LN_2 * (repaired ? own : shift_) - log_total));
}

void Contrast::backward(float* row_sums, float* col_sums) {
  ContrastPass backward = pass();
  backward.block = static_cast<int32_t>(applied_block_rows(std::max(pairs_.rows.layout.rows, pairs_.cols.layout.rows)));
  backward.rows.sums = row_sums;
  backward.cols.sums = col_sums;
  run(backward, call_.kernels().contrast.backward);
  if (!repairs_) return;
  backward.rows.weights = b_.rows.repair_weights;
  backward.cols.weights = cols().repair_weights;
  run(backward, call_.kernels().contrast.repair_backward);
}

PairGradient::PairGradient(Arena& arena, int64_t rows, int64_t cols, int threads)
    : jobs_(job_count(rows, ROWS_PER_JOB)),
      cols_(cols),
      rows_(arena.take<double>(cols * threads)),
      partials_(arena.take<double>(jobs_)),
      overflow_(arena.take<int64_t>(jobs_)) {}

FinishPairsJob PairGradient::job(const Packed& packed, const float* sums) const {
  FinishPairsJob job = {};
  job.data = packed.matrix.data;
  job.layout = &packed.layout;
  job.sums = sums;
  job.norms = packed.norms;
  return job;
}

void PairGradient::check(Call& call, int threads, const Packed& packed, FinishPairsJob job, double largest, int32_t argument) const {
  const double unit = call.normalize() ? 1.0 / packed.smallest_norm : 1.0;
  if (2.0 * largest * std::fabs(job.scale) * unit < LARGEST_FLOAT) return;  // false for NaN, too: then look
  job.check = 1;
  call.each(threads, jobs_, [&](int64_t index, int slot) {
    FinishPairsJob part = job;
    part.first = index * ROWS_PER_JOB;
    part.last = std::min(part.first + ROWS_PER_JOB, packed.layout.rows);
    part.scratch_row = rows_ + slot * cols_;
    call.kernels().contrast.finish_pairs(&part);
    overflow_[index] = part.overflow;
  });
  for (int64_t index = 0; index < jobs_; ++index)
    if (overflow_[index] >= 0) throw Failure{CK_GRADIENT_OVERFLOW, argument, overflow_[index], -1, ""};
}

double PairGradient::write(Call& call, int threads, const Packed& packed, const FinishPairsJob& job) const {
  // Outputs are being written: from here on the call is not given up.
  parallel_for(threads, jobs_, [&](int64_t index, int slot) {
    FinishPairsJob part = job;
    part.first = index * ROWS_PER_JOB;
    part.last = std::min(part.first + ROWS_PER_JOB, packed.layout.rows);
    part.scratch_row = rows_ + slot * cols_;
    call.kernels().contrast.finish_pairs(&part);
    partials_[index] = part.alignment;
  });
  double sum = 0.0;
  for (int64_t index = 0; index < jobs_; ++index) sum += partials_[index];
  return sum;
}

void group_entries(const int32_t* target, int64_t entries, int64_t targets, int32_t* start, int32_t* order) {
  std::fill_n(start, targets + 1, 0);
  for (int64_t e = 0; e < entries; ++e) ++start[target[e] + 1];
  for (int64_t t = 0; t < targets; ++t) start[t + 1] += start[t];
  // Filling moves each start to the next one's place; afterwards they move back.
  for (int64_t e = 0; e < entries; ++e) order[start[target[e]]++] = static_cast<int32_t>(e);
  for (int64_t t = targets; t > 0; --t) start[t] = start[t - 1];
  start[0] = 0;
}

double all_similarities(const Packed& x, const Packed& y) {
  const auto column_sum = [](const Packed& packed, int64_t k) {
    double sum = 0.0;
    for (int64_t job = 0; job < job_count(packed.layout.padded_rows, PACK_ROWS); ++job)
      sum += packed.column_sums[job * packed.layout.cols + k];
    return sum;
  };
  double all = 0.0;
  for (int64_t k = 0; k < x.layout.cols; ++k) all += column_sum(x, k) * column_sum(y, k);
  return all;
}

}  // namespace ck
