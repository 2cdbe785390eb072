// What a call of InfoNCE compares, and its working memory. Included by info_nce.cpp alone.
#ifndef CK_CPU_INFO_NCE_BUFFERS_HPP
#define CK_CPU_INFO_NCE_BUFFERS_HPP

#include <algorithm>
#include <cmath>
#include <optional>

#include "cpu/contrast.hpp"
#include "cpu/guide.hpp"

namespace ck {
namespace {

constexpr int64_t ROWS_PER_JOB = 64;

// What a call compares, from its arguments alone.
struct InfoNcePlan {
  InfoNcePlan(const ck_matrix& query, const ck_matrix& key, const ck_matrix* negatives, const ck_info_nce_pairs& pairs,
              const ck_options& options, bool want_gradients)
      : n(query.rows),
        keys(key.rows),
        cols(query.cols),
        negative_rows(negatives == nullptr ? 0 : negatives->rows),
        in_batch(pairs.in_batch != 0),
        symmetric(pairs.symmetric != 0),
        shared(negatives != nullptr && pairs.negative_mode == CK_NEGATIVES_SHARED),
        own(shared && pairs.own_negative_logit != 0.0),
        indexed(negatives != nullptr && pairs.negative_mode == CK_NEGATIVES_INDEXED),
        each(negatives == nullptr ? 0
             : shared             ? (own ? 1 : 0)
                                  : pairs.per_query),
        guided(in_batch && pairs.guide_query != nullptr),
        masked(guided || (in_batch && (pairs.mask != nullptr || pairs.query_labels != nullptr))),
        labelled(in_batch && pairs.query_labels != nullptr),
        also_queries((pairs.also & CK_ALSO_QUERIES) != 0),
        also_columns((pairs.also & CK_ALSO_QUERIES_OF_KEY) != 0),
        also_keys((pairs.also & CK_ALSO_OTHER_KEYS_OF_KEY) != 0),
        stats(options.stats != 0),
        gradients(want_gradients),
        guide_cols(guided ? guide_multiply_adds(pairs) : 0.0) {}

  int64_t n, keys, cols, negative_rows;
  bool in_batch, symmetric, shared, own, indexed;
  int64_t each;  // explicit negatives of a row
  bool guided, masked, labelled;
  bool also_queries, also_columns, also_keys;  // ck_also
  bool stats, gradients;
  double guide_cols;

  bool tiles() const { return in_batch || shared; }
  double multiply_adds() const {
    const double beside = 0.5 * static_cast<double>(n) * static_cast<double>(n) * ((also_queries ? 1 : 0) + (also_keys ? 1 : 0));
    const double pairs =
        static_cast<double>(n) * (static_cast<double>(in_batch ? keys : 0) + static_cast<double>(shared ? negative_rows : 0)) + beside;
    const double guide = (static_cast<double>(n) * static_cast<double>(keys) + beside) * (gradients ? 2 : 1) * guide_cols;
    return (pairs * (gradients ? 3 : 1) + static_cast<double>(n) * 4.0 * static_cast<double>(each + 1)) * static_cast<double>(cols) + guide;
  }
};

// A matrix, its accumulated sums, and the end of its gradient.
struct Side {
  Side(Arena& arena, const ck_matrix& matrix, const Call& call, int threads, bool pack, bool column_sums, bool sums_wanted)
      : packed(arena, matrix, call.kernels().width, pack ? layouts(call, sums_wanted) : NO_LAYOUTS, pack && column_sums),
        finish(arena, matrix.rows, matrix.cols, threads),
        sums(sums_wanted ? arena.take<float>(grouped_floats(packed.layout)) : nullptr) {}

  // Norms and the check for finite values, and the packed form where tiles need it.
  void read(Call& call, int threads, double scale, int32_t argument) {
    if (packed.panels != nullptr) return pack(call, threads, packed, scale, sums, argument);
    call.each(threads, job_count(packed.layout.padded_rows, PACK_ROWS), [&](int64_t index, int) {
      const int64_t first = std::min(index * PACK_ROWS, packed.layout.rows);
      NormJob job = {packed.matrix.data, packed.layout.cols, first, std::min(first + PACK_ROWS, packed.layout.rows), packed.norms, -1};
      call.kernels().norms(&job);
      PackTotals totals = {job.bad_row, 0, INFINITY, 0.0};
      for (int64_t i = job.first; i < job.last && job.bad_row < 0; ++i) {
        if (packed.norms[i] > 0.0) totals.smallest_norm = std::min(totals.smallest_norm, packed.norms[i]);
        totals.largest_norm = std::max(totals.largest_norm, packed.norms[i]);
      }
      packed.totals[index] = totals;
    });
    finish_packing(packed, argument);
  }

  Packed packed;
  PairGradient finish;
  float* sums;
};

struct RowTotals {
  double loss, positive, negative, negatives, largest_share;
  int64_t hits, counted;
};

struct InfoNceBuffers {
  InfoNceBuffers(Arena& arena, const InfoNcePlan& p, const ck_matrix& query_matrix, const ck_matrix& key_matrix,
                 const ck_matrix* negative_matrix, const ck_info_nce_pairs& pairs, const Call& call, int threads)
      : query(arena, query_matrix, call, threads, p.tiles(), p.stats, p.gradients && p.tiles()),
        key(arena, key_matrix, call, threads, p.in_batch || (p.shared && p.stats), p.stats && p.in_batch, p.gradients && p.in_batch),
        negatives(arena, negative_matrix == nullptr ? ck_matrix{nullptr, 0, p.cols} : *negative_matrix, call, threads, p.shared, p.stats,
                  p.gradients && p.shared),
        with_key(arena, query.packed, key.packed, p.masked && p.stats),
        with_negatives(arena, query.packed, negatives.packed, false),
        guide(arena, p.guided ? pairs : ck_info_nce_pairs{}, call),
        scratch(arena, threads, false, p.guided) {
    if (p.also_queries) among_queries.emplace(arena, query.packed, query.packed, p.masked && p.stats);
    if (p.also_keys) among_keys.emplace(arena, key.packed, key.packed, p.masked && p.stats);
    const int64_t padded = query.packed.layout.padded_rows, padded_keys = key.packed.layout.padded_rows;
    partner = arena.take<int32_t>(padded);
    own = p.own ? arena.take<int32_t>(padded) : nullptr;
    row_labels = p.labelled ? arena.take<int32_t>(padded) : nullptr;
    col_labels = p.labelled ? arena.take<int32_t>(padded_keys) : nullptr;
    positive_peaks = arena.take<float>(padded);
    similarity = arena.take<double>(p.n);
    loss = arena.take<double>(p.n);
    log_sum_exp = arena.take<double>(p.n);
    log_negatives = arena.take<double>(p.n);
    share = arena.take<double>(p.n);
    log_column = arena.take<double>(p.symmetric ? p.n : 0);
    column_share = arena.take<double>(p.symmetric ? p.n : 0);
    pull = arena.take<double>(p.n);
    logits = arena.take<double>(p.n * p.each);
    partial = arena.take<RowTotals>(job_count(p.n, ROWS_PER_JOB));
    spans = p.in_batch && pairs.sparse_keys != 0 ? arena.take<Span>(job_count(padded_keys, PACK_ROWS)) : nullptr;
    key_start = p.gradients ? arena.take<int32_t>(p.keys + 1) : nullptr;
    key_order = p.gradients ? arena.take<int32_t>(p.n) : nullptr;
    negative_start = p.gradients && p.indexed ? arena.take<int32_t>(p.negative_rows + 1) : nullptr;
    negative_order = p.gradients && p.indexed ? arena.take<int32_t>(p.n * p.each) : nullptr;
  }

  Side query, key, negatives;
  ContrastBuffers with_key, with_negatives;
  std::optional<ContrastBuffers> among_queries, among_keys;
  Guide guide;
  ScratchSet scratch;
  int32_t* partner;  // key row of each query's positive
  int32_t* own;      // the shared negative with a logit added
  int32_t* row_labels;
  int32_t* col_labels;
  float* positive_peaks;  // y of the positive, by the arithmetic of the tiles
  double* similarity;     // s_ip
  double* loss;
  double* log_sum_exp;
  double* log_negatives;  // L_i
  double* share;          // q_i
  double* log_column;     // the same of column p_i
  double* column_share;
  Span* spans;     // of the keys, where they are sparse
  double* pull;    // coefficient of the positive
  double* logits;  // [n * each]: of the explicit negatives; then their coefficients
  RowTotals* partial;
  int32_t *key_start, *key_order;            // queries by their positive
  int32_t *negative_start, *negative_order;  // entries by their negative
};

}  // namespace
}  // namespace ck

#endif
