// The stored cosine matrix and its backward on the CPU.
//
// Forward: blocks of S are computed into cache and copied to their place; for one matrix with itself half of them, mirrored.
// Backward: D_x = U V and D_y = U^T X for a given U (upstream), block by block with the coefficients read from it, then the
// projection on the tangent space.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/call.hpp"
#include "cpu/losses.hpp"

namespace ck {
namespace {

// A result that the second-level caches could not hold anyhow is written past them: half the traffic, and the operands stay.
constexpr int64_t STREAM_FLOATS = int64_t{1} << 20;

double multiply_adds(int64_t rows_x, int64_t rows_y, int64_t cols, int products) {
  return static_cast<double>(rows_x) * static_cast<double>(rows_y) * static_cast<double>(cols) * products;
}

struct StoreBuffers {
  StoreBuffers(Arena& arena, const ck_matrix& x_matrix, const ck_matrix* y_matrix, const Call& call, int threads)
      : other(y_matrix == nullptr ? -1 : y_matrix->rows),
        x(arena, x_matrix, call.kernels().width, layouts(call, false), false),
        y(arena, y_matrix == nullptr ? ck_matrix{nullptr, 0, x_matrix.cols} : *y_matrix, call.kernels().width,
          y_matrix != nullptr ? COLUMNS : NO_LAYOUTS, false),
        scratch(arena, threads),
        block(block_rows(std::max(x_matrix.rows, other))),
        jobs(arena.take<PairJob>(Schedule::job_count(x_matrix.rows, other, block))),
        turns(arena.take<std::atomic<uint32_t>>(Schedule::turn_count(x_matrix.rows, other, block))) {}

  int64_t other;
  Packed x, y;
  ScratchSet scratch;
  int64_t block;
  PairJob* jobs;
  std::atomic<uint32_t>* turns;
};

struct BackwardBuffers {
  BackwardBuffers(Arena& arena, const ck_matrix& x_matrix, const ck_matrix& y_matrix, const Call& call, int threads)
      : x(arena, x_matrix, call.kernels().width, APPLIED, false),
        y(arena, y_matrix, call.kernels().width, APPLIED, false),
        scratch(arena, threads),
        x_finish(arena, x_matrix.rows, x_matrix.cols, threads),
        y_finish(arena, y_matrix.rows, y_matrix.cols, threads),
        block(block_rows(std::max(x_matrix.rows, y_matrix.rows))),
        jobs(arena.take<PairJob>(Schedule::job_count(x_matrix.rows, y_matrix.rows, block))),
        peaks(arena.take<float>(Schedule::job_count(x_matrix.rows, y_matrix.rows, block))),
        turns(arena.take<std::atomic<uint32_t>>(Schedule::turn_count(x_matrix.rows, y_matrix.rows, block))),
        x_sums(arena.take<float>(grouped_floats(x.layout))),
        y_sums(arena.take<float>(grouped_floats(y.layout))) {}

  Packed x, y;
  ScratchSet scratch;
  Gradient x_finish, y_finish;
  int64_t block;
  PairJob* jobs;
  float* peaks;  // largest |upstream| of each job, NaN where one is not finite
  std::atomic<uint32_t>* turns;
  float* x_sums;
  float* y_sums;
};

}  // namespace

void cosine_similarity(const ck_matrix& x, const ck_matrix* y, const ck_options& options, float* out) {
  Call call(options);
  const int threads = call.threads_for(multiply_adds(x.rows, y == nullptr ? x.rows : y->rows, x.cols, 1));
  Workspace workspace(cosine_similarity_bytes(x.rows, y == nullptr ? -1 : y->rows, x.cols, options));
  Arena arena(workspace.data());
  StoreBuffers b(arena, x, y, call, threads);
  pack(call, threads, b.x, 1.0, nullptr, 0);
  if (y != nullptr) pack(call, threads, b.y, 1.0, nullptr, 1);
  const Packed& other = y == nullptr ? b.x : b.y;
  if (!call.normalize() && !(b.x.largest_norm * other.largest_norm < LARGEST_FLOAT))
    throw Failure{CK_OUT_OF_RANGE, 0, -1, -1, "products of rows may not fit float32"};
  Schedule schedule(x.rows, b.other, b.block, b.jobs, b.turns);
  CosinePass pass = {};
  pass.x_layout = &b.x.layout;
  pass.y_layout = &other.layout;
  pass.x_panels = b.x.panels;
  pass.x_grouped = b.x.grouped;
  pass.y_panels = other.panels;
  pass.out = out;
  pass.mirror = y == nullptr;
  pass.stream = x.rows * other.layout.rows >= STREAM_FLOATS;
  pass.block = static_cast<int32_t>(b.block);
  call.check();
  // Outputs are being written: from here on the call is not given up. Jobs write apart, so they need not wait for each other.
  parallel_for(threads, schedule.strips(), [&](int64_t strip, int slot) {
    for (int64_t job = schedule.strip_first(strip); job < schedule.strip_first(strip + 1); ++job)
      call.kernels().cosine_store(pass, schedule.pair(job), b.scratch.of(slot));
  });
}

int64_t cosine_similarity_bytes(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options) {
  Call call(options);
  Arena arena(nullptr);
  const ck_matrix x = {nullptr, rows_x, cols}, y = {nullptr, rows_y, cols};
  StoreBuffers buffers(arena, x, rows_y < 0 ? nullptr : &y, call,
                       call.threads_for(multiply_adds(rows_x, rows_y < 0 ? rows_x : rows_y, cols, 1)));
  return Workspace::rounded(arena.used());
}

void cosine_similarity_backward(const ck_matrix& x, const ck_matrix& y, const ck_matrix& upstream, const ck_options& options,
                                float* gradient_x, float* gradient_y) {
  Call call(options);
  const int threads = call.threads_for(multiply_adds(x.rows, y.rows, x.cols, 2));
  Workspace workspace(cosine_similarity_backward_bytes(x.rows, y.rows, x.cols, options));
  Arena arena(workspace.data());
  BackwardBuffers b(arena, x, y, call, threads);
  pack(call, threads, b.x, 1.0, nullptr, 0);
  pack(call, threads, b.y, 1.0, nullptr, 1);
  Schedule schedule(x.rows, y.rows, b.block, b.jobs, b.turns);
  ApplyPass pass = {};
  pass.x_layout = &b.x.layout;
  pass.y_layout = &b.y.layout;
  pass.x_grouped = b.x.grouped;
  pass.y_grouped = b.y.grouped;
  pass.x_sums = gradient_x != nullptr ? b.x_sums : nullptr;
  pass.y_sums = gradient_y != nullptr ? b.y_sums : nullptr;
  pass.upstream = upstream.data;
  pass.block = static_cast<int32_t>(applied_block_rows(std::max(x.rows, y.rows)));
  // Returns the largest |upstream|.
  const auto apply = [&](float scale) {
    pass.scale = scale;
    std::memset(b.x_sums, 0, sizeof(float) * static_cast<size_t>(grouped_floats(b.x.layout)));
    std::memset(b.y_sums, 0, sizeof(float) * static_cast<size_t>(grouped_floats(b.y.layout)));
    call.pairs(threads, schedule, [&](const BlockPair& pair, int64_t job, int slot) {
      b.peaks[job] = call.kernels().cosine_apply(pass, pair, b.scratch.of(slot));
    });
    float peak = 0.0f;
    for (int64_t job = 0; job < schedule.count(); ++job) {
      if (std::isnan(b.peaks[job])) {
        for (int64_t row = 0; row < upstream.rows; ++row)
          for (int64_t column = 0; column < upstream.cols; ++column)
            if (!std::isfinite(upstream.data[row * upstream.cols + column])) throw Failure{CK_NON_FINITE, 2, row, column, ""};
      }
      peak = std::max(peak, b.peaks[job]);
    }
    return peak;
  };
  int power = 0;
  const float peak = apply(1.0f);
  // Far from 1 the sums could overflow, or lose digits to denormal numbers: once more, scaled.
  if (peak > 0.0f && (peak > 1e18f || peak < 1e-12f)) {
    power = std::min(std::max(-std::ilogb(peak), -120), 120);
    apply(std::ldexp(1.0f, power));
  }
  FinishJob job = {};
  job.sums_scale = std::ldexp(1.0, -power);
  job.scale = options.weight;
  job.normalize = options.normalize;
  FinishJob of_x = job, of_y = job;
  of_x.data = x.data;
  of_x.layout = &b.x.layout;
  of_x.sums = b.x_sums;
  of_x.norms = b.x.norms;
  of_x.gradient = gradient_x;
  of_y.data = y.data;
  of_y.layout = &b.y.layout;
  of_y.sums = b.y_sums;
  of_y.norms = b.y.norms;
  of_y.gradient = gradient_y;
  const double largest_x = call.normalize() ? 1.0 : b.x.largest_norm, largest_y = call.normalize() ? 1.0 : b.y.largest_norm;
  if (gradient_x != nullptr) b.x_finish.check(call, threads, b.x, of_x, peak * static_cast<double>(y.rows) * largest_y, 0);
  if (gradient_y != nullptr) b.y_finish.check(call, threads, b.y, of_y, peak * static_cast<double>(x.rows) * largest_x, 1);
  if (gradient_x != nullptr) b.x_finish.write(call, threads, b.x, of_x);
  if (gradient_y != nullptr) b.y_finish.write(call, threads, b.y, of_y);
}

int64_t cosine_similarity_backward_bytes(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options) {
  Call call(options);
  Arena arena(nullptr);
  const ck_matrix x = {nullptr, rows_x, cols}, y = {nullptr, rows_y, cols};
  BackwardBuffers buffers(arena, x, y, call, call.threads_for(multiply_adds(rows_x, rows_y, cols, 2)));
  return Workspace::rounded(arena.used());
}

}  // namespace ck
