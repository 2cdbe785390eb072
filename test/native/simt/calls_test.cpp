// Every path of the CUDA library on small inputs, under whatever sanitizer is built in; and its host side when things go wrong:
// no memory, no device, any runtime call failing, a call given up, calls at the same time. Numbers are compared with the float64
// reference of the CPU library's test; the fine comparison is that test's.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "../cpu/support.hpp"
#include "contrastive_kernels_cuda.h"
#include "cuda_runtime.h"

using namespace support;

namespace {

using Floats = std::vector<float>;
constexpr float kUntouched = -7;
#if defined(SIMT_TSAN) || defined(SIMT_ASAN)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

ck_options make_options(double temperature, bool normalize = true, bool stats = true) {
  ck_options options = {};
  options.temperature = temperature;
  options.weight = 0.25;
  options.normalize = normalize;
  options.stats = stats;
  return options;
}

ck_matrix view(const Matrix& m) { return {m.data.data(), m.rows, m.cols}; }

Matrix correlated(int64_t rows, int64_t cols, bool interleaved, unsigned seed) {
  std::mt19937 random(seed);
  return families()[1].make(rows, cols, interleaved, random);
}

double largest_square(const Matrix& m) {
  double largest = 1;
  for (int64_t i = 0; i < m.rows; ++i) {
    double square = 0;
    for (int64_t k = 0; k < m.cols; ++k) square += double(m.row(i)[k]) * m.row(i)[k];
    largest = std::max(largest, square);
  }
  return largest;
}

// ---- Paths -----------------------------------------------------------------------------------------------------------------------

// Fixed shift with and without maxima, with headroom, running maximum; one tile, an edge, several tiles and both layouts.
void test_nt_xent() {
  const int64_t shapes[][2] = {{2, 3}, {4, 1}, {64, 33}, {150, 20}, {200, 70}};
  for (const auto& shape : shapes)
    for (double temperature : {0.5, 0.02, 0.005})
      for (int variant = 0; variant < 4; ++variant) {
        const bool interleaved = variant % 2, stats = variant < 2, normalize = variant != 3;
        const Matrix z = correlated(shape[0], shape[1], interleaved, unsigned(shape[0]));
        const std::string what = "nt_xent " + text(double(z.rows)) + "x" + text(double(z.cols)) + " temperature " + text(temperature);
        const ck_options options = make_options(temperature, normalize, stats);
        const ck_matrix m = view(z);
        Floats per_row(z.rows), lse(z.rows), gradient(z.data.size());
        ck_result result;
        ck_error error;
        expect(ck_nt_xent(&m, interleaved, &options, per_row.data(), lse.data(), gradient.data(), &result, &error) == CK_OK, what);
        ck_result forward;
        expect(ck_nt_xent(&m, interleaved, &options, nullptr, nullptr, nullptr, &forward, &error) == CK_OK && forward.loss == result.loss,
               what + " forward only: the same loss");
        const reference::NtXent want = reference::nt_xent(z, interleaved, temperature, normalize, options.weight);
        if (z.rows == 2) {
          expect(result.loss == 0 && result.skipped_rows == 2, what + " has nothing to compare");
          continue;
        }
        const double tol = tolerance(temperature) * (normalize ? 1 : largest_square(z));
        expect_loss(result.loss, want.loss, tol, what);
        expect_gradient(gradient, want.gradient, tol, what);
        expect(std::isnan(result.accuracy) == !stats, what + " statistics only where wanted");
      }
}

// More rows than super-blocks have tiles, so that one block walks several tiles and several panels follow each other.
void test_many_rows() {
  const Matrix z = correlated(64 * 64 + 130, 8, false, 3);
  const ck_matrix m = view(z);
  for (double temperature : {0.5, 0.008}) {
    const ck_options options = make_options(temperature);
    Floats gradient(z.data.size());
    ck_result result;
    ck_error error;
    expect(ck_nt_xent(&m, 0, &options, nullptr, nullptr, gradient.data(), &result, &error) == CK_OK, "many rows");
    // A float64 sum of the losses in O(rows^2 cols), without gradients.
    const reference::Unit u = reference::unit_rows(z, true);
    double loss = 0;
    for (int64_t i = 0; i < z.rows; ++i) {
      const double positive = reference::dot(u.u[i], u.u[(i + z.rows / 2) % z.rows]);
      double sum = 0;
      for (int64_t j = 0; j < z.rows; ++j) sum += j == i ? 0 : std::exp((reference::dot(u.u[i], u.u[j]) - positive) / temperature);
      loss += std::log(sum);
    }
    expect_loss(result.loss, loss, tolerance(temperature), "many rows");
  }
}

void test_uniformity() {
  for (int64_t rows : {2, 65, 150})
    for (double t : {2.0, 30.0, 90.0})
      for (bool normalize : {true, false}) {
        Matrix x = correlated(rows, 24, true, 5);
        if (!normalize)
          for (float& value : x.data) value *= 0.2f;
        const std::string what = "uniformity " + text(double(rows)) + " t " + text(t);
        const ck_matrix m = view(x);
        const ck_options options = make_options(1, normalize);
        Floats gradient(x.data.size());
        ck_result result;
        ck_error error;
        expect(ck_uniformity(&m, t, &options, gradient.data(), &result, &error) == CK_OK, what);
        const reference::Uniformity want = reference::uniformity(x, t, normalize);
        const double tol = tolerance(0.5 / t) * (normalize ? 1 : largest_square(x));
        expect_within(std::fabs(result.loss - want.loss), tol * std::max(1.0, std::fabs(want.loss)), LOSS, what);
        expect_gradient(gradient, want.gradient, tol, what);
      }
}

void test_cosine_and_alignment() {
  for (int64_t rows : {1, 70}) {
    const Matrix x = correlated(rows + rows % 2, 40, false, 7), y = correlated(132, 40, false, 8);
    const ck_matrix mx = view(x), my = view(y);
    const ck_options options = make_options(1);
    ck_error error;
    Floats out(x.rows * y.rows), self(x.rows * x.rows), gx(x.data.size()), gy(y.data.size());
    expect(ck_cosine_similarity(&mx, &my, &options, out.data(), &error) == CK_OK, "cosine");
    expect(ck_cosine_similarity(&mx, nullptr, &options, self.data(), &error) == CK_OK, "cosine with itself");
    const reference::Row want = reference::cosine(x, y, true);
    for (size_t i = 0; i < out.size(); ++i) expect_within(std::fabs(out[i] - want[i]), 1e-6, COSINE, "cosine");
    std::mt19937 random(9);
    const Matrix upstream = random_matrix(x.rows, y.rows, random);
    const ck_matrix mu = view(upstream);
    expect(ck_cosine_similarity_backward(&mx, &my, &mu, &options, gx.data(), gy.data(), &error) == CK_OK, "cosine backward");
    const reference::CosineBackward gradients = reference::cosine_backward(x, y, upstream, true, options.weight);
    expect_gradient(gx, gradients.x, 1e-6, "cosine backward x");
    expect_gradient(gy, gradients.y, 1e-6, "cosine backward y");

    ck_result result;
    const Matrix other = correlated(x.rows, 40, true, 10);
    const ck_matrix mo = view(other);
    Floats per_row(x.rows), go(x.data.size());
    expect(ck_alignment(&mx, &mo, 3, &options, per_row.data(), gx.data(), go.data(), &result, &error) == CK_OK, "alignment");
    const reference::Alignment aligned = reference::alignment(x, other, 3, true, options.weight);
    expect_loss(result.loss, aligned.loss, 1e-6, "alignment");
    expect_gradient(gx, aligned.x, 1e-6, "alignment x");
    expect_gradient(go, aligned.y, 1e-6, "alignment y");
  }
}

// ---- What can go wrong -----------------------------------------------------------------------------------------------------------

struct Call {
  Matrix z = correlated(70, 12, false, 11);
  Floats per_row = Floats(70, kUntouched), gradient = Floats(70 * 12, kUntouched);
  ck_options options = make_options(0.1);
  ck_error error;
  ck_result result;
  int run() {
    const ck_matrix m = view(z);
    return ck_nt_xent(&m, 0, &options, per_row.data(), nullptr, gradient.data(), &result, &error);
  }
  bool untouched() const { return per_row == Floats(70, kUntouched) && gradient == Floats(70 * 12, kUntouched); }
};

void test_every_runtime_call_failing() {
  ck_cuda_trim();
  const size_t before = simt::allocated_bytes();
  constexpr int kMany = 1000000;
  simt::faults.fail_call = kMany;
  Call right;
  expect(right.run() == CK_OK, "no fault, no error");
  const int calls = kMany - simt::faults.fail_call;
  expect(calls > 15, "runtime calls of one call: " + text(calls));
  for (int failing = 1; failing <= calls; ++failing) {
    Call call;
    simt::faults.fail_call = 0;
    ck_cuda_trim();  // so that the allocations are among the calls
    simt::faults.fail_call = failing;
    const int status = call.run();
    const std::string what = "runtime call " + text(failing) + " of " + text(calls);
    expect(status == CK_DEVICE_FAILURE || status == CK_UNAVAILABLE, what + ": status " + text(status));
    expect(std::strstr(call.error.message, "unspecified launch failure") != nullptr, what + ": " + call.error.message);
    expect(call.untouched(), what + ": nothing written");
    ck_cuda_trim();
    expect(simt::allocated_bytes() == before, what + ": the memory is given back");
  }
  simt::faults.fail_call = 0;
}

void test_out_of_memory() {
  ck_cuda_trim();
  const size_t before = simt::allocated_bytes();
  Call call;
  setenv("SIMT_MEMORY_BYTES", "100000", 1);
  expect(call.run() == CK_OUT_OF_MEMORY && std::strstr(call.error.message, "bytes of device memory"), "out of memory");
  unsetenv("SIMT_MEMORY_BYTES");
  expect(call.untouched() && simt::allocated_bytes() == before, "out of memory: nothing written, nothing kept");
  simt::reset_peak();
  expect(call.run() == CK_OK, "the next call finds memory again");
  const int64_t workspace = ck_workspace_bytes(CK_NT_XENT, 70, 0, 12, 1, &call.options);
  const double inputs_and_outputs = 4.0 * (2 * 70 * 12 + 70);
  expect(std::fabs(double(simt::peak_bytes() - before) - workspace - inputs_and_outputs) < 8192,
         "the workspace figure is what a call takes");
}

void test_no_device() {
  setenv("SIMT_NO_DEVICE", "1", 1);
  Call call;
  expect(call.run() == CK_UNAVAILABLE && std::strstr(call.error.message, "no CUDA-capable device"), "no device");
  char text[400];
  const size_t length = ck_describe(text, sizeof text);
  expect(length == std::strlen(text) && std::strstr(text, "{\"available\":false,\"reason\":\"no CUDA-capable device is detected") == text,
         std::string("description: ") + text);
  expect(ck_describe(text, 10) == length && std::strlen(text) == 9, "a short buffer is cut, the length is told");
  unsetenv("SIMT_NO_DEVICE");
  expect(ck_describe(nullptr, 0) > 0 && call.untouched(), "no buffer at all");
}

void test_refusals() {
  Call call;
  const volatile int32_t cancel = 1;
  call.options.cancel = &cancel;
  expect(call.run() == CK_CANCELLED && call.untouched(), "given up");
  call.options.cancel = nullptr;
  call.options.temperature = 1e-60;
  expect(call.run() == CK_OUT_OF_RANGE && call.untouched(), "a temperature beyond float32");
  call.options.temperature = 0.1;
  call.z.data[69 * 12 + 4] = NAN;
  expect(call.run() == CK_NON_FINITE && call.error.argument == 0 && call.error.row == 69 && call.error.column == 4 && call.untouched(),
         "not finite");
  expect(ck_workspace_bytes(CK_NT_XENT, int64_t(1) << 40, 0, 12, 1, &call.options) == INT64_MAX, "no workspace is enough for 2^40 rows");

  // Device pointers, and a workspace that is too small.
  const ck_matrix m = view(call.z);
  ck_cuda_report report;
  expect(ck_cuda_nt_xent(&m, 0, &call.options, nullptr, nullptr, nullptr, &report, nullptr, 64, nullptr, &call.error) == CK_OUT_OF_MEMORY &&
             std::strstr(call.error.message, "workspace"),
         "a workspace too small");
}

void test_concurrent_calls() {
  Call alone;
  expect(alone.run() == CK_OK, "alone");
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 3; ++repeat) {
        Call call;
        if (call.run() != CK_OK || call.gradient != alone.gradient || call.result.loss != alone.result.loss) ++wrong;
      }
    });
  for (std::thread& caller : callers) caller.join();
  expect(wrong == 0, "calls at the same time give the bits of a call alone");
}

// Another thread sets the flag while the call runs: either it came too late, or nothing was written.
void test_given_up_in_flight() {
  for (int delay : {0, 200, 2000}) {
    Call call;
    int32_t flag = 0;
    call.options.cancel = &flag;
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(delay));
      __atomic_store_n(&flag, 1, __ATOMIC_RELAXED);
    });
    const int status = call.run();
    other.join();
    expect(status == CK_OK || (status == CK_CANCELLED && call.untouched()), "given up in flight: status " + text(status));
  }
}

}  // namespace

int main() {
  test_nt_xent();
  if (!kSanitized) test_many_rows();
  test_uniformity();
  test_cosine_and_alignment();
  test_every_runtime_call_failing();
  test_out_of_memory();
  test_no_device();
  test_refusals();
  test_concurrent_calls();
  test_given_up_in_flight();
  std::printf("%d checks, %d failed\n", checks(), failures());
  return failures() ? 1 : 0;
}
