// The precisions of tensor cores, bfloat16x3 and bfloat16, on the emulation, over the families, temperatures and sizes of the numerics
// contract. bfloat16x3 is compared with float64 on the rows as given, bfloat16 with float64 on unit rows rounded to bfloat16.
#include <cstdlib>
#include <vector>

#include "../cpu/support.hpp"
#include "contrastive_kernels_cuda.h"
#include "cuda/tensor_core.hpp"

using namespace support;

namespace {

#if defined(SIMT_TSAN) || defined(SIMT_ASAN) || defined(SIMT_COVERAGE)
constexpr bool kBrief = true;
#else
constexpr bool kBrief = false;
#endif

struct Precision {
  const char* name;
  int value;
  double loss, loss_by_temperature, gradient, gradient_by_temperature;
  double loss_tolerance(double temperature) const { return std::max(loss, loss_by_temperature / temperature); }
  double gradient_tolerance(double temperature) const { return std::max(gradient, gradient_by_temperature / temperature); }
};
const Precision kSplit = {"bfloat16x3", CK_BFLOAT16X3, 1e-5, 4e-7, 1e-4, 1e-6};
const Precision kBfloat16 = {"bfloat16", CK_BFLOAT16, 1e-2, 0, 1e-2, 0};

constexpr int64_t kManyRows = 2052;  // enough for large tiles

reference::Unit rows_of(const Matrix& m, bool normalize, const Precision& precision) {
  reference::Unit unit = reference::unit_rows(m, normalize);
  if (precision.value != CK_BFLOAT16) return unit;
  for (reference::Row& row : unit.u)
    for (double& value : row) value = ck::cuda::from_bf16(ck::cuda::to_bf16(float(value)));
  return unit;
}

ck_options with(const Precision& precision, double temperature, bool normalize, double weight) {
  ck_options result = options(temperature, 1, normalize, weight);
  result.precision = precision.value;
  return result;
}

std::string place(const char* what, const Precision& precision, const Matrix& m, double temperature, bool normalize) {
  return std::string(what) + " " + precision.name + " " + text(double(m.rows)) + "x" + text(double(m.cols)) + " temperature " +
         text(temperature) + (normalize ? "" : " dot");
}

void compare_nt_xent(const char* family, const Precision& precision, const Matrix& z, bool interleaved, double temperature,
                     bool normalize) {
  const std::string what = place(family, precision, z, temperature, normalize);
  const double weight = 1.0 / z.rows, scale = normalize ? 1 : std::max(1.0, largest_square(z));
  const ck_options o = with(precision, temperature, normalize, weight);
  const ck_matrix m = view(z);
  std::vector<float> per_row(z.rows), lse(z.rows), gradient(z.data.size());
  ck_result result;
  ck_error error;
  const int status = ck_nt_xent(&m, interleaved, &o, per_row.data(), lse.data(), gradient.data(), &result, &error);
  expect(status == CK_OK, what + ": status " + text(status) + " " + error.message);
  const reference::NtXent want = reference::nt_xent(rows_of(z, normalize, precision), interleaved, temperature, weight);
  const double tol = precision.loss_tolerance(temperature) * scale;
  expect_loss(result.loss, want.loss, tol, what);
  for (int64_t i = 0; i < z.rows; ++i) {
    expect_within(std::fabs(per_row[i] - want.per_row[i]), tol * want.per_row[i] + 1.5e-45, LOSS, what + " per row");
    expect_within(std::fabs(lse[i] - want.log_sum_exp[i]), tol * std::max(1.0, std::fabs(want.log_sum_exp[i])), LOSS,
                  what + " log-sum-exp");
  }
  const double gradient_tol = precision.gradient_tolerance(temperature) * scale;
  expect_gradient(gradient, want.gradient, gradient_tol, what);
  expect_within(std::fabs(result.temperature_gradient - want.temperature_gradient),
                gradient_tol * std::max(std::fabs(want.temperature_gradient), want.temperature_magnitude) +
                    1e-37 * weight / (temperature * temperature),
                TEMPERATURE, what + " temperature gradient");
  expect_within(std::fabs(result.positive_similarity - want.positive), 1e-5 * scale, COSINE, what + " positive similarity");
  expect_within(std::fabs(result.negative_similarity - want.negative), 1e-5 * scale, COSINE, what + " negative similarity");
  expect(std::strcmp(family, "duplicated") || z.rows < 26 || result.accuracy == 0, what + ": exact duplicates tie");
  if (z.rows == 130 || z.cols == 330) {
    std::vector<float> again(z.data.size());
    ck_result second;
    expect(ck_nt_xent(&m, interleaved, &o, nullptr, nullptr, again.data(), &second, &error) == CK_OK && again == gradient &&
               second.loss == result.loss,
           what + ": the same bits again");
  }
}

// Many rows, whose gradient takes float64 too long.
void compare_loss(const Precision& precision, const Matrix& z, double temperature) {
  const std::string what = place("many rows", precision, z, temperature, true);
  const ck_options o = with(precision, temperature, true, 1);
  const ck_matrix m = view(z);
  ck_result result;
  ck_error error;
  expect(ck_nt_xent(&m, 1, &o, nullptr, nullptr, nullptr, &result, &error) == CK_OK, what);
  const reference::Unit x = rows_of(z, true, precision);
  double loss = 0;
  for (int64_t i = 0; i < z.rows; ++i) {
    const double positive = reference::dot(x.u[i], x.u[i ^ 1]);
    double sum = 0;
    for (int64_t j = 0; j < z.rows; ++j) {
      if (j != i && j != (i ^ 1)) sum += std::exp((reference::dot(x.u[i], x.u[j]) - positive) / temperature);
    }
    loss += std::log1p(sum);
  }
  expect_loss(result.loss, loss, precision.loss_tolerance(temperature), what);
}

void compare_uniformity(const char* family, const Precision& precision, const Matrix& x, double t, bool normalize) {
  const std::string what = place(family, precision, x, 0.5 / t, normalize) + " uniformity";
  const double scale = normalize ? 1 : std::max(1.0, largest_square(x));
  const ck_options o = with(precision, 1, normalize, 1);
  const ck_matrix m = view(x);
  std::vector<float> gradient(x.data.size());
  ck_result result;
  ck_error error;
  expect(ck_uniformity(&m, t, &o, gradient.data(), &result, &error) == CK_OK, what);
  const reference::Uniformity want = reference::uniformity(rows_of(x, normalize, precision), t);
  expect_within(std::fabs(result.loss - want.loss), precision.loss_tolerance(0.5 / t) * scale * std::max(1.0, std::fabs(want.loss)), LOSS,
                what);
  expect_gradient(gradient, want.gradient, precision.gradient_tolerance(0.5 / t) * scale, what);
}

void compare_cosine(const Precision& precision, const Matrix& x, const Matrix& y, bool normalize) {
  const std::string what = place("cosine", precision, x, 1, normalize) + " with " + text(double(y.rows)) + " rows";
  const double scale = normalize ? 1 : std::max(1.0, std::max(largest_square(x), largest_square(y)));
  const ck_options o = with(precision, 1, normalize, 0.25);
  const ck_matrix mx = view(x), my = view(y);
  std::vector<float> out(x.rows * y.rows), gx(x.data.size()), gy(y.data.size()), per_row(x.rows);
  ck_error error;
  expect(ck_cosine_similarity(&mx, &my, &o, out.data(), &error) == CK_OK, what);
  const reference::Unit ux = rows_of(x, normalize, precision), uy = rows_of(y, normalize, precision);
  const reference::Row want = reference::cosine(ux, uy);
  for (size_t i = 0; i < out.size(); ++i) expect_within(std::fabs(out[i] - want[i]), precision.loss_tolerance(1) * scale, COSINE, what);
  std::mt19937 random(9);
  Matrix upstream = random_matrix(x.rows, y.rows, random, 1e-3);
  const ck_matrix mu = view(upstream);
  expect(ck_cosine_similarity_backward(&mx, &my, &mu, &o, gx.data(), gy.data(), &error) == CK_OK, what);
  const reference::CosineBackward gradients = reference::cosine_backward(ux, uy, upstream, o.weight);
  expect_gradient(gx, gradients.x, precision.gradient_tolerance(1) * scale, what + " x");
  expect_gradient(gy, gradients.y, precision.gradient_tolerance(1) * scale, what + " y");
  if (x.rows != y.rows) return;
  std::vector<float> ax(x.data.size()), ay(y.data.size());
  ck_result result;
  expect(ck_alignment(&mx, &my, 2, &o, per_row.data(), ax.data(), ay.data(), &result, &error) == CK_OK, what);
  const reference::Alignment aligned = reference::alignment(ux, uy, 2, o.weight);
  expect_loss(result.loss, aligned.loss, precision.loss_tolerance(1) * scale, what + " alignment");
  expect_gradient(ax, aligned.x, precision.gradient_tolerance(1) * scale, what + " alignment");
}

void test_families() {
  std::mt19937 random(1);
  const int64_t shapes[][2] = {{4, 1}, {6, 5}, {26, 129}, {98, 33}, {130, 128}, {74, 300}};
  int turn = 0;
  for (const Precision& precision : {kSplit, kBfloat16})
    for (const Family& family : families())
      for (const auto& shape : shapes)
        for (double temperature : {0.005, 0.01, 0.02, 0.07, 0.5, 10.0}) {
          if (++turn % (kBrief ? 211 : 7)) continue;
          const bool interleaved = turn / 3 % 2;
          const Matrix z = family.make(shape[0], shape[1], interleaved, random);
          compare_nt_xent(family.name, precision, z, interleaved, temperature, true);
          compare_uniformity(family.name, precision, z, 0.5 / temperature, true);
          if (std::strcmp(family.name, "huge and tiny rows") == 0) continue;
          Matrix small = z;
          for (float& value : small.data) value *= 0.3f;
          compare_nt_xent(family.name, precision, small, interleaved, temperature, false);
          compare_uniformity(family.name, precision, small, 0.5 / std::max(temperature, 0.05), false);
        }
}

// Every kernel and tile: one, two and four slabs of the fused backward, the stored coefficients beyond, both tile sides, several
// panels and shares of k.
void test_sizes() {
  std::mt19937 random(2);
  const Family correlated = families()[1];
  for (const Precision& precision : {kSplit, kBfloat16}) {
    const std::vector<int64_t> depths =
        kBrief ? std::vector<int64_t>{64, 128, 200, 257} : std::vector<int64_t>{64, 128, 129, 192, 256, 257, 330};
    for (int64_t cols : depths)
      for (double temperature : {0.5, 0.1, 0.01}) {
        const Matrix z = correlated.make(kBrief ? 70 : 134, cols, false, random);
        compare_nt_xent("depth", precision, z, false, temperature, true);
        if (temperature == 0.1) compare_uniformity("depth", precision, z, 2, true);
      }
    const std::vector<int64_t> heights = kBrief ? std::vector<int64_t>{70} : std::vector<int64_t>{1, 70, 131, 150};
    for (int64_t rows : heights)
      for (int64_t cols : {20, 200, 300})
        for (bool normalize : {true, false})
          compare_cosine(precision, random_matrix(rows, cols, random), random_matrix(rows == 70 ? 70 : 150, cols, random), normalize);
    if (kBrief) continue;
    for (double temperature : {0.005, 10.0}) {  // blocks and shares of different lengths
      const Matrix z = families()[2].make(330, 200, false, random);
      compare_nt_xent("confident", precision, z, false, temperature, true);
      compare_uniformity("confident", precision, z, 0.5 / temperature, true);
    }
    for (const Family& family : families()) compare_nt_xent(family.name, precision, family.make(34, 768, true, random), true, 0.1, true);
    for (int kind : {1, 3, 5})  // correlated, clustered, equal
      compare_nt_xent(families()[kind].name, precision, families()[kind].make(34, 4096, true, random), true, 0.1, true);
    compare_nt_xent("many rows", kBfloat16, correlated.make(kManyRows, 24, false, random), false, 0.1, true);
    for (double temperature : {0.1, 0.005})
      compare_loss(precision, families()[0].make(kManyRows, precision.value == CK_BFLOAT16 ? 24 : 130, true, random), temperature);
    compare_cosine(precision, random_matrix(1100, 130, random), random_matrix(300, 130, random), true);
  }
}

// Rows of one magnitude, such as binary codes: what a part leaves of their elements does not average over columns.
void test_codes() {
  std::mt19937 random(5);
  for (const Precision& precision : {kSplit, kBfloat16})
    for (int64_t cols : {12, 127, 192, 960, 1000, 1016})
      for (double temperature : {0.02, 0.2, 0.3, 0.5, 1.0, 1.5, 10.0}) {
        if (kBrief && cols > 127 && temperature != 0.5) continue;
        Matrix z = random_matrix(26, cols, random);
        for (float& value : z.data) value = value < 0 ? -1.0f : 1.0f;
        for (int64_t i = 1; i < z.rows; i += 2)  // a positive differs in one element of 16
          for (int64_t c = 0; c < cols; ++c) z.data[i * cols + c] = z.data[(i - 1) * cols + c] * (random() % 16 == 0 ? -1 : 1);
        compare_nt_xent("codes", precision, z, true, temperature, true);
        compare_uniformity("codes", precision, z, 0.5 / temperature, true);
        compare_cosine(precision, z, z, true);
      }
}

void test_old_device() {
  const char* const before = std::getenv("SIMT_COMPUTE_CAPABILITY");
  const std::string device = before ? before : "80";
  setenv("SIMT_COMPUTE_CAPABILITY", "75", 1);
  std::mt19937 random(3);
  const Matrix z = random_matrix(4, 3, random);
  const ck_matrix m = view(z);
  ck_error error;
  ck_result result;
  for (const Precision& precision : {kSplit, kBfloat16}) {
    const ck_options o = with(precision, 0.1, true, 1);
    expect(ck_nt_xent(&m, 0, &o, nullptr, nullptr, nullptr, &result, &error) == CK_UNAVAILABLE &&
               std::strstr(error.message, "needs compute capability 8.0, this device has 7.5"),
           std::string("an older device: ") + error.message);
  }
  const ck_options o = options(0.1, 1);
  expect(ck_nt_xent(&m, 0, &o, nullptr, nullptr, nullptr, &result, &error) == CK_OK, "float32 on an older device");
  setenv("SIMT_COMPUTE_CAPABILITY", device.c_str(), 1);
}

}  // namespace

int main() {
  test_old_device();
  test_families();
  test_sizes();
  test_codes();
  for (int kind = LOSS; kind <= COSINE; ++kind) std::printf("worst share %.3f: %s\n", worst(kind).share, worst(kind).where.c_str());
  std::printf("%d checks, %d failed\n", checks(), failures());
  return failures() ? 1 : 0;
}
