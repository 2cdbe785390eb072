// The decoupled contrastive loss on the device. The rows are those of x and of y; a row's negatives are the rows of both but for its
// own item's. Coefficients: exp(z_ij - lse_i) for a negative, -w_i for the positive; both rows of a pair have the same w.
#include "cuda/contrast.hpp"

namespace ck::cuda {
namespace {

using NegativeSums = ContrastSums<OtherPairs>;

struct DclView {
  Rows rows;
  RowSums own, other;      // against its own view, against the other
  double* loss;            // [N]
  double* similarity;      // [N] the sum over negatives of s
  Normaliser* normaliser;  // [N]
  double* along;           // [N]
  unsigned char* hit;      // [N] the positive exceeds every negative
};

struct Dcl {
  double temperature, weight, weight_sigma;
  bool stats;
  DclView x, y;
  double* positive;    // [N] s of the item's pair
  float* of_positive;  // [padded N] the same as an element of a tile, where statistics are wanted
  double* w;           // [N]
  double* pull;        // [N] coefficient of the pair in either gradient
  double* exponent;    // one number: the coefficients of a row sum to 1, and need no scaling
  Side side_x, side_y;

  Dcl(Arena& arena, const ck_matrix& x_, const ck_matrix& y_, double sigma, const ck_options& options, bool gradients)
      : Dcl(arena, view_of(arena, x_, options), view_of(arena, y_, options), sigma, options, gradients) {}

  CK_HOST_DEVICE double k() const { return kLog2e / temperature; }

 private:
  Dcl(Arena& arena, const Rows& x_, const Rows& y_, double sigma, const ck_options& options, bool gradients)
      : temperature(options.temperature),
        weight(options.weight),
        weight_sigma(sigma),
        stats(options.stats != 0),
        x(make_view(arena, x_, y_)),
        y(make_view(arena, y_, x_)),
        positive(arena.take<double>(x_.rows)),
        of_positive(arena.take<float>(x_.padded_rows)),
        w(arena.take<double>(x_.rows)),
        pull(arena.take<double>(x_.rows)),
        exponent(arena.take<double>(1)),
        side_x(arena, x_, gradients, x_.padded_rows, y_.padded_rows),
        side_y(arena, y_, gradients, y_.padded_rows, x_.padded_rows) {}

  static Rows view_of(Arena& arena, const ck_matrix& m, const ck_options& options) {
    return {arena, m.data, m.rows, m.cols, options.normalize != 0, true, options.precision};
  }

  static DclView make_view(Arena& arena, const Rows& rows, const Rows& other) {
    return {rows,
            RowSums::make<NegativeSums>(arena, rows, rows),
            RowSums::make<NegativeSums>(arena, rows, other),
            arena.take<double>(rows.rows),
            arena.take<double>(rows.rows),
            arena.take<Normaliser>(rows.rows),
            arena.take<double>(rows.rows),
            arena.take<unsigned char>(rows.rows)};
  }
};

// One block: w_i = 2 - N softmax_i(s_i / sigma).
__global__ void __launch_bounds__(kLossThreads, 1) weights(Dcl job) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  const int rows = job.x.rows.rows;
  const bool plain = job.weight_sigma == 0;
  double largest = plain ? 0 : job.positive[0] / job.weight_sigma, sum = 0;
  for (int row = int(threadIdx.x); !plain && row < rows; row += kLossThreads) largest = fmax(largest, job.positive[row] / job.weight_sigma);
  largest = block_fold<kLossThreads>(largest, shared, [](double a, double b) { return a > b ? a : b; });
  for (int row = int(threadIdx.x); !plain && row < rows; row += kLossThreads) sum += exp(job.positive[row] / job.weight_sigma - largest);
  sum = block_sum<kLossThreads>(sum, shared);
  for (int row = int(threadIdx.x); row < rows; row += kLossThreads) {
    const double w = plain ? 1 : 2 - rows * exp(job.positive[row] / job.weight_sigma - largest) / sum;
    job.w[row] = w;
    job.pull[row] = -2 * w;
  }
  if (threadIdx.x == 0) *job.exponent = 0;
}

// One thread a row of x, then of y.
__global__ void __launch_bounds__(kLossThreads, 1) row_losses(Dcl job, float* per_row, float* row_log_sum_exp, ck_cuda_report* report) {
  const int index = int(blockIdx.x) * kLossThreads + int(threadIdx.x), rows = job.x.rows.rows;
  if (index >= 2 * rows) return;
  const bool first = index < rows;
  const int row = first ? index : index - rows;
  const DclView& own = first ? job.x : job.y;
  if (rows == 1) {  // nothing to compare
    own.loss[row] = own.similarity[row] = 0;
    own.hit[row] = 0;
    own.normaliser[row] = no_normaliser();
    if (first) job.pull[row] = 0;
    if (per_row) per_row[index] = 0;
    if (row_log_sum_exp) row_log_sum_exp[index] = -float(LogSum::kInfinity);
    return;
  }
  const NegativeSums policy(job.k(), {});
  const auto same = merge_sums(own.own, policy, row), across = merge_sums(own.other, policy, row);
  LogSum negatives;
  negatives.add(policy.log2_sum(same) * kLn2);
  negatives.add(policy.log2_sum(across) * kLn2);
  const double log_sum_exp = negatives.value(), loss = log_sum_exp - job.w[row] * job.positive[row] / job.temperature;
  own.loss[row] = loss;
  own.similarity[row] = same.score + across.score;
  own.normaliser[row] = make_normaliser(job.k(), log_sum_exp * kLog2e);
  if (job.stats) {
    own.hit[row] = job.of_positive[row] > fmaxf(same.largest, across.largest);
  }
  store_row(index, loss, log_sum_exp, per_row, row_log_sum_exp, report);
}

__global__ void __launch_bounds__(kLossThreads, 1) totals(Dcl job, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  const int rows = job.x.rows.rows;
  double loss = 0, positive = 0, similarity = 0, hits = 0;
  for (int row = int(threadIdx.x); row < rows; row += kLossThreads) {
    loss += job.x.loss[row] + job.y.loss[row];
    positive += job.positive[row];
    similarity += job.x.similarity[row] + job.y.similarity[row];
    if (job.stats) hits += job.x.hit[row] + job.y.hit[row];
  }
  for (double* sum : {&loss, &positive, &similarity, &hits}) *sum = block_sum<kLossThreads>(*sum, shared);
  if (threadIdx.x != 0) return;
  report->result.loss = loss;
  report->result.skipped_rows = rows > 1 ? 0 : 2;
  if (!job.stats || rows == 1) return;
  report->result.positive_similarity = positive / rows;
  report->result.negative_similarity = similarity / (2.0 * rows * (2.0 * rows - 2));
  report->result.accuracy = hits / (2.0 * rows);
}

void gradient(Run& run, const Dcl& job, const Side& side, const DclView& own, const DclView& other, float* gradient, int argument,
              ck_cuda_report* report) {
  const OtherPairs pairs;
  const float k = float(job.k());
  const Close close{job.exponent,
                    job.weight / job.temperature,
                    gradient,
                    own.along,
                    argument,
                    report,
                    1,
                    {PairList(other.rows, job.pull, own.rows.rows), {}}};
  side_gradient(run, side, close, compared(own.rows, own.rows, ContrastCoefficients<OtherPairs>{pairs, k, own.normaliser, own.normaliser}),
                compared(own.rows, other.rows, ContrastCoefficients<OtherPairs>{pairs, k, own.normaliser, other.normaliser}));
}

}  // namespace

size_t dcl_workspace(int64_t rows, int64_t cols, const ck_options& options, bool gradients) {
  Arena arena;
  Dcl(arena, {nullptr, rows, cols}, {nullptr, rows, cols}, 0, options, gradients);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_dcl(const ck_matrix* x, const ck_matrix* y, double weight_sigma, const ck_options* options, float* per_row,
                float* row_log_sum_exp, float* gradient_x, float* gradient_y, ck_cuda_report* report, void* workspace,
                size_t workspace_bytes, void* stream, ck_error* error) {
  using namespace ck::cuda;
  const double k = kLog2e / options->temperature;
  if (const int status = check_tensor_call({x, y}, *options, error)) return status;
  if (const int status = check_scale(k, error)) return status;
  Arena arena(workspace);
  const bool wanted = gradient_x || gradient_y;
  const Dcl job(arena, *x, *y, weight_sigma, *options, wanted);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  const Rows &u = job.x.rows, &v = job.y.rows;
  prepare(run, u, 0, report);
  prepare(run, v, 1, report);
  for (const Rows* a : {&u, &v}) {
    for (const Rows* b : {&u, &v}) check_products(run, *a, *b, k, report);
  }
  listed_similarities(run, u, v, nullptr, 1, x->rows, job.positive);
  if (job.stats) tile_similarities(run, u, v, nullptr, job.of_positive);
  const NegativeSums policy(k, {});
  for (const DclView* view : {&job.x, &job.y}) {
    row_sums(run, view->own, policy);
    row_sums(run, view->other, policy);
  }
  run.launch(weights, 1, kLossThreads, kLossThreads * sizeof(double), job);
  run.launch(row_losses, unsigned((2 * u.rows + kLossThreads - 1) / kLossThreads), kLossThreads, 0, job, per_row, row_log_sum_exp, report);
  run.launch(totals, 1, kLossThreads, kLossThreads * sizeof(double), job, report);
  if (wanted) {
    gradient(run, job, job.side_x, job.x, job.y, gradient_x, 0, report);
    gradient(run, job, job.side_y, job.y, job.x, gradient_y, 1, report);
    const double factor = -0.5 * job.weight / (job.temperature * job.temperature);
    temperature_gradient(run, job.x.along, u.rows, job.y.along, v.rows, factor, job.exponent, report);
  }
  return run.status(error);
}
