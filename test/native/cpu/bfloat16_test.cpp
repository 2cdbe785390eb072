// NT-Xent in bfloat16 against float64 on the rounded rows: every family, sizes on both sides of every tile edge, temperatures from
// 0.005 to 10, confident rows among them. A machine or instruction set that lacks it must say so, and is skipped.
#include "support.hpp"

namespace {

using namespace support;

struct Output {
  int status;
  ck_result result;
  ck_error error;
  std::vector<float> per_row, log_sum_exp, gradient;
  bool operator==(const Output& other) const {
    return std::memcmp(&result, &other.result, sizeof result) == 0 && per_row == other.per_row && log_sum_exp == other.log_sum_exp &&
           gradient == other.gradient;
  }
};

Output nt_xent(const Matrix& z, bool interleaved, double temperature, bool normalize, int threads, int32_t precision = CK_BFLOAT16) {
  ck_options o = options(temperature, threads, normalize, 1.0 / static_cast<double>(z.rows));
  o.precision = precision;
  Output out = {};
  out.per_row.assign(z.rows, -7);
  out.log_sum_exp.assign(z.rows, -7);
  out.gradient.assign(z.data.size(), -7);
  const ck_matrix m = view(z);
  out.status = ck_nt_xent(&m, interleaved, &o, out.per_row.data(), out.log_sum_exp.data(), out.gradient.data(), &out.result, &out.error);
  return out;
}

// To nearest, ties to even.
float to_bfloat16(double value) {
  const float narrow = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &narrow, sizeof bits);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  float rounded;
  std::memcpy(&rounded, &bits, sizeof bits);
  return rounded;
}

// The rows as the kernel sees them. Gradients are projected along the rounded rows and divided by the norms of those given.
reference::Unit rounded_rows(const Matrix& z, bool normalize) {
  reference::Unit unit = reference::unit_rows(z, normalize);
  for (reference::Row& row : unit.u)
    for (double& value : row) value = to_bfloat16(value);
  return unit;
}

void compare(const Matrix& z, bool interleaved, double temperature, bool normalize, int threads, const std::string& name) {
  const std::string what = name + " " + text(z.rows) + "x" + text(z.cols) + (interleaved ? " interleaved" : " halves") + " temperature " +
                           text(temperature) + (normalize ? "" : " dot");
  const Output got = nt_xent(z, interleaved, temperature, normalize, threads);
  expect(got.status == CK_OK, what + ": status " + text(got.status) + " " + got.error.message);
  if (got.status != CK_OK) return;
  const double weight = 1.0 / static_cast<double>(z.rows);
  const reference::NtXent want = reference::nt_xent(rounded_rows(z, normalize), interleaved, temperature, weight);
  // Only the coefficients are rounded again: similarities, and so losses, are as accurate as float32's.
  const double scale = normalize ? 1 : std::max(1.0, largest_square(z));
  const double tol = scale * tolerance(temperature), gradient_tol = std::max(1e-2, tol);
  expect_loss(got.result.loss, want.loss, tol, what);
  for (int64_t i = 0; i < z.rows; ++i) {
    const double rounding = 6e-8 * std::fabs(want.per_row[i]) + 1.5e-45;
    expect_within(std::fabs(got.per_row[i] - want.per_row[i]), tol * std::fabs(want.per_row[i]) + rounding, LOSS, what + " per row");
    expect_within(std::fabs(got.log_sum_exp[i] - want.log_sum_exp[i]), tol * std::max(1.0, std::fabs(want.log_sum_exp[i])), LOSS,
                  what + " log-sum-exp");
  }
  expect_gradient(got.gradient, want.gradient, gradient_tol, what);
  expect_within(std::fabs(got.result.temperature_gradient - want.temperature_gradient),
                gradient_tol * std::max(std::fabs(want.temperature_gradient), want.temperature_magnitude) +
                    1e-37 * weight / (temperature * temperature),
                TEMPERATURE, what + " temperature gradient");
  expect_within(std::fabs(got.result.positive_similarity - want.positive), 1e-6 * scale, COSINE, what + " positive similarity");
  if (z.rows > 2)
    expect_within(std::fabs(got.result.negative_similarity - want.negative), 1e-6 * scale, COSINE, what + " negative similarity");
}

void test_families() {
  std::mt19937 random(1);
  const int64_t shapes[][2] = {{4, 1}, {4, 3}, {6, 5}, {26, 17}, {98, 33}, {200, 64}, {386, 41}, {50, 65}};
  int turn = 0;
  for (const Family& family : families())
    for (const auto& shape : shapes)
      for (double temperature : {0.005, 0.01, 0.02, 0.07, 0.5, 10.0}) {
        const bool interleaved = ++turn % 2;
        Matrix z = family.make(shape[0], shape[1], interleaved, random);
        compare(z, interleaved, temperature, true, 1 + turn % 3, family.name);
        if (std::strcmp(family.name, "huge and tiny rows") == 0) continue;
        for (float& value : z.data) value *= 0.3f;
        compare(z, interleaved, temperature, false, 1 + turn % 3, family.name);
      }
  for (int64_t cols : {513, 768, 4096})
    for (const Family& family : families()) compare(family.make(64, cols, false, random), false, 0.1, true, 2, family.name);
  for (double temperature : {0.1, 0.005}) {
    compare(families()[1].make(1030, 72, false, random), false, temperature, true, 2, "correlated");
    compare(families()[2].make(420, 600, true, random), true, temperature, true, 2, "confident");
  }
}

// Losses far below the precision of a probability, and rows that need repair.
void test_extremes() {
  std::mt19937 random(2);
  for (double temperature : {0.05, 0.02, 0.01, 0.005}) {
    Matrix z{16, 8, std::vector<float>(16 * 8, 0.0f)};
    for (int64_t i = 0; i < 16; ++i) {
      z.data[i * 8 + i % 8] = 3;
      z.data[i * 8 + (i + 1) % 8] = i < 8 ? 0.1f : 0.11f;
    }
    compare(z, false, temperature, true, 1, "nearly orthogonal pairs");
  }
  for (int64_t rows : {50, 400, 1100}) {
    Matrix z = random_matrix(rows, 24, random, 0.05);
    for (int64_t i = 0; i < rows; ++i) z.data[i * 24] += i % 37 == 5 ? -1.0f : 1.0f;
    for (double temperature : {0.012, 0.006}) compare(z, true, temperature, true, 2, "some rows opposite");
  }
}

void test_failures() {
  std::mt19937 random(3);
  Matrix z = random_matrix(300, 20, random);
  const std::vector<float> untouched(z.data.size(), -7);
  Matrix broken = z;
  broken.data[205 * 20 + 19] = NAN;
  const Output bad = nt_xent(broken, false, 0.1, true, 2);
  expect(bad.status == CK_NON_FINITE && bad.error.row == 205 && bad.error.column == 19 && bad.gradient == untouched, "non-finite element");
  Matrix tiny = z;
  for (int k = 0; k < 20; ++k) tiny.data[77 * 20 + k] *= 3e-44f;
  const Output overflow = nt_xent(tiny, false, 0.1, true, 2);
  expect(overflow.status == CK_GRADIENT_OVERFLOW && overflow.error.row == 77 && overflow.gradient == untouched, "gradient overflow");
  for (float& value : broken.data) value = 3.4e38f;  // finite, but not in bfloat16
  expect(nt_xent(broken, false, 0.1, false, 2).status == CK_OUT_OF_RANGE, "products out of range");
}

void test_threads() {
  std::mt19937 random(4);
  for (int64_t rows : {130, 770, 1500})
    for (double temperature : {0.1, 0.006}) {
      const Matrix z = families()[1].make(rows, 300, false, random);
      const Output one = nt_xent(z, false, temperature, true, 1);
      for (int threads : {2, 3, 5}) expect(one == nt_xent(z, false, temperature, true, threads), "the same bits on any number of threads");
    }
}

// What rounding the rows costs, for docs/numerics.md: against float64 on the rows as given.
void report_rounding() {
  std::mt19937 random(5);
  for (int family : {0, 1, 2})
    for (double temperature : {0.02, 0.07, 0.5}) {
      const Matrix z = families()[family].make(512, 128, false, random);
      const Output got = nt_xent(z, false, temperature, true, 2);
      const reference::NtXent want = reference::nt_xent(z, false, temperature, true, 1.0 / 512);
      double square = 0;
      for (size_t i = 0; i < got.gradient.size(); ++i) square += std::pow(got.gradient[i] - want.gradient.values[i], 2);
      std::printf("%s rows, temperature %g: loss off by %.2g, gradient by %.2g of its norm\n", families()[family].name, temperature,
                  std::fabs(got.result.loss / want.loss - 1), std::sqrt(square) / want.gradient.norm());
    }
}

}  // namespace

int main() {
  char description[200];
  ck_describe(description, sizeof description);
  std::printf("%s\n", description);
  if (std::strstr(description, "\"available\":true") == nullptr) return 77;
  std::mt19937 random(6);
  const Output probe = nt_xent(random_matrix(8, 4, random), false, 0.1, true, 1);
  expect(nt_xent(random_matrix(8, 4, random), false, 0.1, true, 1, CK_BFLOAT16X3).status == CK_UNAVAILABLE, "bfloat16x3 is not here");
  if (probe.status == CK_UNAVAILABLE) {
    expect(std::strstr(probe.error.message, "AVX512_BF16") != nullptr, "says what it needs");
    std::printf("no bfloat16 here: %s\n", probe.error.message);
    return failures() == 0 ? 77 : 1;
  }
  test_families();
  test_extremes();
  test_failures();
  test_threads();
  report_rounding();
  const char* kinds[] = {"loss", "gradient", "temperature gradient", "similarity"};
  for (int kind = 0; kind < 4; ++kind)
    std::printf("worst %s: %.2f of its tolerance, %s\n", kinds[kind], worst(kind).share, worst(kind).where.c_str());
  std::printf("%d checks, %d failed\n", checks(), failures());
  return failures() == 0 ? 0 : 1;
}
