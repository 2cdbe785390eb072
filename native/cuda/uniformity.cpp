// Uniformity on the device: log mean over pairs of exp(-t |u_i - u_j|^2). With the score -|u_i - u_j|^2 / 2 the terms are
// exp2(k score), k = 2t log2(e), and T = the sum over ordered pairs:
//
//   loss = ln T - ln(M (M - 1)),   dL/du_i = 4t (sum_j G_ij u_j - r_i u_i),   G_ij = exp2(k score_ij) / T,   r_i = sum_j G_ij
//
// The last term lies along u_i, so it vanishes where rows are normalised.
#include <cmath>

#include "cuda/launchers.hpp"
#include "cuda/pair_gradient.hpp"
#include "cuda/pair_sums.hpp"

namespace ck::cuda {
namespace {

constexpr int kThreads = 256;

struct Uniformity {
  double k;
  Rows rows;
  PairSums sums;
  float* half_squares;  // [padded_rows]
  double* log2_row;     // [rows] log2 of a row's sum of terms
  double* correction;   // [rows] r_i 2^exponent
  double* log2_total;   // one number
  double* exponent;     // one number
  PairGradient gradient;

  Uniformity(Arena& arena, const ck_matrix& x, double t, const ck_options& options, bool gradients)
      : k(2 * t * kLog2e),
        rows(arena, x.data, x.rows, x.cols, options.normalize != 0, true, options.precision),
        sums(arena, rows, k, choose_shift(k, 0, 1, rows.normalized), false),
        half_squares(arena.take<float>(rows.padded_rows)),
        log2_row(arena.take<double>(rows.rows)),
        correction(arena.take<double>(rows.rows)),
        log2_total(arena.take<double>(1)),
        exponent(arena.take<double>(1)),
        gradient(make_gradient(arena, gradients)) {}

 private:
  PairGradient make_gradient(Arena& arena, bool wanted) {
    Arena none;  // without gradients the buffers stay unallocated
    return PairGradient(wanted ? arena : none, rows, k, log2_total, exponent);
  }
};

__global__ void __launch_bounds__(kThreads, 1) row_sums(Uniformity job) {
  const int row = int(blockIdx.x) * kThreads + int(threadIdx.x);
  if (row < job.rows.rows) job.log2_row[row] = merge_cells(job.sums, job.k, row).log2_sum;
}

// One block: the total relative to the largest row, the loss, and r.
// The exponent makes the largest r about 1 among rows that are not zero: pairs of zero rows may make up all of T and move nothing.
__global__ void __launch_bounds__(kThreads, 1) totals(Uniformity job, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  const int rows = job.rows.rows;
  double largest = job.log2_row[0], sum = 0;
  for (int row = int(threadIdx.x); row < rows; row += kThreads) largest = fmax(largest, job.log2_row[row]);
  largest = block_fold<kThreads>(largest, shared, [](double a, double b) { return a > b ? a : b; });
  for (int row = int(threadIdx.x); row < rows; row += kThreads) sum += exp2(job.log2_row[row] - largest);
  const double log2_total = largest + log2(block_sum<kThreads>(sum, shared));
  double log2_r = -kMostExponent;
  for (int row = int(threadIdx.x); row < rows; row += kThreads) {
    if (job.rows.norm[row] > 0) log2_r = fmax(log2_r, job.log2_row[row] - log2_total);
  }
  const double exponent = -floor(block_fold<kThreads>(log2_r, shared, [](double a, double b) { return a > b ? a : b; }));
  for (int row = int(threadIdx.x); row < rows; row += kThreads) job.correction[row] = exp2(job.log2_row[row] - log2_total + exponent);
  if (threadIdx.x != 0) return;
  *job.log2_total = log2_total;
  *job.exponent = exponent;
  const double loss = kLn2 * (log2_total - log2(double(rows) * (rows - 1)));
  if (!(fabs(loss) <= kLargestFloat)) report->out_of_range = 0;
  report->result.loss = loss;
}

}  // namespace

size_t uniformity_workspace(int64_t rows, int64_t cols, const ck_options& options, bool gradients) {
  Arena arena;
  Uniformity(arena, {nullptr, rows, cols}, 1, options, gradients);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_uniformity(const ck_matrix* x, double t, const ck_options* options, float* gradient_x, ck_cuda_report* report, void* workspace,
                       size_t workspace_bytes, void* stream, ck_error* error) {
  using namespace ck::cuda;
  if (const int status = check_tensor_call({x}, *options, error)) return status;
  if (const int status = check_scale(2 * t * kLog2e, error)) return status;
  Arena arena(workspace);
  const Uniformity job(arena, *x, t, *options, gradient_x != nullptr);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  prepare(run, job.rows, 0, report);
  (job.sums.hopper ? hopper_half_squares : half_squares)(run, job.rows, job.half_squares);
  const ck::UniformityPairs policy{job.half_squares};
  pair_sums(run, job.sums, policy);
  run.launch(row_sums, (job.rows.rows + kThreads - 1) / kThreads, kThreads, 0, job);
  run.launch(totals, 1, kThreads, kThreads * sizeof(double), job, report);
  if (gradient_x) {
    const double* const correction = job.rows.normalized ? nullptr : job.correction;
    const Finish last{job.rows, job.exponent, 4 * t, correction, {job.rows.rows, ck::PairLayout::kSelf}, gradient_x, nullptr, 0, report};
    pair_gradient(run, job.gradient, policy, last);
  }
  return run.status(error);
}
