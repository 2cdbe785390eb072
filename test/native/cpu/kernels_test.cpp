// The CPU library against float64 over the families of inputs, temperatures, shapes and thread counts of the numerics contract.
// The instruction set is the one of CONTRASTIVE_KERNELS_ISA; exit code 77 when this machine does not have it.
#include <atomic>
#include <thread>

#include "support.hpp"

using namespace support;

namespace {

struct NtXentOutput {
  int status;
  ck_result result;
  ck_error error;
  std::vector<float> per_row, log_sum_exp, gradient;
  bool same_bits(const NtXentOutput& other) const {
    return std::memcmp(&result.loss, &other.result.loss, sizeof(double)) == 0 &&
           std::memcmp(&result.temperature_gradient, &other.result.temperature_gradient, sizeof(double)) == 0 && per_row == other.per_row &&
           log_sum_exp == other.log_sum_exp && gradient == other.gradient;
  }
};

NtXentOutput nt_xent(const Matrix& z, bool interleaved, const ck_options& options) {
  NtXentOutput out;
  out.per_row.assign(z.rows, -7);
  out.log_sum_exp.assign(z.rows, -7);
  out.gradient.assign(z.data.size(), -7);
  const ck_matrix m = view(z);
  out.status =
      ck_nt_xent(&m, interleaved, &options, out.per_row.data(), out.log_sum_exp.data(), out.gradient.data(), &out.result, &out.error);
  return out;
}

void compare_nt_xent(const Matrix& z, bool interleaved, double temperature, bool normalize, int threads, const std::string& name) {
  const double weight = 1.0 / z.rows;
  const std::string what = name + " " + text(z.rows) + "x" + text(z.cols) + (interleaved ? " interleaved" : " halves") + " temperature " +
                           text(temperature) + (normalize ? "" : " dot");
  const NtXentOutput got = nt_xent(z, interleaved, options(temperature, threads, normalize, weight));
  expect(got.status == CK_OK, what + ": status " + text(got.status) + " " + got.error.message);
  if (got.status != CK_OK) return;
  const reference::NtXent want = reference::nt_xent(z, interleaved, temperature, normalize, weight);
  const double tol = tolerance(temperature) * (normalize ? 1 : std::max(1.0, largest_square(z)));
  expect_loss(got.result.loss, want.loss, tol, what);
  for (int64_t i = 0; i < z.rows; ++i) {
    const double rounding = 6e-8 * std::fabs(want.per_row[i]) + 1.5e-45;
    expect_within(std::fabs(got.per_row[i] - want.per_row[i]), tol * std::fabs(want.per_row[i]) + rounding, LOSS, what + " per row");
    expect_within(std::fabs(got.log_sum_exp[i] - want.log_sum_exp[i]), tol * std::max(1.0, std::fabs(want.log_sum_exp[i])), LOSS,
                  what + " log-sum-exp");
  }
  expect_gradient(got.gradient, want.gradient, tol, what);
  expect_within(
      std::fabs(got.result.temperature_gradient - want.temperature_gradient),
      tol * std::max(std::fabs(want.temperature_gradient), want.temperature_magnitude) + 1e-37 * weight / (temperature * temperature),
      TEMPERATURE, what + " temperature gradient");  // shares below 1e-37 of the largest are not float32 numbers
  const double scale = normalize ? 1 : std::max(1.0, largest_square(z));
  expect_within(std::fabs(got.result.positive_similarity - want.positive), 1e-6 * scale, COSINE, what + " positive similarity");
  expect_within(std::fabs(got.result.negative_similarity - want.negative), 1e-6 * scale, COSINE, what + " negative similarity");
  expect(got.result.skipped_rows == 0, what + " skipped rows");
}

void test_nt_xent() {
  std::mt19937 random(1);
  const double temperatures[] = {0.005, 0.01, 0.02, 0.07, 0.5, 10};
  const int64_t shapes[][2] = {{4, 1}, {4, 3}, {6, 5}, {26, 17}, {98, 33}, {200, 64}, {386, 40}};
  int turn = 0;
  for (const Family& family : families())
    for (const auto& shape : shapes)
      for (double temperature : temperatures) {
        const bool interleaved = ++turn % 2;
        const Matrix z = family.make(shape[0], shape[1], interleaved, random);
        compare_nt_xent(z, interleaved, temperature, true, 1 + turn % 3, family.name);
        if (std::strcmp(family.name, "huge and tiny rows") != 0) {
          Matrix small = z;
          for (float& value : small.data) value *= 0.3f;
          compare_nt_xent(small, interleaved, temperature, false, 1 + turn % 3, family.name);
        }
      }
  for (int64_t cols : {768, 4096})
    for (const Family& family : families()) compare_nt_xent(family.make(64, cols, false, random), false, 0.1, true, 2, family.name);
  for (double temperature : {0.1, 0.005})
    compare_nt_xent(families()[1].make(1030, 72, false, random), false, temperature, true, 2, "correlated");
}

void test_nt_xent_extremes() {
  std::mt19937 random(2);
  // Losses down to 1e-80 and gradients into the denormal numbers: orthogonal pairs of equal rows.
  for (double temperature : {0.05, 0.02, 0.0105, 0.01, 0.0095, 0.005}) {
    Matrix z{16, 8, std::vector<float>(16 * 8, 0.0f)};
    for (int64_t i = 0; i < 16; ++i) {
      z.data[i * 8 + i % 8] = 3;
      z.data[i * 8 + (i + 1) % 8] = i < 8 ? 0.1f : 0.11f;
    }
    compare_nt_xent(z, false, temperature, true, 1, "nearly orthogonal pairs");
  }
  // Only some rows need repair: random rows, and a few antipodal to all others.
  for (int64_t rows : {50, 400, 1100}) {
    Matrix z = random_matrix(rows, 24, random, 0.05);
    for (int64_t i = 0; i < rows; ++i) z.data[i * 24] += i % 37 == 5 ? -1.0f : 1.0f;
    for (double temperature : {0.012, 0.006}) compare_nt_xent(z, true, temperature, true, 2, "some rows opposite");
  }
  // Large dot products.
  Matrix z = random_matrix(60, 20, random, 12);
  compare_nt_xent(z, false, 0.5, false, 2, "large dots");
  compare_nt_xent(z, false, 0.05, false, 2, "large dots");
  for (double scale : {1e-12, 1e-25}) compare_nt_xent(random_matrix(30, 20, random, scale), false, 0.5, true, 1, "tiny rows");
  // Two rows have nothing to compare.
  const Matrix two = random_matrix(2, 5, random);
  const NtXentOutput got = nt_xent(two, false, options(0.1, 2));
  expect(got.status == CK_OK && got.result.loss == 0 && got.result.skipped_rows == 2 && got.gradient == std::vector<float>(10, 0.0f) &&
             got.per_row == std::vector<float>(2, 0.0f) && got.result.temperature_gradient == 0 && std::isnan(got.result.accuracy),
         "two rows");
  const double s = reference::cosine(two, two, true)[1];
  expect(std::fabs(got.log_sum_exp[0] - s / 0.1) < 1e-5, "two rows: log-sum-exp");
}

void test_accuracy_statistic() {
  std::mt19937 random(3);
  for (int threads : {1, 2})
    for (double temperature : {0.5, 0.01}) {
      Matrix z = families()[1].make(300, 48, false, random);
      const NtXentOutput got = nt_xent(z, false, options(temperature, threads));
      const reference::NtXent want = reference::nt_xent(z, false, temperature, true, 1);
      expect(got.result.accuracy == want.accuracy || std::fabs(got.result.accuracy - want.accuracy) < 1e-12, "accuracy of correlated rows");
      // Every row has an exact duplicate among its negatives: ties are misses.
      for (int64_t i = 0; i < 300; ++i)
        for (int64_t k = 0; k < 48; ++k) z.data[i * 48 + k] = z.row(i % 3)[k];
      expect(nt_xent(z, false, options(temperature, threads)).result.accuracy == 0, "duplicates tie");
    }
}

void test_uniformity() {
  std::mt19937 random(4);
  const int64_t shapes[][2] = {{2, 1}, {3, 2}, {5, 7}, {26, 17}, {99, 33}, {201, 64}, {389, 40}};
  int turn = 0;
  for (const Family& family : families())
    for (const auto& shape : shapes)
      for (double t : {0.05, 0.5, 2.0, 8.0, 100.0})
        for (bool normalize : {true, false}) {
          if (!normalize && std::strcmp(family.name, "huge and tiny rows") == 0) continue;
          Matrix x = family.make(shape[0] + shape[0] % 2, shape[1], false, random);
          x.rows = shape[0];
          x.data.resize(x.rows * x.cols);
          if (!normalize)
            for (float& value : x.data) value *= 0.2f;
          const std::string what = std::string("uniformity ") + family.name + " " + text(x.rows) + "x" + text(x.cols) + " t " + text(t) +
                                   (normalize ? "" : " raw");
          std::vector<float> gradient(x.data.size());
          ck_result result;
          ck_error error;
          const ck_matrix m = view(x);
          const ck_options o = options(1, 1 + ++turn % 3, normalize);
          const int status = ck_uniformity(&m, t, &o, gradient.data(), &result, &error);
          expect(status == CK_OK, what + ": status " + text(status));
          if (status != CK_OK) continue;
          const reference::Uniformity want = reference::uniformity(x, t, normalize);
          const double tol = tolerance(0.5 / t) * (normalize ? 1 : std::max(1.0, largest_square(x)));
          expect_within(std::fabs(result.loss - want.loss), tol * std::max(1.0, std::fabs(want.loss)), LOSS,
                        what + " loss " + text(result.loss));
          expect_gradient(gradient, want.gradient, tol, what, normalize ? 0 : 2 * t * 1.2e-38 * std::sqrt(largest_square(x)));
          ck_result forward;
          expect(ck_uniformity(&m, t, &o, nullptr, &forward, &error) == CK_OK &&
                     std::fabs(forward.loss - result.loss) <= tol * std::max(1.0, std::fabs(want.loss)),
                 what + " forward only");
        }
}

void test_alignment() {
  std::mt19937 random(5);
  for (const Family& family : families())
    for (double alpha : {1.0, 2.0, 3.5, 0.5})
      for (bool normalize : {true, false}) {
        if (!normalize && std::strcmp(family.name, "huge and tiny rows") == 0) continue;
        const Matrix both = family.make(2 * 131, 37, false, random);
        Matrix x{131, 37, {both.data.begin(), both.data.begin() + 131 * 37}}, y{131, 37, {both.data.begin() + 131 * 37, both.data.end()}};
        std::vector<float> per_row(131), gx(x.data.size()), gy(x.data.size());
        ck_result result;
        ck_error error;
        const ck_matrix mx = view(x), my = view(y);
        const ck_options o = options(1, 2, normalize, 1.0 / 131);
        const std::string what = std::string("alignment ") + family.name + " alpha " + text(alpha);
        expect(ck_alignment(&mx, &my, alpha, &o, per_row.data(), gx.data(), gy.data(), &result, &error) == CK_OK, what);
        const reference::Alignment want = reference::alignment(x, y, alpha, normalize, 1.0 / 131);
        expect_loss(result.loss, want.loss, 1e-6, what);
        expect_gradient(gx, want.x, 1e-6, what + " x");
        expect_gradient(gy, want.y, 1e-6, what + " y");
        expect_within(std::fabs(result.positive_similarity - want.similarity), 1e-6 * std::max(1.0, std::fabs(want.similarity)), COSINE,
                      what);
      }
}

void test_cosine() {
  std::mt19937 random(6);
  const int64_t shapes[][3] = {{1, 1, 1}, {2, 9, 3}, {33, 20, 17}, {100, 131, 40}, {210, 390, 64}, {390, 210, 33}, {64, 70, 768}};
  int turn = 0;
  for (const Family& family : families())
    for (const auto& shape : shapes)
      for (bool normalize : {true, false}) {
        if (!normalize && std::strcmp(family.name, "huge and tiny rows") == 0) continue;
        Matrix x = family.make(shape[0] + shape[0] % 2, shape[2], false, random),
               y = family.make(shape[1] + shape[1] % 2, shape[2], true, random);
        x.rows = shape[0];
        y.rows = shape[1];
        x.data.resize(x.rows * x.cols);
        y.data.resize(y.rows * y.cols);
        const std::string what =
            std::string("cosine ") + family.name + " " + text(x.rows) + "x" + text(y.rows) + "x" + text(x.cols) + (normalize ? "" : " dot");
        const ck_matrix mx = view(x), my = view(y);
        const ck_options o = options(1, 1 + ++turn % 3, normalize, 1.5);
        ck_error error;
        const double scale = normalize ? 1 : std::max(1.0, std::sqrt(largest_square(x) * largest_square(y)));
        std::vector<float> out(x.rows * y.rows, 9.0f), self(x.rows * x.rows, 9.0f);
        expect(ck_cosine_similarity(&mx, &my, &o, out.data(), &error) == CK_OK, what);
        expect(ck_cosine_similarity(&mx, nullptr, &o, self.data(), &error) == CK_OK, what);
        const reference::Row want = reference::cosine(x, y, normalize), own = reference::cosine(x, x, normalize);
        double worst_error = 0, worst_own = 0;
        for (size_t i = 0; i < out.size(); ++i) worst_error = std::max(worst_error, std::fabs(out[i] - want[i]));
        for (size_t i = 0; i < self.size(); ++i) worst_own = std::max(worst_own, std::fabs(self[i] - own[i]));
        expect_within(worst_error, 1e-6 * scale, COSINE, what);
        expect_within(worst_own, 1e-6 * (normalize ? 1 : std::max(1.0, largest_square(x))), COSINE, what + " with itself");
        const Matrix upstream = random_matrix(x.rows, y.rows, random, turn % 5 == 0 ? 1e-20 : turn % 7 == 0 ? 1e20 : 1);
        const ck_matrix mu = view(upstream);
        std::vector<float> gx(x.data.size(), 9.0f), gy(y.data.size(), 9.0f);
        const int status = ck_cosine_similarity_backward(&mx, &my, &mu, &o, gx.data(), gy.data(), &error);
        expect(status == CK_OK || (status == CK_GRADIENT_OVERFLOW && turn % 7 == 0), what + " backward: status " + text(status));
        if (status != CK_OK) continue;
        const reference::CosineBackward gradients = reference::cosine_backward(x, y, upstream, normalize, 1.5);
        expect_gradient(gx, gradients.x, 1e-6, what + " backward x");
        expect_gradient(gy, gradients.y, 1e-6, what + " backward y");
      }
}

// Large matrices are written past the caches, in whole cache lines: wherever the array begins, and however its rows lie on the lines,
// every value is in its place and nothing beside them is touched.
void test_large_cosine() {
  std::mt19937 random(16);
  const Matrix x = random_matrix(1033, 5, random), y = random_matrix(1120, 5, random);
  const ck_matrix mx = view(x), my = view(y);
  const reference::Row want = reference::cosine(x, y, true), own = reference::cosine(x, x, true);
  const float untouched = 9.0f;
  for (int64_t offset = 0; offset < 17; ++offset)
    for (const bool self : {false, true}) {
      const reference::Row& right = self ? own : want;
      const int64_t size = static_cast<int64_t>(right.size());
      const std::string what = std::string("cosine of 1033 rows ") + (self ? "" : "and 1120 ") + "at " + text(offset);
      std::vector<float> out(size + 64, untouched);
      const ck_options o = options(1, 1 + static_cast<int>(offset % 3));
      ck_error error;
      expect(ck_cosine_similarity(&mx, self ? nullptr : &my, &o, out.data() + offset, &error) == CK_OK, what);
      double worst = 0;
      for (int64_t i = 0; i < size; ++i) worst = std::max(worst, std::fabs(out[offset + i] - right[i]));
      expect_within(worst, 1e-6, COSINE, what);
      int64_t touched = 0;
      for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) touched += (i < offset || i >= offset + size) && out[i] != untouched;
      expect(touched == 0, what + ": values beside the matrix");
    }
}

void test_errors() {
  std::mt19937 random(7);
  Matrix z = random_matrix(300, 20, random);
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    Matrix broken = z;
    broken.data[257 * 20 + 3] = bad;
    broken.data[205 * 20 + 19] = bad;
    broken.data[205 * 20 + 18] = bad;
    for (int threads : {1, 3}) {
      const NtXentOutput got = nt_xent(broken, false, options(0.1, threads));
      expect(got.status == CK_NON_FINITE && got.error.argument == 0 && got.error.row == 205 && got.error.column == 18,
             "non-finite element");
      expect(got.gradient == std::vector<float>(z.data.size(), -7) && got.per_row == std::vector<float>(300, -7), "nothing written");
      const ck_matrix m = view(z), b = view(broken);
      const ck_options o = options(0.1, threads);
      ck_error error;
      ck_result result;
      std::vector<float> gradient(z.data.size(), -7), other = gradient;
      expect(ck_uniformity(&b, 2, &o, gradient.data(), &result, &error) == CK_NON_FINITE && error.row == 205 && error.column == 18,
             "uniformity");
      expect(ck_alignment(&m, &b, 2, &o, nullptr, gradient.data(), other.data(), &result, &error) == CK_NON_FINITE && error.argument == 1 &&
                 error.row == 205 && error.column == 18,
             "alignment");
      std::vector<float> out(300 * 300, -7);
      expect(ck_cosine_similarity(&m, &b, &o, out.data(), &error) == CK_NON_FINITE && error.argument == 1, "cosine");
      Matrix upstream = random_matrix(300, 300, random);
      upstream.data[211 * 300 + 299] = upstream.data[250 * 300 + 1] = bad;
      const ck_matrix u = view(upstream);
      expect(ck_cosine_similarity_backward(&m, &m, &u, &o, gradient.data(), other.data(), &error) == CK_NON_FINITE && error.argument == 2 &&
                 error.row == 211 && error.column == 299,
             "upstream");
      expect(gradient == std::vector<float>(z.data.size(), -7) && other == gradient && out == std::vector<float>(300 * 300, -7),
             "nothing written");
    }
  }
  // A row of norm 1e-43: the gradient does not fit.
  Matrix tiny = z;
  for (int k = 0; k < 20; ++k) tiny.data[77 * 20 + k] *= 3e-44f;
  const NtXentOutput got = nt_xent(tiny, false, options(0.1, 2));
  expect(got.status == CK_GRADIENT_OVERFLOW && got.error.argument == 0 && got.error.row == 77, "gradient overflow names the row");
  expect(got.gradient == std::vector<float>(z.data.size(), -7) && got.per_row == std::vector<float>(300, -7), "overflow writes nothing");
  {
    const ck_matrix m = view(z), t = view(tiny);
    const ck_options o = options(0.1, 2);
    ck_error error;
    ck_result result;
    std::vector<float> gradient(z.data.size(), -7), other = gradient;
    expect(ck_alignment(&m, &t, 2, &o, nullptr, gradient.data(), other.data(), &result, &error) == CK_GRADIENT_OVERFLOW &&
               error.argument == 1 && error.row == 77,
           "alignment overflow");
    expect(ck_uniformity(&t, 2, &o, gradient.data(), &result, &error) == CK_GRADIENT_OVERFLOW && error.row == 77, "uniformity overflow");
    const Matrix upstream = random_matrix(300, 300, random);
    const ck_matrix u = view(upstream);
    expect(ck_cosine_similarity_backward(&m, &t, &u, &o, gradient.data(), other.data(), &error) == CK_GRADIENT_OVERFLOW &&
               error.argument == 1 && error.row == 77,
           "cosine backward overflow");
    expect(gradient == std::vector<float>(z.data.size(), -7) && other == gradient, "overflow writes nothing");
  }
  // Products that cannot be held, odd rows, bad scalars, a set cancel flag, a precision that there is not.
  const NtXentOutput large = nt_xent(random_matrix(10, 4, random, 1e25), false, options(0.1, 1, false));
  expect(large.status == CK_OUT_OF_RANGE && large.error.message[0] != '\0', "dot products out of range");
  expect(nt_xent(random_matrix(5, 4, random), false, options(0.1, 1)).status == CK_OUT_OF_RANGE, "odd rows");
  expect(nt_xent(z, false, options(0, 1)).status == CK_OUT_OF_RANGE, "temperature 0");
  const volatile int32_t cancel = 1;
  ck_options o = options(0.1, 2);
  o.cancel = &cancel;
  const NtXentOutput cancelled = nt_xent(z, false, o);
  expect(cancelled.status == CK_CANCELLED && cancelled.gradient == std::vector<float>(z.data.size(), -7), "cancelled");
  o.cancel = nullptr;
  o.precision = 9;
  expect(nt_xent(z, false, o).status == CK_UNAVAILABLE, "precision");
}

void test_threads() {
  std::mt19937 random(8);
  for (int64_t rows : {130, 1000, 3000})  // 2, 11 and 16 blocks: strips of 1, 2 and 3 jobs
    for (double temperature : {0.1, 0.006}) {
      const Matrix z = families()[1].make(rows, 70, false, random);
      const NtXentOutput one = nt_xent(z, false, options(temperature, 1));
      for (int threads : {2, 3, 5})
        for (int repeat = 0; repeat < 3; ++repeat)
          expect(one.same_bits(nt_xent(z, false, options(temperature, threads))), "the same bits on " + text(threads) + " threads");
    }
  // Calls at the same time, of different shapes.
  std::vector<Matrix> inputs;
  std::vector<NtXentOutput> alone;
  for (int i = 0; i < 4; ++i) {
    inputs.push_back(random_matrix(200 + 150 * i, 40 + i, random));
    alone.push_back(nt_xent(inputs[i], false, options(0.1, 2)));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&, i] {
      for (int repeat = 0; repeat < 8; ++repeat)
        if (!alone[i].same_bits(nt_xent(inputs[i], false, options(0.1, 1 + repeat % 3)))) ++wrong;
    });
  for (std::thread& caller : callers) caller.join();
  expect(wrong == 0, "concurrent calls do not change each other's results");
  // A call given up in the middle leaves the pool usable.
  std::atomic<int32_t> flag{0};
  for (int delay : {50, 500, 2000}) {
    flag = 0;
    const Matrix z = random_matrix(3000, 64, random);
    ck_options o = options(0.1, 2);
    o.cancel = reinterpret_cast<const volatile int32_t*>(&flag);
    std::thread abort([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(delay));
      flag = 1;
    });
    const NtXentOutput got = nt_xent(z, false, o);
    abort.join();
    expect(got.status == CK_CANCELLED || got.status == CK_OK, "given up in flight");
    if (got.status == CK_CANCELLED) expect(got.gradient == std::vector<float>(z.data.size(), -7), "given up: nothing written");
  }
  expect(alone[0].same_bits(nt_xent(inputs[0], false, options(0.1, 2))), "after a call was given up");
}

void test_workspace_figure() {
  const ck_options o = options(0.1, 2);
  for (int64_t rows : {512, 16384, 65536}) {
    const double padded = std::ceil(rows / 192.0) * 192, cols = 128;
    const double bound = (3 + 2) * padded * cols * 4 + 2 * 256.0 * 1024 + 8 * 2 * padded + 4 * 1024 * 1024.0;
    const double bytes = static_cast<double>(ck_workspace_bytes(CK_NT_XENT, rows, 0, 128, 1, &o));
    expect(bytes > rows * cols * 4 && bytes <= bound, "workspace of " + text(rows) + " rows: " + text(bytes) + " of " + text(bound));
  }
}

}  // namespace

int main() {
  char description[200];
  ck_describe(description, sizeof description);
  std::printf("%s\n", description);
  if (std::strstr(description, "\"available\":true") == nullptr) return 77;
  test_nt_xent();
  test_nt_xent_extremes();
  test_accuracy_statistic();
  test_uniformity();
  test_alignment();
  test_cosine();
  test_errors();
  test_threads();
  if (std::strstr(description, "instructionSet") != nullptr) {  // of the CPU library only
    test_large_cosine();
    test_workspace_figure();
  }
  const char* kinds[] = {"loss", "gradient", "temperature gradient", "cosine"};
  for (int kind = 0; kind < 4; ++kind)
    std::printf("worst %s: %.2f of its tolerance, %s\n", kinds[kind], worst(kind).share, worst(kind).where.c_str());
  std::printf("%d checks, %d failed\n", checks(), failures());
  return failures() == 0 ? 0 : 1;
}
