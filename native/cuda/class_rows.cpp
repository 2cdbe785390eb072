// Kernels of class_rows.hpp, one warp a row. A class is found by reading all labels, and its mean by reading its rows in order: no sorting,
// no atomics. The mean is a point that all rows of the class agree on; its own rounding does not matter.
#include "cuda/class_rows.hpp"

namespace ck::cuda {
namespace {

constexpr int kRowThreads = 128;
constexpr int kRowsPerBlock = kRowThreads / kWarp;

__device__ __forceinline__ int warp_row() { return int(blockIdx.x) * kRowsPerBlock + int(threadIdx.x) / kWarp; }

// Calls visit(j) for the rows j >= first of row's class, in order, until it returns false; all lanes together.
template <class Visit>
__device__ __forceinline__ void each_of_class(const ClassRows& c, int row, int first, const Visit& visit) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int base = first / kWarp * kWarp; base < c.u.rows; base += kWarp) {
    const int j = base + lane;
    const unsigned found = __ballot_sync(0xFFFFFFFFu, j >= first && j < c.u.rows && c.labels[j] == c.labels[row]);
    for (int bit = 0; bit < kWarp; ++bit) {
      if (found >> bit & 1 && !visit(base + bit)) return;
    }
  }
}

__global__ void __launch_bounds__(kRowThreads, 1) class_means(ClassRows c) {
  const int row = warp_row(), lane = int(threadIdx.x) % kWarp;
  if (row >= c.u.rows) return;
  int leader = row;
  each_of_class(c, row, 0, [&](int j) {
    leader = j;
    return false;
  });
  if (lane == 0) c.leader[row] = leader;
  if (leader != row) return;
  float* const mean = c.mean + size_t(row) * c.u.stride;
  for (int k = lane; k < c.u.stride; k += kWarp) mean[k] = 0.0f;
  int count = 0;
  each_of_class(c, row, row, [&](int j) {
    const float* const u = c.u.by_row + size_t(j) * c.u.stride;
    for (int k = lane; k < c.u.cols; k += kWarp) mean[k] += u[k];
    ++count;
    return true;
  });
  for (int k = lane; k < c.u.cols; k += kWarp) mean[k] /= float(count);
}

__global__ void __launch_bounds__(kRowThreads, 1) residuals(ClassRows c) {
  const int row = warp_row(), lane = int(threadIdx.x) % kWarp;
  if (row >= c.u.padded_rows) return;
  float* const r = c.r.by_row + size_t(row) * c.u.stride;
  if (row >= c.u.rows) {
    for (int k = lane; k < c.u.stride; k += kWarp) r[k] = 0.0f;
    if (lane == 0) c.bias[row] = 0.0f;
    return;
  }
  const float* const x = c.u.input + size_t(row) * c.u.cols;
  const float* const mean = c.mean + size_t(c.leader[row]) * c.u.stride;
  const double norm = c.u.norm[row], scale = !c.u.normalized ? 1 : norm > 0 ? 1 / norm : 0;
  double bias = 0, square = 0;
  for (int k = lane; k < c.u.stride; k += kWarp) {
    const float value = k < c.u.cols ? float(x[k] * scale - mean[k]) : 0.0f;
    r[k] = value;
    bias += double(mean[k]) * value;
    square += double(mean[k]) * mean[k];
  }
  bias = warp_sum(bias);
  square = warp_sum(square);
  if (lane != 0) return;
  c.bias[row] = float(bias);
  c.base[row] = square + bias;
}

}  // namespace

void prepare_classes(Run& run, const ClassRows& classes) {
  const auto blocks = [](int rows) { return unsigned((rows + kRowsPerBlock - 1) / kRowsPerBlock); };
  run.launch(class_means, blocks(classes.u.rows), kRowThreads, 0, classes);
  run.launch(residuals, blocks(classes.u.padded_rows), kRowThreads, 0, classes);
  fill_columns(run, classes.r);
}

}  // namespace ck::cuda
