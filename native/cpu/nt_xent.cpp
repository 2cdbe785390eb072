// NT-Xent on the CPU: pack, forward pass over half of S, the rows' losses in double, backward pass, gradients.
//
// With y_ij = s_ij log2(e) / temperature, every pass over pairs takes e_ij = 2^(y_ij - shift) with one fixed shift. Rows whose
// sum of negatives N_i falls under the floor (tile_sizes.hpp) are repaired: the forward pass noted their largest y, and a second
// pass takes their terms relative to it. Their weight in the main backward pass is 0, and a repair pass adds what is theirs.
//
// In bfloat16 the problem is that of the rounded unit rows, taken as they are (RoundedRows); only the gradients are then carried on to
// the rows they came from.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/call.hpp"
#include "cpu/losses.hpp"
#include "cpu/rounded_rows.hpp"
#include "policies/pair_policy.hpp"

namespace ck {
namespace {

constexpr int64_t ROWS_PER_JOB = 128;
// All weights are below 2^-SMALL_WEIGHT: they are scaled up by a power of two, so that gradients near the smallest float32
// numbers keep their digits in the sums.
constexpr int SMALL_WEIGHT = 30;

// Totals over the rows of one job.
struct RowTotals {
  double loss, positive, largest_probability;
  int64_t hits;
};

struct Buffers {
  Buffers(Arena& arena, const ck_matrix& z, bool gradients, const Call& call, int threads)
      : packed(arena, z, call.kernels().width, call.bfloat16() == nullptr ? layouts(call, gradients) : NO_LAYOUTS,
               call.options().stats != 0),
        rounded(arena, packed.layout, gradients, call.bfloat16()),
        scratch(arena, threads, call.bfloat16() != nullptr),
        finish(arena, z.rows, z.cols, threads),
        side(job_rows(z.rows)),
        jobs(arena.take<PairJob>(Schedule::job_count(z.rows, -1, side))),
        turns(arena.take<std::atomic<uint32_t>>(Schedule::turn_count(z.rows, -1, side))) {
    const int64_t rows = packed.layout.padded_rows;
    sums = gradients ? arena.take<float>(grouped_floats(packed.layout)) : nullptr;
    partner = arena.take<int32_t>(rows);
    row_sums = arena.take<double>(rows);
    positive = arena.take<double>(rows);
    row_peaks = arena.take<float>(rows);
    positive_peaks = arena.take<float>(rows);
    loss = arena.take<double>(rows);
    log_sum_exp = arena.take<double>(rows);
    probability = arena.take<double>(rows);
    weights = arena.take<float>(rows);
    repair_weights = arena.take<float>(rows);
    own_shift = arena.take<float>(rows);
    active = arena.take<uint8_t>(rows / GROUP);
    partial = arena.take<RowTotals>(job_count(z.rows, ROWS_PER_JOB));
  }

  Packed packed;
  RoundedRows rounded;
  ScratchSet scratch;
  Gradient finish;
  int64_t side;  // rows of a job
  PairJob* jobs;
  std::atomic<uint32_t>* turns;
  float* sums;
  int32_t* partner;
  double* row_sums;  // N_i relative to the row's shift
  double* positive;  // s_ip
  float* row_peaks;
  float* positive_peaks;
  double* loss;
  double* log_sum_exp;
  double* probability;    // q_i, of the negatives together
  float* weights;         // q_i / N_i
  float* repair_weights;  // the same, of repaired rows
  float* own_shift;
  uint8_t* active;
  RowTotals* partial;
};

double multiply_adds(int64_t rows, int64_t cols, bool gradients) {
  return 0.5 * static_cast<double>(rows) * static_cast<double>(rows) * static_cast<double>(cols) * (gradients ? 4 : 1);
}

// What does not depend on the matrix being numbers: a single pair has nothing to compare with. In float32 whatever the precision.
void single_pair(const ck_matrix& z, const Call& call, float* per_row, float* row_log_sum_exp, float* gradient, ck_result& result) {
  double norms[2];
  for (int row = 0; row < 2; ++row) {
    NormJob job = {z.data, z.cols, row, row + 1, norms, -1};
    call.kernels().norms(&job);
    if (job.bad_row >= 0) fail_non_finite(z.data, z.cols, row, 0);
  }
  double s = call.kernels().dot(z.data, z.data + z.cols, z.cols);
  if (call.normalize()) s = norms[0] > 0.0 && norms[1] > 0.0 ? s / norms[0] / norms[1] : 0.0;
  const double logit = s / call.options().temperature;
  if (std::fabs(logit) > LARGEST_BOUND)
    throw Failure{CK_OUT_OF_RANGE, 0, 0, -1, "products of rows, scaled by temperature or logit scale, do not fit float32"};
  for (int row = 0; row < 2; ++row) {
    if (per_row != nullptr) per_row[row] = 0.0f;
    if (row_log_sum_exp != nullptr) row_log_sum_exp[row] = static_cast<float>(logit);
  }
  if (gradient != nullptr) std::memset(gradient, 0, sizeof(float) * 2 * static_cast<size_t>(z.cols));
  result.loss = result.temperature_gradient = 0.0;
  result.skipped_rows = 2;
}

class NtXent {
 public:
  NtXent(Call& call, Buffers& buffers, const ck_matrix& z, int threads)
      : call_(call),
        b_(buffers),
        bfloat16_(call.bfloat16()),
        kernels_(bfloat16_ != nullptr ? bfloat16_->nt_xent : call.kernels().nt_xent),
        z_({bfloat16_ != nullptr ? buffers.rounded.rows : z.data, z.rows, z.cols}),
        unit_(call.normalize() && bfloat16_ == nullptr),
        rows_(z.rows),
        threads_(threads),
        schedule_(z.rows, -1, b_.side, b_.jobs, b_.turns) {}

  void run(int32_t pairs, float* per_row, float* row_log_sum_exp, float* gradient, ck_result& result) {
    const double temperature = call_.options().temperature;
    const double scale = bfloat16_ != nullptr ? 1.0 : std::sqrt(LOG2_E / temperature);
    const PairLayout layout = {static_cast<int>(rows_), pairs == CK_PAIRS_INTERLEAVED ? PairLayout::kInterleaved : PairLayout::kHalves};
    const auto prepare = [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        b_.partner[i] = i < rows_ ? layout.positive(static_cast<int>(i)) : -1;
        b_.row_sums[i] = 0.0;
        b_.row_peaks[i] = EXCLUDED;
        b_.weights[i] = 0.0f;
      }
    };
    if (bfloat16_ != nullptr)
      pack_rounded(call_, threads_, b_.packed, b_.rounded, 0, prepare);
    else
      pack(call_, threads_, b_.packed, scale, nullptr, 0, prepare);
    const double largest = unit_ ? 1.0 : b_.packed.largest_norm * b_.packed.largest_norm;
    const double bound = largest * LOG2_E / temperature;  // of |y|
    if (!(bound <= LARGEST_BOUND))
      throw Failure{CK_OUT_OF_RANGE, 0, -1, -1, "products of rows, scaled by temperature or logit scale, do not fit float32"};
    shift_ = bound <= UNSHIFTED_BOUND ? 0.0f : static_cast<float>(fixed_shift(bound));
    may_underflow_ = 2.0 * bound > SHIFT_HEADROOM - ROW_SUM_FLOOR;
    forward();
    if (may_underflow_) repair_sums();
    rows();
    if (gradient != nullptr) backward();
    write(per_row, row_log_sum_exp, gradient, scale, largest, result);
  }

 private:
  NtXentPass pass() const {
    NtXentPass pass = {};
    pass.sums_layout = &b_.packed.layout;
    pass.layout = bfloat16_ != nullptr ? &b_.rounded.words : &b_.packed.layout;
    pass.panels = bfloat16_ != nullptr ? b_.rounded.panels : b_.packed.panels;
    pass.grouped = bfloat16_ != nullptr ? b_.rounded.grouped : b_.packed.grouped;
    pass.applied = bfloat16_ != nullptr ? b_.rounded.pairs : b_.packed.grouped;
    pass.scale = static_cast<float>(LOG2_E / call_.options().temperature);
    pass.sums = b_.sums;
    pass.partner = b_.partner;
    pass.row_sums = b_.row_sums;
    pass.shift = shift_;
    pass.block = static_cast<int32_t>(block_rows(rows_));
    pass.active = b_.active;
    pass.own_shift = b_.own_shift;
    return pass;
  }

  void forward() {
    const bool peaks = may_underflow_ || call_.options().stats != 0;
    NtXentPass forward = pass();
    if (peaks) {
      forward.row_peaks = b_.row_peaks;
      forward.positive_peaks = b_.positive_peaks;
    }
    call_.pairs(
        threads_, schedule_, [&](const BlockPair& pair, int64_t, int slot) { kernels_.forward(forward, pair, b_.scratch.of(slot)); },
        job_count(rows_, ROWS_PER_JOB), [&](int64_t job, int) { positives(job); });
  }

  // s_ip of the rows of a job, in double; each pair once.
  void positives(int64_t job) {
    const int64_t last = std::min(rows_, (job + 1) * ROWS_PER_JOB);
    for (int64_t i = job * ROWS_PER_JOB; i < last; ++i) {
      const int64_t p = b_.partner[i];
      if (p < i) continue;
      double s = call_.kernels().dot(z_.data + i * z_.cols, z_.data + p * z_.cols, z_.cols);
      if (unit_) {
        const double a = b_.packed.norms[i], b = b_.packed.norms[p];
        s = a > 0.0 && b > 0.0 ? s / a / b : 0.0;
      }
      b_.positive[i] = b_.positive[p] = s;
    }
  }

  // Sums that fell under the floor, again and relative to the row's own largest term.
  void repair_sums() {
    const double floor = std::ldexp(1.0, static_cast<int>(ROW_SUM_FLOOR));
    repairs_ = false;
    for (int64_t i = 0; i < b_.packed.layout.padded_rows; ++i) {
      const bool flagged = i < rows_ && b_.row_sums[i] < floor;
      if (i % GROUP == 0) b_.active[i / GROUP] = 0;
      b_.own_shift[i] = flagged ? b_.row_peaks[i] : 3e38f;
      if (!flagged) continue;
      b_.active[i / GROUP] = 1;
      b_.row_sums[i] = 0.0;
      repairs_ = true;
    }
    if (!repairs_) return;
    const NtXentPass repair = pass();
    call_.pairs(threads_, schedule_,
                [&](const BlockPair& pair, int64_t, int slot) { kernels_.repair_forward(repair, pair, b_.scratch.of(slot)); });
  }

  bool repaired(int64_t i) const { return repairs_ && b_.own_shift[i] < 1e38f; }

  void rows() {
    const int64_t jobs = job_count(rows_, ROWS_PER_JOB);
    call_.each(threads_, jobs, [&](int64_t index, int) {
      RowLossJob job = {};
      job.first = index * ROWS_PER_JOB;
      job.last = std::min(rows_, job.first + ROWS_PER_JOB);
      job.row_sums = b_.row_sums;
      job.own_shift = repairs_ ? b_.own_shift : nullptr;
      job.shift = shift_;
      job.positive = b_.positive;
      job.temperature = call_.options().temperature;
      job.loss = b_.loss;
      job.log_sum_exp = b_.log_sum_exp;
      job.probability = b_.probability;
      job.weights = b_.weights;
      call_.kernels().row_losses(&job);
      int64_t hits = 0;
      for (int64_t i = job.first; call_.options().stats && i < job.last; ++i) hits += b_.positive_peaks[i] > b_.row_peaks[i];
      b_.partial[index] = {job.loss_sum, job.positive_sum, job.largest_probability, hits};
    });
    for (int64_t job = 0; job < jobs; ++job) {
      const RowTotals& totals = b_.partial[job];
      totals_.loss += totals.loss;
      totals_.positive += totals.positive;
      totals_.hits += totals.hits;
      if (totals.largest_probability > totals_.largest_probability) totals_.largest_probability = totals.largest_probability;
    }
  }

  // Weights of the main and of the repair pass, when those that row_losses() left do not do: rows were repaired, or every row is so
  // confident that its weight needs a power of two to be a float32 number.
  void weigh_again() {
    const int64_t padded = b_.packed.layout.padded_rows;
    call_.each(threads_, job_count(padded, ROWS_PER_JOB), [&](int64_t job, int) {
      const int64_t last = std::min(padded, (job + 1) * ROWS_PER_JOB);
      for (int64_t i = job * ROWS_PER_JOB; i < last; ++i) {
        const float weight = i < rows_ ? static_cast<float>(std::ldexp(b_.probability[i], power_) / b_.row_sums[i]) : 0.0f;
        b_.weights[i] = repaired(i) ? 0.0f : weight;
        b_.repair_weights[i] = repaired(i) ? weight : 0.0f;
      }
    });
  }

  void backward() {
    const int exponent = totals_.largest_probability > 0.0 ? std::ilogb(totals_.largest_probability) : 0;
    power_ = exponent < -SMALL_WEIGHT ? -exponent : 0;
    if (repairs_ || power_ != 0) weigh_again();
    NtXentPass backward = pass();
    backward.block = static_cast<int32_t>(applied_block_rows(rows_));
    backward.weights = b_.weights;
    call_.pairs(threads_, schedule_,
                [&](const BlockPair& pair, int64_t, int slot) { kernels_.backward(backward, pair, b_.scratch.of(slot)); });
    if (!repairs_) return;
    backward.weights = b_.repair_weights;
    call_.pairs(threads_, schedule_,
                [&](const BlockPair& pair, int64_t, int slot) { kernels_.repair_backward(backward, pair, b_.scratch.of(slot)); });
  }

  void write(float* per_row, float* row_log_sum_exp, float* gradient, double scale, double largest, ck_result& result) {
    const ck_options& options = call_.options();
    if (gradient != nullptr) {
      FinishJob job = {};
      job.data = z_.data;
      job.layout = &b_.packed.layout;
      job.sums = b_.sums;
      job.norms = b_.packed.norms;
      job.lengths = b_.rounded.lengths;
      job.partner = b_.partner;
      job.probability = b_.probability;
      job.sums_scale = std::ldexp(1.0 / scale, -power_);
      job.scale = options.weight / options.temperature;
      job.normalize = options.normalize;
      job.gradient = gradient;
      // The coefficients of a row are its own, at most 2, and those of other rows, at most 1 each.
      b_.finish.check(call_, threads_, b_.packed, job, (static_cast<double>(rows_) + 2) * std::sqrt(largest), 0);
      const double along = b_.finish.write(call_, threads_, b_.packed, job);
      // <g_i, u_i> summed over rows counts every pair twice: 2 sum_i sum_neg p_ij (s_ij - s_ip).
      result.temperature_gradient = -0.5 * along * options.weight / (options.temperature * options.temperature);
    }
    for (int64_t i = 0; i < rows_; ++i) {
      if (per_row != nullptr) per_row[i] = static_cast<float>(b_.loss[i]);
      if (row_log_sum_exp != nullptr) row_log_sum_exp[i] = static_cast<float>(b_.log_sum_exp[i]);
    }
    result.loss = totals_.loss;
    if (!options.stats) return;
    const double count = static_cast<double>(rows_);
    result.positive_similarity = totals_.positive / count;
    result.accuracy = static_cast<double>(totals_.hits) / count;
    result.negative_similarity = negative_similarity();
  }

  // Mean over ordered pairs that are not a row with itself or its positive: |sum_i u_i|^2 counts every pair.
  double negative_similarity() const {
    const int64_t jobs = job_count(b_.packed.layout.padded_rows, PACK_ROWS);
    double all = 0.0, self = 0.0;
    for (int64_t k = 0; k < z_.cols; ++k) {
      double sum = 0.0;
      for (int64_t job = 0; job < jobs; ++job) sum += b_.packed.column_sums[job * z_.cols + k];
      all += sum * sum;
    }
    for (int64_t i = 0; i < rows_; ++i) {
      const double norm = b_.packed.norms[i];
      self += !unit_ ? norm * norm : norm > 0.0 ? 1.0 : 0.0;
    }
    const double count = static_cast<double>(rows_);
    return (all - self - totals_.positive) / (count * (count - 2));
  }

  Call& call_;
  Buffers& b_;
  const Bfloat16Table* bfloat16_;
  const NtXentTable& kernels_;
  const ck_matrix z_;  // in bfloat16 the rounded rows
  const bool unit_;    // similarities are of z_ divided by its norms
  int64_t rows_;
  int threads_;
  Schedule schedule_;
  float shift_ = 0.0f;
  bool may_underflow_ = false;
  bool repairs_ = false;
  int power_ = 0;
  RowTotals totals_ = {};
};

}  // namespace

void nt_xent(const ck_matrix& z, int32_t pairs, const ck_options& options, float* per_row, float* row_log_sum_exp, float* gradient,
             ck_result& result) {
  Call call(options, true);
  if (z.rows == 2) return single_pair(z, call, per_row, row_log_sum_exp, gradient, result);
  const int threads = call.threads_for(multiply_adds(z.rows, z.cols, gradient != nullptr));
  Workspace workspace(nt_xent_bytes(z.rows, z.cols, gradient != nullptr, options));
  Arena arena(workspace.data());
  Buffers buffers(arena, z, gradient != nullptr, call, threads);
  NtXent(call, buffers, z, threads).run(pairs, per_row, row_log_sum_exp, gradient, result);
}

int64_t nt_xent_bytes(int64_t rows, int64_t cols, bool gradients, const ck_options& options) {
  Call call(options, true);
  if (rows == 2) return 0;
  Arena arena(nullptr);
  const ck_matrix z = {nullptr, rows, cols};
  Buffers buffers(arena, z, gradients, call, call.threads_for(multiply_adds(rows, cols, gradients)));
  return Workspace::rounded(arena.used());
}

}  // namespace ck
