// The supervised contrastive loss on the device. The pairs of different classes are summed and weighed by their similarities, those of
// one class by class_rows.hpp's.
//
// With P and N the sums of exp(z) over the positives and the negatives of a row, q = N / (P + N) and pi_p = exp(z_p) / P:
//   out    (log P - mean z_p) + log(1 + N / P),   coefficient of a positive (pi_p - 1/|P|) - q pi_p, of a negative exp(z - lse)
//   in     log |P| + log(1 + N / P),              - q pi_p and the same
//   pair   sum over p of log(1 + N / exp(z_p)),   - q_p and (sum of the q_p) exp(z) / N, q_p = N / (N + exp(z_p))
// pi_p - 1/|P| comes from differences of the exponentials, which are 0 where all positives are alike.
#include "cuda/sup_con.hpp"

#include "policies/row_loss.hpp"

namespace ck::cuda {
namespace {

__device__ __forceinline__ RowTotal<PositiveSums> positives_of(const SupCon& job, int row) {
  return merge_sums(job.by_class, job.positive_sums(), row);
}

// log N, log-sum-exp, whether the row counts, and for 'out' and 'in' the loss and q.
__global__ void __launch_bounds__(kLossThreads, 1) sum_rows(SupCon job) {
  const int row = int(blockIdx.x) * kLossThreads + int(threadIdx.x);
  if (row >= job.z.rows) return;
  const auto positives = positives_of(job, row);
  const auto negatives = merge_sums(job.by_label, job.label_sums(), row, 0);
  const double log_n = job.label_sums().log2_sum(negatives) * kLn2, count = positives.count;
  const double sum = count + positives.sums[0];  // of exp(z_p), relative to the largest
  const double log_p = log(sum) + (count > 0 ? (job.classes.base[row] + positives.largest) / job.temperature : 0);
  const RowLoss r = row_loss(log_n, log_p);
  job.log_negatives[row] = log_n;
  job.log_sum_exp[row] = count > 0 ? r.log_sum_exp : log_n;
  job.counted[row] = job.pairs ? count > 0 && negatives.count > 0 : count > 1 || (count == 1 && negatives.count > 0);
  if (job.pairs) {
    job.level[row] = job.counted[row] ? log_n * kLog2e - job.k() * job.classes.base[row] : 0;
    job.at[row] = make_normaliser(job.k(), -job.level[row]);
    return;
  }
  const double first = job.in ? log(count) : log(sum) + (positives.largest - positives.score / count) / job.temperature;
  job.loss[row] = job.counted[row] ? first + r.loss : 0;
  job.q[row] = job.counted[row] ? r.q : 0;
}

__global__ void __launch_bounds__(kLossThreads, 1) store_rows(SupCon job, float* per_row, float* row_log_sum_exp, ck_cuda_report* report) {
  const int row = int(blockIdx.x) * kLossThreads + int(threadIdx.x);
  if (row >= job.z.rows) return;
  if (job.pairs) {
    const PositivePairSums policy = job.pair_sums();
    const auto total = merge_sums(job.by_pair, policy, row);
    job.loss[row] = policy.sum(total, row, 0);
    job.q[row] = policy.sum(total, row, 1);
  }
  store_row(row, job.loss[row], job.log_sum_exp[row], per_row, row_log_sum_exp, report);
}

// One block: the sums over rows, and the exponent that makes the largest coefficient about 1 among rows that are not zero.
__global__ void __launch_bounds__(kLossThreads, 1) totals(SupCon job, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  double loss = 0, counted = 0, hits = 0, positive = 0, positives = 0, negative = 0, negatives = 0, largest = 0;
  for (int row = int(threadIdx.x); row < job.z.rows; row += kLossThreads) {
    loss += job.loss[row];
    if (!job.counted[row]) continue;
    counted += 1;
    if (job.z.norm[row] > 0 || !job.z.normalized) {
      const auto own = positives_of(job, row);
      const double spread = job.in || job.pairs ? 0 : -own.sums[0] / own.count / (own.count + own.sums[0]);
      largest = fmax(largest, fmax(job.q[row], spread));
    }
    if (!job.stats) continue;
    const auto of_negatives = merge_sums(job.by_label, job.label_sums(), row, 0);
    const auto of_positives = merge_sums(job.by_label, job.label_sums(), row, 1);
    hits += of_positives.largest > of_negatives.largest;
    positive += of_positives.score;
    positives += of_positives.count;
    negative += of_negatives.score;
    negatives += of_negatives.count;
  }
  largest = block_fold<kLossThreads>(largest, shared, [](double a, double b) { return a > b ? a : b; });
  for (double* sum : {&loss, &counted, &hits, &positive, &positives, &negative, &negatives}) *sum = block_sum<kLossThreads>(*sum, shared);
  if (threadIdx.x != 0) return;
  *job.exponent = exponent_of(largest);
  report->result.loss = loss;
  report->result.skipped_rows = job.z.rows - int64_t(counted);
  if (positives > 0) report->result.positive_similarity = positive / positives;
  if (negatives > 0) report->result.negative_similarity = negative / negatives;
  if (job.stats && counted > 0) report->result.accuracy = hits / counted;
}

// Coefficients.
__global__ void __launch_bounds__(kLossThreads, 1) weigh(SupCon job) {
  const int row = int(blockIdx.x) * kLossThreads + int(threadIdx.x);
  if (row >= job.z.rows) return;
  const double e = *job.exponent, most = exp2(double(Normaliser::kLargest));
  PositiveWeights w{0, 0, 0, 0, {no_normaliser(), no_normaliser()}};
  Normaliser of_negatives = no_normaliser();
  if (job.counted[row]) {
    const double total = job.pairs ? job.log_negatives[row] * kLog2e - log2(job.q[row]) : job.log_sum_exp[row] * kLog2e;
    if (job.q[row] > 0) of_negatives = make_normaliser(job.k(), total - e);
    if (job.pairs) {
      w.level = make_level(job.k(), job.level[row], e);
    } else {
      const auto own = positives_of(job, row);
      const double sum = own.count + own.sums[0];
      w.largest = own.largest;
      w.mean = float(own.sums[0] / own.count);
      w.spread = job.in || own.sums[0] == 0 ? 0.0f : float(fmin(exp2(e) / sum, most));
      w.pull = float(fmin(job.q[row] * exp2(e) / sum, most));
    }
  }
  job.positive_weights[row] = w;
  job.normaliser[row] = of_negatives;
}

}  // namespace

size_t sup_con_workspace(int64_t rows, int64_t cols, int32_t variant, const ck_options& options, bool gradients) {
  Arena arena;
  SupCon(arena, {nullptr, rows, cols}, nullptr, variant, options, gradients);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_sup_con(const ck_matrix* z, const int32_t* labels, int32_t variant, const ck_options* options, float* per_row,
                    float* row_log_sum_exp, float* gradient_z, ck_cuda_report* report, void* workspace, size_t workspace_bytes,
                    void* stream, ck_error* error) {
  using namespace ck::cuda;
  const double k = kLog2e / options->temperature;
  if (const int status = check_call({z}, *options, error)) return status;
  if (const int status = check_scale(k, error)) return status;
  Arena arena(workspace);
  const SupCon job(arena, *z, labels, variant, *options, gradient_z != nullptr);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  prepare(run, job.z, 0, report);
  check_products(run, job.z, job.z, k, report);
  prepare_classes(run, job.classes);
  const unsigned blocks = unsigned((job.z.rows + kLossThreads - 1) / kLossThreads);
  row_sums(run, job.by_label, job.label_sums());
  row_sums(run, job.by_class, job.positive_sums());
  run.launch(sum_rows, blocks, kLossThreads, 0, job);
  if (job.pairs) row_sums(run, job.by_pair, job.pair_sums());
  run.launch(store_rows, blocks, kLossThreads, 0, job, per_row, row_log_sum_exp, report);
  run.launch(totals, 1, kLossThreads, kLossThreads * sizeof(double), job, report);
  if (!gradient_z) return run.status(error);
  run.launch(weigh, blocks, kLossThreads, 0, job);
  const double factor = job.weight / job.temperature;
  const ContrastCoefficients<OtherClasses> negatives{{labels}, float(k), job.normaliser, job.normaliser};
  const PositiveCoefficients positives{float(k), job.pairs, labels, job.classes.bias, job.positive_weights, job.exponent};
  const Close close{job.exponent, factor, gradient_z, job.along, 0, report, 0, {}};
  side_gradient(run, job.side, close, compared(job.z, job.z, negatives), compared(job.classes.r, job.classes.r, positives, true, job.z));
  temperature_gradient(run, job.along, job.z.rows, nullptr, 0, -0.5 * factor / job.temperature, job.exponent, report);
  return run.status(error);
}
