// Uniformity across two sets on the device: as uniformity.cpp, over all pairs of a row of x with a row of y. T is the sum of the terms:
//
//   loss = ln T - ln(N M),   dL/du_i = 2t (sum_j G_ij v_j - r_i u_i),   G_ij = exp2(k score_ij) / T,   r_i = sum_j G_ij
//
// and dL/dv_j likewise. The last term lies along u_i, so it vanishes where rows are normalised.
#include "cuda/contrast.hpp"

namespace ck::cuda {
namespace {

constexpr int kThreads = kLossThreads;

// score = -|u_i - v_j|^2 / 2 = s - |u_i|^2 / 2 - |v_j|^2 / 2, which also holds for zero rows.
struct DistanceSums : ExponentialTerms {
  static constexpr int kGroups = 1;
  static constexpr bool kStatistics = false, kCounted = false, kOnTensorCores = true;
  const float *half_x, *half_y;
  CK_HOST_DEVICE DistanceSums(double k, const float* x, const float* y) : ExponentialTerms(k), half_x(x), half_y(y) {}
  __device__ __forceinline__ int group(int, int) const { return 0; }
  __device__ __forceinline__ float score(float s, int i, int j) const { return s - half_x[i] - half_y[j]; }
  template <int kSide>
  __device__ __forceinline__ bool meets(int, int) const {
    return false;
  }
};

struct DistanceCoefficients {
  static constexpr bool kOnTensorCores = true;
  float k;
  const float *half_x, *half_y;
  const Normaliser* total;  // one
  template <int kSide>
  __device__ __forceinline__ bool meets(int, int) const {
    return false;
  }
  template <bool kFast = false>
  __device__ __forceinline__ float coefficient(float s, int i, int j, bool = true) const {
    return total->coefficient<kFast>(k, s - half_x[i] - half_y[j]);
  }
};

struct CrossSide {
  Rows rows;
  RowSums sums;         // against the other set
  float* half_squares;  // [padded rows]
  double* log2_row;     // [rows] log2 of a row's sum of terms
  double* pull;         // [rows] -r_i
};

struct CrossUniformity {
  double k;
  CrossSide x, y;
  Normaliser* normaliser;  // one
  double* log2_total;      // one number
  double* exponent;        // one number
  Side side_x, side_y;

  CrossUniformity(Arena& arena, const ck_matrix& x_, const ck_matrix& y_, double t, const ck_options& options, bool gradients)
      : CrossUniformity(arena, set_of(arena, x_, options), set_of(arena, y_, options), t, gradients) {}

 private:
  CrossUniformity(Arena& arena, const Rows& x_, const Rows& y_, double t, bool gradients)
      : k(2 * t * kLog2e),
        x(make_side(arena, x_, y_)),
        y(make_side(arena, y_, x_)),
        normaliser(arena.take<Normaliser>(1)),
        log2_total(arena.take<double>(1)),
        exponent(arena.take<double>(1)),
        side_x(arena, x_, gradients, y_.padded_rows),
        side_y(arena, y_, gradients, x_.padded_rows) {}

  static Rows set_of(Arena& arena, const ck_matrix& m, const ck_options& options) {
    return {arena, m.data, m.rows, m.cols, options.normalize != 0, true, options.precision};
  }

  static CrossSide make_side(Arena& arena, const Rows& rows, const Rows& other) {
    return {rows, RowSums::make<DistanceSums>(arena, rows, other), arena.take<float>(rows.padded_rows), arena.take<double>(rows.rows),
            arena.take<double>(rows.rows)};
  }
};

__global__ void __launch_bounds__(kThreads, 1) merge_rows(CrossSide side, DistanceSums policy) {
  const int row = int(blockIdx.x) * kThreads + int(threadIdx.x);
  if (row < side.rows.rows) side.log2_row[row] = policy.log2_sum(merge_sums(side.sums, policy, row));
}

// One block: the total relative to the largest row, the loss, and the exponent that makes the largest r about 1 among rows of x that are
// not zero: pairs of zero rows may make up all of T and move nothing.
__global__ void __launch_bounds__(kThreads, 1) totals(CrossUniformity job, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  const Rows& rows = job.x.rows;
  const auto most = [](double a, double b) { return a > b ? a : b; };
  double largest = job.x.log2_row[0], sum = 0, log2_r = -kMostExponent;
  for (int row = int(threadIdx.x); row < rows.rows; row += kThreads) largest = fmax(largest, job.x.log2_row[row]);
  largest = block_fold<kThreads>(largest, shared, most);
  for (int row = int(threadIdx.x); row < rows.rows; row += kThreads) sum += exp2(job.x.log2_row[row] - largest);
  const double log2_total = largest + log2(block_sum<kThreads>(sum, shared));
  for (int row = int(threadIdx.x); row < rows.rows; row += kThreads) {
    if (rows.norm[row] > 0 || !rows.normalized) log2_r = fmax(log2_r, job.x.log2_row[row] - log2_total);
  }
  const double exponent = -floor(block_fold<kThreads>(log2_r, shared, most));
  if (threadIdx.x != 0) return;
  *job.log2_total = log2_total;
  *job.exponent = exponent;
  *job.normaliser = make_normaliser(job.k, log2_total - exponent);
  const double loss = kLn2 * (log2_total - log2(double(rows.rows) * job.y.rows.rows));
  if (!(fabs(loss) <= kLargestFloat)) report->out_of_range = 0;
  report->result.loss = loss;
}

__global__ void __launch_bounds__(kThreads, 1) weigh(CrossSide side, const double* log2_total) {
  const int row = int(blockIdx.x) * kThreads + int(threadIdx.x);
  if (row < side.rows.rows) side.pull[row] = -exp2(side.log2_row[row] - *log2_total);
}

unsigned blocks(const CrossSide& side) { return unsigned((side.rows.rows + kThreads - 1) / kThreads); }

void sum_side(Run& run, const CrossSide& own, const CrossSide& other, double k) {
  const DistanceSums policy(k, own.half_squares, other.half_squares);
  row_sums(run, own.sums, policy);
  run.launch(merge_rows, blocks(own), kThreads, 0, own, policy);
}

void gradient(Run& run, const CrossUniformity& job, const Side& side, const CrossSide& own, const CrossSide& other, double t,
              float* gradient, int argument, ck_cuda_report* report) {
  const DistanceCoefficients policy{float(job.k), own.half_squares, other.half_squares, job.normaliser};
  const bool pulled = !own.rows.normalized;
  if (pulled) run.launch(weigh, blocks(own), kThreads, 0, own, job.log2_total);
  const Close close{job.exponent, 2 * t, gradient, nullptr, argument, report, pulled, {PairList(own.rows, own.pull, own.rows.rows), {}}};
  side_gradient(run, side, close, compared(own.rows, other.rows, policy));
}

}  // namespace

size_t cross_uniformity_workspace(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options, bool gradients) {
  Arena arena;
  CrossUniformity(arena, {nullptr, rows_x, cols}, {nullptr, rows_y, cols}, 1, options, gradients);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_cross_uniformity(const ck_matrix* x, const ck_matrix* y, double t, const ck_options* options, float* gradient_x,
                             float* gradient_y, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream,
                             ck_error* error) {
  using namespace ck::cuda;
  if (const int status = check_tensor_call({x, y}, *options, error)) return status;
  if (const int status = check_scale(2 * t * kLog2e, error)) return status;
  Arena arena(workspace);
  const CrossUniformity job(arena, *x, *y, t, *options, gradient_x || gradient_y);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  prepare(run, job.x.rows, 0, report);
  prepare(run, job.y.rows, 1, report);
  const Rows &u = job.x.rows, &v = job.y.rows;
  for (const Rows* a : {&u, &v}) {
    for (const Rows* b : {&u, &v}) check_products(run, *a, *b, job.k, report);
  }
  for (const CrossSide* side : {&job.x, &job.y}) half_squares(run, side->rows, side->half_squares);
  sum_side(run, job.x, job.y, job.k);
  run.launch(totals, 1, kThreads, kThreads * sizeof(double), job, report);
  if (gradient_x) gradient(run, job, job.side_x, job.x, job.y, t, gradient_x, 0, report);
  if (gradient_y) {
    if (!v.normalized) sum_side(run, job.y, job.x, job.k);
    gradient(run, job, job.side_y, job.y, job.x, t, gradient_y, 1, report);
  }
  return run.status(error);
}
