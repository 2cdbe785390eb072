// Gradient rows out of what the passes accumulated and of listed pairs, all in double: a positive, explicit negatives.
// Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/rows.hpp"

namespace ck {
namespace CK_ISA {

// g = the row's accumulated sums, times scale.
CK_INLINE void read_sums(const FinishPairsJob& job, int64_t row, double* g) {
  const Layout& layout = *job.layout;
  if (job.sums == nullptr) {
    for (int64_t k = 0; k < layout.cols; ++k) g[k] = 0.0;
    return;
  }
  const Doubles scale = double_broadcast(job.sums_scale);
  const float* sums = job.sums + row / GROUP * layout.group_stride + row % GROUP * NR;
  for (int64_t base = 0; base < layout.cols; base += NR, sums += GROUP * NR) {
    const int64_t count = layout.cols - base < NR ? layout.cols - base : NR;
    int64_t k = 0;
    for (; k + DOUBLE_LANES <= count; k += DOUBLE_LANES) double_store(g + base + k, double_mul(double_from_floats(sums + k), scale));
    for (; k < count; ++k) g[base + k] = sums[k] * job.sums_scale;
  }
}

CK_INLINE void add_list(const PairList& list, int64_t row, int64_t cols, bool normalize, double* g) {
  const int64_t from = list.start != nullptr ? list.start[row] : row * list.each;
  int64_t to = list.start != nullptr ? list.start[row + 1] : from + list.each;
  if (list.start == nullptr && to > list.count) to = list.count;
  for (int64_t n = from; n < to; ++n) {
    const int64_t entry = list.order != nullptr ? list.order[n] : n;
    const int64_t other = list.other != nullptr ? list.other[entry] : entry / list.divide;
    double weight = list.coefficient[entry];
    if (normalize) weight = list.norms[other] > 0.0 ? weight / list.norms[other] : 0.0;
    if (weight != 0.0) add_scaled_row(list.data + other * cols, weight, cols, g);
  }
}

// Where the gradient of a row goes; NULL: nowhere.
CK_INLINE float* gradient_of(const FinishPairsJob& job, int64_t row) {
  const bool second = job.second_row > 0 && row >= job.second_row;
  float* base = second ? job.second_gradient : job.gradient;
  if (job.place != nullptr) row = job.place[row];
  return base == nullptr ? nullptr : base + (second ? row - job.second_row : row) * job.layout->cols;
}

void finish_pairs(FinishPairsJob* job) {
  const int64_t cols = job->layout->cols;
  double* g = job->scratch_row;
  job->alignment = 0.0;
  job->overflow = -1;
  for (int64_t row = job->first; row < job->last; ++row) {
    const float* x = job->data + row * cols;
    const double norm = job->norms[row];
    float* out = gradient_of(*job, row);
    if (job->normalize && norm == 0.0) {  // the gradient of a zero row is 0
      if (out != nullptr && !job->check)
        for (int64_t k = 0; k < cols; ++k) out[k] = 0.0f;
      continue;
    }
    const double unit = job->normalize ? 1.0 / norm : 1.0;
    read_sums(*job, row, g);
    for (int n = 0; n < job->list_count; ++n) add_list(job->lists[n], row, cols, job->normalize != 0, g);
    Doubles lanes = double_zero();
    double along = 0.0;
    int64_t k = 0;
    for (; k + DOUBLE_LANES <= cols; k += DOUBLE_LANES) lanes = double_fma(double_load(g + k), double_from_floats(x + k), lanes);
    for (; k < cols; ++k) along += g[k] * x[k];
    along = (along + double_sum_lanes(lanes)) * unit;  // <g, u>
    job->alignment += along;
    const double factor = job->scale * unit;
    const double back = job->normalize ? -along * unit * factor : 0.0;
    if (out == nullptr) continue;
    if (job->check) {
      for (k = 0; k < cols; ++k) {
        const double v = g[k] * factor + x[k] * back;
        if (!(v < FLOAT_OVERFLOW && v > -FLOAT_OVERFLOW) && job->overflow < 0) job->overflow = row;
      }
      continue;
    }
    const Doubles vf = double_broadcast(factor), vb = double_broadcast(back);
    for (k = 0; k + DOUBLE_LANES <= cols; k += DOUBLE_LANES)
      floats_from_double(out + k, double_fma(double_load(g + k), vf, double_mul(double_from_floats(x + k), vb)));
    for (; k < cols; ++k) out[k] = static_cast<float>(g[k] * factor + x[k] * back);
  }
}

}  // namespace CK_ISA
}  // namespace ck
