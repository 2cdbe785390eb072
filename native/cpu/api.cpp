// The C functions of contrastive_kernels.h on the CPU: check sizes, call the kernel, turn what it throws into a status.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include "contrastive_kernels.h"
#include "cpu/call.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/losses.hpp"

namespace {

void describe_failure(ck_error* error, const ck::Failure& failure) {
  if (error == nullptr) return;
  error->argument = failure.argument;
  error->row = failure.row;
  error->column = failure.column;
  std::snprintf(error->message, sizeof error->message, "%s", failure.message);
}

// Runs a kernel; nothing that it throws gets out.
template <class Kernel>
int guarded(ck_error* error, Kernel&& kernel) {
  describe_failure(error, ck::Failure{CK_OK});
  try {
    kernel();
    return CK_OK;
  } catch (const ck::Failure& failure) {
    describe_failure(error, failure);
    return failure.status;
  } catch (const std::bad_alloc&) {
    describe_failure(error, ck::Failure{CK_OUT_OF_MEMORY, -1, -1, -1, "not enough memory for the working arrays"});
    return CK_OUT_OF_MEMORY;
  } catch (const std::exception&) {  // a mutex or a thread the system refuses
    describe_failure(error, ck::Failure{CK_OUT_OF_MEMORY, -1, -1, -1, "the system refused a resource that the threads need"});
    return CK_OUT_OF_MEMORY;
  }
}

// Row and block numbers are 32-bit inside, and so are element counts of one matrix divided by 16.
void check_size(const ck_matrix& matrix, int64_t least_rows, int32_t argument) {
  constexpr int64_t LARGEST_ROWS = int64_t{1} << 30;
  if (matrix.rows < least_rows || matrix.cols < 1) throw ck::Failure{CK_OUT_OF_RANGE, argument, -1, -1, "too few rows or columns"};
  if (matrix.rows > LARGEST_ROWS || matrix.cols > LARGEST_ROWS || matrix.rows > (int64_t{1} << 40) / matrix.cols)
    throw ck::Failure{CK_OUT_OF_RANGE, argument, -1, -1, "too many rows or columns"};
}

void require(bool condition, int32_t argument, const char* message) {
  if (!condition) throw ck::Failure{CK_OUT_OF_RANGE, argument, -1, -1, message};
}

void require_temperature(const ck_options& options) {
  require(options.temperature > 0.0 && std::isfinite(options.temperature), -1, "temperature is not a positive number");
}

void check_negatives(const ck_matrix& query, const ck_matrix& negatives, const ck_info_nce_pairs& pairs) {
  check_size(negatives, 1, 2);
  require(negatives.cols == query.cols, 2, "query and negatives have rows of different length");
  if (pairs.negative_mode == CK_NEGATIVES_SHARED) {
    require(pairs.own_negative_logit == 0.0 || negatives.rows >= query.rows, 2, "fewer negatives than queries, which have one each");
    return;
  }
  require(pairs.per_query >= 1 && pairs.per_query <= INT32_MAX / query.rows, -1, "per_query is out of range");
  const int64_t entries = query.rows * pairs.per_query;
  if (pairs.negative_mode == CK_NEGATIVES_PAIRED)
    return require(negatives.rows == entries, 2, "negatives are not per_query for each query");
  require(pairs.negative_indices != nullptr, -1, "negative_indices are missing");
  for (int64_t e = 0; e < entries; ++e)
    require(pairs.negative_indices[e] >= 0 && pairs.negative_indices[e] < negatives.rows, -1, "a negative index is not a row of negatives");
}

void check_also(const ck_matrix& query, const ck_matrix& key, const ck_matrix* negatives, const ck_info_nce_pairs& pairs) {
  require(query.rows == key.rows && query.rows > 1, -1, "also needs as many keys as queries, at least 2");
  require(pairs.in_batch && !pairs.symmetric && pairs.positives == nullptr, -1, "also needs in_batch, and neither symmetric nor positives");
  require(negatives == nullptr && pairs.query_labels == nullptr && pairs.mask == nullptr, -1,
          "also goes with neither negatives nor labels or mask");
  require(pairs.guide_query == nullptr || ((pairs.also & CK_ALSO_QUERIES_OF_KEY) == 0 && pairs.guide_second_query == nullptr), -1,
          "also with a guide goes with neither the queries of a key nor a second guide");
}

void check_guide(const ck_matrix& query, const ck_matrix& key, const ck_info_nce_pairs& pairs) {
  require(pairs.guide_query != nullptr && pairs.guide_key != nullptr, 3, "a guide has rows for the queries and for the keys");
  check_size(*pairs.guide_query, 1, 3);
  check_size(*pairs.guide_key, 1, 4);
  require(pairs.guide_query->rows == query.rows, 3, "the guide's queries are not as many as the queries");
  require(pairs.guide_key->rows == key.rows, 4, "the guide's keys are not as many as the keys");
  require(pairs.guide_key->cols == pairs.guide_query->cols, 4, "the guide's rows differ in length");
  require(std::isfinite(pairs.guide_margin), -1, "the guide's margin is not a number");
  if (pairs.guide_second_query == nullptr) return;
  check_size(*pairs.guide_second_query, 1, 5);
  require(pairs.guide_second_query->rows == query.rows && pairs.guide_second_query->cols == pairs.guide_query->cols, 5,
          "the guide's second queries differ in shape from the first");
  require(pairs.guide_split >= 0 && pairs.guide_split <= key.rows, -1, "the guide's split is not a row of key");
}

void clear_result(ck_result* result) {
  result->loss = NAN;
  result->temperature_gradient = NAN;
  result->positive_similarity = result->negative_similarity = result->accuracy = NAN;
  result->skipped_rows = 0;
  result->bias_gradient = NAN;
}

}  // namespace

extern "C" {

int ck_cosine_similarity(const ck_matrix* x, const ck_matrix* y, const ck_options* options, float* out, ck_error* error) {
  return guarded(error, [&] {
    check_size(*x, 1, 0);
    if (y != nullptr) check_size(*y, 1, 1);
    require(y == nullptr || y->cols == x->cols, 1, "x and y have rows of different length");
    ck::cosine_similarity(*x, y, *options, out);
  });
}

int ck_cosine_similarity_backward(const ck_matrix* x, const ck_matrix* y, const ck_matrix* upstream, const ck_options* options,
                                  float* gradient_x, float* gradient_y, ck_error* error) {
  return guarded(error, [&] {
    if (y == nullptr) y = x;
    check_size(*x, 1, 0);
    check_size(*y, 1, 1);
    require(y->cols == x->cols, 1, "x and y have rows of different length");
    require(upstream->rows == x->rows && upstream->cols == y->rows, 2, "upstream is not [x.rows, y.rows]");
    ck::cosine_similarity_backward(*x, *y, *upstream, *options, gradient_x, gradient_y);
  });
}

int ck_nt_xent(const ck_matrix* z, int32_t pairs, const ck_options* options, float* per_row, float* row_log_sum_exp, float* gradient_z,
               ck_result* result, ck_error* error) {
  return guarded(error, [&] {
    check_size(*z, 2, 0);
    require(z->rows % 2 == 0, 0, "an odd number of rows");
    require_temperature(*options);
    ck_result made;
    clear_result(&made);
    ck::nt_xent(*z, pairs, *options, per_row, row_log_sum_exp, gradient_z, made);
    *result = made;
  });
}

int ck_uniformity(const ck_matrix* x, double t, const ck_options* options, float* gradient_x, ck_result* result, ck_error* error) {
  return guarded(error, [&] {
    check_size(*x, 2, 0);
    require(t > 0.0 && std::isfinite(t), -1, "t is not a positive number");
    ck_result made;
    clear_result(&made);
    ck::uniformity(*x, t, *options, gradient_x, made);
    *result = made;
  });
}

int ck_alignment(const ck_matrix* x, const ck_matrix* y, double alpha, const ck_options* options, float* per_row, float* gradient_x,
                 float* gradient_y, ck_result* result, ck_error* error) {
  return guarded(error, [&] {
    check_size(*x, 1, 0);
    require(y->rows == x->rows && y->cols == x->cols, 1, "x and y differ in shape");
    require(alpha > 0.0 && std::isfinite(alpha), -1, "alpha is not a positive number");
    ck_result made;
    clear_result(&made);
    ck::alignment(*x, *y, alpha, *options, per_row, gradient_x, gradient_y, made);
    *result = made;
  });
}

int ck_info_nce(const ck_matrix* query, const ck_matrix* key, const ck_matrix* negatives, const ck_info_nce_pairs* pairs,
                const ck_options* options, float* per_row, float* row_log_sum_exp, float* gradient_query, float* gradient_key,
                float* gradient_negatives, ck_result* result, ck_error* error) {
  return guarded(error, [&] {
    check_size(*query, 1, 0);
    check_size(*key, pairs->positives == nullptr ? query->rows : 1, 1);
    require(key->cols == query->cols, 1, "query and key have rows of different length");
    require_temperature(*options);
    require(!pairs->symmetric || pairs->in_batch, -1, "symmetric needs in_batch");
    for (int64_t i = 0; pairs->positives != nullptr && i < query->rows; ++i)
      require(pairs->positives[i] >= 0 && pairs->positives[i] < key->rows, -1, "a positive is not a row of key");
    if (negatives != nullptr) check_negatives(*query, *negatives, *pairs);
    if (pairs->guide_query != nullptr || pairs->guide_key != nullptr) check_guide(*query, *key, *pairs);
    if (pairs->also != 0) check_also(*query, *key, negatives, *pairs);
    ck_result made;
    clear_result(&made);
    ck::info_nce(*query, *key, negatives, *pairs, *options, per_row, row_log_sum_exp, gradient_query, gradient_key, gradient_negatives,
                 made);
    *result = made;
  });
}

int ck_dcl(const ck_matrix* x, const ck_matrix* y, double weight_sigma, const ck_options* options, float* per_row, float* row_log_sum_exp,
           float* gradient_x, float* gradient_y, ck_result* result, ck_error* error) {
  return guarded(error, [&] {
    check_size(*x, 1, 0);
    require(y->rows == x->rows && y->cols == x->cols, 1, "x and y differ in shape");
    require_temperature(*options);
    require(weight_sigma >= 0.0 && std::isfinite(weight_sigma), -1, "weight_sigma is negative or not a number");
    ck_result made;
    clear_result(&made);
    ck::dcl(*x, *y, weight_sigma, *options, per_row, row_log_sum_exp, gradient_x, gradient_y, made);
    *result = made;
  });
}

int ck_sig_lip(const ck_matrix* x, const ck_matrix* y, double bias, const ck_options* options, float* per_row, float* gradient_x,
               float* gradient_y, ck_result* result, ck_error* error) {
  return guarded(error, [&] {
    check_size(*x, 1, 0);
    require(y->rows == x->rows && y->cols == x->cols, 1, "x and y differ in shape");
    require_temperature(*options);
    require(std::isfinite(bias), -1, "bias is not a number");
    ck_result made;
    clear_result(&made);
    ck::sig_lip(*x, *y, bias, *options, per_row, gradient_x, gradient_y, made);
    *result = made;
  });
}

int ck_sup_con(const ck_matrix* z, const int32_t* labels, int32_t variant, const ck_options* options, float* per_row,
               float* row_log_sum_exp, float* gradient_z, ck_result* result, ck_error* error) {
  return guarded(error, [&] {
    check_size(*z, 1, 0);
    require_temperature(*options);
    require(variant >= CK_SUP_CON_OUT && variant <= CK_SUP_CON_PAIR, -1, "there is no such variant");
    ck_result made;
    clear_result(&made);
    ck::sup_con(*z, labels, variant, *options, per_row, row_log_sum_exp, gradient_z, made);
    *result = made;
  });
}

int ck_barlow_twins(const ck_matrix* a, const ck_matrix* b, double lambda, const ck_options* options, float* gradient_a, float* gradient_b,
                    ck_result* result, ck_error* error) {
  return guarded(error, [&] {
    check_size(*a, 1, 0);
    require(b->rows == a->rows && b->cols == a->cols, 1, "a and b differ in shape");
    require(std::isfinite(lambda), -1, "lambda is not a number");
    ck_result made;
    clear_result(&made);
    ck::barlow_twins(*a, *b, lambda, *options, gradient_a, gradient_b, made);
    *result = made;
  });
}

int ck_vic_reg(const ck_matrix* a, const ck_matrix* b, double invariance, double variance, double covariance, const ck_options* options,
               float* gradient_a, float* gradient_b, ck_result* result, ck_error* error) {
  return guarded(error, [&] {
    check_size(*a, 2, 0);
    require(b->rows == a->rows && b->cols == a->cols, 1, "a and b differ in shape");
    require(std::isfinite(invariance) && std::isfinite(variance) && std::isfinite(covariance), -1, "a weight is not a number");
    ck_result made;
    clear_result(&made);
    ck::vic_reg(*a, *b, invariance, variance, covariance, *options, gradient_a, gradient_b, made);
    *result = made;
  });
}

int ck_cross_uniformity(const ck_matrix* x, const ck_matrix* y, double t, const ck_options* options, float* gradient_x, float* gradient_y,
                        ck_result* result, ck_error* error) {
  return guarded(error, [&] {
    check_size(*x, 1, 0);
    check_size(*y, 1, 1);
    require(y->cols == x->cols, 1, "x and y have rows of different length");
    require(t > 0.0 && std::isfinite(t), -1, "t is not a positive number");
    ck_result made;
    clear_result(&made);
    ck::cross_uniformity(*x, *y, t, *options, gradient_x, gradient_y, made);
    *result = made;
  });
}

int ck_nearest(const ck_matrix* x, const ck_matrix* y, int64_t k, int32_t exclude_same_index, const ck_options* options, int32_t* indices,
               float* similarities, ck_error* error) {
  return guarded(error, [&] {
    check_size(*x, 1, 0);
    check_size(*y, 1, 1);
    require(y->cols == x->cols, 1, "x and y have rows of different length");
    require(k >= 1 && k <= y->rows - (exclude_same_index ? 1 : 0), -1, "k is not a number of rows of y");
    ck::nearest(*x, *y, k, exclude_same_index != 0, *options, indices, similarities);
  });
}

int32_t ck_supports(int32_t kernel) { return kernel >= CK_COSINE_SIMILARITY && kernel <= CK_NEAREST; }

int64_t ck_info_nce_workspace_bytes(const ck_matrix* query, const ck_matrix* key, const ck_matrix* negatives,
                                    const ck_info_nce_pairs* pairs, int32_t gradients, const ck_options* options) {
  int64_t bytes = 0;
  guarded(nullptr, [&] { bytes = ck::info_nce_bytes(*query, *key, negatives, *pairs, gradients != 0, *options); });
  return bytes;
}

int64_t ck_nearest_workspace_bytes(int64_t rows_x, int64_t rows_y, int64_t cols, int64_t k, const ck_options* options) {
  int64_t bytes = 0;
  guarded(nullptr, [&] { bytes = ck::nearest_bytes(rows_x, rows_y, cols, k, *options); });
  return bytes;
}

int64_t ck_workspace_bytes(int32_t kernel, int64_t rows_x, int64_t rows_y, int64_t cols, int32_t gradients, const ck_options* options) {
  constexpr int64_t USUAL_NEIGHBOURS = 10;
  static const ck_info_nce_pairs IN_BATCH = [] {
    ck_info_nce_pairs pairs = {};
    pairs.in_batch = pairs.symmetric = 1;
    return pairs;
  }();
  const ck_matrix x = {nullptr, rows_x, cols}, y = {nullptr, rows_y, cols};
  int64_t bytes = 0;
  guarded(nullptr, [&] {
    switch (kernel) {
      case CK_COSINE_SIMILARITY:
        bytes = ck::cosine_similarity_bytes(rows_x, rows_y > 0 ? rows_y : -1, cols, *options);
        break;
      case CK_COSINE_SIMILARITY_BACKWARD:
        bytes = ck::cosine_similarity_backward_bytes(rows_x, rows_y, cols, *options);
        break;
      case CK_NT_XENT:
        bytes = ck::nt_xent_bytes(rows_x, cols, gradients != 0, *options);
        break;
      case CK_UNIFORMITY:
        bytes = ck::uniformity_bytes(rows_x, cols, gradients != 0, *options);
        break;
      case CK_ALIGNMENT:
        bytes = ck::alignment_bytes(rows_x, cols, *options);
        break;
      case CK_INFO_NCE:
        bytes = ck_info_nce_workspace_bytes(&x, &y, nullptr, &IN_BATCH, gradients, options);
        break;
      case CK_DCL:
        bytes = ck::dcl_bytes(rows_x, cols, gradients != 0, *options);
        break;
      case CK_SIG_LIP:
        bytes = ck::sig_lip_bytes(rows_x, cols, gradients != 0, *options);
        break;
      case CK_SUP_CON:
        bytes = ck::sup_con_bytes(rows_x, cols, gradients != 0, *options);
        break;
      case CK_BARLOW_TWINS:
        bytes = ck::barlow_twins_bytes(rows_x, cols, gradients != 0, *options);
        break;
      case CK_VIC_REG:
        bytes = ck::vic_reg_bytes(rows_x, cols, gradients != 0, *options);
        break;
      case CK_CROSS_UNIFORMITY:
        bytes = ck::cross_uniformity_bytes(rows_x, rows_y, cols, gradients != 0, *options);
        break;
      case CK_NEAREST:
        bytes = ck::nearest_bytes(rows_x, rows_y, cols, USUAL_NEIGHBOURS, *options);
        break;
      default:
        break;
    }
  });
  return bytes;
}

int32_t ck_default_threads(void) { return ck::default_threads(); }

size_t ck_describe(char* buffer, size_t size) {
  const ck::Dispatch& chosen = ck::dispatch();
  const char* bfloat16 = chosen.bfloat16 != nullptr ? ",\"bfloat16\":[\"ntXent\"]" : "";
  const int length = chosen.kernels != nullptr
                         ? std::snprintf(buffer, size, "{\"available\":true,\"instructionSet\":\"%s\",\"threads\":%d%s}", chosen.name,
                                         ck::default_threads(), bfloat16)
                         : std::snprintf(buffer, size, "{\"available\":false,\"reason\":\"%s\"}", chosen.reason);
  return length < 0 ? 0 : static_cast<size_t>(length);
}

}  // extern "C"
