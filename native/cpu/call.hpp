// What every kernel call of the CPU library shares: its options resolved, its threads, its cancellation, its failures, and the
// steps that all losses begin and end with (packing, passes over pairs of blocks, gradients out of sums).
#ifndef CK_CPU_CALL_HPP
#define CK_CPU_CALL_HPP

#include <stdint.h>

#include <atomic>

#include "contrastive_kernels.h"
#include "cpu/kernels.hpp"
#include "cpu/schedule.hpp"
#include "cpu/thread_pool.hpp"
#include "cpu/tile_sizes.hpp"
#include "cpu/workspace.hpp"

namespace ck {

// Thrown by the calling thread only, caught by the C functions.
struct Failure {
  ck_status status;
  int32_t argument = -1;
  int64_t row = -1;
  int64_t column = -1;
  const char* message = "";
};

constexpr double LOG2_E = 1.4426950408889634;
constexpr double LN_2 = 0.6931471805599453;
// Bounds on similarities in log2 units past which float32 sums of them could overflow.
constexpr double LARGEST_BOUND = 1e37;
constexpr double LARGEST_FLOAT = 3.4028234663852886e38;

int32_t default_threads();

Layout make_layout(int64_t rows, int64_t cols, int32_t width);
inline int64_t grouped_floats(const Layout& layout) { return layout.padded_rows / GROUP * layout.group_stride; }
inline int64_t panel_floats(const Layout& layout) { return layout.padded_rows / layout.width * layout.panel_stride; }
// Rows of a block of S: smaller ones for small problems, where parallelism matters more.
inline int64_t block_rows(int64_t rows) { return rows <= 1024 ? BLOCK_SMALL : BLOCK_LARGE; }
// The same where coefficients are applied: those of a block stay in the second-level cache beside the rows and sums they meet.
int64_t applied_block_rows(int64_t rows);
// Rows of a side of a job, some blocks. Blocks that share rows find them in the cache; how many depends on the rows alone, so that bits
// do not depend on the number of threads, and at least 16 are left to share.
inline int64_t job_rows(int64_t rows) {
  const int64_t blocks = rows / (16 * BLOCK_LARGE);
  return block_rows(rows) * (blocks < 1 ? 1 : blocks > 4 ? 4 : blocks);
}
inline int64_t job_count(int64_t rows, int64_t per_job) { return (rows + per_job - 1) / per_job; }

class Call {
 public:
  // `bfloat16`: the kernel has that precision, too. Throws CK_UNAVAILABLE for one that it, or this machine, lacks.
  explicit Call(const ck_options& options, bool bfloat16 = false);

  const ck_options& options() const { return options_; }
  const KernelTable& kernels() const { return kernels_; }
  const Bfloat16Table* bfloat16() const { return bfloat16_; }  // NULL: the call is in float32
  int threads() const { return threads_; }
  bool normalize() const { return options_.normalize != 0; }

  // Threads for a problem of so many multiply-adds: one while that is faster. Depends on the shape only.
  int threads_for(double multiply_adds) const;

  // True once the caller has given the call up; asked between jobs.
  bool stopped();
  // Throws when the call was given up.
  void check() const;

  // body(job, slot) for jobs until stopped, then check().
  template <class Body>
  void each(int threads, int64_t jobs, Body&& body) {
    parallel_for(threads, jobs, [&](int64_t job, int slot) {
      if (!stopped()) body(job, slot);
    });
    check();
  }

  // body(pair, job, slot) for every pair of blocks, each block in one job at a time and in a fixed order; after them
  // extra(job, slot) for `extras` jobs that do not depend on anything.
  template <class Body, class Extra>
  void pairs(int threads, Schedule& schedule, Body&& body, int64_t extras, Extra&& extra) {
    schedule.reset();
    parallel_for(threads, schedule.strips() + extras, [&](int64_t strip, int slot) {
      if (strip >= schedule.strips()) {
        if (!stopped()) extra(strip - schedule.strips(), slot);
        return;
      }
      const int64_t last = schedule.strip_first(strip + 1);
      for (int64_t job = schedule.strip_first(strip); job < last; ++job) {
        if (stopped() || !schedule.wait(job, stop_)) return;
        body(schedule.pair(job), job, slot);
        schedule.done(job);
      }
    });
    check();
  }
  template <class Body>
  void pairs(int threads, Schedule& schedule, Body&& body) {
    pairs(threads, schedule, body, 0, [](int64_t, int) {});
  }

 private:
  ck_options options_;
  const KernelTable& kernels_;
  const Bfloat16Table* bfloat16_ = nullptr;
  int threads_;
  std::atomic<bool> stop_{false};
};

// Scratch of every slot, `words` and `guided` only on request.
struct ScratchSet {
  ScratchSet(Arena& arena, int threads, bool words = false, bool guided = false);
  Scratch of(int slot) const;

 private:
  float* base_;
  float* words_;
  uint8_t* guided_;
};

// Which layouts of a matrix a call needs (kernels.hpp): panels for dot products, groups for what coefficients are applied to.
struct PackedLayouts {
  bool panels, grouped;
};
constexpr PackedLayouts COLUMNS = {true, false};  // nothing but the columns of dot products
constexpr PackedLayouts APPLIED = {false, true};  // nothing but what coefficients are applied to
constexpr PackedLayouts NO_LAYOUTS = {false, false};
// The rows of dot products, and with gradients what coefficients are applied to.
inline PackedLayouts layouts(const Call& call, bool gradients) { return {true, gradients || call.kernels().grouped_rows != 0}; }

// A matrix in packed form.
struct Packed {
  Packed(Arena& arena, const ck_matrix& matrix, int32_t width, PackedLayouts wanted, bool column_sums);

  ck_matrix matrix;
  Layout layout;
  float* panels;        // NULL where they are not wanted
  float* grouped;       // likewise
  double* norms;        // [padded_rows]
  double* column_sums;  // [packing jobs][cols]
  PackTotals* totals;   // [packing jobs]

  double smallest_norm = 0.0;  // of the rows that are not zero; infinite when there is none
  double largest_norm = 0.0;
  int64_t zero_rows = 0;
};

// Packs rows [index * PACK_ROWS, ...) of u * scale, and clears them in `sums` (laid out like the groups) if it is not NULL.
// normalize: as the call says, unless given.
void pack_job(const Call& call, Packed& packed, double scale, float* sums, int64_t index, bool normalize);
inline void pack_job(const Call& call, Packed& packed, double scale, float* sums, int64_t index) {
  pack_job(call, packed, scale, sums, index, call.normalize());
}
// Gathers what the jobs found; throws CK_NON_FINITE with the first element of the argument that is not finite.
void finish_packing(Packed& packed, int32_t argument);

// The whole of packing in one parallel region; prepare(first, last) is called for the padded rows of every job.
template <class Prepare>
void pack(Call& call, int threads, Packed& packed, double scale, float* sums, int32_t argument, Prepare&& prepare) {
  call.each(threads, job_count(packed.layout.padded_rows, PACK_ROWS), [&](int64_t index, int) {
    pack_job(call, packed, scale, sums, index);
    prepare(index * PACK_ROWS, (index + 1) * PACK_ROWS);
  });
  finish_packing(packed, argument);
}
inline void pack(Call& call, int threads, Packed& packed, double scale, float* sums, int32_t argument) {
  pack(call, threads, packed, scale, sums, argument, [](int64_t, int64_t) {});
}

[[noreturn]] void fail_non_finite(const float* data, int64_t cols, int64_t row, int32_t argument);

// Finishes gradients row by row.
struct Gradient {
  Gradient(Arena& arena, int64_t rows, int64_t cols, int threads);

  // `job` holds what is common to all rows. `largest` bounds |g_i|: where that times scale / |x_i| may not fit float32 all rows
  // are checked before the first is written. check() throws CK_GRADIENT_OVERFLOW; write() returns sum_i <g_i, u_i>.
  void check(Call& call, int threads, const Packed& packed, FinishJob job, double largest, int32_t argument) const;
  double write(Call& call, int threads, const Packed& packed, const FinishJob& job) const;

 private:
  int64_t jobs_;
  int64_t cols_;
  double* rows_;      // [threads][cols]
  double* partials_;  // [jobs]
  int64_t* overflow_;
};

}  // namespace ck

#endif
