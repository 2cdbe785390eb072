// The working memory of a call of supCon. Included by sup_con.cpp alone. All arrays of rows are in the order of the classes.
#ifndef CK_CPU_SUP_CON_BUFFERS_HPP
#define CK_CPU_SUP_CON_BUFFERS_HPP

#include "cpu/contrast.hpp"

namespace ck {
namespace {

struct RowTotals {
  double loss, positive, positives, negative, negatives, largest_share;
  int64_t hits, counted;
};

constexpr int64_t ROWS_PER_JOB = 64;

struct Buffers {
  Buffers(Arena& arena, int64_t rows, int64_t cols, bool gradients, const Call& call, int threads)
      : sorted(arena.take<float>(rows * cols)),
        relative(arena.take<float>(rows * cols)),
        units(arena, {sorted, rows, cols}, call.kernels().width, layouts(call, gradients), true),
        within(arena, {relative, rows, cols}, call.kernels().width, layouts(call, false), false),
        contrast(arena, units, units, false),
        scratch(arena, threads),
        finish(arena, rows, cols, threads),
        gradient(gradients ? arena.take<float>(grouped_floats(units.layout)) : nullptr) {
    const int64_t padded = units.layout.padded_rows;
    jobs = arena.take<PairJob>(Schedule::job_count(rows, -1, contrast.job));
    turns = arena.take<std::atomic<uint32_t>>(Schedule::turn_count(rows, -1, contrast.job));
    order = arena.take<int32_t>(rows);
    labels = arena.take<int32_t>(padded);
    class_start = arena.take<int32_t>(rows + 1);
    class_of = arena.take<int32_t>(rows);
    norms = arena.take<double>(rows);
    mean_row = arena.take<double>(2 * cols * threads);
    all_rows = arena.take<double>(cols);
    base = arena.take<double>(rows);
    positive = arena.take<double>(rows);
    negative = arena.take<double>(rows);
    loss = arena.take<double>(rows);
    log_sum_exp = arena.take<double>(rows);
    log_negatives = arena.take<double>(rows);
    share = arena.take<double>(rows);
    sums = arena.take<double>(padded);
    slopes = arena.take<double>(padded);
    for (float** array : {&bias, &no_bias, &peaks, &lows, &similarity_peaks, &mean, &spread, &pull, &level, &offset})
      *array = arena.take<float>(padded);
    partial = arena.take<RowTotals>(job_count(rows, ROWS_PER_JOB));
  }

  float* sorted;    // [rows, cols]
  float* relative;  // u less the mean of its class
  Packed units, within;
  ContrastBuffers contrast;  // with the rows of other classes
  ScratchSet scratch;
  PairGradient finish;
  float* gradient;
  PairJob* jobs;
  std::atomic<uint32_t>* turns;
  int32_t* order;   // the row of z that each is
  int32_t* labels;  // ascending
  int32_t* class_start;
  int32_t* class_of;
  double* norms;     // of z, in its own order
  double* mean_row;  // [threads][2][cols]
  double* all_rows;  // sum of all u
  double* base;      // |m|^2 + <m, r>
  double* positive;  // mean similarity with the positives
  double* negative;  // sum of the similarities with the negatives
  double* loss;
  double* log_sum_exp;
  double* log_negatives;
  double* share;  // q; pair: the sum of the q_p
  double* sums;
  double* slopes;
  float *bias, *no_bias, *peaks, *lows, *similarity_peaks, *mean, *spread, *pull, *level, *offset;  // class_passes.hpp
  RowTotals* partial;
};

}  // namespace
}  // namespace ck

#endif
