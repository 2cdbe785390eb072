// NT-Xent on the device. Forward: sums over negatives (pair_sums.hpp), then one thread a row turns them into its loss in double, and
// one block adds the rows up in a fixed order. Backward: pair_gradient.hpp with l_i the row's log-sum-exp.
//
//   dL/du_i = (weight / temperature) (sum over negatives of (p_ij + p_ji) u_j - (q_i + q_p) u_p),   p_ij = exp(z_ij - lse_i)
//   dL/dtemperature = -(weight / temperature) / (2 temperature) sum_i <that sum, u_i>: every pair is counted twice
#include <cmath>

#include "cuda/launchers.hpp"
#include "cuda/pair_gradient.hpp"
#include "cuda/pair_sums.hpp"
#include "policies/row_loss.hpp"

namespace ck::cuda {
namespace {

struct NtXent {
  PairLayout layout;
  double temperature, weight;
  bool stats;
  Rows rows;
  PairSums sums;
  ColumnSums columns;
  double* positive;         // [rows] s_ip
  double* loss;             // [rows]
  double* q;                // [rows]
  double* log2_normaliser;  // [rows]
  double* correction;       // [rows] (q_i + q_p) 2^exponent
  double* along;            // [rows]
  double* exponent;         // one number
  unsigned char* hit;       // [rows] the positive exceeds every negative
  PairGradient gradient;

  NtXent(Arena& arena, const ck_matrix& z, int32_t pairs, const ck_options& options, bool gradients)
      : layout{int(z.rows), pairs},
        temperature(options.temperature),
        weight(options.weight),
        stats(options.stats != 0),
        rows(arena, z.data, z.rows, z.cols, options.normalize != 0, true, options.precision),
        sums(arena, rows, k(), choose_shift(k(), 1, 1, rows.normalized), stats),
        columns(arena, rows),
        positive(arena.take<double>(rows.rows)),
        loss(arena.take<double>(rows.rows)),
        q(arena.take<double>(rows.rows)),
        log2_normaliser(arena.take<double>(rows.rows)),
        correction(arena.take<double>(rows.rows)),
        along(arena.take<double>(rows.rows)),
        exponent(arena.take<double>(1)),
        hit(arena.take<unsigned char>(rows.rows)),
        gradient(make_gradient(arena, gradients)) {}

  CK_HOST_DEVICE double k() const { return kLog2e / temperature; }

 private:
  PairGradient make_gradient(Arena& arena, bool wanted) {
    Arena none;  // without gradients the buffers stay unallocated
    return PairGradient(wanted ? arena : none, rows, k(), log2_normaliser, exponent, sums.shift);
  }
};

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads, 1) row_losses(NtXent job, float* per_row, float* row_log_sum_exp, ck_cuda_report* report) {
  const int row = int(blockIdx.x) * kThreads + int(threadIdx.x);
  if (row >= job.rows.rows) return;
  const MergedRow merged = merge_cells(job.sums, job.k(), row);
  const RowLoss r = row_loss(merged.log2_sum * kLn2, job.positive[row] / job.temperature);
  job.loss[row] = r.loss;
  job.q[row] = r.q;
  job.log2_normaliser[row] = r.log_sum_exp * kLog2e;
  if (job.stats) job.hit[row] = job.sums.positive_tile[row] > merged.maximum;
  const float loss = float(r.loss), log_sum_exp = float(r.log_sum_exp);
  if (!(fabsf(loss) <= kLargestFloat && fabsf(log_sum_exp) <= kLargestFloat)) keep_minimum(&report->out_of_range, uint64_t(row));
  if (per_row) per_row[row] = loss;
  if (row_log_sum_exp) row_log_sum_exp[row] = log_sum_exp;
}

// sum over i and negatives j of s_ij = |sum u|^2 - sum |u_i|^2 - sum s_ip, needing no pair.
__device__ double negative_similarities(const NtXent& job, double positives, double* shared) {
  double part = 0;
  for (int c = int(threadIdx.x); c < job.rows.stride; c += kThreads) {
    double sum = 0, square = 0;
    for (int chunk = 0; chunk < job.columns.chunks; ++chunk) {
      sum += job.columns.sums[size_t(chunk) * job.rows.stride + c];
      square += job.columns.squares[size_t(chunk) * job.rows.stride + c];
    }
    part += sum * sum - square;
  }
  return block_sum<kThreads>(part, shared) - positives;
}

// One block: the sums over rows, the exponent that makes the largest q about 1, and the corrections. Rows that are zero do not
// count for it: cosines with them are 0, so that neither they nor what they pull at has a gradient.
__global__ void __launch_bounds__(kThreads, 1) totals(NtXent job, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  const int rows = job.rows.rows;
  double loss = 0, positive = 0, hits = 0, q = 0;
  for (int row = int(threadIdx.x); row < rows; row += kThreads) {
    loss += job.loss[row];
    positive += job.positive[row];
    if (job.stats) hits += job.hit[row];
    if (job.rows.norm[row] > 0 || !job.rows.normalized) q = fmax(q, job.q[row]);
  }
  loss = block_sum<kThreads>(loss, shared);
  q = block_fold<kThreads>(q, shared, [](double a, double b) { return a > b ? a : b; });
  const double exponent = q > 0 ? fmin(-floor(log2(q)), kMostExponent) : 0;
  for (int row = int(threadIdx.x); row < rows; row += kThreads) {
    job.correction[row] = (job.q[row] + job.q[job.layout.positive(row)]) * exp2(exponent);
  }
  if (threadIdx.x == 0) {
    *job.exponent = exponent;
    report->result.loss = loss;
    report->result.skipped_rows = rows > 2 ? 0 : rows;
  }
  if (!job.stats || rows <= 2) return;
  positive = block_sum<kThreads>(positive, shared);
  hits = block_sum<kThreads>(hits, shared);
  const double negative = negative_similarities(job, positive, shared);
  if (threadIdx.x == 0) {
    report->result.positive_similarity = positive / rows;
    report->result.negative_similarity = negative / (double(rows) * (rows - 2));
    report->result.accuracy = hits / rows;
  }
}

__global__ void __launch_bounds__(kThreads, 1) temperature_gradient(NtXent job, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double sum = 0;
  for (int row = int(threadIdx.x); row < job.rows.rows; row += kThreads) sum += job.along[row];
  sum = block_sum<kThreads>(sum, reinterpret_cast<double*>(bytes));
  if (threadIdx.x != 0) return;
  report->result.temperature_gradient = -0.5 * job.weight * sum * exp2(-*job.exponent) / (job.temperature * job.temperature);
}

}  // namespace

size_t nt_xent_workspace(int64_t rows, int64_t cols, const ck_options& options, bool gradients) {
  Arena arena;
  NtXent(arena, {nullptr, rows, cols}, CK_PAIRS_HALVES, options, gradients);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_nt_xent(const ck_matrix* z, int32_t pairs, const ck_options* options, float* per_row, float* row_log_sum_exp, float* gradient_z,
                    ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream, ck_error* error) {
  using namespace ck::cuda;
  if (const int status = check_tensor_call({z}, *options, error)) return status;
  if (const int status = check_pairs(z->rows, error)) return status;
  if (const int status = check_scale(kLog2e / options->temperature, error)) return status;
  Arena arena(workspace);
  const NtXent job(arena, *z, pairs, *options, gradient_z != nullptr);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  prepare(run, job.rows, 0, report);
  positive_similarities(run, job.rows, job.layout, job.positive);
  const ck::NtXentPairs policy{job.layout};
  pair_sums(run, job.sums, policy);
  if (job.stats) column_sums(run, job.rows, job.columns);
  run.launch(row_losses, (job.rows.rows + kThreads - 1) / kThreads, kThreads, 0, job, per_row, row_log_sum_exp, report);
  run.launch(totals, 1, kThreads, kThreads * sizeof(double), job, report);
  if (gradient_z) {
    const Finish last{job.rows, job.exponent, job.weight / job.temperature, job.correction, job.layout, gradient_z, job.along, 0, report};
    pair_gradient(run, job.gradient, policy, last);
    run.launch(temperature_gradient, 1, kThreads, kThreads * sizeof(double), job, report);
  }
  return run.status(error);
}
