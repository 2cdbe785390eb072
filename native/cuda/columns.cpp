// Kernels of columns.hpp. A block of the column kernels has 32 columns, and 8 threads for each that share its items and add up in order.
#include "cuda/columns.hpp"

namespace ck::cuda {
namespace {

constexpr int kShare = kColumnThreads / kWarp;
constexpr int kRowThreads = 128;
constexpr int kRowsPerBlock = kRowThreads / kWarp;

__device__ __forceinline__ int own_column() { return int(blockIdx.x) * kWarp + int(threadIdx.x) % kWarp; }
__device__ __forceinline__ int own_share() { return int(threadIdx.x) / kWarp; }

// The sum over a column's threads, for all of them. shared: kColumnThreads doubles.
__device__ double share_sum(double value, double* shared) {
  __syncthreads();
  shared[threadIdx.x] = value;
  __syncthreads();
  double sum = 0;
  for (int s = 0; s < kShare; ++s) sum += shared[s * kWarp + int(threadIdx.x) % kWarp];
  return sum;
}

__global__ void __launch_bounds__(kColumnThreads, 1) moments(ColumnView view, int argument, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  const int k = own_column(), items = view.items();
  const bool inside = k < view.columns();
  double sum = 0;
  for (int n = own_share(); inside && n < items; n += kShare) {
    const size_t at = size_t(n) * view.columns() + k;
    if ((__float_as_int(view.batch[at]) & 0x7F800000) == 0x7F800000) keep_minimum(&report->non_finite[argument], uint64_t(at));
    sum += double(view.batch[at]) - view.batch[k];
  }
  const double mean = share_sum(sum, shared) / items;
  double square = 0;
  for (int n = own_share(); inside && n < items; n += kShare) {
    const double value = double(view.batch[size_t(n) * view.columns() + k]) - view.batch[k] - mean;
    square += value * value;
  }
  const double variance = share_sum(square, shared) / items;
  if (!inside || own_share() != 0) return;
  view.mean[k] = mean;
  view.variance[k] = variance;
}

// u.by_column, [padded items, padded columns].
__global__ void __launch_bounds__(kColumnThreads, 1) scale_values(ColumnView view) {
  const int n = int(blockIdx.x);
  for (int k = int(threadIdx.x); k < view.u.padded_rows; k += kColumnThreads) {
    const bool inside = n < view.items() && k < view.columns();
    view.u.by_column[size_t(n) * view.u.padded_rows + k] = inside ? float(view.centred(n, k) * view.factor[k]) : 0.0f;
  }
}

__global__ void __launch_bounds__(kColumnThreads, 1) differences(ColumnView a, ColumnView b, bool raw, double* apart) {
  CK_SHARED_MEMORY(bytes);
  const int k = own_column();
  const bool inside = k < a.columns();
  double sum = 0;
  for (int n = own_share(); inside && n < a.items(); n += kShare) {
    const size_t at = size_t(n) * a.columns() + k;
    const double d = raw ? double(a.batch[at]) - b.batch[at] : a.centred(n, k) * a.factor[k] - b.centred(n, k) * b.factor[k];
    sum += d * d;
  }
  sum = share_sum(sum, reinterpret_cast<double*>(bytes));
  if (inside && own_share() == 0) apart[k] = sum;
}

// One warp a column.
__global__ void __launch_bounds__(kRowThreads, 1) close_columns(ColumnView view, ColumnClose close, int first) {
  const int local = int(blockIdx.x) * kRowsPerBlock + int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int k = first + local, items = view.items(), columns = view.columns();
  const Panels& panels = view.side.first;
  if (local >= panels.rows || k >= columns) return;
  double* const v = view.side.totals + size_t(local) * view.u.stride;
  const float* const u = view.u.by_row + size_t(k) * view.u.stride;
  const float* const with = close.with.by_row + size_t(k) * close.with.stride;
  double mean = 0, along = 0;
  for (int n = lane; n < items; n += kWarp) {
    double sum = 0;
    for (int s = 0; s < panels.splits; ++s) sum += panels.parts[(size_t(s) * panels.rows + local) * panels.stride + n];
    v[n] = *close.factor * sum + close.pull[k] * with[n];
    mean += v[n];
    along += v[n] * u[n];
  }
  mean = warp_sum(mean) / items;
  along = warp_sum(along) / items;
  for (int n = lane; n < items; n += kWarp) {
    const size_t at = size_t(n) * columns + k;
    const double by_value = close.standardised ? (v[n] - mean - u[n] * along) * view.factor[k]
                                               : v[n] + close.difference * (double(view.batch[at]) - close.other[at]);
    const float g = float(close.weight * by_value);
    if (!(fabsf(g) <= kLargestFloat)) keep_minimum(&close.report->overflow[close.argument], uint64_t(n));
    close.gradient[at] = g;
  }
}

unsigned column_blocks(const ColumnView& view) { return unsigned((view.columns() + kWarp - 1) / kWarp); }

}  // namespace

int check_columns(const ck_matrix& a, const ck_matrix& b, const ck_options& options, ck_error* error) {
  const ck_matrix columns{nullptr, a.cols, a.rows};  // which are rows here
  return check_call({&a, &b, &columns}, options, error);
}

void measure_columns(Run& run, const ColumnView& view, int argument, ck_cuda_report* report) {
  run.launch(moments, column_blocks(view), kColumnThreads, kColumnThreads * sizeof(double), view, argument, report);
}

void fill_view(Run& run, const ColumnView& view) {
  run.launch(scale_values, unsigned(view.u.stride), kColumnThreads, 0, view);
  Rows transposed = view.u;
  transposed.by_row = view.u.by_column;
  transposed.by_column = view.u.by_row;
  transposed.padded_rows = view.u.stride;
  transposed.stride = view.u.padded_rows;
  fill_columns(run, transposed);
}

void column_differences(Run& run, const ColumnView& a, const ColumnView& b, bool raw, double* apart) {
  run.launch(differences, column_blocks(a), kColumnThreads, kColumnThreads * sizeof(double), a, b, raw, apart);
}

void column_gradient(Run& run, const ColumnView& view, const ColumnView& other, const SquareSums& policy, const ColumnClose& close) {
  const Panels& panels = view.side.first;
  for (int first = 0; first < view.columns(); first += panels.rows) {
    detail::add_compared(run, view.side, first, 0, compared(view.u, other.u, policy));
    run.launch(close_columns, unsigned((panels.rows + kRowsPerBlock - 1) / kRowsPerBlock), kRowThreads, 0, view, close, first);
    run.checkpoint();
  }
}

}  // namespace ck::cuda
