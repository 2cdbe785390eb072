// VICReg on the device, on columns as rows (columns.hpp). With C the unbiased covariance of one view's columns:
//
//   invariance   mean over all values of (a - b)^2
//   variance     half the sum over both views of mean_k max(0, 1 - sqrt(C_kk + epsilon))
//   covariance   the sum over both views of (1/d) sum_{i != j} C_ij^2
//
// Columns are scaled by one power of two a view, which brings their largest deviation near 1: float32 then holds the squares.
#include "cuda/columns.hpp"

namespace ck::cuda {
namespace {

constexpr double kEpsilon = 1e-4;

struct VicRegView {
  ColumnView columns;
  RowSums sums;
  double* pull;    // [columns] what the variance term pulls a scaled column by
  double* factor;  // one number: of the covariances' coefficients
  double* loss;    // one number: variance and covariance terms

  VicRegView(Arena& arena, const ck_matrix& batch, bool gradients)
      : columns(arena, batch, gradients),
        sums(RowSums::make<SquareSums>(arena, columns.u, columns.u)),
        pull(arena.take<double>(columns.columns())),
        factor(arena.take<double>(1)),
        loss(arena.take<double>(1)) {}

  CK_HOST_DEVICE SquareSums policy() const { return {float(1.0 / (columns.items() - 1))}; }
};

struct VicReg {
  VicRegView a, b;
  double* apart;  // [columns] the sum of the squared differences
  VicReg(Arena& arena, const ck_matrix& a_, const ck_matrix& b_, bool gradients)
      : a(arena, a_, gradients), b(arena, b_, gradients), apart(arena.take<double>(a_.cols)) {}
};

// One block: the power of two.
__global__ void __launch_bounds__(kColumnThreads, 1) choose_scale(ColumnView view) {
  CK_SHARED_MEMORY(bytes);
  double largest = 0;
  for (int k = int(threadIdx.x); k < view.columns(); k += kColumnThreads) largest = fmax(largest, view.variance[k]);
  largest = block_fold<kColumnThreads>(largest, reinterpret_cast<double*>(bytes), [](double a, double b) { return a > b ? a : b; });
  const double factor = largest > 0 ? exp2(-floor(0.5 * log2(largest))) : 1;
  for (int k = int(threadIdx.x); k < view.columns(); k += kColumnThreads) view.factor[k] = factor;
}

// One block: what a view adds to the loss, and its coefficients.
__global__ void __launch_bounds__(kColumnThreads, 1) view_terms(VicRegView view, double variance, double covariance) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  const double items = view.columns.items(), d = view.columns.columns(), up = 1 / view.columns.factor[0];
  double hinge = 0, squares = 0;
  for (int k = int(threadIdx.x); k < view.columns.columns(); k += kColumnThreads) {
    const double deviation = sqrt(view.columns.variance[k] * items / (items - 1) + kEpsilon);
    if (deviation < 1) hinge += 1 - deviation;
    view.pull[k] = deviation < 1 ? -variance / (2 * d * (items - 1) * deviation) * up : 0;
    squares += merge_sums(view.sums, view.policy(), k).sums[0];
  }
  hinge = block_sum<kColumnThreads>(hinge, shared);
  squares = block_sum<kColumnThreads>(squares, shared);
  if (threadIdx.x != 0) return;
  // A covariance has two scaled factors; its coefficient is applied to a third.
  *view.factor = 4 * covariance / (d * (items - 1)) * up * up * up;
  *view.loss = variance * hinge / (2 * d) + covariance * squares * up * up * up * up / d;
}

__global__ void __launch_bounds__(kColumnThreads, 1) totals(VicReg job, double invariance, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  const ColumnView& a = job.a.columns;
  double apart = 0;
  for (int k = int(threadIdx.x); k < a.columns(); k += kColumnThreads) apart += job.apart[k];
  apart = block_sum<kColumnThreads>(apart, reinterpret_cast<double*>(bytes));
  if (threadIdx.x == 0) report->result.loss = invariance * apart / (double(a.items()) * a.columns()) + *job.a.loss + *job.b.loss;
}

}  // namespace

size_t vic_reg_workspace(int64_t rows, int64_t cols, bool gradients) {
  Arena arena;
  VicReg(arena, {nullptr, rows, cols}, {nullptr, rows, cols}, gradients);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_vic_reg(const ck_matrix* a, const ck_matrix* b, double invariance, double variance, double covariance,
                    const ck_options* options, float* gradient_a, float* gradient_b, ck_cuda_report* report, void* workspace,
                    size_t workspace_bytes, void* stream, ck_error* error) {
  using namespace ck::cuda;
  if (const int status = check_columns(*a, *b, *options, error)) return status;
  Arena arena(workspace);
  const VicReg job(arena, *a, *b, gradient_a || gradient_b);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  constexpr size_t kShared = kColumnThreads * sizeof(double);
  measure_columns(run, job.a.columns, 0, report);
  measure_columns(run, job.b.columns, 1, report);
  for (const VicRegView* view : {&job.a, &job.b}) {
    run.launch(choose_scale, 1, kColumnThreads, kShared, view->columns);
    fill_view(run, view->columns);
    row_sums(run, view->sums, view->policy());
    run.launch(view_terms, 1, kColumnThreads, kShared, *view, variance, covariance);
  }
  column_differences(run, job.a.columns, job.b.columns, true, job.apart);
  run.launch(totals, 1, kColumnThreads, kShared, job, invariance, report);
  const double difference = 2 * invariance / (double(a->rows) * a->cols);
  const auto gradient = [&](const VicRegView& own, const ck_matrix& other, float* to, int argument) {
    if (!to) return;
    const ColumnClose close{own.factor, options->weight, own.pull, own.columns.u, false, difference, other.data, to, argument, report};
    column_gradient(run, own.columns, own.columns, own.policy(), close);
  };
  gradient(job.a, *b, gradient_a, 0);
  gradient(job.b, *a, gradient_b, 1);
  return run.status(error);
}
