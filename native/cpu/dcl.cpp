// DCL on the CPU: the 2N rows of both views as one matrix, whose pairs but the positives are one Contrast with itself.
//
//   loss_i = L_i - w_i z_ip,   L_i = log sum over k neither i nor p of exp(z_ik)
//
// A negative has the coefficient exp(z_ik - L_i), the positive -w_i, and the weights, the same for both views, no gradient.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/contrast.hpp"
#include "cpu/losses.hpp"

namespace ck {
namespace {

constexpr int64_t ROWS_PER_JOB = 64;

double multiply_adds(int64_t rows, int64_t cols, bool gradients) {
  return 0.5 * static_cast<double>(rows) * static_cast<double>(rows) * static_cast<double>(cols) * (gradients ? 4 : 1);
}

struct RowTotals {
  double loss, positive;
  int64_t hits;
};

struct Buffers {
  Buffers(Arena& arena, int64_t items, int64_t cols, bool gradients, const Call& call, int threads)
      : views(arena.take<float>(2 * items * cols)),
        packed(arena, {views, 2 * items, cols}, call.kernels().width, layouts(call, gradients), call.options().stats != 0),
        contrast(arena, packed, packed, false),
        scratch(arena, threads),
        finish(arena, 2 * items, cols, threads),
        sums(gradients ? arena.take<float>(grouped_floats(packed.layout)) : nullptr) {
    partner = arena.take<int32_t>(packed.layout.padded_rows);
    positive_peaks = arena.take<float>(packed.layout.padded_rows);
    similarity = arena.take<double>(items);
    weights = arena.take<double>(items);
    pull = arena.take<double>(2 * items);
    log_sums = arena.take<double>(2 * items);
    partial = arena.take<RowTotals>(job_count(2 * items, ROWS_PER_JOB));
  }

  float* views;  // [2 * items, cols]: x, then y
  Packed packed;
  ContrastBuffers contrast;
  ScratchSet scratch;
  PairGradient finish;
  float* sums;
  int32_t* partner;
  float* positive_peaks;
  double* similarity;  // of each item's two views
  double* weights;     // w
  double* pull;        // coefficient of the positive, of both rows of a pair
  double* log_sums;    // L
  RowTotals* partial;
};

class Dcl {
 public:
  Dcl(Call& call, Buffers& buffers, const ck_matrix& x, const ck_matrix& y, int threads)
      : call_(call),
        b_(buffers),
        x_(x),
        y_(y),
        items_(x.rows),
        rows_(2 * x.rows),
        threads_(threads),
        temperature_(call.options().temperature),
        scale_(std::sqrt(LOG2_E / temperature_)),
        contrast_(call, threads, buffers.scratch, buffers.contrast, pairs()) {}

  void run(double weight_sigma, float* per_row, float* row_log_sum_exp, float* gradient_x, float* gradient_y, ck_result& result) {
    const bool gradients = gradient_x != nullptr || gradient_y != nullptr;
    read();
    const double largest = call_.normalize() ? 1.0 : b_.packed.largest_norm * b_.packed.largest_norm;
    const double bound = largest * LOG2_E / temperature_;
    if (!(bound <= LARGEST_BOUND))
      throw Failure{CK_OUT_OF_RANGE, 0, -1, -1, "products of rows, scaled by temperature or logit scale, do not fit float32"};
    contrast_.forward(bound, call_.options().stats != 0);
    similarities();
    weigh(weight_sigma);
    rows();
    if (gradients) {
      contrast_.backward(b_.sums, b_.sums);
      finish(std::sqrt(largest), gradient_x, gradient_y, result);
    }
    const bool alone = items_ == 1;  // nothing to compare with
    for (int64_t i = 0; i < rows_; ++i) {
      const double loss = b_.log_sums[i] - b_.weights[i % items_] * b_.similarity[i % items_] / temperature_;
      if (per_row != nullptr) per_row[i] = alone ? 0.0f : static_cast<float>(loss);
      if (row_log_sum_exp != nullptr) row_log_sum_exp[i] = static_cast<float>(b_.log_sums[i]);
    }
    result.loss = alone ? 0.0 : totals_.loss;
    result.skipped_rows = alone ? rows_ : 0;
    if (call_.options().stats && !alone) statistics(result);
  }

 private:
  ContrastPairs pairs() const {
    ContrastPairs pairs = {b_.packed, b_.packed, true};
    pairs.partner = b_.partner;
    return pairs;
  }

  void read() {
    const int64_t cols = x_.cols;
    call_.each(threads_, job_count(b_.packed.layout.padded_rows, PACK_ROWS), [&](int64_t job, int) {
      for (int64_t i = job * PACK_ROWS; i < (job + 1) * PACK_ROWS; ++i) {
        b_.partner[i] = i < rows_ ? static_cast<int32_t>((i + items_) % rows_) : -1;
        if (i >= rows_) continue;
        const float* row = i < items_ ? x_.data + i * cols : y_.data + (i - items_) * cols;
        std::memcpy(b_.views + i * cols, row, sizeof(float) * static_cast<size_t>(cols));
      }
      pack_job(call_, b_.packed, scale_, b_.sums, job);
    });
    finish_packing(b_.packed, 0);
  }

  void similarities() {
    call_.each(threads_, job_count(items_, ROWS_PER_JOB), [&](int64_t job, int) {
      for (int64_t i = job * ROWS_PER_JOB; i < std::min(items_, (job + 1) * ROWS_PER_JOB); ++i) {
        double s = call_.kernels().dot(b_.views + i * x_.cols, b_.views + (i + items_) * x_.cols, x_.cols);
        if (call_.normalize()) {
          const double a = b_.packed.norms[i], b = b_.packed.norms[i + items_];
          s = a > 0.0 && b > 0.0 ? s / a / b : 0.0;
        }
        b_.similarity[i] = s;
      }
    });
  }

  void weigh(double sigma) {
    if (sigma == 0.0) return void(std::fill_n(b_.weights, items_, 1.0));
    const double largest = *std::max_element(b_.similarity, b_.similarity + items_);
    double total = 0.0;
    for (int64_t i = 0; i < items_; ++i) total += b_.weights[i] = std::exp((b_.similarity[i] - largest) / sigma);
    for (int64_t i = 0; i < items_; ++i) b_.weights[i] = 2.0 - static_cast<double>(items_) * b_.weights[i] / total;
  }

  void rows() {
    const int64_t jobs = job_count(rows_, ROWS_PER_JOB);
    const bool stats = call_.options().stats != 0;
    call_.each(threads_, jobs, [&](int64_t index, int) {
      const int64_t first = index * ROWS_PER_JOB, last = std::min(rows_, first + ROWS_PER_JOB);
      if (stats)
        call_.kernels().contrast.pair_products(
            {&b_.packed.layout, b_.packed.panels, &b_.packed.layout, b_.packed.panels, b_.partner, first, last, b_.positive_peaks});
      RowTotals totals = {};
      for (int64_t i = first; i < last; ++i) {
        const double s = b_.similarity[i % items_], w = b_.weights[i % items_], log_sum = contrast_.log_row_sum(i);
        b_.log_sums[i] = log_sum;
        b_.pull[i] = items_ > 1 ? -2.0 * w : 0.0;
        contrast_.weigh_row(i, 1.0, log_sum);
        totals.loss += log_sum - w * s / temperature_;
        totals.positive += s;
        totals.hits += stats && b_.positive_peaks[i] > contrast_.row_peak(i);
      }
      b_.partial[index] = totals;
    });
    for (int64_t index = 0; index < jobs; ++index) {
      totals_.loss += b_.partial[index].loss;
      totals_.positive += b_.partial[index].positive;
      totals_.hits += b_.partial[index].hits;
    }
  }

  void finish(double largest_norm, float* gradient_x, float* gradient_y, ck_result& result) {
    FinishPairsJob job = b_.finish.job(b_.packed, b_.sums);
    job.sums_scale = 1.0 / scale_;
    job.scale = call_.options().weight / temperature_;
    job.normalize = call_.options().normalize;
    job.gradient = gradient_x;
    job.second_gradient = gradient_y;
    job.second_row = items_;
    PairList& positives = job.lists[job.list_count++];
    positives.each = positives.divide = 1;
    positives.count = rows_;
    positives.other = b_.partner;
    positives.coefficient = b_.pull;
    positives.data = b_.views;
    positives.norms = b_.packed.norms;
    // The coefficients of a row are its own, at most 1 and its weight, and those of others, at most 1 each.
    double weight = 1.0;
    for (int64_t i = 0; i < items_; ++i) weight = std::max(weight, std::fabs(b_.weights[i]));
    b_.finish.check(call_, threads_, b_.packed, job, (static_cast<double>(rows_) + 2.0 * weight + 1.0) * largest_norm, 0);
    const double along = b_.finish.write(call_, threads_, b_.packed, job);
    // <g_i, u_i> summed over rows counts every pair twice.
    result.temperature_gradient = -0.5 * along * call_.options().weight / (temperature_ * temperature_);
  }

  void statistics(ck_result& result) const {
    const double count = static_cast<double>(rows_);
    double self = 0.0;
    for (int64_t i = 0; i < rows_; ++i) {
      const double norm = b_.packed.norms[i];
      self += !call_.normalize() ? norm * norm : norm > 0.0 ? 1.0 : 0.0;
    }
    result.positive_similarity = totals_.positive / count;
    result.negative_similarity = (all_similarities(b_.packed, b_.packed) - self - totals_.positive) / (count * (count - 2.0));
    result.accuracy = static_cast<double>(totals_.hits) / count;
  }

  Call& call_;
  Buffers& b_;
  const ck_matrix& x_;
  const ck_matrix& y_;
  int64_t items_, rows_;
  int threads_;
  double temperature_;
  double scale_;
  Contrast contrast_;
  RowTotals totals_ = {};
};

}  // namespace

void dcl(const ck_matrix& x, const ck_matrix& y, double weight_sigma, const ck_options& options, float* per_row, float* row_log_sum_exp,
         float* gradient_x, float* gradient_y, ck_result& result) {
  Call call(options);
  const bool gradients = gradient_x != nullptr || gradient_y != nullptr;
  const int threads = call.threads_for(multiply_adds(2 * x.rows, x.cols, gradients));
  Workspace workspace(dcl_bytes(x.rows, x.cols, gradients, options));
  Arena arena(workspace.data());
  Buffers buffers(arena, x.rows, x.cols, gradients, call, threads);
  try {
    Dcl(call, buffers, x, y, threads).run(weight_sigma, per_row, row_log_sum_exp, gradient_x, gradient_y, result);
  } catch (Failure& failure) {
    if (failure.row >= x.rows) {  // a row of y: the second half of what the kernel saw as one matrix
      failure.argument = 1;
      failure.row -= x.rows;
    }
    throw;
  }
}

int64_t dcl_bytes(int64_t items, int64_t cols, bool gradients, const ck_options& options) {
  Call call(options);
  Arena arena(nullptr);
  Buffers buffers(arena, items, cols, gradients, call, call.threads_for(multiply_adds(2 * items, cols, gradients)));
  return Workspace::rounded(arena.used());
}

}  // namespace ck
