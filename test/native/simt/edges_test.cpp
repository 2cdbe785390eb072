// The ends of what the CUDA library takes, on the emulation: a single row, rows of zeros, products beyond float32, odd shapes of every
// store, sizes and options that are refused, and the reasons it gives for having no device.
#include <cstdlib>
#include <cstring>

#include "../cpu/support.hpp"
#include "contrastive_kernels_cuda.h"
#include "cuda_runtime.h"

using namespace support;

namespace {

using Floats = std::vector<float>;

bool contains(const ck_error& error, const char* part) { return std::strstr(error.message, part) != nullptr; }
bool all(const Floats& values, float value) {
  return std::all_of(values.begin(), values.end(), [&](float v) { return v == value; });
}

Matrix rows_of(int64_t rows, int64_t cols, unsigned seed) {
  std::mt19937 random(seed);
  return random_matrix(rows, cols, random);
}

void test_a_single_row() {
  const Matrix x = rows_of(1, 5, 1), y = rows_of(1, 5, 2);
  const ck_matrix a = view(x), b = view(y);
  ck_options o = options(0.1, 1, true, 1);
  o.stats = 1;
  Floats per_row(2, -7), log_sums(2, -7), ga(5, -7), gb(5, -7);
  ck_result result;
  ck_error error = {};
  const int status = ck_dcl(&a, &b, 0, &o, per_row.data(), log_sums.data(), ga.data(), gb.data(), &result, &error);
  expect(status == CK_OK && result.loss == 0 && result.skipped_rows == 2 && all(per_row, 0), "dcl of a single pair compares nothing");
  expect(all(log_sums, -INFINITY) && all(ga, 0) && all(gb, 0), "and its gradients are 0");
}

// A row of zeros has no direction: it takes part with similarity 0 and gets no gradient.
void test_rows_of_zeros() {
  Matrix x = rows_of(70, 9, 3), y = rows_of(70, 9, 4);
  std::fill_n(x.data.begin() + 3 * 9, 9, 0.0f);
  std::fill_n(y.data.begin() + 69 * 9, 9, 0.0f);
  const ck_matrix a = view(x), b = view(y);
  const ck_options o = options(0.1, 1, true, 1);
  Floats ga(x.data.size(), -7), gb(y.data.size(), -7);
  const auto check = [&](const std::string& what, int status, const ck_result& result) {
    expect(status == CK_OK && std::isfinite(result.loss), what);
    const bool zeros = all(Floats(ga.begin() + 3 * 9, ga.begin() + 4 * 9), 0) && all(Floats(gb.begin() + 69 * 9, gb.end()), 0);
    expect(zeros && !all(ga, 0) && !all(gb, 0), what + ": their gradients are 0, the others' are not");
  };
  ck_result result;
  ck_error error = {};
  ck_info_nce_pairs pairs = {};
  pairs.in_batch = pairs.symmetric = 1;
  check("infoNce", ck_info_nce(&a, &b, nullptr, &pairs, &o, nullptr, nullptr, ga.data(), gb.data(), nullptr, &result, &error), result);
  check("dcl", ck_dcl(&a, &b, 0.5, &o, nullptr, nullptr, ga.data(), gb.data(), &result, &error), result);
  check("sigLip", ck_sig_lip(&a, &b, -1, &o, nullptr, ga.data(), gb.data(), &result, &error), result);
  check("crossUniformity", ck_cross_uniformity(&a, &b, 2, &o, ga.data(), gb.data(), &result, &error), result);
}

void test_stored_products() {
  for (int32_t precision : {CK_FLOAT32, CK_BFLOAT16X3, CK_BFLOAT16}) {
    Matrix x = rows_of(3, 200, 5), y = rows_of(131, 200, 6);  // rows of out begin at odd addresses
    ck_matrix a = view(x), b = view(y);
    ck_options o = options(1, 1, false, 1);
    o.precision = precision;
    const std::string what = "precision " + text(double(precision));
    Floats out(3 * 131, -7);
    ck_error error = {};
    expect(ck_cosine_similarity(&a, &b, &o, out.data(), &error) == CK_OK, what + ": odd rows of products");
    double worst = 0;
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 131; ++j) {
        double want = 0;
        for (int64_t k = 0; k < 200; ++k) want += double(x.row(i)[k]) * y.row(j)[k];
        worst = std::max(worst, std::fabs(out[i * 131 + j] - want));
      }
    expect(worst < (precision == CK_BFLOAT16 ? 1.0 : 1e-3), what + ": right within its rounding, " + text(worst));
    x.data[2 * 200 + 7] = y.data[130 * 200 + 7] = 1e30f;
    const Floats before = out;
    expect(ck_cosine_similarity(&a, &b, &o, out.data(), &error) == CK_OUT_OF_RANGE && out == before, what + ": a product beyond float32");
  }
}

void test_refusals() {
  const Matrix x = rows_of(4, 3, 7);
  const ck_matrix a = view(x);
  const ck_matrix many = {x.data.data(), int64_t(1) << 40, 3}, wide = {x.data.data(), 4, int64_t(1) << 40};
  ck_options o = options(0.1, 1, true, 1);
  ck_result result;
  ck_cuda_report report;
  ck_error error = {};
  expect(ck_cuda_nt_xent(&many, 0, &o, nullptr, nullptr, nullptr, &report, nullptr, 0, nullptr, &error) == CK_OUT_OF_RANGE &&
             contains(error, "rows of at most"),
         "too many rows: " + std::string(error.message));
  expect(ck_cuda_sig_lip(&wide, &a, 0, &o, nullptr, nullptr, nullptr, &report, nullptr, 0, nullptr, &error) == CK_OUT_OF_RANGE,
         "too many columns");
  expect(ck_cuda_workspace_bytes(CK_BARLOW_TWINS, 4, 4, int64_t(1) << 40, 1, &o) == size_t(INT64_MAX),
         "no workspace is enough for 2^40 columns");
  ck_info_nce_pairs pairs = {};
  pairs.in_batch = 1;
  expect(ck_info_nce_workspace_bytes(&a, &many, nullptr, &pairs, 1, &o) == INT64_MAX, "nor for 2^40 keys");
  pairs.own_negative_logit = 2e6;
  expect(ck_info_nce(&a, &a, &a, &pairs, &o, nullptr, nullptr, nullptr, nullptr, nullptr, &result, &error) == CK_OUT_OF_RANGE &&
             contains(error, "logit added"),
         "a logit added that is too large: " + std::string(error.message));
  o.precision = CK_BFLOAT16;
  expect(ck_barlow_twins(&a, &a, 0.1, &o, nullptr, nullptr, &result, &error) == CK_UNAVAILABLE && contains(error, "bfloat16"),
         "a precision that a kernel lacks: " + std::string(error.message));
  o.precision = 9;
  expect(ck_nt_xent(&a, 0, &o, nullptr, nullptr, nullptr, &result, &error) == CK_UNAVAILABLE, "a precision that nothing has");
}

void test_reasons() {
  const auto says = [](int error, const char* part) {
    simt::faults.error = error;
    simt::faults.fail_call = 1;
    char text[400];
    ck_describe(text, sizeof text);
    simt::faults.fail_call = 0;
    simt::faults.error = cudaErrorLaunchFailure;
    expect(std::strstr(text, "\"available\":false") && std::strstr(text, part), std::string("expected ") + part + " in " + text);
  };
  setenv("SIMT_NO_DRIVER", "1", 1);
  says(cudaErrorInsufficientDriver, "no NVIDIA driver is installed (cudaErrorInsufficientDriver");
  unsetenv("SIMT_NO_DRIVER");
  says(cudaErrorInsufficientDriver, "the NVIDIA driver supports CUDA 13.0, this build needs 13.0");
  says(cudaErrorNoKernelImageForDevice, "this build has no kernels for");
  says(cudaErrorLaunchFailure, "unspecified launch failure (cudaErrorLaunchFailure; driver for CUDA 13.0");
}

}  // namespace

int main() {
  test_a_single_row();
  test_rows_of_zeros();
  test_stored_products();
  test_refusals();
  test_reasons();
  std::printf("%d checks, %d failed\n", checks(), failures());
  return failures() == 0 ? 0 : 1;
}
