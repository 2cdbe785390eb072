// What a call of InfoNCE compares, and its buffers. Included by info_nce.cpp alone.
#pragma once
#include "cuda/contrast.hpp"
#include "cuda/guide.hpp"

namespace ck::cuda {
namespace {

// Which rows of key are negatives of a query.
struct KeyPairs {
  static constexpr bool kOnTensorCores = true;
  const int32_t* positives;  // null: row i
  const int32_t* query_labels;
  const int32_t* key_labels;
  bool owned_keys;
  DecidedPairs decided;  // by a guide and a mask

  __device__ __forceinline__ int positive(int i) const { return positives ? positives[i] : i; }
  __device__ __forceinline__ bool negative(int i, int j) const {
    return j != positive(i) && !(query_labels && leave_out(query_labels[i], j)) && decided.counts(i, j);
  }
  // Whether labels do, for queries of this one.
  __device__ __forceinline__ bool leave_out(int label, int j) const {
    const int of_key = key_labels[j];
    return owned_keys && of_key < -1 ? label != -2 - of_key : label == of_key;
  }
  template <int kSide>
  __device__ __forceinline__ bool meets(int row0, int col0) const {
    return positives || query_labels || decided.bits || on_diagonal<kSide>(row0, col0);
  }
};

// Shared negatives: all of them, but for number i of query i where a logit is added to it.
struct SharedPairs {
  static constexpr bool kOnTensorCores = true;
  bool own;
  __device__ __forceinline__ bool negative(int i, int j) const { return !(own && i == j); }
  template <int kSide>
  __device__ __forceinline__ bool meets(int row0, int col0) const {
    return own && on_diagonal<kSide>(row0, col0);
  }
};

struct InfoNce {
  KeyPairs pairs;  // before a guide or a mask
  SharedPairs shared_pairs;
  double temperature, weight, added_logit;
  bool in_batch, symmetric, shared, indexed, stats;
  int64_t each;                     // negatives of a query that are listed one by one
  const int32_t* negative_indices;  // null: entry i * each + n is row i * each + n
  Rows query, key, negatives;
  RowSums of_keys, of_negatives, of_queries;
  double* positive;               // [N] s_ip
  float* of_positive;             // [padded N] the same as an element of a tile, where statistics are wanted
  double* loss;                   // [N]
  double* q;                      // [N] share of the row's negatives
  double* column_q;               // [N] of the column's
  double* log_sum_exp;            // [N] of the row
  double* column_log_sum_exp;     // [N]
  double* counts;                 // [N] negatives of the row; -1: nothing is compared in row or column
  double* similarity;             // [N] the sum over them of s
  double* listed;                 // [N * each] similarities, then logits, then coefficients
  double* pull;                   // [N] coefficient of the positive
  double* along;                  // [N]
  double* exponent;               // one number, the lift in it
  int* lift;                      // one number
  Normaliser* row_normaliser;     // [N]
  Normaliser* column_normaliser;  // [K]
  unsigned char* hit;             // [N]
  Side query_side, key_side, negatives_side;

  InfoNce(Arena& arena, const ck_matrix& query_, const ck_matrix& key_, const ck_matrix& negatives_, const ck_info_nce_pairs& p,
          const ck_options& options, bool gradients)
      : pairs{p.positives, p.query_labels, p.key_labels, p.owned_keys != 0, {}},
        shared_pairs{p.own_negative_logit != 0},
        temperature(options.temperature),
        weight(options.weight),
        added_logit(p.own_negative_logit),
        in_batch(p.in_batch != 0),
        symmetric(p.symmetric != 0),
        shared(negatives_.rows > 0 && p.negative_mode == CK_NEGATIVES_SHARED),
        indexed(negatives_.rows > 0 && p.negative_mode == CK_NEGATIVES_INDEXED),
        stats(options.stats != 0),
        each(negatives_.rows == 0 ? 0
             : shared             ? int64_t(shared_pairs.own)
                                  : p.per_query),
        negative_indices(indexed ? p.negative_indices : nullptr),
        query(arena, query_.data, query_.rows, query_.cols, options.normalize != 0, true, options.precision),
        key(arena, key_.data, key_.rows, key_.cols, options.normalize != 0, true, options.precision),
        negatives(arena, negatives_.data, negatives_.rows, query_.cols, options.normalize != 0, shared, options.precision),
        of_keys(RowSums::make<ContrastSums<KeyPairs>>(arena, query, key, in_batch)),
        of_negatives(RowSums::make<ContrastSums<SharedPairs>>(arena, query, negatives, shared)),
        of_queries(RowSums::make<ContrastSums<Exchanged<KeyPairs>>>(arena, key, query, symmetric)),
        positive(arena.take<double>(query.rows)),
        of_positive(arena.take<float>(query.padded_rows)),
        loss(arena.take<double>(query.rows)),
        q(arena.take<double>(query.rows)),
        column_q(arena.take<double>(query.rows)),
        log_sum_exp(arena.take<double>(query.rows)),
        column_log_sum_exp(arena.take<double>(query.rows)),
        counts(arena.take<double>(query.rows)),
        similarity(arena.take<double>(query.rows)),
        listed(arena.take<double>(size_t(query.rows * each))),
        pull(arena.take<double>(query.rows)),
        along(arena.take<double>(query.rows)),
        exponent(arena.take<double>(1)),
        lift(arena.take<int>(1)),
        row_normaliser(arena.take<Normaliser>(query.rows)),
        column_normaliser(arena.take<Normaliser>(key.rows)),
        hit(arena.take<unsigned char>(query.rows)),
        query_side(arena, query, gradients,
                   in_batch ? key.padded_rows
                   : shared ? negatives.padded_rows
                            : 0,
                   in_batch && shared ? negatives.padded_rows : 0),
        key_side(arena, key, gradients, in_batch ? query.padded_rows : 0),
        negatives_side(arena, negatives, gradients && negatives.rows > 0, shared ? query.padded_rows : 0) {}

  CK_HOST_DEVICE double k() const { return kLog2e / temperature; }
  // Symmetric: rows and columns count one half each.
  CK_HOST_DEVICE double share() const { return symmetric ? 0.5 : 1; }
  CK_HOST_DEVICE int64_t entries() const { return query.rows * each; }

  // A guide or a mask has a say where keys are negatives at all.
  Guide guide(Arena& arena, const ck_info_nce_pairs& p) const {
    const size_t bytes = size_t(query.rows + key.rows) * query.cols * sizeof(float) / 2;
    return Guide(arena, in_batch ? p : ck_info_nce_pairs{}, query.rows, key.rows, query_side.first.rows, key_side.first.rows, bytes);
  }
  KeyPairs with(const DecidedPairs& decided) const {
    KeyPairs those = pairs;
    those.decided = decided;
    return those;
  }

  ContrastCoefficients<KeyPairs> key_coefficients(const DecidedPairs& decided) const {
    return {with(decided), float(k()), row_normaliser, symmetric ? column_normaliser : nullptr, lift};
  }
  ContrastCoefficients<SharedPairs> shared_coefficients() const { return {shared_pairs, float(k()), row_normaliser, nullptr, lift}; }

  PairList positives_of_queries() const {
    PairList list(key, pull, query.rows);
    list.other = pairs.positives;
    return list;
  }
  PairList queries_of_keys() const {
    PairList list(query, pull, query.rows);
    list.target = pairs.positives;
    return list;
  }
  PairList negatives_of_queries() const {
    PairList list(negatives, listed, entries());
    list.each = each;
    list.other = negative_indices;
    return list;
  }
  PairList queries_of_negatives() const {
    PairList list(query, listed, entries());
    list.divide = each > 0 ? each : 1;
    list.target = negative_indices;
    return list;
  }
};

}  // namespace
}  // namespace ck::cuda
