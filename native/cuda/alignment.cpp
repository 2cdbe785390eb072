// Alignment on the device: |u_i - v_i|^alpha, one warp a row, float64 from the unrounded rows (bfloat16: from
// rounded ones): near pairs keep their difference.
//
//   dL/du_i = weight alpha |u_i - v_i|^(alpha - 1) (u_i - v_i) / |u_i - v_i|, 0 where they are equal; v_i gets the opposite
#include <cmath>

#include "cuda/launchers.hpp"
#include "cuda/rows.hpp"

namespace ck::cuda {
namespace {

constexpr int kRowThreads = 128;
constexpr int kRowsPerBlock = kRowThreads / kWarp;
constexpr int kThreads = 256;

struct Alignment {
  const float *x, *y;
  int rows, cols;
  bool normalized, rounded;
  double alpha, weight;
  double* loss;        // [rows]
  double* similarity;  // [rows] u_i . v_i

  Alignment(Arena& arena, const ck_matrix& x_, const ck_matrix& y_, double alpha_, const ck_options& options)
      : x(x_.data),
        y(y_.data),
        rows(int(x_.rows)),
        cols(int(x_.cols)),
        normalized(options.normalize != 0),
        rounded(options.precision == CK_BFLOAT16),
        alpha(alpha_),
        weight(options.weight),
        loss(arena.take<double>(x_.rows)),
        similarity(arena.take<double>(x_.rows)) {}
};

// Element c of u = x / norm.
__device__ __forceinline__ double unit(const Alignment& job, const float* x, double norm, int c) {
  const double value = norm > 0 ? x[c] / norm : x[c];
  return job.rounded ? from_bf16(to_bf16(float(value))) : value;
}

// |x_i|, after reporting what is not finite.
__device__ double checked_norm(const float* row, int64_t start, int cols, uint64_t* non_finite) {
  double square = 0;
  for (int c = int(threadIdx.x) % kWarp; c < cols; c += kWarp) {
    const double value = row[c];
    if (value - value != 0) keep_minimum(non_finite, uint64_t(start + c));
    square += value * value;
  }
  return sqrt(warp_sum(square));
}

// gradient_x = factor (e - (e . u) u) / |x| for e = u - v; where rows are not normalised factor e.
__device__ void write_gradient(const Alignment& job, const float* x, const float* y, double norm_x, double norm_y, double factor,
                               double along, float* gradient, int row, uint64_t* overflow) {
  const double scale = !job.normalized ? factor : norm_x > 0 ? factor / norm_x : 0;
  for (int c = int(threadIdx.x) % kWarp; c < job.cols; c += kWarp) {
    const double u = unit(job, x, norm_x, c), v = unit(job, y, norm_y, c);
    const float g = scale != 0 ? float((u - v - (job.normalized ? along * u : 0)) * scale) : 0.0f;
    if (!(fabsf(g) <= kLargestFloat)) keep_minimum(overflow, uint64_t(row));
    gradient[size_t(row) * job.cols + c] = g;
  }
}

__global__ void __launch_bounds__(kRowThreads, 1)
    align(Alignment job, float* per_row, float* gradient_x, float* gradient_y, ck_cuda_report* report) {
  const int row = int(blockIdx.x) * kRowsPerBlock + int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  if (row >= job.rows) return;
  const int64_t start = int64_t(row) * job.cols;
  const float* const x = job.x + start;
  const float* const y = job.y + start;
  double norm_x = checked_norm(x, start, job.cols, &report->non_finite[0]);
  double norm_y = checked_norm(y, start, job.cols, &report->non_finite[1]);
  if (!job.normalized) norm_x = norm_y = 1;
  double square = 0, dot = 0, uu = 0, vv = 0;
  for (int c = lane; c < job.cols; c += kWarp) {
    const double u = unit(job, x, norm_x, c), v = unit(job, y, norm_y, c);
    square += (u - v) * (u - v);
    dot += u * v;
    uu += (u - v) * u;
    vv += (v - u) * v;
  }
  square = warp_sum(square);
  dot = warp_sum(dot);
  uu = warp_sum(uu);
  vv = warp_sum(vv);
  const double distance = sqrt(square), loss = job.alpha == 2 ? square : pow(distance, job.alpha);
  if (lane == 0) {
    job.loss[row] = loss;
    job.similarity[row] = dot;
    if (!(loss <= kLargestFloat)) keep_minimum(&report->out_of_range, uint64_t(row));
    if (per_row) per_row[row] = float(loss);
  }
  const double factor = distance > 0 ? job.weight * job.alpha * (job.alpha == 2 ? 1 : pow(distance, job.alpha - 2)) : 0;
  if (gradient_x) write_gradient(job, x, y, norm_x, norm_y, factor, uu, gradient_x, row, &report->overflow[0]);
  if (gradient_y) write_gradient(job, y, x, norm_y, norm_x, factor, vv, gradient_y, row, &report->overflow[1]);
}

__global__ void __launch_bounds__(kThreads, 1) totals(Alignment job, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  double loss = 0, similarity = 0;
  for (int row = int(threadIdx.x); row < job.rows; row += kThreads) {
    loss += job.loss[row];
    similarity += job.similarity[row];
  }
  loss = block_sum<kThreads>(loss, shared);
  similarity = block_sum<kThreads>(similarity, shared);
  if (threadIdx.x != 0) return;
  report->result.loss = loss;
  report->result.positive_similarity = similarity / job.rows;
}

}  // namespace

size_t alignment_workspace(int64_t rows) {
  Arena arena;
  const ck_matrix none{nullptr, rows, 1};
  Alignment(arena, none, none, 2, ck_options{});
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_alignment(const ck_matrix* x, const ck_matrix* y, double alpha, const ck_options* options, float* per_row, float* gradient_x,
                      float* gradient_y, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream, ck_error* error) {
  using namespace ck::cuda;
  if (const int status = check_tensor_call({x, y}, *options, error)) return status;
  Arena arena(workspace);
  const Alignment job(arena, *x, *y, alpha, *options);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  run.launch(align, (job.rows + kRowsPerBlock - 1) / kRowsPerBlock, kRowThreads, 0, job, per_row, gradient_x, gradient_y, report);
  run.launch(totals, 1, kThreads, kThreads * sizeof(double), job, report);
  return run.status(error);
}
