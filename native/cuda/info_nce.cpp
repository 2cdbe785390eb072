// InfoNCE on the device: query against key and query against shared negatives as sums over tiles (row_sums.hpp), what is a query's
// own (its positive, paired and indexed negatives, the negative with a logit added) as dot products in double.
//
// With L_i = log of the sum over all negatives of exp(z) and a = L_i - z_ip the loss of a row is softplus(a), q = sigmoid(a) is the
// negatives' share, a negative has the coefficient exp(z - lse_i) and the positive -q; policies/row_loss.hpp. Symmetric: column i, that
// is key row p_i, likewise, and everything times one half.
#include "cuda/info_nce.hpp"

#include "policies/row_loss.hpp"

namespace ck::cuda {
namespace {

__global__ void __launch_bounds__(kLossThreads, 1) row_losses(InfoNce job, float* per_row, float* row_log_sum_exp, ck_cuda_report* report) {
  const int row = int(blockIdx.x) * kLossThreads + int(threadIdx.x);
  if (row >= job.query.rows) return;
  const int p = job.pairs.positive(row);
  const double z = job.positive[row] / job.temperature;
  const float of_positive = job.stats ? job.of_positive[row] : 0;
  LogSum negatives;
  double count = double(job.each), similarity = 0;
  bool hit = true;
  const auto add = [&](const RowSums& sums, const auto& policy) {
    const auto total = merge_sums(sums, policy, row);
    negatives.add(policy.log2_sum(total) * kLn2);
    count += total.count;
    similarity += total.score;
    if (!(of_positive > total.largest)) hit = false;
  };
  if (job.in_batch) add(job.of_keys, ContrastSums<KeyPairs>(job.k(), job.pairs));
  if (job.shared) add(job.of_negatives, ContrastSums<SharedPairs>(job.k(), job.shared_pairs));
  for (int64_t entry = row * job.each; entry < (row + 1) * job.each; ++entry) {
    const double s = job.listed[entry], logit = s / job.temperature + (job.shared ? job.added_logit : 0);
    similarity += s;
    job.listed[entry] = logit;
    negatives.add(logit);
    if (!(z > logit)) hit = false;
  }
  const RowLoss r = row_loss(negatives.value(), z);
  double loss = r.loss;
  bool compared = negatives.sum > 0;
  job.q[row] = r.q;
  job.log_sum_exp[row] = r.log_sum_exp;
  job.column_q[row] = 0;
  if (job.symmetric) {
    const ContrastSums<Exchanged<KeyPairs>> policy(job.k(), {job.pairs});
    const auto total = merge_sums(job.of_queries, policy, p);
    const RowLoss column = row_loss(policy.log2_sum(total) * kLn2, z);
    job.column_q[row] = column.q;
    job.column_log_sum_exp[row] = column.log_sum_exp;
    loss = 0.5 * (loss + column.loss);
    compared = compared || total.sums[0] > 0;
  }
  job.loss[row] = loss;
  job.counts[row] = compared ? count : -1;
  job.similarity[row] = similarity;
  job.hit[row] = hit;
  store_row(row, loss, r.log_sum_exp, per_row, row_log_sum_exp, report);
}

// Keys that only confident queries see have coefficients near float32's smallest numbers beside others near 1, and a gradient of their own:
// all are 2^kLift times as large, unless rows are so long that sums of 2^24 of them may leave float32.
constexpr int kLift = 30;
constexpr double kLongestLiftedRow = 1e12;

// The longest of a matrix, as this thread sees it.
__device__ double longest_row(const Rows& rows) {
  double longest = rows.normalized ? 1 : 0;
  for (int row = int(threadIdx.x); !rows.normalized && row < rows.rows; row += kLossThreads) longest = fmax(longest, rows.norm[row]);
  return longest;
}

// One block: the sums over queries, and the exponent that makes the largest share about 2^kLift. Rows that are zero do not count for it:
// cosines with them are 0, so that neither they nor what they pull at has a gradient.
__global__ void __launch_bounds__(kLossThreads, 1) totals(InfoNce job, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  double* shared = reinterpret_cast<double*>(bytes);
  double loss = 0, positive = 0, similarity = 0, counts = 0, hits = 0, compared = 0, largest = 0;
  for (int row = int(threadIdx.x); row < job.query.rows; row += kLossThreads) {
    loss += job.loss[row];
    if (job.query.norm[row] > 0 || !job.query.normalized) largest = fmax(largest, job.q[row]);
    if (job.key.norm[job.pairs.positive(row)] > 0 || !job.key.normalized) largest = fmax(largest, job.column_q[row]);
    if (job.counts[row] < 0) continue;
    positive += job.positive[row];
    similarity += job.similarity[row];
    counts += job.counts[row];
    hits += job.hit[row];
    compared += 1;
  }
  const auto larger = [](double a, double b) { return a > b ? a : b; };
  largest = block_fold<kLossThreads>(largest, shared, larger);
  const double of_thread = fmax(longest_row(job.query), fmax(longest_row(job.key), longest_row(job.negatives)));
  const double longest = block_fold<kLossThreads>(of_thread, shared, larger);
  for (double* sum : {&loss, &positive, &similarity, &counts, &hits, &compared}) *sum = block_sum<kLossThreads>(*sum, shared);
  if (threadIdx.x != 0) return;
  const double exponent = exponent_of(largest);
  *job.lift = longest < kLongestLiftedRow && exponent + kLift <= kMostExponent && !job.query.tensor() ? kLift : 0;
  *job.exponent = exponent + *job.lift;
  report->result.loss = loss;
  report->result.skipped_rows = job.query.rows - int64_t(compared);
  if (!job.stats) return;
  if (compared > 0) report->result.positive_similarity = positive / compared;
  if (compared > 0) report->result.accuracy = hits / compared;
  if (counts > 0) report->result.negative_similarity = similarity / counts;
}

// Column normalisers of keys that are nobody's positive.
__global__ void __launch_bounds__(kLossThreads, 1) clear_columns(InfoNce job) {
  const int row = int(blockIdx.x) * kLossThreads + int(threadIdx.x);
  if (row < job.key.rows) job.column_normaliser[row] = no_normaliser();
}

// Coefficients. Positives are distinct where columns have a loss, so that a column's cell has one thread.
__global__ void __launch_bounds__(kLossThreads, 1) weigh(InfoNce job) {
  const int row = int(blockIdx.x) * kLossThreads + int(threadIdx.x);
  if (row >= job.query.rows) return;
  const double down = -log2(job.share()) - (*job.exponent - *job.lift);
  const auto normaliser = [&](double q, double log_sum_exp) {
    return q > 0 ? make_normaliser(job.k(), log_sum_exp * kLog2e + down) : no_normaliser();
  };
  job.row_normaliser[row] = normaliser(job.q[row], job.log_sum_exp[row]);
  if (job.symmetric) job.column_normaliser[job.pairs.positive(row)] = normaliser(job.column_q[row], job.column_log_sum_exp[row]);
  job.pull[row] = -job.share() * (job.q[row] + job.column_q[row]);
  for (int64_t entry = row * job.each; entry < (row + 1) * job.each; ++entry) {
    job.listed[entry] = job.share() * exp(job.listed[entry] - job.log_sum_exp[row]);
  }
}

unsigned blocks(int rows) { return unsigned((rows + kLossThreads - 1) / kLossThreads); }

void gradients(Run& run, const InfoNce& job, const Guide& guide, float* query, float* key, float* negatives, ck_cuda_report* report) {
  if (job.symmetric) run.launch(clear_columns, blocks(job.key.rows), kLossThreads, 0, job);
  run.launch(weigh, blocks(job.query.rows), kLossThreads, 0, job);
  const double factor = job.weight / job.temperature;
  const auto of_negatives = job.shared_coefficients();
  const int lists = job.each > 0 ? 2 : 1;
  const Close close_query{
      job.exponent, factor, query, job.along, 0, report, lists, {job.positives_of_queries(), job.negatives_of_queries()}};
  guide.by_queries(run, job.query.rows, [&](const DecidedPairs& decided, int first, int count) {
    for (int row = first; row < first + count; row += job.query_side.first.rows)
      side_panel(run, job.query_side, close_query, row, compared(job.query, job.key, job.key_coefficients(decided), job.in_batch),
                 compared(job.query, job.negatives, of_negatives, job.shared));
  });
  temperature_gradient(run, job.along, job.query.rows, nullptr, 0, -factor / job.temperature, job.exponent, report);
  if (key) {
    const Close close{job.exponent, factor, key, nullptr, 1, report, 1, {job.queries_of_keys(), {}}};
    guide.by_keys(run, job.key.rows, [&](const DecidedPairs& decided, int first, int count) {
      for (int row = first; row < first + count; row += job.key_side.first.rows)
        side_panel(run, job.key_side, close, row, compared<true>(job.key, job.query, job.key_coefficients(decided), job.in_batch));
    });
  }
  if (negatives) {
    const Close close{job.exponent, factor, negatives, nullptr, 2, report, job.each > 0 ? 1 : 0, {job.queries_of_negatives(), {}}};
    side_gradient(run, job.negatives_side, close, compared<true>(job.negatives, job.query, of_negatives, job.shared));
  }
}

}  // namespace

size_t info_nce_workspace(const ck_matrix& query, const ck_matrix& key, const ck_matrix* negatives, const ck_info_nce_pairs& pairs,
                          const ck_options& options, bool gradients) {
  Arena arena;
  InfoNce(arena, query, key, negatives ? *negatives : ck_matrix{}, pairs, options, gradients).guide(arena, pairs);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_info_nce(const ck_matrix* query, const ck_matrix* key, const ck_matrix* negatives, const ck_info_nce_pairs* pairs,
                     const ck_options* options, float* per_row, float* row_log_sum_exp, float* gradient_query, float* gradient_key,
                     float* gradient_negatives, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream,
                     ck_error* error) {
  using namespace ck::cuda;
  const double k = kLog2e / options->temperature;
  if (const int status = check_no_more_pairs(*pairs, error)) return status;
  if (const int status = check_tensor_call({query, key, negatives}, *options, error)) return status;
  if (const int status = check_guide(*query, *key, *pairs, error)) return status;
  if (const int status = check_scale(k, error)) return status;
  if (const int status = check_added_logit(pairs->own_negative_logit, error)) return status;
  Arena arena(workspace);
  const bool wanted = gradient_query || gradient_key || gradient_negatives;
  const InfoNce job(arena, *query, *key, negatives ? *negatives : ck_matrix{}, *pairs, *options, wanted);
  const Guide guide = job.guide(arena, *pairs);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  prepare(run, job.query, 0, report);
  prepare(run, job.key, 1, report);
  check_products(run, job.query, job.key, k, report);
  if (negatives) {
    prepare(run, job.negatives, 2, report);
    check_products(run, job.query, job.negatives, k, report);
  }
  prepare(run, guide, pairs->positives, report);
  listed_similarities(run, job.query, job.key, pairs->positives, 1, query->rows, job.positive);
  if (job.stats) tile_similarities(run, job.query, job.key, pairs->positives, job.of_positive);
  listed_similarities(run, job.query, job.negatives, job.negative_indices, job.each, job.entries(), job.listed);
  if (job.in_batch)
    guide.by_queries(run, job.query.rows, [&](const DecidedPairs& decided, int first, int count) {
      row_sums(run, job.of_keys, ContrastSums<KeyPairs>(k, job.with(decided)), first, count);
    });
  if (job.shared) row_sums(run, job.of_negatives, ContrastSums<SharedPairs>(k, job.shared_pairs));
  if (job.symmetric)
    guide.by_keys(run, job.key.rows, [&](const DecidedPairs& decided, int first, int count) {
      row_sums(run, job.of_queries, ContrastSums<Exchanged<KeyPairs>>(k, {job.with(decided)}), first, count);
    });
  run.launch(row_losses, blocks(job.query.rows), kLossThreads, 0, job, per_row, row_log_sum_exp, report);
  run.launch(totals, 1, kLossThreads, kLossThreads * sizeof(double), job, report);
  if (wanted) gradients(run, job, guide, gradient_query, gradient_key, gradient_negatives, report);
  return run.status(error);
}

size_t ck_cuda_info_nce_workspace_bytes(const ck_matrix* query, const ck_matrix* key, const ck_matrix* negatives,
                                        const ck_info_nce_pairs* pairs, int32_t gradients, const ck_options* options) {
  for (const ck_matrix* matrix : {query, key, negatives, pairs->guide_query, pairs->guide_key, pairs->guide_second_query}) {
    if (matrix && (matrix->rows > ck::cuda::kMostRows || matrix->cols > ck::cuda::kMostColumns)) return size_t(INT64_MAX);
  }
  return ck::cuda::info_nce_workspace(*query, *key, negatives, *pairs, *options, gradients != 0);
}
