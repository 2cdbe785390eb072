// Supervised contrastive loss on the CPU, on rows sorted by class: the pairs of different classes are a Contrast of the rows with
// themselves, those within a class the passes of class_passes.hpp.
//
// With P and N the sums of exp(z) over the positives and the negatives of a row, q = N / (P + N) and pi_p = exp(z_p) / P:
//   out    (log P - mean z_p) + log(1 + N / P),   coefficient of a positive (pi_p - 1/|P|) - q pi_p, of a negative q exp(z) / N
//   in     log |P| + log(1 + N / P),              - q pi_p and the same
//   pair   sum over p of log(1 + N / exp(z_p)),   - q_p and (sum of the q_p) exp(z) / N, q_p = N / (N + exp(z_p))
// pi_p - 1/|P| is formed from differences of the exponentials, which keep their digits where all positives are alike.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/losses.hpp"
#include "cpu/sup_con_buffers.hpp"
#include "policies/row_loss.hpp"

namespace ck {
namespace {

constexpr int SMALL_WEIGHT = 30;
constexpr int MOST_POWER = 120;            // of weights that are not themselves tiny
constexpr double LARGEST_EXPONENT = 1e36;  // of |y|: the biases and differences of class_passes.hpp are six times that
constexpr double FAR_BELOW = -43.0;        // 2^a and log1p(2^a) differ by less than float64 can tell apart

double multiply_adds(int64_t rows, int64_t cols, bool gradients) {
  return 0.5 * static_cast<double>(rows) * static_cast<double>(rows) * static_cast<double>(cols) * (gradients ? 4 : 1);
}

class SupCon {
 public:
  SupCon(Call& call, Buffers& buffers, const ck_matrix& z, int32_t variant, int threads)
      : call_(call),
        b_(buffers),
        z_(z),
        rows_(z.rows),
        out_(variant == CK_SUP_CON_OUT),
        pairs_(variant == CK_SUP_CON_PAIR),
        threads_(threads),
        temperature_(call.options().temperature),
        scale_(std::sqrt(LOG2_E / temperature_)),
        contrast_(call, threads, buffers.scratch, buffers.contrast, other_classes()),
        schedule_(rows_, -1, buffers.contrast.job, buffers.jobs, buffers.turns) {}

  void run(const int32_t* labels, float* per_row, float* row_log_sum_exp, float* gradient, ck_result& result) {
    const bool stats = call_.options().stats != 0;
    read(labels);
    const double largest = call_.normalize() ? 1.0 : b_.units.largest_norm * b_.units.largest_norm;
    const double bound = largest * LOG2_E / temperature_;
    if (!(bound <= LARGEST_EXPONENT))
      throw Failure{CK_OUT_OF_RANGE, 0, -1, -1, "products of rows, scaled by temperature or logit scale, do not fit float32"};
    take_means();
    contrast_.forward(bound, stats);
    within(row_log_sum_exp != nullptr, stats);
    rows();
    if (gradient != nullptr) {
      backward();
      write_gradient(std::sqrt(largest), gradient, result);
    }
    for (int64_t i = 0; i < rows_; ++i) {
      if (per_row != nullptr) per_row[b_.order[i]] = static_cast<float>(b_.loss[i]);
      if (row_log_sum_exp != nullptr) row_log_sum_exp[b_.order[i]] = static_cast<float>(b_.log_sum_exp[i]);
    }
    result.loss = totals_.loss;
    result.skipped_rows = rows_ - totals_.counted;
    if (stats && totals_.positives > 0.0) result.positive_similarity = totals_.positive / totals_.positives;
    if (stats && totals_.negatives > 0.0) result.negative_similarity = totals_.negative / totals_.negatives;
    if (stats && totals_.counted > 0) result.accuracy = static_cast<double>(totals_.hits) / static_cast<double>(totals_.counted);
  }

 private:
  ContrastPairs other_classes() const {
    ContrastPairs pairs = {b_.units, b_.units, true};
    pairs.row_labels = pairs.col_labels = b_.labels;
    return pairs;
  }

  int64_t class_size(int64_t i) const { return b_.class_start[b_.class_of[i] + 1] - b_.class_start[b_.class_of[i]]; }

  // Classes in the order of their first rows, so that it does not matter which numbers their labels are.
  void sort_by_class(const int32_t* labels) {
    for (int64_t i = 0; i < rows_; ++i) b_.order[i] = static_cast<int32_t>(i);
    std::sort(b_.order, b_.order + rows_, [&](int32_t i, int32_t j) { return labels[i] != labels[j] ? labels[i] < labels[j] : i < j; });
    int32_t* first_row = b_.class_start;  // of each row's class; not yet in use
    for (int64_t i = 0; i < rows_; ++i) {
      const bool same = i > 0 && labels[b_.order[i]] == labels[b_.order[i - 1]];
      first_row[b_.order[i]] = same ? first_row[b_.order[i - 1]] : b_.order[i];
    }
    std::sort(b_.order, b_.order + rows_,
              [&](int32_t i, int32_t j) { return first_row[i] != first_row[j] ? first_row[i] < first_row[j] : i < j; });
    for (int64_t i = 0; i < rows_; ++i) b_.labels[i] = first_row[b_.order[i]];
  }

  // Checks the values, sorts the rows by class and packs them.
  void read(const int32_t* labels) {
    const int64_t cols = z_.cols;
    const int64_t jobs = job_count(rows_, ROWS_PER_JOB);
    call_.each(threads_, jobs, [&](int64_t index, int) {
      NormJob job = {z_.data, cols, index * ROWS_PER_JOB, std::min(rows_, (index + 1) * ROWS_PER_JOB), b_.norms, -1};
      call_.kernels().norms(&job);
      b_.partial[index].counted = job.bad_row;
    });
    for (int64_t index = 0; index < jobs; ++index)
      if (b_.partial[index].counted >= 0) fail_non_finite(z_.data, cols, b_.partial[index].counted, 0);
    sort_by_class(labels);
    classes_ = 0;
    for (int64_t i = 0; i < rows_; ++i) {
      if (i == 0 || b_.labels[i] != b_.labels[i - 1]) b_.class_start[classes_++] = static_cast<int32_t>(i);
      b_.class_of[i] = static_cast<int32_t>(classes_ - 1);
    }
    b_.class_start[classes_] = static_cast<int32_t>(rows_);
    const int64_t padded = b_.units.layout.padded_rows;
    std::fill(b_.labels + rows_, b_.labels + padded, b_.labels[rows_ - 1]);
    for (float* array : {b_.bias, b_.no_bias, b_.mean, b_.spread, b_.pull, b_.level, b_.offset}) std::fill_n(array, padded, 0.0f);
    for (float* array : {b_.peaks, b_.lows, b_.similarity_peaks}) std::fill_n(array, padded, EXCLUDED);
    std::fill_n(b_.sums, padded, 0.0);
    std::fill_n(b_.slopes, padded, 0.0);
    call_.each(threads_, job_count(padded, PACK_ROWS), [&](int64_t job, int) {
      for (int64_t i = job * PACK_ROWS; i < std::min(rows_, (job + 1) * PACK_ROWS); ++i)
        std::memcpy(b_.sorted + i * cols, z_.data + b_.order[i] * cols, sizeof(float) * static_cast<size_t>(cols));
      pack_job(call_, b_.units, scale_, b_.gradient, job);
    });
    finish_packing(b_.units, 0);
  }

  // Means of the classes, the rows relative to them, and what of the similarities that gives in double.
  void take_means() {
    const int64_t cols = z_.cols;
    for (int64_t k = 0; k < cols; ++k) {
      b_.all_rows[k] = 0.0;
      for (int64_t job = 0; job < job_count(b_.units.layout.padded_rows, PACK_ROWS); ++job)
        b_.all_rows[k] += b_.units.column_sums[job * cols + k];
    }
    call_.each(threads_, classes_, [&](int64_t index, int slot) {
      take_mean(b_.class_start[index], b_.class_start[index + 1], b_.mean_row + 2 * cols * slot);
    });
    const int64_t padded = b_.within.layout.padded_rows;
    call_.each(threads_, job_count(padded, PACK_ROWS), [&](int64_t index, int) {
      PackJob job = {};
      job.data = b_.relative;
      job.layout = &b_.within.layout;
      job.first = index * PACK_ROWS;
      job.last = job.first + PACK_ROWS;
      job.scale = scale_;
      job.panels = b_.within.panels;
      job.grouped = b_.within.grouped;
      job.norms = b_.within.norms;
      call_.kernels().pack(&job);
    });
  }

  double unit(int64_t i) const {
    const double norm = b_.units.norms[i];
    return !call_.normalize() ? 1.0 : norm > 0.0 ? 1.0 / norm : 0.0;
  }

  // Relative to the first row of the class: equal rows are then exactly 0.
  void take_mean(int64_t first, int64_t last, double* mean) {
    const int64_t cols = z_.cols;
    const float* origin = b_.sorted + first * cols;
    const double origin_unit = unit(first), count = static_cast<double>(last - first);
    double* offset = mean + cols;  // of the mean from the first row
    std::fill_n(offset, cols, 0.0);
    for (int64_t i = first + 1; i < last; ++i) {
      const float* x = b_.sorted + i * cols;
      const double own_unit = unit(i);
      for (int64_t k = 0; k < cols; ++k) offset[k] += x[k] * own_unit - origin[k] * origin_unit;
    }
    double square = 0.0;
    for (int64_t k = 0; k < cols; ++k) {
      offset[k] /= count;
      mean[k] = origin[k] * origin_unit + offset[k];
      square += mean[k] * mean[k];
    }
    for (int64_t i = first; i < last; ++i) {
      const float* x = b_.sorted + i * cols;
      float* r = b_.relative + i * cols;
      const double own_unit = unit(i);
      double along = 0.0, own_square = 0.0, others = 0.0;
      for (int64_t k = 0; k < cols; ++k) {
        const double u = x[k] * own_unit, value = (u - origin[k] * origin_unit) - offset[k];
        r[k] = static_cast<float>(value);
        along += mean[k] * value;
        own_square += value * value;
        others += u * (b_.all_rows[k] - count * mean[k]);
      }
      b_.base[i] = square + along;
      b_.bias[i] = static_cast<float>(along * LOG2_E / temperature_);
      b_.negative[i] = others;
      // The relative rows of a class sum to 0.
      b_.positive[i] = count > 1.0 ? square + along - (along + own_square) / (count - 1.0) : 0.0;
    }
  }

  ClassPass pass() const {
    ClassPass pass = {};
    pass.layout = &b_.within.layout;
    pass.panels = b_.within.panels;
    pass.grouped = b_.within.grouped;
    pass.labels = b_.labels;
    pass.bias = b_.bias;
    pass.sign = 1.0f;
    pass.peaks = b_.peaks;
    pass.reference = b_.peaks;
    pass.mean = b_.mean;
    pass.spread = b_.spread;
    pass.pull = b_.pull;
    pass.level = b_.level;
    pass.offset = b_.offset;
    pass.sums = b_.sums;
    pass.slopes = b_.slopes;
    pass.applied = b_.units.grouped;
    pass.gradient = b_.gradient;
    // Pairs of small classes lie close to the diagonal: small blocks hold fewer others.
    pass.block = rows_ / classes_ < BLOCK_LARGE ? BLOCK_SMALL : static_cast<int32_t>(b_.contrast.block);
    return pass;
  }
  template <class Kernel>
  void walk(const ClassPass& pass, Kernel kernel) {
    call_.pairs(threads_, schedule_, [&](const BlockPair& pair, int64_t, int slot) { kernel(pass, pair, b_.scratch.of(slot)); });
  }

  double base2(int64_t i) const { return b_.base[i] * LOG2_E / temperature_; }

  // What the rows need to know of their positives before their losses.
  void within(bool want_log_sum_exp, bool stats) {
    const ContrastTable& kernels = call_.kernels().contrast;
    ClassPass pass = this->pass();
    log_sums_ = !pairs_ || want_log_sum_exp;
    if (log_sums_) {
      walk(pass, kernels.class_peaks);
      walk(pass, kernels.class_softmax);
      for (int64_t i = 0; i < rows_; ++i) {
        const double positives = static_cast<double>(class_size(i) - 1);
        if (positives < 1.0) continue;
        const double mean = b_.sums[i] / positives;
        b_.mean[i] = static_cast<float>(mean);
        b_.log_sum_exp[i] =
            positives == 1.0 ? b_.positive[i] / temperature_ : LN_2 * (base2(i) + b_.peaks[i]) + std::log(positives * (1.0 + mean));
      }
    }
    if (stats) {  // of the rows themselves, by the arithmetic that the negatives' largest similarity comes from
      ClassPass similarities = pass;
      similarities.panels = b_.units.panels;
      similarities.grouped = b_.units.grouped;
      similarities.bias = b_.no_bias;
      similarities.peaks = b_.similarity_peaks;
      walk(similarities, kernels.class_peaks);
    }
    if (!pairs_) return;
    ClassPass lowest = pass;
    lowest.sign = -1.0f;
    lowest.peaks = b_.lows;
    walk(lowest, kernels.class_peaks);
    for (int64_t i = 0; i < rows_; ++i) {
      const double log_negatives = contrast_.log_row_sum(i);
      if (class_size(i) < 2 || log_negatives == -INFINITY) continue;
      b_.level[i] = static_cast<float>(log_negatives * LOG2_E - base2(i));
      const double largest = static_cast<double>(b_.level[i]) + b_.lows[i];
      b_.offset[i] = largest < FAR_BELOW ? static_cast<float>(largest) : 0.0f;
    }
    std::fill_n(b_.sums, b_.units.layout.padded_rows, 0.0);
    walk(pass, kernels.class_pairs);
  }

  void rows() {
    const int64_t jobs = job_count(rows_, ROWS_PER_JOB);
    call_.each(threads_, jobs, [&](int64_t index, int) {
      RowTotals totals = {};
      for (int64_t i = index * ROWS_PER_JOB; i < std::min(rows_, (index + 1) * ROWS_PER_JOB); ++i) row(i, totals);
      b_.partial[index] = totals;
    });
    for (int64_t index = 0; index < jobs; ++index) {
      const RowTotals& t = b_.partial[index];
      totals_.loss += t.loss;
      totals_.positive += t.positive;
      totals_.positives += t.positives;
      totals_.negative += t.negative;
      totals_.negatives += t.negatives;
      totals_.hits += t.hits;
      totals_.counted += t.counted;
      totals_.largest_share = std::max(totals_.largest_share, t.largest_share);
    }
  }

  void row(int64_t i, RowTotals& totals) {
    const double positives = static_cast<double>(class_size(i) - 1), negatives = static_cast<double>(rows_ - 1) - positives;
    const double log_negatives = b_.log_negatives[i] = contrast_.log_row_sum(i);
    b_.loss[i] = b_.share[i] = 0.0;
    RowLoss against = {0.0, 0.0, log_negatives};  // log N alone where there is no positive
    double log_positives = 0.0;
    if (positives > 0.0 && log_sums_) {
      log_positives = b_.log_sum_exp[i];
      against = row_loss(log_negatives, log_positives);
    }
    b_.log_sum_exp[i] = against.log_sum_exp;
    if (positives < 1.0 || (negatives < 1.0 && (pairs_ || positives < 2.0))) return;  // nothing to compare
    if (pairs_) {
      const double unit = std::exp2(static_cast<double>(b_.offset[i]));
      b_.loss[i] = b_.sums[i] * unit;
      b_.share[i] = b_.slopes[i] * unit;
      totals.largest_share = std::max(totals.largest_share, b_.share[i]);
    } else {
      const double first = !out_ ? std::log(positives) : positives == 1.0 ? 0.0 : log_positives - b_.positive[i] / temperature_;
      b_.loss[i] = first + against.loss;
      b_.share[i] = against.q;
      totals.largest_share = std::max(totals.largest_share, against.q);
      if (out_) totals.largest_share = std::max(totals.largest_share, -static_cast<double>(b_.mean[i]));
    }
    ++totals.counted;
    totals.loss += b_.loss[i];
    totals.positive += positives * b_.positive[i];
    totals.positives += positives;
    totals.negative += b_.negative[i];
    totals.negatives += negatives;
    totals.hits += call_.options().stats && b_.similarity_peaks[i] > contrast_.row_peak(i);
  }

  bool counted(int64_t i) const {
    const int64_t positives = class_size(i) - 1;
    const bool negatives = positives + 1 < rows_;
    return positives > 0 && (negatives || (!pairs_ && positives > 1));
  }

  // Coefficients: weights of the negatives, and of the positives what class_passes.hpp makes them of.
  void backward() {
    const int exponent = totals_.largest_share > 0.0 ? std::ilogb(totals_.largest_share) : 0;
    power_ = exponent < -SMALL_WEIGHT ? -exponent : 0;
    for (int64_t i = 0; i < rows_ && out_ && power_ > MOST_POWER; ++i)
      if (b_.mean[i] != 0.0f) power_ = MOST_POWER;
    for (int64_t i = 0; i < rows_; ++i) {
      if (!counted(i)) continue;
      contrast_.weigh_row(i, std::ldexp(b_.share[i], power_), b_.log_negatives[i]);
      if (pairs_) {
        b_.pull[i] = static_cast<float>(std::exp2(static_cast<double>(power_) + b_.offset[i]));
        continue;
      }
      const double positives = static_cast<double>(class_size(i) - 1), total = positives * (1.0 + static_cast<double>(b_.mean[i]));
      b_.pull[i] = static_cast<float>(std::ldexp(b_.share[i], power_) / total);
      b_.spread[i] = out_ && b_.mean[i] != 0.0f ? static_cast<float>(std::ldexp(1.0, power_) / total) : 0.0f;
    }
    contrast_.backward(b_.gradient, b_.gradient);
    const ContrastTable& kernels = call_.kernels().contrast;
    walk(pass(), pairs_ ? kernels.class_pairs_backward : kernels.class_softmax_backward);
  }

  void write_gradient(double largest_norm, float* gradient, ck_result& result) {
    FinishPairsJob job = b_.finish.job(b_.units, b_.gradient);
    job.sums_scale = std::ldexp(1.0 / scale_, -power_);
    job.scale = call_.options().weight / temperature_;
    job.normalize = call_.options().normalize;
    job.gradient = gradient;
    job.place = b_.order;
    // The coefficients of a row and of others with it: at most 3 a pair.
    b_.finish.check(call_, threads_, b_.units, job, 6.0 * static_cast<double>(rows_) * largest_norm, 0);
    const double along = b_.finish.write(call_, threads_, b_.units, job);
    // <g_i, u_i> summed over rows counts every pair twice.
    result.temperature_gradient = -0.5 * along * call_.options().weight / (temperature_ * temperature_);
  }

  Call& call_;
  Buffers& b_;
  const ck_matrix& z_;
  int64_t rows_;
  bool out_, pairs_;
  int threads_;
  double temperature_;
  double scale_;
  Contrast contrast_;
  Schedule schedule_;
  int64_t classes_ = 0;
  bool log_sums_ = false;
  int power_ = 0;
  RowTotals totals_ = {};
};

}  // namespace

void sup_con(const ck_matrix& z, const int32_t* labels, int32_t variant, const ck_options& options, float* per_row, float* row_log_sum_exp,
             float* gradient, ck_result& result) {
  Call call(options);
  const int threads = call.threads_for(multiply_adds(z.rows, z.cols, gradient != nullptr));
  Workspace workspace(sup_con_bytes(z.rows, z.cols, gradient != nullptr, options));
  Arena arena(workspace.data());
  Buffers buffers(arena, z.rows, z.cols, gradient != nullptr, call, threads);
  try {
    SupCon(call, buffers, z, variant, threads).run(labels, per_row, row_log_sum_exp, gradient, result);
  } catch (Failure& failure) {
    if (failure.status == CK_GRADIENT_OVERFLOW) failure.row = buffers.order[failure.row];
    throw;
  }
}

int64_t sup_con_bytes(int64_t rows, int64_t cols, bool gradients, const ck_options& options) {
  Call call(options);
  Arena arena(nullptr);
  Buffers buffers(arena, rows, cols, gradients, call, call.threads_for(multiply_adds(rows, cols, gradients)));
  return Workspace::rounded(arena.used());
}

}  // namespace ck
