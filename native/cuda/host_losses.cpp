// The C ABI on host memory of the losses that compare two matrices, or one under labels; as host.cpp, which has the others.
#include "cuda/host_call.hpp"
#include "cuda/launchers.hpp"

namespace {

size_t elements(const ck_matrix* matrix) { return matrix ? size_t(matrix->rows * matrix->cols) : 0; }

}  // namespace

using ck::cuda::DeviceArrays;
using ck::cuda::run_on_device;

int ck_info_nce(const ck_matrix* query, const ck_matrix* key, const ck_matrix* negatives, const ck_info_nce_pairs* pairs,
                const ck_options* options, float* per_row, float* row_log_sum_exp, float* gradient_query, float* gradient_key,
                float* gradient_negatives, ck_result* result, ck_error* error) {
  const size_t rows = size_t(query->rows), keys = size_t(key->rows);
  const bool gradients = gradient_query || gradient_key || gradient_negatives;
  return run_on_device({CK_INFO_NCE,
                        gradients,
                        {query, key, negatives, pairs->guide_query, pairs->guide_key, pairs->guide_second_query},
                        {{pairs->positives, rows},
                         {pairs->negative_indices, size_t(query->rows * pairs->per_query)},
                         {pairs->query_labels, rows},
                         {pairs->key_labels, keys},
                         {pairs->mask, rows * keys}},
                        {{per_row, rows},
                         {row_log_sum_exp, rows},
                         {gradient_query, elements(query)},
                         {gradient_key, elements(key)},
                         {gradient_negatives, elements(negatives)}},
                        ck_cuda_info_nce_workspace_bytes(query, key, negatives, pairs, gradients, options)},
                       *options, result, error, [&](const DeviceArrays& at, auto... rest) {
                         ck_info_nce_pairs own = *pairs;
                         own.positives = at.integers[0];
                         own.negative_indices = at.integers[1];
                         own.query_labels = at.integers[2];
                         own.key_labels = at.integers[3];
                         own.mask = reinterpret_cast<const uint8_t*>(at.integers[4]);
                         if (pairs->guide_query) own.guide_query = &at.in[3];
                         if (pairs->guide_key) own.guide_key = &at.in[4];
                         if (pairs->guide_second_query) own.guide_second_query = &at.in[5];
                         return ck_cuda_info_nce(&at.in[0], &at.in[1], negatives ? &at.in[2] : nullptr, &own, options, at.out[0], at.out[1],
                                                 at.out[2], at.out[3], at.out[4], rest...);
                       });
}

int ck_sup_con(const ck_matrix* z, const int32_t* labels, int32_t variant, const ck_options* options, float* per_row,
               float* row_log_sum_exp, float* gradient_z, ck_result* result, ck_error* error) {
  const size_t rows = size_t(z->rows);
  return run_on_device(
      {CK_SUP_CON, gradient_z != nullptr, {z}, {{labels, rows}}, {{per_row, rows}, {row_log_sum_exp, rows}, {gradient_z, elements(z)}}},
      *options, result, error, [&](const DeviceArrays& at, auto... rest) {
        return ck_cuda_sup_con(&at.in[0], at.integers[0], variant, options, at.out[0], at.out[1], at.out[2], rest...);
      });
}

int ck_dcl(const ck_matrix* x, const ck_matrix* y, double weight_sigma, const ck_options* options, float* per_row, float* row_log_sum_exp,
           float* gradient_x, float* gradient_y, ck_result* result, ck_error* error) {
  const size_t rows = 2 * size_t(x->rows);
  return run_on_device({CK_DCL,
                        gradient_x || gradient_y,
                        {x, y},
                        {},
                        {{per_row, rows}, {row_log_sum_exp, rows}, {gradient_x, elements(x)}, {gradient_y, elements(y)}}},
                       *options, result, error, [&](const DeviceArrays& at, auto... rest) {
                         return ck_cuda_dcl(&at.in[0], &at.in[1], weight_sigma, options, at.out[0], at.out[1], at.out[2], at.out[3],
                                            rest...);
                       });
}

int ck_sig_lip(const ck_matrix* x, const ck_matrix* y, double bias, const ck_options* options, float* per_row, float* gradient_x,
               float* gradient_y, ck_result* result, ck_error* error) {
  return run_on_device({CK_SIG_LIP,
                        gradient_x || gradient_y,
                        {x, y},
                        {},
                        {{per_row, size_t(x->rows)}, {gradient_x, elements(x)}, {gradient_y, elements(y)}}},
                       *options, result, error, [&](const DeviceArrays& at, auto... rest) {
                         return ck_cuda_sig_lip(&at.in[0], &at.in[1], bias, options, at.out[0], at.out[1], at.out[2], rest...);
                       });
}

int ck_cross_uniformity(const ck_matrix* x, const ck_matrix* y, double t, const ck_options* options, float* gradient_x, float* gradient_y,
                        ck_result* result, ck_error* error) {
  return run_on_device({CK_CROSS_UNIFORMITY, gradient_x || gradient_y, {x, y}, {}, {{gradient_x, elements(x)}, {gradient_y, elements(y)}}},
                       *options, result, error, [&](const DeviceArrays& at, auto... rest) {
                         return ck_cuda_cross_uniformity(&at.in[0], &at.in[1], t, options, at.out[0], at.out[1], rest...);
                       });
}

int ck_barlow_twins(const ck_matrix* a, const ck_matrix* b, double lambda, const ck_options* options, float* gradient_a, float* gradient_b,
                    ck_result* result, ck_error* error) {
  return run_on_device({CK_BARLOW_TWINS, gradient_a || gradient_b, {a, b}, {}, {{gradient_a, elements(a)}, {gradient_b, elements(b)}}},
                       *options, result, error, [&](const DeviceArrays& at, auto... rest) {
                         return ck_cuda_barlow_twins(&at.in[0], &at.in[1], lambda, options, at.out[0], at.out[1], rest...);
                       });
}

int ck_vic_reg(const ck_matrix* a, const ck_matrix* b, double invariance, double variance, double covariance, const ck_options* options,
               float* gradient_a, float* gradient_b, ck_result* result, ck_error* error) {
  return run_on_device({CK_VIC_REG, gradient_a || gradient_b, {a, b}, {}, {{gradient_a, elements(a)}, {gradient_b, elements(b)}}}, *options,
                       result, error, [&](const DeviceArrays& at, auto... rest) {
                         return ck_cuda_vic_reg(&at.in[0], &at.in[1], invariance, variance, covariance, options, at.out[0], at.out[1],
                                                rest...);
                       });
}

int ck_nearest(const ck_matrix* x, const ck_matrix* y, int64_t k, int32_t exclude_same_index, const ck_options* options, int32_t* indices,
               float* similarities, ck_error* error) {
  const size_t count = size_t(x->rows * k);
  return run_on_device({CK_NEAREST, false, {x, y}, {}, {{indices, count}, {similarities, count}}}, *options, nullptr, error,
                       [&](const DeviceArrays& at, auto... rest) {
                         auto* const found = reinterpret_cast<int32_t*>(at.out[0]);
                         return ck_cuda_nearest(&at.in[0], &at.in[1], k, exclude_same_index, options, found, at.out[1], rest...);
                       });
}

int64_t ck_info_nce_workspace_bytes(const ck_matrix* query, const ck_matrix* key, const ck_matrix* negatives,
                                    const ck_info_nce_pairs* pairs, int32_t gradients, const ck_options* options) {
  return int64_t(ck_cuda_info_nce_workspace_bytes(query, key, negatives, pairs, gradients, options));
}

// Neighbours are picked one after another from a panel of similarities, however many they are.
int64_t ck_nearest_workspace_bytes(int64_t rows_x, int64_t rows_y, int64_t cols, int64_t, const ck_options* options) {
  return ck_workspace_bytes(CK_NEAREST, rows_x, rows_y, cols, 0, options);
}

int32_t ck_supports(int32_t kernel) { return kernel >= CK_COSINE_SIMILARITY && kernel <= CK_NEAREST; }
