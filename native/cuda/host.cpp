// The C ABI on host memory, a row for every kernel: host_call.cpp does the work.
#include "contrastive_kernels_cuda.h"
#include "cuda/host_call.hpp"

namespace {

size_t elements(const ck_matrix* matrix) { return size_t(matrix->rows * matrix->cols); }

}  // namespace

using ck::cuda::DeviceArrays;
using ck::cuda::run_on_device;

int ck_cosine_similarity(const ck_matrix* x, const ck_matrix* y, const ck_options* options, float* out, ck_error* error) {
  const size_t count = size_t(x->rows * (y ? y : x)->rows);
  return run_on_device({CK_COSINE_SIMILARITY, false, {x, y}, {}, {{out, count}}}, *options, nullptr, error,
                       [&](const DeviceArrays& at, auto... rest) {
                         return ck_cuda_cosine_similarity(&at.in[0], y ? &at.in[1] : nullptr, options, at.out[0], rest...);
                       });
}

int ck_cosine_similarity_backward(const ck_matrix* x, const ck_matrix* y, const ck_matrix* upstream, const ck_options* options,
                                  float* gradient_x, float* gradient_y, ck_error* error) {
  return run_on_device({CK_COSINE_SIMILARITY_BACKWARD, true, {x, y, upstream}, {}, {{gradient_x, elements(x)}, {gradient_y, elements(y)}}},
                       *options, nullptr, error, [&](const DeviceArrays& at, auto... rest) {
                         return ck_cuda_cosine_similarity_backward(&at.in[0], &at.in[1], &at.in[2], options, at.out[0], at.out[1], rest...);
                       });
}

int ck_nt_xent(const ck_matrix* z, int32_t pairs, const ck_options* options, float* per_row, float* row_log_sum_exp, float* gradient_z,
               ck_result* result, ck_error* error) {
  const size_t rows = size_t(z->rows);
  return run_on_device({CK_NT_XENT, gradient_z != nullptr, {z}, {}, {{per_row, rows}, {row_log_sum_exp, rows}, {gradient_z, elements(z)}}},
                       *options, result, error, [&](const DeviceArrays& at, auto... rest) {
                         return ck_cuda_nt_xent(&at.in[0], pairs, options, at.out[0], at.out[1], at.out[2], rest...);
                       });
}

int ck_uniformity(const ck_matrix* x, double t, const ck_options* options, float* gradient_x, ck_result* result, ck_error* error) {
  return run_on_device({CK_UNIFORMITY, gradient_x != nullptr, {x}, {}, {{gradient_x, elements(x)}}}, *options, result, error,
                       [&](const DeviceArrays& at, auto... rest) { return ck_cuda_uniformity(&at.in[0], t, options, at.out[0], rest...); });
}

int ck_alignment(const ck_matrix* x, const ck_matrix* y, double alpha, const ck_options* options, float* per_row, float* gradient_x,
                 float* gradient_y, ck_result* result, ck_error* error) {
  return run_on_device({CK_ALIGNMENT,
                        gradient_x || gradient_y,
                        {x, y},
                        {},
                        {{per_row, size_t(x->rows)}, {gradient_x, elements(x)}, {gradient_y, elements(y)}}},
                       *options, result, error, [&](const DeviceArrays& at, auto... rest) {
                         return ck_cuda_alignment(&at.in[0], &at.in[1], alpha, options, at.out[0], at.out[1], at.out[2], rest...);
                       });
}

// Device memory beyond the call's inputs and outputs, which are copied to the device as well.
int64_t ck_workspace_bytes(int32_t kernel, int64_t rows_x, int64_t rows_y, int64_t cols, int32_t gradients, const ck_options* options) {
  return int64_t(ck_cuda_workspace_bytes(kernel, rows_x, rows_y, cols, gradients, options));
}
