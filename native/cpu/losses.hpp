// The kernels of the CPU library, behind the C functions of contrastive_kernels.h. They throw Failure or std::bad_alloc.
// The *_bytes functions run the code that lays out a call's working memory, and return what the call will hold.
#ifndef CK_CPU_LOSSES_HPP
#define CK_CPU_LOSSES_HPP

#include "contrastive_kernels.h"

namespace ck {

void nt_xent(const ck_matrix& z, int32_t pairs, const ck_options& options, float* per_row, float* row_log_sum_exp, float* gradient,
             ck_result& result);
int64_t nt_xent_bytes(int64_t rows, int64_t cols, bool gradients, const ck_options& options);

void uniformity(const ck_matrix& x, double t, const ck_options& options, float* gradient, ck_result& result);
int64_t uniformity_bytes(int64_t rows, int64_t cols, bool gradients, const ck_options& options);

void alignment(const ck_matrix& x, const ck_matrix& y, double alpha, const ck_options& options, float* per_row, float* gradient_x,
               float* gradient_y, ck_result& result);
int64_t alignment_bytes(int64_t rows, int64_t cols, const ck_options& options);

// y NULL: x with itself.
void cosine_similarity(const ck_matrix& x, const ck_matrix* y, const ck_options& options, float* out);
int64_t cosine_similarity_bytes(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options);

void cosine_similarity_backward(const ck_matrix& x, const ck_matrix& y, const ck_matrix& upstream, const ck_options& options,
                                float* gradient_x, float* gradient_y);
int64_t cosine_similarity_backward_bytes(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options);

void info_nce(const ck_matrix& query, const ck_matrix& key, const ck_matrix* negatives, const ck_info_nce_pairs& pairs,
              const ck_options& options, float* per_row, float* row_log_sum_exp, float* gradient_query, float* gradient_key,
              float* gradient_negatives, ck_result& result);
int64_t info_nce_bytes(const ck_matrix& query, const ck_matrix& key, const ck_matrix* negatives, const ck_info_nce_pairs& pairs,
                       bool gradients, const ck_options& options);

void dcl(const ck_matrix& x, const ck_matrix& y, double weight_sigma, const ck_options& options, float* per_row, float* row_log_sum_exp,
         float* gradient_x, float* gradient_y, ck_result& result);
int64_t dcl_bytes(int64_t items, int64_t cols, bool gradients, const ck_options& options);

void sig_lip(const ck_matrix& x, const ck_matrix& y, double bias, const ck_options& options, float* per_row, float* gradient_x,
             float* gradient_y, ck_result& result);
int64_t sig_lip_bytes(int64_t rows, int64_t cols, bool gradients, const ck_options& options);

void sup_con(const ck_matrix& z, const int32_t* labels, int32_t variant, const ck_options& options, float* per_row, float* row_log_sum_exp,
             float* gradient, ck_result& result);
int64_t sup_con_bytes(int64_t rows, int64_t cols, bool gradients, const ck_options& options);

void barlow_twins(const ck_matrix& a, const ck_matrix& b, double lambda, const ck_options& options, float* gradient_a, float* gradient_b,
                  ck_result& result);
int64_t barlow_twins_bytes(int64_t items, int64_t columns, bool gradients, const ck_options& options);

void vic_reg(const ck_matrix& a, const ck_matrix& b, double invariance, double variance, double covariance, const ck_options& options,
             float* gradient_a, float* gradient_b, ck_result& result);
int64_t vic_reg_bytes(int64_t items, int64_t columns, bool gradients, const ck_options& options);

void cross_uniformity(const ck_matrix& x, const ck_matrix& y, double t, const ck_options& options, float* gradient_x, float* gradient_y,
                      ck_result& result);
int64_t cross_uniformity_bytes(int64_t rows, int64_t others, int64_t cols, bool gradients, const ck_options& options);

void nearest(const ck_matrix& x, const ck_matrix& y, int64_t k, bool exclude_same_index, const ck_options& options, int32_t* indices,
             float* similarities);
int64_t nearest_bytes(int64_t rows, int64_t others, int64_t cols, int64_t k, const ck_options& options);

}  // namespace ck

#endif
