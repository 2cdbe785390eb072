// SigLIP on the CPU: one pass over the pairs of x and y gives the losses of the negatives and applies their coefficients to both
// sides; the pairs (i, i) are taken in double.
//
//   negative   softplus(t), coefficient sigmoid(t);   positive   softplus(-t), coefficient -sigmoid(-t);   t = z + bias
//
// Where the sum of all losses is so small that terms may have left the range of float32, the pass is taken again with every term
// raised by one power of two (sig_lip_passes.hpp).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/contrast.hpp"
#include "cpu/losses.hpp"
#include "policies/row_loss.hpp"

namespace ck {
namespace {

constexpr int64_t ROWS_PER_JOB = 64;
// Losses that sum to more lose nothing that counts below 2^-126, the smallest normal float32: 2^-43 of them a pair.
constexpr double SMALL_LOSS = 1e-25;
// Bound on |t| in log2 units: 192 of them, which one block adds to a row, stay inside float32.
constexpr double LARGEST_EXPONENT = 1e36;
constexpr double MOST_RAISED = 1000.0;

double multiply_adds(int64_t rows, int64_t cols, bool gradients) {
  return static_cast<double>(rows) * static_cast<double>(rows) * static_cast<double>(cols) * (gradients ? 3 : 1);
}

struct Buffers {
  Buffers(Arena& arena, const ck_matrix& x_matrix, const ck_matrix& y_matrix, bool gradients, const Call& call, int threads)
      : x(arena, x_matrix, call.kernels().width, layouts(call, gradients), call.options().stats != 0),
        y(arena, y_matrix, call.kernels().width, layouts(call, gradients), call.options().stats != 0),
        x_finish(arena, x_matrix.rows, x_matrix.cols, threads),
        y_finish(arena, y_matrix.rows, y_matrix.cols, threads),
        scratch(arena, threads),
        job(job_rows(x_matrix.rows)),
        jobs(arena.take<PairJob>(Schedule::job_count(x_matrix.rows, x_matrix.rows, job))),
        job_sums(arena.take<double>(Schedule::job_count(x_matrix.rows, x_matrix.rows, job))),
        turns(arena.take<std::atomic<uint32_t>>(Schedule::turn_count(x_matrix.rows, x_matrix.rows, job))),
        x_sums(gradients ? arena.take<float>(grouped_floats(x.layout)) : nullptr),
        y_sums(gradients ? arena.take<float>(grouped_floats(y.layout)) : nullptr) {
    const int64_t padded = x.layout.padded_rows;
    partner = arena.take<int32_t>(padded);
    totals = arena.take<double>(padded);
    peaks = arena.take<float>(padded);
    positive_peaks = arena.take<float>(padded);
    similarity = arena.take<double>(x_matrix.rows);
    own_loss = arena.take<double>(x_matrix.rows);
    pull = arena.take<double>(x_matrix.rows);
  }

  Packed x, y;
  PairGradient x_finish, y_finish;
  ScratchSet scratch;
  int64_t job;  // rows of a side
  PairJob* jobs;
  double* job_sums;  // of the coefficients
  std::atomic<uint32_t>* turns;
  float* x_sums;
  float* y_sums;
  int32_t* partner;
  double* totals;  // the negatives' losses of each row
  float* peaks;
  float* positive_peaks;
  double* similarity;  // s_ii
  double* own_loss;    // of the positive
  double* pull;        // its coefficient
};

class SigLip {
 public:
  SigLip(Call& call, Buffers& buffers, double bias, int threads)
      : call_(call),
        b_(buffers),
        rows_(buffers.x.layout.rows),
        bias_(bias),
        threads_(threads),
        temperature_(call.options().temperature),
        scale_(std::sqrt(LOG2_E / temperature_)),
        schedule_(rows_, rows_, buffers.job, buffers.jobs, buffers.turns) {}

  void run(float* per_row, float* gradient_x, float* gradient_y, ck_result& result) {
    const bool gradients = gradient_x != nullptr || gradient_y != nullptr;
    pack(call_, threads_, b_.x, scale_, nullptr, 0);
    pack(call_, threads_, b_.y, scale_, nullptr, 1);
    for (int64_t i = 0; i < b_.x.layout.padded_rows; ++i) b_.partner[i] = i < rows_ ? static_cast<int32_t>(i) : -1;
    const double largest = call_.normalize() ? 1.0 : b_.x.largest_norm * b_.y.largest_norm;
    if (!(largest * LOG2_E / temperature_ + std::fabs(bias_) * LOG2_E <= LARGEST_EXPONENT))
      throw Failure{CK_OUT_OF_RANGE, 0, -1, -1, "products of rows, scaled by temperature or logit scale, do not fit float32"};
    positives();
    double total = negatives(gradients);
    if (rows_ > 1 && total + positive_loss_ < SMALL_LOSS) {
      const double peak = *std::max_element(b_.peaks, b_.peaks + rows_) + bias_ * LOG2_E;
      raised_ = std::floor(std::min(-peak, MOST_RAISED));
      total = negatives(gradients);
    }
    const double unit = std::ldexp(1.0, -static_cast<int>(raised_));
    for (int64_t i = 0; per_row != nullptr && i < rows_; ++i)
      if (!(b_.totals[i] * unit + b_.own_loss[i] <= LARGEST_FLOAT)) throw Failure{CK_OUT_OF_RANGE, 0, i, -1, "a loss does not fit float32"};
    if (gradients) finish(unit, gradient_x, gradient_y, result);
    for (int64_t i = 0; per_row != nullptr && i < rows_; ++i) per_row[i] = static_cast<float>(b_.totals[i] * unit + b_.own_loss[i]);
    result.loss = total * unit + positive_loss_;
    if (call_.options().stats) statistics(result);
  }

 private:
  void positives() {
    call_.each(threads_, job_count(rows_, ROWS_PER_JOB), [&](int64_t job, int) {
      for (int64_t i = job * ROWS_PER_JOB; i < std::min(rows_, (job + 1) * ROWS_PER_JOB); ++i) {
        const int64_t cols = b_.x.layout.cols;
        double s = call_.kernels().dot(b_.x.matrix.data + i * cols, b_.y.matrix.data + i * cols, cols);
        if (call_.normalize()) {
          const double a = b_.x.norms[i], b = b_.y.norms[i];
          s = a > 0.0 && b > 0.0 ? s / a / b : 0.0;
        }
        const RowLoss own = row_loss(0.0, s / temperature_ + bias_);  // softplus and sigmoid of -t
        b_.similarity[i] = s;
        b_.own_loss[i] = own.loss;
        b_.pull[i] = -own.q;
      }
    });
    for (int64_t i = 0; i < rows_; ++i) {
      positive_loss_ += b_.own_loss[i];
      positive_slope_ += b_.pull[i];
      positive_similarity_ += b_.similarity[i];
    }
  }

  // The pass over all other pairs. Returns the sum of their losses, times 2^raised.
  double negatives(bool gradients) {
    std::fill_n(b_.totals, b_.x.layout.padded_rows, 0.0);
    std::fill_n(b_.peaks, b_.x.layout.padded_rows, EXCLUDED);
    ContrastPass pass = {};
    pass.rows.layout = &b_.x.layout;
    pass.rows.panels = b_.x.panels;
    pass.rows.grouped = b_.x.grouped;
    pass.rows.sums = b_.x_sums;
    pass.rows.totals = b_.totals;
    pass.rows.peaks = b_.peaks;
    pass.cols.layout = &b_.y.layout;
    pass.cols.panels = b_.y.panels;
    pass.cols.grouped = b_.y.grouped;
    pass.cols.sums = b_.y_sums;
    pass.partner = b_.partner;
    pass.block = static_cast<int32_t>(gradients ? applied_block_rows(rows_) : block_rows(rows_));
    if (gradients) {
      call_.each(threads_, job_count(b_.x.layout.padded_rows, GROUP), [&](int64_t group, int) {
        const int64_t floats = b_.x.layout.group_stride;
        std::memset(b_.x_sums + group * floats, 0, sizeof(float) * static_cast<size_t>(floats));
        std::memset(b_.y_sums + group * floats, 0, sizeof(float) * static_cast<size_t>(floats));
      });
    }
    const float bias = static_cast<float>(bias_ * LOG2_E), raised = static_cast<float>(raised_);
    call_.pairs(threads_, schedule_, [&](const BlockPair& pair, int64_t job, int slot) {
      b_.job_sums[job] = call_.kernels().contrast.sig_lip(pass, bias, raised, pair, b_.scratch.of(slot));
    });
    double total = 0.0;
    for (int64_t i = 0; i < rows_; ++i) total += b_.totals[i];
    return total;
  }

  FinishPairsJob job(const PairGradient& finish, const Packed& own, const float* sums, const Packed& other, double unit,
                     float* gradient) const {
    FinishPairsJob job = finish.job(own, sums);
    job.sums_scale = unit / scale_;
    job.scale = call_.options().weight / temperature_;
    job.normalize = call_.options().normalize;
    job.gradient = gradient;
    PairList& positives = job.lists[job.list_count++];
    positives.each = positives.divide = 1;
    positives.count = rows_;
    positives.coefficient = b_.pull;
    positives.data = other.matrix.data;
    positives.norms = other.norms;
    return job;
  }

  void finish(double unit, float* gradient_x, float* gradient_y, ck_result& result) {
    const FinishPairsJob of_x = job(b_.x_finish, b_.x, b_.x_sums, b_.y, unit, gradient_x);
    const FinishPairsJob of_y = job(b_.y_finish, b_.y, b_.y_sums, b_.x, unit, gradient_y);
    const double count = static_cast<double>(rows_);  // every coefficient is at most 1
    b_.x_finish.check(call_, threads_, b_.x, of_x, count * (call_.normalize() ? 1.0 : b_.y.largest_norm), 0);
    b_.y_finish.check(call_, threads_, b_.y, of_y, count * (call_.normalize() ? 1.0 : b_.x.largest_norm), 1);
    const double along = b_.x_finish.write(call_, threads_, b_.x, of_x);
    if (gradient_y != nullptr) b_.y_finish.write(call_, threads_, b_.y, of_y);
    const double weight = call_.options().weight;
    result.temperature_gradient = -along * weight / (temperature_ * temperature_);
    double slope = 0.0;
    for (int64_t job = 0; job < schedule_.count(); ++job) slope += b_.job_sums[job];
    result.bias_gradient = weight * (slope * unit + positive_slope_);
  }

  void statistics(ck_result& result) {
    const double count = static_cast<double>(rows_);
    result.positive_similarity = positive_similarity_ / count;
    if (rows_ == 1) return;  // nothing to compare the one pair with
    call_.kernels().contrast.pair_products({&b_.x.layout, b_.x.panels, &b_.y.layout, b_.y.panels, b_.partner, 0, rows_, b_.positive_peaks});
    int64_t hits = 0;
    for (int64_t i = 0; i < rows_; ++i) hits += b_.positive_peaks[i] > b_.peaks[i];
    result.accuracy = static_cast<double>(hits) / count;
    result.negative_similarity = (all_similarities(b_.x, b_.y) - positive_similarity_) / (count * (count - 1.0));
  }

  Call& call_;
  Buffers& b_;
  int64_t rows_;
  double bias_;
  int threads_;
  double temperature_;
  double scale_;
  Schedule schedule_;
  double raised_ = 0.0;
  double positive_loss_ = 0.0, positive_slope_ = 0.0, positive_similarity_ = 0.0;
};

}  // namespace

void sig_lip(const ck_matrix& x, const ck_matrix& y, double bias, const ck_options& options, float* per_row, float* gradient_x,
             float* gradient_y, ck_result& result) {
  Call call(options);
  const bool gradients = gradient_x != nullptr || gradient_y != nullptr;
  const int threads = call.threads_for(multiply_adds(x.rows, x.cols, gradients));
  Workspace workspace(sig_lip_bytes(x.rows, x.cols, gradients, options));
  Arena arena(workspace.data());
  Buffers buffers(arena, x, y, gradients, call, threads);
  SigLip(call, buffers, bias, threads).run(per_row, gradient_x, gradient_y, result);
}

int64_t sig_lip_bytes(int64_t rows, int64_t cols, bool gradients, const ck_options& options) {
  Call call(options);
  Arena arena(nullptr);
  const ck_matrix x = {nullptr, rows, cols};
  Buffers buffers(arena, x, x, gradients, call, call.threads_for(multiply_adds(rows, cols, gradients)));
  return Workspace::rounded(arena.used());
}

}  // namespace ck
