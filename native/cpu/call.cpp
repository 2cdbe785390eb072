#include "cpu/call.hpp"

#include <cmath>
#include <cstdlib>
#include <thread>

#include "cpu/dispatch.hpp"
#include "cpu/tile_sizes.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace ck {
namespace {

constexpr int64_t ROWS_PER_JOB = PACK_ROWS;
constexpr int MAX_THREADS = 1024;

// Waking a worker costs some 10 microseconds, the work of about this many multiply-adds.
constexpr double SERIAL_MULTIPLY_ADDS = 1e6;

int available_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : static_cast<int>(count);
}

int count_default_threads() {
  const char* text = std::getenv("CONTRASTIVE_KERNELS_THREADS");
  if (text != nullptr) {
    char* end = nullptr;
    const long count = std::strtol(text, &end, 10);
    if (end != text && *end == '\0' && count >= 1) return static_cast<int>(count < MAX_THREADS ? count : MAX_THREADS);
  }
  return available_processors();
}

const KernelTable& kernels_or_fail() {
  const Dispatch& chosen = dispatch();
  if (chosen.kernels == nullptr) throw Failure{CK_UNAVAILABLE, -1, -1, -1, chosen.reason};
  return *chosen.kernels;
}

constexpr int64_t SCRATCH_FLOATS = int64_t{BLOCK_LARGE} * BLOCK_STRIDE + 2 * BLOCK_LARGE * MAX_LANES + 2 * BLOCK_LARGE + GROUP * MAX_WIDTH;
constexpr int64_t SCRATCH_WORDS = int64_t{BLOCK_LARGE} * WORD_STRIDE;
constexpr int64_t GUIDED_BYTES = int64_t{BLOCK_LARGE} * BLOCK_LARGE;

}  // namespace

int64_t applied_block_rows(int64_t rows) {
  // A block of BLOCK_LARGE at 128 columns: 156 KiB of coefficients, and of both sides 96 KiB each of rows and of sums make 540.
  constexpr int64_t LARGE_BYTES = int64_t{768} << 10;
  return second_level_bytes() < LARGE_BYTES ? BLOCK_SMALL : block_rows(rows);
}

int32_t default_threads() {
  static const int32_t count = count_default_threads();
  return count;
}

Layout make_layout(int64_t rows, int64_t cols, int32_t width) {
  Layout layout;
  layout.rows = rows;
  layout.cols = cols;
  layout.width = width;
  layout.padded_rows = (rows + BLOCK_LARGE - 1) / BLOCK_LARGE * BLOCK_LARGE;
  layout.chunks = (cols + width - 1) / width;
  layout.group_stride = layout.chunks * GROUP * width;
  // Groups a multiple of 4096 bytes apart would share the same few sets of the first-level cache.
  if (layout.group_stride % 1024 == 0) layout.group_stride += 128;
  layout.panel_stride = cols * width;
  return layout;
}

Call::Call(const ck_options& options, bool bfloat16) : options_(options), kernels_(kernels_or_fail()) {
  if (options.precision == CK_BFLOAT16 && bfloat16) {
    bfloat16_ = dispatch().bfloat16;
    if (bfloat16_ == nullptr)
      throw Failure{CK_UNAVAILABLE, -1, -1, -1,
                    "on the CPU bfloat16 needs AMX or AVX512_BF16, and amx or avx512 as the instruction set in use"};
  } else if (options.precision != CK_FLOAT32) {
    throw Failure{CK_UNAVAILABLE, -1, -1, -1, "the CPU library computes in float32, and only NT-Xent in bfloat16 too"};
  }
  threads_ = options.threads > 0 ? options.threads : default_threads();
  if (threads_ > MAX_THREADS) threads_ = MAX_THREADS;
}

int Call::threads_for(double multiply_adds) const { return multiply_adds < SERIAL_MULTIPLY_ADDS ? 1 : threads_; }

bool Call::stopped() {
  if (stop_.load(std::memory_order_relaxed)) return true;
  if (options_.cancel == nullptr || __atomic_load_n(options_.cancel, __ATOMIC_RELAXED) == 0) return false;
  stop_.store(true, std::memory_order_relaxed);
  return true;
}

void Call::check() const {
  if (stop_.load(std::memory_order_relaxed)) throw Failure{CK_CANCELLED};
}

ScratchSet::ScratchSet(Arena& arena, int threads, bool words, bool guided)
    : base_(arena.take<float>(SCRATCH_FLOATS * threads)),
      words_(words ? arena.take<float>(SCRATCH_WORDS * threads) : nullptr),
      guided_(guided ? arena.take<uint8_t>(GUIDED_BYTES * threads) : nullptr) {}

Scratch ScratchSet::of(int slot) const {
  float* p = base_ + SCRATCH_FLOATS * slot;
  Scratch scratch;
  const auto take = [&](int64_t count) {
    float* array = p;
    p += count;
    return array;
  };
  scratch.coefficients = take(int64_t{BLOCK_LARGE} * BLOCK_STRIDE);
  scratch.row_lanes = take(BLOCK_LARGE * MAX_LANES);
  scratch.row_peaks = take(BLOCK_LARGE * MAX_LANES);
  scratch.col_lanes = take(BLOCK_LARGE);
  scratch.col_peaks = take(BLOCK_LARGE);
  scratch.tile = take(GROUP * MAX_WIDTH);
  scratch.words = words_ == nullptr ? nullptr : words_ + SCRATCH_WORDS * slot;
  scratch.guided = guided_ == nullptr ? nullptr : guided_ + GUIDED_BYTES * slot;
  return scratch;
}

Packed::Packed(Arena& arena, const ck_matrix& m, int32_t width, PackedLayouts wanted, bool want_column_sums)
    : matrix(m), layout(make_layout(m.rows, m.cols, width)) {
  const int64_t jobs = job_count(layout.padded_rows, PACK_ROWS);
  panels = wanted.panels ? arena.take<float>(panel_floats(layout)) : nullptr;
  grouped = wanted.grouped ? arena.take<float>(grouped_floats(layout)) : nullptr;
  norms = arena.take<double>(layout.padded_rows);
  column_sums = want_column_sums ? arena.take<double>(jobs * m.cols) : nullptr;
  totals = arena.take<PackTotals>(jobs);
}

void fail_non_finite(const float* data, int64_t cols, int64_t row, int32_t argument) {
  int64_t column = 0;
  while (column + 1 < cols && std::isfinite(data[row * cols + column])) ++column;
  throw Failure{CK_NON_FINITE, argument, row, column, ""};
}

void pack_job(const Call& call, Packed& packed, double scale, float* sums, int64_t index, bool normalize) {
  PackJob job = {};
  job.data = packed.matrix.data;
  job.layout = &packed.layout;
  job.first = index * PACK_ROWS;
  job.last = job.first + PACK_ROWS;
  job.scale = scale;
  job.normalize = normalize;
  job.panels = packed.panels;
  job.grouped = packed.grouped;
  job.norms = packed.norms;
  job.sums = sums;
  job.column_sum = packed.column_sums == nullptr ? nullptr : packed.column_sums + index * packed.layout.cols;
  call.kernels().pack(&job);
  packed.totals[index] = job.totals;
}

void finish_packing(Packed& packed, int32_t argument) {
  packed.smallest_norm = INFINITY;
  packed.largest_norm = 0.0;
  packed.zero_rows = 0;
  for (int64_t index = 0; index < job_count(packed.layout.padded_rows, PACK_ROWS); ++index) {
    const PackTotals& totals = packed.totals[index];
    if (totals.bad_row >= 0) fail_non_finite(packed.matrix.data, packed.matrix.cols, totals.bad_row, argument);
    packed.zero_rows += totals.zero_rows;
    if (totals.smallest_norm < packed.smallest_norm) packed.smallest_norm = totals.smallest_norm;
    if (totals.largest_norm > packed.largest_norm) packed.largest_norm = totals.largest_norm;
  }
}

Gradient::Gradient(Arena& arena, int64_t rows, int64_t cols, int threads)
    : jobs_(job_count(rows, ROWS_PER_JOB)),
      cols_(cols),
      rows_(arena.take<double>(cols * threads)),
      partials_(arena.take<double>(jobs_)),
      overflow_(arena.take<int64_t>(jobs_)) {}

void Gradient::check(Call& call, int threads, const Packed& packed, FinishJob job, double largest, int32_t argument) const {
  const double unit = call.normalize() ? 1.0 / packed.smallest_norm : 1.0;
  if (2.0 * largest * std::fabs(job.scale) * unit < LARGEST_FLOAT) return;  // false for NaN, too: then look
  job.gradient = nullptr;
  call.each(threads, jobs_, [&](int64_t index, int slot) {
    FinishJob part = job;
    part.first = index * ROWS_PER_JOB;
    part.last = part.first + ROWS_PER_JOB < packed.layout.rows ? part.first + ROWS_PER_JOB : packed.layout.rows;
    part.scratch_row = rows_ + slot * cols_;
    call.kernels().finish(&part);
    overflow_[index] = part.overflow;
  });
  for (int64_t index = 0; index < jobs_; ++index)
    if (overflow_[index] >= 0) throw Failure{CK_GRADIENT_OVERFLOW, argument, overflow_[index], -1, ""};
}

double Gradient::write(Call& call, int threads, const Packed& packed, const FinishJob& job) const {
  // Outputs are being written: from here on the call is not given up.
  parallel_for(threads, jobs_, [&](int64_t index, int slot) {
    FinishJob part = job;
    part.first = index * ROWS_PER_JOB;
    part.last = part.first + ROWS_PER_JOB < packed.layout.rows ? part.first + ROWS_PER_JOB : packed.layout.rows;
    part.scratch_row = rows_ + slot * cols_;
    call.kernels().finish(&part);
    partials_[index] = part.alignment;
  });
  double sum = 0.0;
  for (int64_t index = 0; index < jobs_; ++index) sum += partials_[index];
  return sum;
}

}  // namespace ck
