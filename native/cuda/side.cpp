// Kernels of side.hpp.
#include "cuda/side.hpp"

#include "cuda/launchers.hpp"
#include "cuda/tensor_kernels.hpp"

namespace ck::cuda {
namespace {

constexpr int kRowThreads = 128;
constexpr int kRowsPerBlock = kRowThreads / kWarp;
constexpr int kThreads = 256;

// Adds scale * coefficient times the other row to the lane's columns of a row's totals.
__device__ void add_entry(const PairList& list, int64_t entry, double scale, int lane, int cols, double* totals) {
  const double coefficient = list.coefficient[entry] * scale;
  if (coefficient == 0) return;
  const int64_t other = list.other ? list.other[entry] : entry / list.divide;
  const UnitRow u = list.with.unit(int(other));
  for (int c = lane; c < cols; c += kWarp) totals[c] += coefficient * u[c];
}

// The entries of a row in order. With targets the warp reads the whole list and takes what is its own: no sorting, no order that
// depends on timing.
__device__ void add_list(const PairList& list, int row, double scale, int lane, int cols, double* totals) {
  if (!list.target) {
    const int64_t from = row * list.each, to = from + list.each < list.count ? from + list.each : list.count;
    for (int64_t entry = from; entry < to; ++entry) add_entry(list, entry, scale, lane, cols, totals);
    return;
  }
  for (int64_t base = 0; base < list.count; base += kWarp) {
    const unsigned own = __ballot_sync(0xFFFFFFFFu, base + lane < list.count && list.target[base + lane] == row);
    for (int bit = 0; own >> bit != 0; ++bit) {
      if (own >> bit & 1) add_entry(list, base + bit, scale, lane, cols, totals);
      if (bit == kWarp - 1) break;  // a shift by 32 means nothing
    }
  }
}

__device__ void add_parts(const Panels& panels, int local, int lane, int cols, double* totals) {
  for (int c = lane; c < cols; c += kWarp) {
    for (int s = 0; s < panels.splits; ++s) totals[c] += panels.parts[(size_t(s) * panels.rows + local) * panels.stride + c];
  }
}

__global__ void __launch_bounds__(kRowThreads, 1) close_rows(Side side, Close close, int matrices, int first_row) {
  const int local = int(blockIdx.x) * kRowsPerBlock + int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int row = first_row + local;
  const Rows& x = side.rows;
  if (local >= side.first.rows || row >= x.rows) return;
  float* const out = close.gradient ? close.gradient + size_t(row) * x.cols : nullptr;
  const double norm = x.normalized ? x.norm[row] : 1;
  if (!(norm > 0)) {  // a zero row, whose D means nothing
    for (int c = lane; out && c < x.cols; c += kWarp) out[c] = 0.0f;
    if (lane == 0 && close.along) close.along[row] = 0;
    return;
  }
  double* const v = side.totals + size_t(local) * x.stride;
  const UnitRow u = x.unit(row);
  const double up = exp2(*close.exponent);
  for (int c = lane; c < x.cols; c += kWarp) v[c] = 0;
  if (matrices > 0) add_parts(side.first, local, lane, x.cols, v);
  if (matrices > 1) add_parts(side.second, local, lane, x.cols, v);
  for (int n = 0; n < close.lists; ++n) add_list(close.list[n], row, up, lane, x.cols, v);
  double along = 0;
  for (int c = lane; c < x.cols; c += kWarp) along += v[c] * u[c];
  along = warp_sum(along);
  const double tangent = x.normalized ? along : 0, scale = close.factor / up / norm;
  for (int c = lane; out && c < x.cols; c += kWarp) {
    const float g = float((v[c] - tangent * u[c]) * scale);
    if (!(fabsf(g) <= kLargestFloat)) keep_minimum(&close.report->overflow[close.argument], uint64_t(row));
    out[c] = g;
  }
  if (lane == 0 && close.along) close.along[row] = along;
}

__global__ void __launch_bounds__(kRowThreads, 1)
    similarities(Rows x, Rows y, const int32_t* other, int64_t each, int64_t count, double* out) {
  const int64_t entry = int64_t(blockIdx.x) * kRowsPerBlock + int(threadIdx.x) / kWarp;
  const int lane = int(threadIdx.x) % kWarp;
  if (entry >= count) return;
  const int64_t i = entry / each, j = other ? other[entry] : entry;
  const bool rounded = x.precision == CK_BFLOAT16;
  const UnitRow a = rounded ? x.unit(int(i)) : UnitRow{x.input + i * x.cols, 1, false};
  const UnitRow b = rounded ? y.unit(int(j)) : UnitRow{y.input + j * y.cols, 1, false};
  double dot = 0;
  for (int c = lane; c < x.cols; c += kWarp) dot += a[c] * b[c];
  dot = warp_sum(dot);
  const double norms = x.normalized && !rounded ? x.norm[i] * y.norm[j] : 1;
  if (lane == 0) out[entry] = norms > 0 ? dot / norms : 0;
}

__global__ void __launch_bounds__(kThreads, 1) tile_elements(Rows x, Rows y, const int32_t* other, float* out) {
  const int row = int(blockIdx.x) * kThreads + int(threadIdx.x);
  if (row < x.rows) out[row] = tile_element(x.operand(row), y.operand(other ? other[row] : row), x.depth());
}

__global__ void __launch_bounds__(kThreads, 1) products_fit(Rows x, Rows y, double k, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  double largest = 0;
  for (int row = int(threadIdx.x); row < y.rows; row += kThreads) largest = fmax(largest, y.norm[row]);
  largest = block_fold<kThreads>(largest, shared, [](double a, double b) { return a > b ? a : b; });
  constexpr double kLargestExponent = 1e37;
  for (int row = int(threadIdx.x); row < x.rows; row += kThreads) {
    const double product = x.norm[row] * largest;
    if (!(product <= kLargestExponent && product * k <= kLargestExponent)) keep_minimum(&report->out_of_range, uint64_t(row));
  }
}

__global__ void __launch_bounds__(kThreads, 1) sum_along(const double* first, int first_rows, const double* second, int second_rows,
                                                         double factor, const double* exponent, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double sum = 0;
  for (int row = int(threadIdx.x); row < first_rows; row += kThreads) sum += first[row];
  for (int row = int(threadIdx.x); second && row < second_rows; row += kThreads) sum += second[row];
  sum = block_sum<kThreads>(sum, reinterpret_cast<double*>(bytes));
  if (threadIdx.x == 0) report->result.temperature_gradient = factor * sum * exp2(-*exponent);
}

}  // namespace

void close_side(Run& run, const Side& side, const Close& close, int matrices, int first_row) {
  run.launch(close_rows, (side.first.rows + kRowsPerBlock - 1) / kRowsPerBlock, kRowThreads, 0, side, close, matrices, first_row);
}

void listed_similarities(Run& run, const Rows& x, const Rows& y, const int32_t* other, int64_t each, int64_t count, double* out) {
  if (count == 0) return;
  run.launch(similarities, unsigned((count + kRowsPerBlock - 1) / kRowsPerBlock), kRowThreads, 0, x, y, other, each, count, out);
}

void tile_similarities(Run& run, const Rows& x, const Rows& y, const int32_t* other, float* out) {
  if (x.tensor()) return tensor_pairs(run, x, y, other, 1.0f, out);
  run.launch(tile_elements, unsigned((x.rows + kThreads - 1) / kThreads), kThreads, 0, x, y, other, out);
}

void check_products(Run& run, const Rows& x, const Rows& y, double k, ck_cuda_report* report) {
  if (!x.normalized) run.launch(products_fit, 1, kThreads, kThreads * sizeof(double), x, y, k, report);
}

void temperature_gradient(Run& run, const double* first, int first_rows, const double* second, int second_rows, double factor,
                          const double* exponent, ck_cuda_report* report) {
  run.launch(sum_along, 1, kThreads, kThreads * sizeof(double), first, first_rows, second, second_rows, factor, exponent, report);
}

}  // namespace ck::cuda
