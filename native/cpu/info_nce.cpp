// InfoNCE on the CPU: query against key and query against shared negatives as walks over tiles (contrast.hpp), everything that is
// a row's own (its positive, paired and indexed negatives, the negative with a logit added) as dot products in double. Pairs of two
// queries and of two keys (ck_also) are walks of a matrix with itself, and queries as candidates of a key the columns of the first walk.
//
// With L_i = log of the sum over all negatives of exp(z) and a = L_i - z_ip, the loss of a row is softplus(a), q = sigmoid(a) is the
// negatives' share, a negative has the coefficient q exp(z - L_i) and the positive -q; policies/row_loss.hpp. Symmetric: the
// columns of the first walk likewise, and everything times one half.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "cpu/info_nce_buffers.hpp"
#include "cpu/losses.hpp"
#include "policies/row_loss.hpp"

namespace ck {
namespace {

// As in nt_xent.cpp: where every share is smaller, weights are scaled up by a power of two.
constexpr int SMALL_WEIGHT = 30;

// Rows that only confident rows see have coefficients near float32's smallest numbers beside others near 1, and a gradient of their own:
// all are scaled up by this power of two, unless rows are so long that sums of 2^24 of them may leave float32.
constexpr int LIFT = 30;
constexpr double LONGEST_LIFTED_ROW = 1e12;
constexpr double LARGEST_ADDED_LOGIT = 1e6;

class InfoNce {
 public:
  InfoNce(Call& call, const InfoNcePlan& plan, InfoNceBuffers& buffers, const ck_info_nce_pairs& pairs, int threads)
      : call_(call),
        p_(plan),
        b_(buffers),
        pairs_(pairs),
        threads_(threads),
        temperature_(call.options().temperature),
        scale_(std::sqrt(LOG2_E / temperature_)),
        with_key_(call, threads, buffers.scratch, buffers.with_key, key_pairs()),
        with_negatives_(call, threads, buffers.scratch, buffers.with_negatives, negative_pairs()) {
    if (p_.also_queries) among(among_queries_, *b_.among_queries, b_.query.packed, b_.guide.among_queries());
    if (p_.also_keys) among(among_keys_, *b_.among_keys, b_.key.packed, b_.guide.among_keys());
  }

  void run(float* per_row, float* row_log_sum_exp, float* gradient_query, float* gradient_key, float* gradient_negatives,
           ck_result& result) {
    b_.query.read(call_, threads_, scale_, 0);
    b_.key.read(call_, threads_, scale_, 1);
    if (p_.negative_rows > 0) b_.negatives.read(call_, threads_, scale_, 2);
    index();
    find_spans();
    b_.guide.read(call_, threads_, pairs_, b_.partner);
    const double to_key = bound(b_.query.packed, b_.key.packed);
    const double to_negatives = p_.negative_rows > 0 ? bound(b_.query.packed, b_.negatives.packed) : 0.0;
    const double among_queries = among_queries_ ? bound(b_.query.packed, b_.query.packed) : 0.0;
    const double among_keys = among_keys_ ? bound(b_.key.packed, b_.key.packed) : 0.0;
    for (const double each : {to_key, to_negatives, among_queries, among_keys})
      if (!(each <= LARGEST_BOUND))
        throw Failure{CK_OUT_OF_RANGE, 0, -1, -1, "products of rows, scaled by temperature or logit scale, do not fit float32"};
    if (p_.in_batch) with_key_.forward(to_key, p_.stats);
    if (among_queries_) among_queries_->forward(among_queries, p_.stats);
    if (among_keys_) among_keys_->forward(among_keys, p_.stats);
    if (p_.shared) with_negatives_.forward(to_negatives, p_.stats);
    rows();
    if (p_.gradients) {
      weigh();
      // A side whose gradient is not wanted takes no product; the queries' sums give the temperature its gradient.
      if (p_.in_batch) with_key_.backward(b_.query.sums, gradient_key != nullptr || beside() ? b_.key.sums : nullptr);
      if (among_queries_) among_queries_->backward(b_.query.sums, b_.query.sums);
      if (among_keys_) among_keys_->backward(b_.key.sums, b_.key.sums);
      if (p_.shared) with_negatives_.backward(b_.query.sums, gradient_negatives != nullptr ? b_.negatives.sums : nullptr);
      gradients(gradient_query, gradient_key, gradient_negatives, result);
    }
    for (int64_t i = 0; i < p_.n; ++i) {
      if (per_row != nullptr) per_row[i] = static_cast<float>(b_.loss[i]);
      if (row_log_sum_exp != nullptr) row_log_sum_exp[i] = static_cast<float>(b_.log_sum_exp[i]);
    }
    result.loss = totals_.loss;
    result.skipped_rows = p_.n - totals_.counted;
    if (p_.stats) statistics(result);
  }

 private:
  ContrastPairs key_pairs() const {
    ContrastPairs pairs = {b_.query.packed, b_.key.packed, p_.symmetric || p_.also_columns};
    pairs.partner = b_.partner;
    pairs.row_labels = b_.row_labels;
    pairs.col_labels = b_.col_labels;
    pairs.owned = pairs_.owned_keys != 0;
    pairs.mask = p_.masked ? pairs_.mask : nullptr;
    pairs.guide = b_.guide.pass();
    pairs.spans = b_.spans;
    return pairs;
  }
  ContrastPairs negative_pairs() const {
    ContrastPairs pairs = {b_.query.packed, b_.negatives.packed, false};
    pairs.partner = b_.own;
    return pairs;
  }

  // Pairs of two queries, or of two keys.
  bool beside() const { return p_.also_queries || p_.also_keys; }
  void among(std::optional<Contrast>& contrast, const ContrastBuffers& buffers, const Packed& rows, const GuidePass* guide) {
    ContrastPairs pairs = {rows, rows, true};
    pairs.guide = guide;
    contrast.emplace(call_, threads_, b_.scratch, buffers, pairs);
  }

  double bound(const Packed& one, const Packed& other) const {
    const double largest = call_.normalize() ? 1.0 : one.largest_norm * other.largest_norm;
    return largest * LOG2_E / temperature_;
  }

  // Partners and labels of the padded rows.
  void index() {
    for (int64_t i = 0; i < b_.query.packed.layout.padded_rows; ++i) {
      const bool inside = i < p_.n;
      b_.partner[i] = !inside ? -1 : pairs_.positives != nullptr ? pairs_.positives[i] : static_cast<int32_t>(i);
      if (p_.own) b_.own[i] = inside ? static_cast<int32_t>(i) : -1;
      if (p_.labelled) b_.row_labels[i] = inside ? pairs_.query_labels[i] : 0;
    }
    for (int64_t j = 0; p_.labelled && j < b_.key.packed.layout.padded_rows; ++j) b_.col_labels[j] = j < p_.keys ? pairs_.key_labels[j] : 0;
  }

  // What the keys are zero outside of, in whole blocks of dimensions: sums of the others are exactly what they are with the zeros.
  void find_spans() {
    if (b_.spans == nullptr) return;
    const int64_t block = dot_block(p_.cols);
    call_.each(threads_, job_count(p_.keys, PACK_ROWS), [&](int64_t job, int) {
      int64_t first = p_.cols - 1, last = 1;
      for (int64_t j = job * PACK_ROWS; j < std::min(p_.keys, (job + 1) * PACK_ROWS); ++j) {
        const float* row = b_.key.packed.matrix.data + j * p_.cols;
        const auto counts = [](float x) { return x != 0.0f; };
        first = std::find_if(row, row + first, counts) - row;
        last = std::find_if(std::make_reverse_iterator(row + p_.cols), std::make_reverse_iterator(row + last), counts).base() - row;
      }
      b_.spans[job] = {first / block * block, last > p_.cols - block ? INT64_MAX : (last + block - 1) / block * block};
    });
  }

  double dot(int64_t i, const Packed& other, int64_t j) const {
    const Packed& query = b_.query.packed;
    const double s = call_.kernels().dot(query.matrix.data + i * p_.cols, other.matrix.data + j * p_.cols, p_.cols);
    if (!call_.normalize()) return s;
    const double a = query.norms[i], b = other.norms[j];
    return a > 0.0 && b > 0.0 ? s / a / b : 0.0;
  }

  int64_t negative_row(int64_t i, int64_t k) const {
    const int64_t entry = i * p_.each + k;
    return p_.own ? i : p_.indexed ? pairs_.negative_indices[entry] : entry;
  }

  // Losses and shares of every row and column.
  void rows() {
    const int64_t jobs = job_count(p_.n, ROWS_PER_JOB);
    const bool peaks = p_.stats && p_.tiles();
    call_.each(threads_, jobs, [&](int64_t index, int) {
      const int64_t first = index * ROWS_PER_JOB, last = std::min(p_.n, first + ROWS_PER_JOB);
      if (peaks)
        call_.kernels().contrast.pair_products({&b_.query.packed.layout, b_.query.packed.panels, &b_.key.packed.layout,
                                                b_.key.packed.panels, b_.partner, first, last, b_.positive_peaks});
      RowTotals totals = {};
      for (int64_t i = first; i < last; ++i) row(i, totals);
      b_.partial[index] = totals;
    });
    for (int64_t index = 0; index < jobs; ++index) {
      const RowTotals& t = b_.partial[index];
      totals_.loss += t.loss;
      totals_.positive += t.positive;
      totals_.negative += t.negative;
      totals_.negatives += t.negatives;
      totals_.hits += t.hits;
      totals_.counted += t.counted;
      totals_.largest_share = std::max(totals_.largest_share, t.largest_share);
    }
  }

  void row(int64_t i, RowTotals& totals) {
    const int64_t p = b_.partner[i];
    // The own pair twice in the sum is one whose logit is larger by log 2.
    const double twice = p_.also_columns ? LN_2 : 0.0;
    const double s = dot(i, b_.key.packed, p), z = s / temperature_ + twice;
    double* logits = b_.logits + i * p_.each;
    double largest = -INFINITY, similarities = 0.0;
    for (int64_t k = 0; k < p_.each; ++k) {
      const double t = dot(i, b_.negatives.packed, negative_row(i, k));
      similarities += t;
      logits[k] = t / temperature_ + (p_.own ? pairs_.own_negative_logit : 0.0);
      largest = std::max(largest, logits[k]);
    }
    const bool hit = p_.stats && z > largest && (!p_.in_batch || b_.positive_peaks[i] > with_key_.row_peak(i)) &&
                     (!p_.shared || b_.positive_peaks[i] > with_negatives_.row_peak(i)) &&
                     (!among_queries_ || b_.positive_peaks[i] > among_queries_->row_peak(i)) &&
                     (!among_keys_ || b_.positive_peaks[i] > among_keys_->row_peak(p));
    const double of_key = p_.in_batch ? with_key_.log_row_sum(i) : -INFINITY;
    const double of_negatives = p_.shared ? with_negatives_.log_row_sum(i) : -INFINITY;
    const double beside[] = {among_queries_ ? among_queries_->log_row_sum(i) : -INFINITY,
                             p_.also_columns ? with_key_.log_col_sum(p) : -INFINITY, among_keys_ ? among_keys_->log_row_sum(p) : -INFINITY};
    largest = std::max(largest, std::max(of_key, of_negatives));
    for (const double each : beside) largest = std::max(largest, each);
    double sum = 0.0;
    if (largest > -INFINITY) {
      sum = std::exp(of_key - largest) + std::exp(of_negatives - largest);
      for (const double each : beside) sum += std::exp(each - largest);
      for (int64_t k = 0; k < p_.each; ++k) sum += std::exp(logits[k] - largest);
    }
    b_.log_negatives[i] = sum > 0.0 ? largest + std::log(sum) : -INFINITY;
    const RowLoss of_row = row_loss(b_.log_negatives[i], z);
    double loss = of_row.loss + twice, log_column = -INFINITY;
    b_.share[i] = of_row.q;
    if (p_.symmetric) {
      log_column = b_.log_column[i] = with_key_.log_col_sum(p);
      const RowLoss of_column = row_loss(log_column, z);
      b_.column_share[i] = of_column.q;
      totals.largest_share = std::max(totals.largest_share, of_column.q);
      loss = 0.5 * (loss + of_column.loss);
    }
    b_.similarity[i] = s;
    b_.loss[i] = loss;
    b_.log_sum_exp[i] = of_row.log_sum_exp;
    totals.loss += loss;
    totals.largest_share = std::max(totals.largest_share, of_row.q);
    totals.negative += similarities;
    totals.negatives += static_cast<double>(p_.each);
    if (b_.log_negatives[i] == -INFINITY && log_column == -INFINITY) return;  // nothing to compare
    ++totals.counted;
    totals.positive += s;
    totals.hits += hit;
  }

  // Coefficients of the pairs.
  void weigh() {
    const int exponent = totals_.largest_share > 0.0 ? std::ilogb(totals_.largest_share) : 0;
    double longest = call_.normalize() ? 1.0 : std::max(b_.query.packed.largest_norm, b_.key.packed.largest_norm);
    if (!call_.normalize() && p_.negative_rows > 0) longest = std::max(longest, b_.negatives.packed.largest_norm);
    power_ = (exponent < -SMALL_WEIGHT ? -exponent : 0) + (longest * scale_ < LONGEST_LIFTED_ROW ? LIFT : 0);
    const double half = p_.symmetric ? 0.5 : 1.0;
    call_.each(threads_, job_count(p_.n, ROWS_PER_JOB), [&](int64_t job, int) {
      for (int64_t i = job * ROWS_PER_JOB; i < std::min(p_.n, (job + 1) * ROWS_PER_JOB); ++i) {
        const double q = half * b_.share[i], log_negatives = b_.log_negatives[i];
        if (p_.in_batch) with_key_.weigh_row(i, std::ldexp(q, power_), log_negatives);
        if (p_.shared) with_negatives_.weigh_row(i, std::ldexp(q, power_), log_negatives);
        if (among_queries_) among_queries_->weigh_row(i, std::ldexp(q, power_), log_negatives);
        if (p_.also_columns) with_key_.weigh_col(b_.partner[i], std::ldexp(q, power_), log_negatives);
        if (among_keys_) among_keys_->weigh_row(b_.partner[i], std::ldexp(q, power_), log_negatives);
        for (int64_t k = i * p_.each; k < (i + 1) * p_.each; ++k) b_.logits[k] = q * std::exp(b_.logits[k] - log_negatives);
        b_.pull[i] = -q;
        if (!p_.symmetric) continue;
        b_.pull[i] -= half * b_.column_share[i];
        with_key_.weigh_col(b_.partner[i], std::ldexp(half * b_.column_share[i], power_), b_.log_column[i]);
      }
    });
    if (pairs_.positives != nullptr) group_entries(b_.partner, p_.n, p_.keys, b_.key_start, b_.key_order);
    if (p_.indexed) group_entries(pairs_.negative_indices, p_.n * p_.each, p_.negative_rows, b_.negative_start, b_.negative_order);
  }

  FinishPairsJob finish(const Side& side, float* gradient) const {
    FinishPairsJob job = side.finish.job(side.packed, side.sums);
    job.sums_scale = std::ldexp(1.0 / scale_, -power_);
    job.scale = call_.options().weight / temperature_;
    job.normalize = call_.options().normalize;
    job.gradient = gradient;
    return job;
  }
  static PairList list(const Packed& other, const double* coefficient, int64_t count) {
    PairList list = {};
    list.each = 1;
    list.count = count;
    list.divide = 1;
    list.coefficient = coefficient;
    list.data = other.matrix.data;
    list.norms = other.norms;
    return list;
  }

  void gradients(float* gradient_query, float* gradient_key, float* gradient_negatives, ck_result& result) {
    const Packed &query = b_.query.packed, &key = b_.key.packed, &negatives = b_.negatives.packed;
    FinishPairsJob of_query = finish(b_.query, gradient_query), of_key = finish(b_.key, gradient_key),
                   of_negatives = finish(b_.negatives, gradient_negatives);
    of_query.lists[of_query.list_count++] = list(key, b_.pull, p_.n);
    of_query.lists[0].other = b_.partner;
    PairList& to_queries = of_key.lists[of_key.list_count++] = list(query, b_.pull, p_.n);
    if (pairs_.positives != nullptr) {
      to_queries.start = b_.key_start;
      to_queries.order = b_.key_order;
    }
    if (p_.each > 0) {
      const int64_t entries = p_.n * p_.each;
      PairList& own = of_query.lists[of_query.list_count++] = list(negatives, b_.logits, entries);
      own.each = p_.each;
      own.other = p_.indexed ? pairs_.negative_indices : nullptr;
      PairList& back = of_negatives.lists[of_negatives.list_count++] = list(query, b_.logits, entries);
      back.divide = p_.each;
      back.start = b_.negative_start;
      back.order = b_.negative_order;
    }
    // The coefficients of a row are its own, at most 2, and those of others, at most 1 each and as many as they are entries.
    const double others = static_cast<double>(p_.n) * static_cast<double>(p_.each + 4) + static_cast<double>(p_.keys) + 2.0;
    double of_rows = call_.normalize() ? 1.0 : query.largest_norm;
    double of_others = call_.normalize() ? 1.0 : std::max(key.largest_norm, p_.negative_rows > 0 ? negatives.largest_norm : 0.0);
    if (beside()) of_rows = of_others = std::max(of_rows, of_others);
    b_.query.finish.check(call_, threads_, query, of_query, others * of_others, 0);
    if (gradient_key != nullptr) b_.key.finish.check(call_, threads_, key, of_key, others * of_rows, 1);
    if (gradient_negatives != nullptr) b_.negatives.finish.check(call_, threads_, negatives, of_negatives, others * of_rows, 2);
    double along = b_.query.finish.write(call_, threads_, query, of_query);
    const double along_keys = gradient_key != nullptr || beside() ? b_.key.finish.write(call_, threads_, key, of_key) : 0.0;
    // Pairs of queries are in the queries' sum twice, those of keys in the keys', and the others in both.
    if (beside()) along = 0.5 * (along + along_keys);
    if (gradient_negatives != nullptr) b_.negatives.finish.write(call_, threads_, negatives, of_negatives);
    // <g_i, u_i> over the queries is the sum over all pairs of coefficient times similarity, the positives' included.
    result.temperature_gradient = -along * call_.options().weight / (temperature_ * temperature_);
  }

  double squares(const Packed& rows) const {
    double sum = 0.0;
    for (int64_t i = 0; i < rows.layout.rows; ++i) {
      const double norm = rows.norms[i];
      sum += !call_.normalize() ? norm * norm : norm > 0.0 ? 1.0 : 0.0;
    }
    return sum;
  }

  void statistics(ck_result& result) const {
    const double n = static_cast<double>(p_.n), counted = static_cast<double>(totals_.counted);
    if (totals_.counted > 0) {
      result.positive_similarity = totals_.positive / counted;
      result.accuracy = static_cast<double>(totals_.hits) / counted;
    }
    double sum = totals_.negative, count = totals_.negatives;
    const auto add_tally = [&](const ContrastBuffers& found) {
      for (int64_t i = 0; i < p_.n; ++i) {
        sum += found.similarities[i] * LN_2 * temperature_;
        count += found.counts[i];
      }
    };
    const auto add_others = [&](const Packed& x, const Packed& y, double own) {
      sum += all_similarities(x, y) - own;
      count += n * static_cast<double>(y.layout.rows - 1);
    };
    if (p_.masked) {
      add_tally(b_.with_key);
      if (p_.also_queries) add_tally(*b_.among_queries);
      if (p_.also_keys) add_tally(*b_.among_keys);
    } else if (p_.in_batch) {
      double own = 0.0;
      for (int64_t i = 0; i < p_.n; ++i) own += b_.similarity[i];
      add_others(b_.query.packed, b_.key.packed, own);
      if (p_.also_columns) add_others(b_.query.packed, b_.key.packed, own);
      if (p_.also_queries) add_others(b_.query.packed, b_.query.packed, squares(b_.query.packed));
      if (p_.also_keys) add_others(b_.key.packed, b_.key.packed, squares(b_.key.packed));
    }
    if (p_.shared) {  // the one with a logit added is in both sums
      sum += all_similarities(b_.query.packed, b_.negatives.packed) - totals_.negative;
      count += n * static_cast<double>(p_.negative_rows) - totals_.negatives;
    }
    if (count > 0.0) result.negative_similarity = sum / count;
  }

  Call& call_;
  const InfoNcePlan& p_;
  InfoNceBuffers& b_;
  const ck_info_nce_pairs& pairs_;
  int threads_;
  double temperature_;
  double scale_;
  Contrast with_key_, with_negatives_;
  std::optional<Contrast> among_queries_, among_keys_;
  int power_ = 0;
  RowTotals totals_ = {};
};

}  // namespace

void info_nce(const ck_matrix& query, const ck_matrix& key, const ck_matrix* negatives, const ck_info_nce_pairs& pairs,
              const ck_options& options, float* per_row, float* row_log_sum_exp, float* gradient_query, float* gradient_key,
              float* gradient_negatives, ck_result& result) {
  if (!(std::fabs(pairs.own_negative_logit) <= LARGEST_ADDED_LOGIT))
    throw Failure{CK_OUT_OF_RANGE, -1, -1, -1, "the logit added to the own negative is larger than 1e6"};
  Call call(options);
  const InfoNcePlan plan(query, key, negatives, pairs, options,
                         gradient_query != nullptr || gradient_key != nullptr || gradient_negatives != nullptr);
  const int threads = call.threads_for(plan.multiply_adds());
  Arena measure(nullptr);
  InfoNceBuffers measured(measure, plan, query, key, negatives, pairs, call, threads);
  Workspace workspace(measure.used());
  Arena arena(workspace.data());
  InfoNceBuffers buffers(arena, plan, query, key, negatives, pairs, call, threads);
  InfoNce(call, plan, buffers, pairs, threads).run(per_row, row_log_sum_exp, gradient_query, gradient_key, gradient_negatives, result);
}

int64_t info_nce_bytes(const ck_matrix& query, const ck_matrix& key, const ck_matrix* negatives, const ck_info_nce_pairs& pairs,
                       bool gradients, const ck_options& options) {
  Call call(options);
  const InfoNcePlan plan(query, key, negatives, pairs, options, gradients);
  Arena arena(nullptr);
  InfoNceBuffers buffers(arena, plan, query, key, negatives, pairs, call, call.threads_for(plan.multiply_adds()));
  return Workspace::rounded(arena.used());
}

}  // namespace ck
