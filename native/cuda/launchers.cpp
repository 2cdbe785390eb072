// What the device-pointer launchers share: argument checks, and the workspace function that asks each of them.
#include "cuda/launchers.hpp"

#include <cmath>
#include <cstdarg>

namespace ck::cuda {
namespace {

__attribute__((format(printf, 3, 4))) int fail(int status, ck_error* error, const char* format, ...) {
  if (error) {
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
  }
  return status;
}

}  // namespace

namespace {

const char* name_of(int32_t precision) { return precision == CK_BFLOAT16 ? "bfloat16" : "bfloat16x3"; }

}  // namespace

int check_sizes(std::initializer_list<const ck_matrix*> inputs, ck_error* error) {
  for (const ck_matrix* matrix : inputs) {
    if (!matrix) continue;
    if (matrix->rows > kMostRows || matrix->cols > kMostColumns) {
      return fail(CK_OUT_OF_RANGE, error, "expected at most %lld rows of at most %lld columns, got [%lld, %lld]", (long long)kMostRows,
                  (long long)kMostColumns, (long long)matrix->rows, (long long)matrix->cols);
    }
  }
  return CK_OK;
}

int check_call(std::initializer_list<const ck_matrix*> inputs, const ck_options& options, ck_error* error) {
  if (options.precision != CK_FLOAT32) {
    return fail(CK_UNAVAILABLE, error, "this kernel computes in float32 only; precision %s is not built in", name_of(options.precision));
  }
  return check_sizes(inputs, error);
}

int check_tensor_call(std::initializer_list<const ck_matrix*> inputs, const ck_options& options, ck_error* error) {
  if (options.precision < CK_FLOAT32 || options.precision > CK_BFLOAT16) {
    return fail(CK_UNAVAILABLE, error, "there is no precision %d", int(options.precision));
  }
  if (options.precision != CK_FLOAT32) {
    int device = 0, major = 0, minor = 0;
    cudaError_t code = cudaGetDevice(&device);
    if (code == cudaSuccess) code = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (code == cudaSuccess) code = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    if (code != cudaSuccess) return fail(CK_DEVICE_FAILURE, error, "CUDA: %s (%s)", cudaGetErrorString(code), cudaGetErrorName(code));
    if (major < 8) {
      return fail(CK_UNAVAILABLE, error, "precision %s needs compute capability 8.0, this device has %d.%d: use float32",
                  name_of(options.precision), major, minor);
    }
  }
  return check_sizes(inputs, error);
}

int check_pairs(int64_t rows, ck_error* error) {
  if (rows % 2 == 0) return CK_OK;
  return fail(CK_OUT_OF_RANGE, error, "expected an even number of rows, two for every pair, got %lld", (long long)rows);
}

int check_scale(double k, ck_error* error) {
  constexpr double kSmallest = 1.2e-38, kLargest = 1e37;
  if (k >= kSmallest && k <= kLargest) return CK_OK;
  return fail(CK_OUT_OF_RANGE, error, "expected a scale of the similarities (log2(e)/temperature, or 2t log2(e)) between %g and %g, got %g",
              kSmallest, kLargest, k);
}

int check_no_more_pairs(const ck_info_nce_pairs& pairs, ck_error* error) {
  return pairs.also == 0 ? CK_OK : fail(CK_UNAVAILABLE, error, "pairs of two queries or of two keys are compared on the CPU only");
}

int check_added_logit(double value, ck_error* error) {
  constexpr double kLargest = 1e6;
  if (std::fabs(value) <= kLargest) return CK_OK;
  return fail(CK_OUT_OF_RANGE, error, "expected a logit added to the own negative of at most %g, got %g", kLargest, value);
}

int check_guide(const ck_matrix& query, const ck_matrix& key, const ck_info_nce_pairs& pairs, ck_error* error) {
  const ck_matrix *const own = pairs.guide_query, *const other = pairs.guide_key, *const second = pairs.guide_second_query;
  if (!own && !other) return CK_OK;
  const auto alike = [&](const ck_matrix* a, int64_t rows) { return a && a->rows == rows && a->cols == own->cols; };
  if (!own || !alike(own, query.rows) || !alike(other, key.rows) || (second && !alike(second, query.rows)))
    return fail(CK_OUT_OF_RANGE, error, "expected a guide with a row for each query and each key, all of one length");
  if (second && (pairs.guide_split < 0 || pairs.guide_split > key.rows))
    return fail(CK_OUT_OF_RANGE, error, "expected a guide that is split at a row of key, got %lld", (long long)pairs.guide_split);
  if (!(pairs.guide_margin - pairs.guide_margin == 0))
    return fail(CK_OUT_OF_RANGE, error, "expected a finite margin of the guide, got %g", pairs.guide_margin);
  return check_sizes({own, other, second}, error);
}

int check_workspace(const Arena& taken, size_t bytes, ck_error* error) {
  if (taken.used() <= bytes) return CK_OK;
  return fail(CK_OUT_OF_MEMORY, error, "expected a workspace of %zu bytes, got %zu", taken.used(), bytes);
}

}  // namespace ck::cuda

size_t ck_cuda_workspace_bytes(int32_t kernel, int64_t rows_x, int64_t rows_y, int64_t cols, int32_t gradients, const ck_options* options) {
  using namespace ck::cuda;
  if (rows_x > kMostRows || rows_y > kMostRows || cols > kMostColumns) return size_t(INT64_MAX);  // no workspace is enough
  switch (kernel) {
    case CK_COSINE_SIMILARITY:
      return cosine_similarity_workspace(rows_x, rows_y, cols, *options);
    case CK_COSINE_SIMILARITY_BACKWARD:
      return cosine_similarity_backward_workspace(rows_x, rows_y, cols, *options);
    case CK_NT_XENT:
      return nt_xent_workspace(rows_x, cols, *options, gradients != 0);
    case CK_UNIFORMITY:
      return uniformity_workspace(rows_x, cols, *options, gradients != 0);
    case CK_ALIGNMENT:
      return alignment_workspace(rows_x);
    case CK_INFO_NCE: {
      ck_info_nce_pairs pairs = {};
      pairs.in_batch = pairs.symmetric = 1;
      return info_nce_workspace({nullptr, rows_x, cols}, {nullptr, rows_y, cols}, nullptr, pairs, *options, gradients != 0);
    }
    case CK_SUP_CON:
      return sup_con_workspace(rows_x, cols, CK_SUP_CON_PAIR, *options, gradients != 0);
    case CK_DCL:
      return dcl_workspace(rows_x, cols, *options, gradients != 0);
    case CK_SIG_LIP:
      return sig_lip_workspace(rows_x, cols, *options, gradients != 0);
    case CK_BARLOW_TWINS:
    case CK_VIC_REG:
      if (cols > kMostRows) return size_t(INT64_MAX);
      return (kernel == CK_BARLOW_TWINS ? barlow_twins_workspace : vic_reg_workspace)(rows_x, cols, gradients != 0);
    case CK_NEAREST:
      return nearest_workspace(rows_x, rows_y, cols, *options);
    case CK_CROSS_UNIFORMITY:
      return cross_uniformity_workspace(rows_x, rows_y, cols, *options, gradients != 0);
    default:
      return 0;
  }
}
