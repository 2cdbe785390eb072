// Alignment on the CPU: independent rows, in double.
#include <algorithm>
#include <cmath>

#include "cpu/call.hpp"
#include "cpu/losses.hpp"

namespace ck {
namespace {

constexpr int64_t ROWS_PER_JOB = 128;

struct Buffers {
  Buffers(Arena& arena, int64_t rows, int64_t cols, int threads) : jobs(job_count(rows, ROWS_PER_JOB)) {
    x_norms = arena.take<double>(rows);
    y_norms = arena.take<double>(rows);
    bad_rows = arena.take<int64_t>(jobs);
    difference = arena.take<double>(cols * threads);
    results = arena.take<AlignmentJob>(jobs);
  }
  int64_t jobs;
  double* x_norms;
  double* y_norms;
  int64_t* bad_rows;
  double* difference;  // [threads][cols]
  AlignmentJob* results;
};

double multiply_adds(int64_t rows, int64_t cols) { return 8.0 * static_cast<double>(rows) * static_cast<double>(cols); }

struct Norms {
  double smallest, largest;  // smallest of the rows that are not zero
};

Norms take_norms(Call& call, int threads, const Buffers& b, const ck_matrix& x, double* norms, int32_t argument) {
  call.each(threads, b.jobs, [&](int64_t index, int) {
    NormJob job = {x.data, x.cols, index * ROWS_PER_JOB, std::min(x.rows, (index + 1) * ROWS_PER_JOB), norms, -1};
    call.kernels().norms(&job);
    b.bad_rows[index] = job.bad_row;
  });
  for (int64_t index = 0; index < b.jobs; ++index)
    if (b.bad_rows[index] >= 0) fail_non_finite(x.data, x.cols, b.bad_rows[index], argument);
  Norms result = {INFINITY, 0.0};
  for (int64_t i = 0; i < x.rows; ++i) {
    if (norms[i] > 0.0 && norms[i] < result.smallest) result.smallest = norms[i];
    if (norms[i] > result.largest) result.largest = norms[i];
  }
  return result;
}

}  // namespace

void alignment(const ck_matrix& x, const ck_matrix& y, double alpha, const ck_options& options, float* per_row, float* gradient_x,
               float* gradient_y, ck_result& result) {
  Call call(options);
  const int threads = call.threads_for(multiply_adds(x.rows, x.cols));
  Workspace workspace(alignment_bytes(x.rows, x.cols, options));
  Arena arena(workspace.data());
  Buffers b(arena, x.rows, x.cols, threads);
  const Norms of_x = take_norms(call, threads, b, x, b.x_norms, 0);
  const Norms of_y = take_norms(call, threads, b, y, b.y_norms, 1);

  const auto pass = [&](bool check) {
    parallel_for(threads, b.jobs, [&](int64_t index, int slot) {
      AlignmentJob job = {};
      job.x = x.data;
      job.y = y.data;
      job.x_norms = b.x_norms;
      job.y_norms = b.y_norms;
      job.cols = x.cols;
      job.alpha = alpha;
      job.scale = options.weight;
      job.normalize = options.normalize;
      job.first = index * ROWS_PER_JOB;
      job.last = std::min(x.rows, (index + 1) * ROWS_PER_JOB);
      job.per_row = per_row;
      job.gradient_x = gradient_x;
      job.gradient_y = gradient_y;
      job.check = check;
      job.difference = b.difference + slot * x.cols;
      call.kernels().alignment(&job);
      b.results[index] = job;
    });
  };

  // Distances are at most 2, or |x| + |y|. Near 0 the slope alpha |delta|^(alpha - 1) has no bound for alpha < 1.
  const double distance = call.normalize() ? 2.0 : of_x.largest + of_y.largest;
  const double unit = call.normalize() ? 1.0 / std::min(of_x.smallest, of_y.smallest) : 1.0;
  const double slope = alpha * std::pow(distance, alpha - 1.0) * std::fabs(options.weight);
  if (alpha < 1.0 || !(4.0 * slope * unit < LARGEST_FLOAT) || !(2.0 * std::pow(distance, alpha) < LARGEST_FLOAT)) {
    pass(true);
    for (int64_t index = 0; index < b.jobs; ++index)
      if (b.results[index].overflow_x >= 0) throw Failure{CK_GRADIENT_OVERFLOW, 0, b.results[index].overflow_x, -1, ""};
    for (int64_t index = 0; index < b.jobs; ++index)
      if (b.results[index].overflow_y >= 0) throw Failure{CK_GRADIENT_OVERFLOW, 1, b.results[index].overflow_y, -1, ""};
    for (int64_t index = 0; index < b.jobs; ++index)
      if (per_row != nullptr && b.results[index].overflow_loss >= 0)
        throw Failure{CK_OUT_OF_RANGE, 0, b.results[index].overflow_loss, -1, "a loss does not fit float32"};
  }
  call.check();
  pass(false);
  double similarity = 0.0;
  result.loss = 0.0;
  for (int64_t index = 0; index < b.jobs; ++index) {
    result.loss += b.results[index].loss;
    similarity += b.results[index].similarity;
  }
  if (options.stats) result.positive_similarity = similarity / static_cast<double>(x.rows);
}

int64_t alignment_bytes(int64_t rows, int64_t cols, const ck_options& options) {
  Call call(options);
  Arena arena(nullptr);
  Buffers buffers(arena, rows, cols, call.threads_for(multiply_adds(rows, cols)));
  return Workspace::rounded(arena.used());
}

}  // namespace ck
