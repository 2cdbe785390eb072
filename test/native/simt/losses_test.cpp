// Every kernel of the losses that compare two matrices, or one under labels, on small inputs under whatever sanitizer is built in: one
// tile, an edge, several tiles and panels, every option that takes another path. Twice each: the same bits, and numbers that are numbers.
// What they should be is losses_test.cpp's (test/native/cpu) and test/kernels' matter.
#include <functional>

#include "../cpu/support.hpp"
#include "cuda_runtime.h"

using namespace support;

namespace {

using Floats = std::vector<float>;

struct Outputs {
  Floats a, b, c, per_row, log_sum_exp;
  std::vector<int32_t> indices;
  ck_result result = {};

  explicit Outputs(size_t size) : a(size, -7), b(size, -7), c(size, -7), per_row(size, -7), log_sum_exp(size, -7), indices(size, -7) {}
  bool operator==(const Outputs& other) const {
    return a == other.a && b == other.b && c == other.c && per_row == other.per_row && log_sum_exp == other.log_sum_exp &&
           indices == other.indices && result.loss == other.result.loss;
  }
  bool finite() const {
    for (const Floats* values : {&a, &b, &c, &per_row, &log_sum_exp})
      for (float value : *values)
        if (!(std::fabs(value) < 3e38f)) return false;
    return std::fabs(result.loss) < 1e30;
  }
};

Matrix rows_of(int64_t rows, int64_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix m{rows, cols, Floats(size_t(rows * cols))};
  for (float& value : m.data) value = normal(random);
  return m;
}

void twice(const std::string& what, size_t size, const std::function<int(Outputs&, ck_error*)>& call) {
  Outputs first(size), second(size);
  ck_error error = {};
  const int status = call(first, &error);
  expect(status == CK_OK, what + ": status " + text(status) + " " + error.message);
  expect(call(second, &error) == CK_OK && first == second, what + ": the same bits");
  expect(first.finite(), what + ": finite");
}

void test_shape(int64_t n, int64_t m, int64_t d, double temperature, bool normalize, int32_t precision = CK_FLOAT32) {
  const Matrix x = rows_of(n, d, 1), y = rows_of(n, d, 2), z = rows_of(m, d, 3);
  const ck_matrix a = {x.data.data(), n, d}, b = {y.data.data(), n, d}, c = {z.data.data(), m, d};
  ck_options o = {};
  o.temperature = temperature;
  o.weight = 0.5;
  o.normalize = normalize;
  o.stats = 1;
  o.precision = precision;
  const size_t size = size_t((n + m) * d * 4);
  const std::string shape =
      " " + text(double(n)) + "," + text(double(m)) + "x" + text(double(d)) + (precision ? " precision " + text(precision) : "");
  std::vector<int32_t> labels(n), positives(n), indices(n * 3);
  std::vector<uint8_t> mask(n * n);
  for (int64_t i = 0; i < n; ++i) labels[i] = int32_t(i % 7), positives[i] = int32_t((i + 1) % n);
  for (size_t e = 0; e < indices.size(); ++e) indices[e] = int32_t(e * 5 % m);
  for (size_t e = 0; e < mask.size(); ++e) mask[e] = e % 3 != 0;

  const auto info_nce = [&](const std::string& what, const ck_matrix* negatives, const ck_info_nce_pairs& pairs) {
    twice("infoNce " + what + shape, size, [&](Outputs& out, ck_error* error) {
      return ck_info_nce(&a, &b, negatives, &pairs, &o, out.per_row.data(), out.log_sum_exp.data(), out.a.data(), out.b.data(),
                         negatives ? out.c.data() : nullptr, &out.result, error);
    });
  };
  ck_info_nce_pairs pairs = {};
  pairs.in_batch = pairs.symmetric = 1;
  pairs.positives = positives.data();
  info_nce("symmetric", nullptr, pairs);
  pairs.query_labels = pairs.key_labels = labels.data();
  pairs.mask = mask.data();
  info_nce("masked", &c, pairs);
  pairs = {};
  pairs.in_batch = 1;
  pairs.negative_mode = CK_NEGATIVES_INDEXED;
  pairs.per_query = 3;
  pairs.negative_indices = indices.data();
  info_nce("indexed", &c, pairs);
  pairs = {};
  pairs.own_negative_logit = 0.5;
  if (m >= n) info_nce("shared alone", &c, pairs);

  twice("dcl" + shape, size, [&](Outputs& out, ck_error* error) {
    return ck_dcl(&a, &b, 0.5, &o, out.per_row.data(), nullptr, out.a.data(), out.b.data(), &out.result, error);
  });
  twice("sigLip" + shape, size, [&](Outputs& out, ck_error* error) {
    return ck_sig_lip(&a, &b, -1, &o, out.per_row.data(), out.a.data(), out.b.data(), &out.result, error);
  });
  twice("crossUniformity" + shape, size,
        [&](Outputs& out, ck_error* error) { return ck_cross_uniformity(&a, &c, 2, &o, out.a.data(), out.b.data(), &out.result, error); });
  if (precision != CK_FLOAT32) return;  // the others have no other
  for (int32_t variant : {CK_SUP_CON_OUT, CK_SUP_CON_IN, CK_SUP_CON_PAIR}) {
    twice("supCon" + shape, size, [&](Outputs& out, ck_error* error) {
      return ck_sup_con(&a, labels.data(), variant, &o, out.per_row.data(), nullptr, out.a.data(), &out.result, error);
    });
  }
  twice("nearest" + shape, size,
        [&](Outputs& out, ck_error* error) { return ck_nearest(&a, &c, 2, 0, &o, out.indices.data(), out.per_row.data(), error); });
  twice("barlowTwins" + shape, size,
        [&](Outputs& out, ck_error* error) { return ck_barlow_twins(&a, &b, 0.01, &o, out.a.data(), out.b.data(), &out.result, error); });
  twice("vicReg" + shape, size,
        [&](Outputs& out, ck_error* error) { return ck_vic_reg(&a, &b, 25, 25, 1, &o, out.a.data(), out.b.data(), &out.result, error); });
}

}  // namespace

int main() {
  for (int32_t kernel = CK_COSINE_SIMILARITY; kernel <= CK_NEAREST; ++kernel) {
    ck_options o = {};
    o.temperature = 0.5;
    expect(ck_supports(kernel) == 1, "has kernel " + text(kernel));
    expect(ck_workspace_bytes(kernel, 70, 70, 20, 1, &o) > 0, "workspace of kernel " + text(kernel));
  }
  expect(ck_supports(CK_NEAREST + 1) == 0, "no kernel beyond the last");
  test_shape(8, 8, 3, 0.5, true);
  test_shape(65, 70, 33, 0.01, true);
  test_shape(65, 130, 20, 0.5, false);
  test_shape(140, 64, 5, 0.1, true);
  test_shape(20, 24, 130, 0.1, true, CK_BFLOAT16X3);
  test_shape(130, 65, 33, 0.01, true, CK_BFLOAT16);
  test_shape(65, 200, 20, 0.5, false, CK_BFLOAT16);
  std::printf("%d checks, %d failed\n", checks(), failures());
  return failures() == 0 ? 0 : 1;
}
