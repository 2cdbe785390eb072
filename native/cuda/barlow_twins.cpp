// Barlow Twins on the device, on columns as rows (columns.hpp), standardised:
//
//   c_kl = a_k . b_l / N,   loss = sum_k (1 - c_kk)^2 + lambda sum_{k != l} c_kl^2
//
// The diagonal is taken in double and without the subtraction, which would lose the digits of matching columns:
//   1 - c_kk = ( mean (a_k - b_k)^2 + epsilon / sigma_a^2 + epsilon / sigma_b^2 ) / 2
#include "cuda/columns.hpp"

namespace ck::cuda {
namespace {

constexpr double kEpsilon = 1e-5;

struct BarlowTwins {
  double lambda;
  ColumnView a, b;
  RowSums sums;
  double* missing;  // [columns] 1 - c_kk
  double* pull;     // [columns] coefficient of the diagonal
  double* factor;   // one number: of the coefficients off it

  BarlowTwins(Arena& arena, const ck_matrix& a_, const ck_matrix& b_, double lambda_, bool gradients)
      : lambda(lambda_),
        a(arena, a_, gradients),
        b(arena, b_, gradients),
        sums(RowSums::make<SquareSums>(arena, a.u, b.u)),
        missing(arena.take<double>(a.columns())),
        pull(arena.take<double>(a.columns())),
        factor(arena.take<double>(1)) {}

  CK_HOST_DEVICE SquareSums policy() const { return {float(1.0 / a.items())}; }
};

__global__ void __launch_bounds__(kColumnThreads, 1) deviations(BarlowTwins job) {
  const int k = int(blockIdx.x) * kColumnThreads + int(threadIdx.x);
  if (k >= job.a.columns()) return;
  for (const ColumnView* view : {&job.a, &job.b}) view->factor[k] = 1 / sqrt(view->variance[k] + kEpsilon);
}

// One block. `missing` comes in as the sum of the squared differences.
__global__ void __launch_bounds__(kColumnThreads, 1) totals(BarlowTwins job, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  const double items = job.a.items();
  double diagonal = 0, others = 0;
  for (int k = int(threadIdx.x); k < job.a.columns(); k += kColumnThreads) {
    const double fa = job.a.factor[k], fb = job.b.factor[k];
    const double missing = 0.5 * (job.missing[k] / items + kEpsilon * fa * fa + kEpsilon * fb * fb);
    job.missing[k] = missing;
    job.pull[k] = -2 * missing / items;
    diagonal += missing * missing;
    others += merge_sums(job.sums, job.policy(), k).sums[0];
  }
  diagonal = block_sum<kColumnThreads>(diagonal, shared);
  others = block_sum<kColumnThreads>(others, shared);
  if (threadIdx.x != 0) return;
  *job.factor = 2 * job.lambda / items;
  report->result.loss = diagonal + job.lambda * others;
}

}  // namespace

size_t barlow_twins_workspace(int64_t rows, int64_t cols, bool gradients) {
  Arena arena;
  BarlowTwins(arena, {nullptr, rows, cols}, {nullptr, rows, cols}, 0, gradients);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_barlow_twins(const ck_matrix* a, const ck_matrix* b, double lambda, const ck_options* options, float* gradient_a,
                         float* gradient_b, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream,
                         ck_error* error) {
  using namespace ck::cuda;
  if (const int status = check_columns(*a, *b, *options, error)) return status;
  Arena arena(workspace);
  const BarlowTwins job(arena, *a, *b, lambda, gradient_a || gradient_b);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  measure_columns(run, job.a, 0, report);
  measure_columns(run, job.b, 1, report);
  run.launch(deviations, unsigned((job.a.columns() + kColumnThreads - 1) / kColumnThreads), kColumnThreads, 0, job);
  for (const ColumnView* view : {&job.a, &job.b}) fill_view(run, *view);
  column_differences(run, job.a, job.b, false, job.missing);
  row_sums(run, job.sums, job.policy());
  run.launch(totals, 1, kColumnThreads, kColumnThreads * sizeof(double), job, report);
  const auto gradient = [&](const ColumnView& own, const ColumnView& other, float* to, int argument) {
    if (!to) return;
    const ColumnClose close{job.factor, options->weight, job.pull, other.u, true, 0, nullptr, to, argument, report};
    column_gradient(run, own, other, job.policy(), close);
  };
  gradient(job.a, job.b, gradient_a, 0);
  gradient(job.b, job.a, gradient_b, 1);
  return run.status(error);
}
