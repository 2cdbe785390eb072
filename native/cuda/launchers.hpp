// What the device-pointer launchers share: constants, and the checks each makes before it launches anything.
#pragma once
#include <initializer_list>

#include "cuda/run.hpp"

namespace ck::cuda {

constexpr double kLog2e = 1.4426950408889634;
constexpr double kLn2 = 0.6931471805599453;
constexpr float kLargestFloat = 3.402823466e38f;
constexpr double kMostExponent = 1000;              // by which coefficients are scaled up; 2^1000 is a double, and below 2^-1000 all is 0
constexpr int64_t kMostRows = int64_t(65535) * 64;  // a grid's second dimension, in tiles
constexpr int64_t kMostColumns = int64_t(1) << 24;

// Rows and columns that the kernels can count.
int check_sizes(std::initializer_list<const ck_matrix*> inputs, ck_error* error);
// Sizes, and float32 as the only precision.
int check_call(std::initializer_list<const ck_matrix*> inputs, const ck_options& options, ck_error* error);
// Sizes, and for the precisions of tensor cores whether the device has them.
int check_tensor_call(std::initializer_list<const ck_matrix*> inputs, const ck_options& options, ck_error* error);

int check_pairs(int64_t rows, ck_error* error);

// The factor between similarities and exponents must be a normal float32.
int check_scale(double k, ck_error* error);

// The logit that InfoNCE adds to a query's own negative.
int check_added_logit(double value, ck_error* error);

// CK_UNAVAILABLE for pairs beside those of query and key (ck_also).
int check_no_more_pairs(const ck_info_nce_pairs& pairs, ck_error* error);

// The shapes of InfoNCE's guide; CK_OK where there is none.
int check_guide(const ck_matrix& query, const ck_matrix& key, const ck_info_nce_pairs& pairs, ck_error* error);

int check_workspace(const Arena& taken, size_t bytes, ck_error* error);

// Bytes of workspace of each call.
size_t cosine_similarity_workspace(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options);
size_t cosine_similarity_backward_workspace(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options);
size_t nt_xent_workspace(int64_t rows, int64_t cols, const ck_options& options, bool gradients);
size_t uniformity_workspace(int64_t rows, int64_t cols, const ck_options& options, bool gradients);
size_t alignment_workspace(int64_t rows);
size_t info_nce_workspace(const ck_matrix& query, const ck_matrix& key, const ck_matrix* negatives, const ck_info_nce_pairs& pairs,
                          const ck_options& options, bool gradients);
size_t sup_con_workspace(int64_t rows, int64_t cols, int32_t variant, const ck_options& options, bool gradients);
size_t dcl_workspace(int64_t rows, int64_t cols, const ck_options& options, bool gradients);
size_t sig_lip_workspace(int64_t rows, int64_t cols, const ck_options& options, bool gradients);
size_t barlow_twins_workspace(int64_t rows, int64_t cols, bool gradients);
size_t vic_reg_workspace(int64_t rows, int64_t cols, bool gradients);
size_t nearest_workspace(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options);
size_t cross_uniformity_workspace(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options, bool gradients);

}  // namespace ck::cuda
