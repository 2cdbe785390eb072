// SigLIP on the device: every pair of a row of x with a row of y is a question of its own (logistic.hpp). The pair (i, i), whose answer
// is yes, is kept out of the sums and added in double: loss softplus(-z_ii), coefficient -sigmoid(-z_ii).
#include "cuda/logistic.hpp"
#include "cuda/side.hpp"

namespace ck::cuda {
namespace {

constexpr int kThreads = 256;

struct NegativeSums : LogisticTerms {
  static constexpr int kGroups = 1;
  static constexpr bool kStatistics = true, kCounted = false, kOnTensorCores = true;
  using LogisticTerms::LogisticTerms;
  __device__ __forceinline__ int group(int i, int j) const { return i == j ? -1 : 0; }
  __device__ __forceinline__ float score(float s, int, int) const { return s; }
  template <int kSide>
  __device__ __forceinline__ bool meets(int row0, int col0) const {
    return on_diagonal<kSide>(row0, col0);
  }
};

struct NegativeCoefficients {
  static constexpr bool kOnTensorCores = true;
  float k;
  const Level* level;      // one
  const double* exponent;  // one
  template <int kSide>
  __device__ __forceinline__ bool meets(int row0, int col0) const {
    return on_diagonal<kSide>(row0, col0);
  }
  template <bool kFast = false>
  __device__ __forceinline__ float coefficient(float s, int i, int j, bool = true) const {
    return i == j ? 0.0f : level->coefficient<kFast>(k, s, exp2_accurate(fminf(float(*exponent), Normaliser::kLargest)));
  }
};

struct SigLip {
  double temperature, weight, bias;
  bool stats;
  Rows x, y;
  RowSums sums;
  double* positive;    // [N] s_ii
  float* of_positive;  // [padded N] the same as an element of a tile, where statistics are wanted
  double* loss;        // [N]
  double* slope;       // [N] -sigmoid(-z_ii)
  double* slopes;      // [N] the sum over negatives of sigmoid(z)
  double* similarity;  // [N] the sum over them of s
  double* along;       // [N]
  double* exponent;    // one number
  double* shift;       // one number: the bias in log2 units
  Normaliser* at;      // one
  Level* level;        // one
  unsigned char* hit;  // [N]
  Side side_x, side_y;

  SigLip(Arena& arena, const ck_matrix& x_, const ck_matrix& y_, double bias_, const ck_options& options, bool gradients)
      : temperature(options.temperature),
        weight(options.weight),
        bias(bias_),
        stats(options.stats != 0),
        x(arena, x_.data, x_.rows, x_.cols, options.normalize != 0, true, options.precision),
        y(arena, y_.data, y_.rows, y_.cols, options.normalize != 0, true, options.precision),
        sums(RowSums::make<NegativeSums>(arena, x, y)),
        positive(arena.take<double>(x.rows)),
        of_positive(arena.take<float>(x.padded_rows)),
        loss(arena.take<double>(x.rows)),
        slope(arena.take<double>(x.rows)),
        slopes(arena.take<double>(x.rows)),
        similarity(arena.take<double>(x.rows)),
        along(arena.take<double>(x.rows)),
        exponent(arena.take<double>(1)),
        shift(arena.take<double>(1)),
        at(arena.take<Normaliser>(1)),
        level(arena.take<Level>(1)),
        hit(arena.take<unsigned char>(x.rows)),
        side_x(arena, x, gradients, y.padded_rows),
        side_y(arena, y, gradients, x.padded_rows) {}

  CK_HOST_DEVICE double k() const { return kLog2e / temperature; }
  CK_HOST_DEVICE NegativeSums policy() const { return {k(), shift, at, false}; }
};

__global__ void __launch_bounds__(kWarp, 1) set_level(SigLip job) {
  if (threadIdx.x != 0) return;
  *job.shift = job.bias * kLog2e;
  *job.at = make_normaliser(job.k(), -*job.shift);
}

__global__ void __launch_bounds__(kThreads, 1) row_losses(SigLip job, float* per_row, ck_cuda_report* report) {
  const int row = int(blockIdx.x) * kThreads + int(threadIdx.x);
  if (row >= job.x.rows) return;
  const NegativeSums policy = job.policy();
  const auto total = merge_sums(job.sums, policy, row);
  const double z = job.positive[row] / job.temperature + job.bias, loss = softplus_of(-z) + policy.sum(total, row, 0);
  job.loss[row] = loss;
  job.slope[row] = -sigmoid_of(-z);
  job.slopes[row] = policy.sum(total, row, 1);
  job.similarity[row] = total.score;
  if (job.stats) job.hit[row] = job.of_positive[row] > total.largest;
  if (!(fabsf(float(loss)) <= kLargestFloat)) keep_minimum(&report->out_of_range, uint64_t(row));
  if (per_row) per_row[row] = float(loss);
}

// One block: the sums over rows, and the exponent that makes the largest slope about 1 among rows that are not zero.
__global__ void __launch_bounds__(kThreads, 1) totals(SigLip job, bool gradients, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  const int rows = job.x.rows;
  double loss = 0, slopes = 0, positive = 0, similarity = 0, hits = 0, largest = 0;
  for (int row = int(threadIdx.x); row < rows; row += kThreads) {
    loss += job.loss[row];
    slopes += job.slope[row] + job.slopes[row];
    positive += job.positive[row];
    similarity += job.similarity[row];
    if (job.stats) hits += job.hit[row];
    if (job.x.norm[row] > 0 || !job.x.normalized) largest = fmax(largest, fmax(-job.slope[row], job.slopes[row]));
  }
  largest = block_fold<kThreads>(largest, shared, [](double a, double b) { return a > b ? a : b; });
  for (double* sum : {&loss, &slopes, &positive, &similarity, &hits}) *sum = block_sum<kThreads>(*sum, shared);
  if (threadIdx.x != 0) return;
  *job.exponent = largest > 0 ? fmin(-floor(log2(largest)), kMostExponent) : 0;
  *job.level = make_level(job.k(), *job.shift, *job.exponent);
  report->result.loss = loss;
  if (gradients) report->result.bias_gradient = job.weight * slopes;
  if (!job.stats) return;
  report->result.positive_similarity = positive / rows;
  if (rows == 1) return;
  report->result.negative_similarity = similarity / (double(rows) * (rows - 1));
  report->result.accuracy = hits / rows;
}

}  // namespace

size_t sig_lip_workspace(int64_t rows, int64_t cols, const ck_options& options, bool gradients) {
  Arena arena;
  SigLip(arena, {nullptr, rows, cols}, {nullptr, rows, cols}, 0, options, gradients);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_sig_lip(const ck_matrix* x, const ck_matrix* y, double bias, const ck_options* options, float* per_row, float* gradient_x,
                    float* gradient_y, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream, ck_error* error) {
  using namespace ck::cuda;
  const double k = kLog2e / options->temperature;
  if (const int status = check_tensor_call({x, y}, *options, error)) return status;
  if (const int status = check_scale(k, error)) return status;
  Arena arena(workspace);
  const bool wanted = gradient_x || gradient_y;
  const SigLip job(arena, *x, *y, bias, *options, wanted);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  prepare(run, job.x, 0, report);
  prepare(run, job.y, 1, report);
  check_products(run, job.x, job.y, k, report);
  listed_similarities(run, job.x, job.y, nullptr, 1, x->rows, job.positive);
  if (job.stats) tile_similarities(run, job.x, job.y, nullptr, job.of_positive);
  run.launch(set_level, 1, kWarp, 0, job);
  row_sums(run, job.sums, job.policy());
  run.launch(row_losses, unsigned((job.x.rows + kThreads - 1) / kThreads), kThreads, 0, job, per_row, report);
  run.launch(totals, 1, kThreads, kThreads * sizeof(double), job, wanted, report);
  if (!wanted) return run.status(error);
  const NegativeCoefficients policy{float(k), job.level, job.exponent};
  const double factor = job.weight / job.temperature;
  const Close close_x{job.exponent, factor, gradient_x, job.along, 0, report, 1, {PairList(job.y, job.slope, x->rows), {}}};
  side_gradient(run, job.side_x, close_x, compared(job.x, job.y, policy));
  temperature_gradient(run, job.along, job.x.rows, nullptr, 0, -factor / job.temperature, job.exponent, report);
  if (gradient_y) {
    const Close close_y{job.exponent, factor, gradient_y, nullptr, 1, report, 1, {PairList(job.x, job.slope, x->rows), {}}};
    side_gradient(run, job.side_y, close_y, compared<true>(job.y, job.x, policy));
  }
  return run.status(error);
}
