// What stays on the device: matrices that a caller uploads once, outputs that are left there, and what the pool keeps between calls so
// that a repeated call allocates nothing.
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

ck_options options_of(double temperature) {
  ck_options options = {};
  options.temperature = temperature;
  options.weight = 0.25;
  options.normalize = options.stats = 1;
  return options;
}

Matrix rows_of(int64_t rows, int64_t cols, unsigned seed) {
  std::mt19937 random(seed);
  return families()[1].make(rows, cols, false, random);
}

// Device memory with these values, or without any.
struct OnDevice {
  float* at = nullptr;
  size_t count;
  explicit OnDevice(size_t size) : count(size) {
    ck_error error;
    void* memory = nullptr;
    expect(ck_cuda_allocate(size * sizeof(float), &memory, &error) == CK_OK, "device memory");
    at = static_cast<float*>(memory);
  }
  explicit OnDevice(const Floats& values) : OnDevice(values.size()) {
    ck_error error;
    expect(ck_cuda_upload(at, values.data(), count * sizeof(float), &error) == CK_OK, "upload");
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { ck_cuda_release(at); }
  Floats read() const {
    Floats values(count, kUntouched);
    ck_error error;
    expect(ck_cuda_download(values.data(), at, count * sizeof(float), &error) == CK_OK, "download");
    return values;
  }
};

void test_round_trip() {
  for (size_t count : {size_t(1), size_t(1000), size_t(300000)}) {  // the last is larger than the staging memory
    Floats values(count);
    for (size_t i = 0; i < count; ++i) values[i] = float(i) + 0.5f;
    expect(OnDevice(values).read() == values, "round trip of " + text(double(count)));
  }
  ck_error error;
  float host = 1;
  expect(ck_cuda_upload(&host, &host, sizeof host, &error) == CK_DEVICE_FAILURE && *error.message, "upload to host memory");
  ck_cuda_release(&host);  // not ours: left alone
  expect(ck_cuda_synchronize(nullptr, &error) == CK_OK, "the default stream");
  simt::faults.fail_call = 1;
  expect(ck_cuda_synchronize(nullptr, &error) == CK_DEVICE_FAILURE && *error.message, "a failing wait");
  simt::faults.fail_call = 0;
}

// Every input and gradient in either place: the same bits.
void test_inputs_and_outputs_on_the_device() {
  const Matrix x = rows_of(66, 20, 1), y = rows_of(66, 20, 2);
  const ck_options options = options_of(0.1);
  ck_error error;
  const ck_matrix host_x = {x.data.data(), x.rows, x.cols}, host_y = {y.data.data(), y.rows, y.cols};
  Floats per_row(66), gradient_x(66 * 20), gradient_y(66 * 20);
  ck_result want, got;
  expect(ck_alignment(&host_x, &host_y, 2, &options, per_row.data(), gradient_x.data(), gradient_y.data(), &want, &error) == CK_OK, "host");
  const OnDevice device_x(x.data), device_y(y.data);
  for (int place = 0; place < 16; ++place) {
    const ck_matrix in_x = {place & 1 ? device_x.at : x.data.data(), x.rows, x.cols};
    const ck_matrix in_y = {place & 2 ? device_y.at : y.data.data(), y.rows, y.cols};
    const OnDevice out_x(x.data.size()), out_y(x.data.size());
    Floats host_out_x(66 * 20), host_out_y(66 * 20), rows(66);
    const std::string what = "alignment, places " + text(place);
    expect(ck_alignment(&in_x, &in_y, 2, &options, rows.data(), place & 4 ? out_x.at : host_out_x.data(),
                        place & 8 ? out_y.at : host_out_y.data(), &got, &error) == CK_OK,
           what);
    expect(got.loss == want.loss && rows == per_row, what + ": loss");
    expect((place & 4 ? out_x.read() : host_out_x) == gradient_x && (place & 8 ? out_y.read() : host_out_y) == gradient_y,
           what + ": gradients");
  }
  expect(device_x.read() == x.data, "inputs are left as they were");

  Floats wrong = x.data;
  wrong[3 * 20 + 7] = NAN;
  const OnDevice bad(wrong);
  const ck_matrix in_bad = {bad.at, x.rows, x.cols};
  expect(ck_alignment(&host_x, &in_bad, 2, &options, nullptr, gradient_x.data(), nullptr, &got, &error) == CK_NON_FINITE &&
             error.argument == 1 && error.row == 3 && error.column == 7,
         "not finite, on the device");
}

// Gradients larger than the staging memory take the straight way; a failing copy leaves the small outputs alone.
void test_large_outputs() {
  const Matrix x = rows_of(3000, 100, 3), y = rows_of(3000, 100, 4);
  const ck_matrix in_x = {x.data.data(), x.rows, x.cols}, in_y = {y.data.data(), y.rows, y.cols};
  const ck_options options = options_of(1);
  constexpr int kMany = 1000000;
  ck_error error;
  Floats per_row(3000), gradient(300000);
  auto run = [&] {
    ck_result result;
    return ck_alignment(&in_x, &in_y, 2, &options, per_row.data(), gradient.data(), nullptr, &result, &error);
  };
  expect(run() == CK_OK, "large");
  const reference::Alignment want = reference::alignment(x, y, 2, true, options.weight);
  expect_gradient(gradient, want.x, 1e-6, "large alignment");
  simt::faults.fail_call = kMany;
  expect(run() == CK_OK, "large and warm");
  const int calls = kMany - simt::faults.fail_call;
  for (int failing : {calls - 1, calls}) {  // the copy of the gradient, and the wait for it
    simt::faults.fail_call = 0;
    expect(run() == CK_OK, "warm again: after a failure nothing is kept");
    per_row.assign(3000, kUntouched);
    simt::faults.fail_call = failing;
    expect(run() == CK_DEVICE_FAILURE && per_row == Floats(3000, kUntouched), "a failing copy leaves the small outputs alone");
  }
  simt::faults.fail_call = 0;
}

void test_warm_calls_allocate_nothing() {
  ck_cuda_trim();
  const ck_options options = options_of(0.2);
  ck_error error;
  ck_result result;
  auto step = [&](int64_t rows) {
    const Matrix z = rows_of(rows, 24, unsigned(rows));
    const OnDevice device(z.data), gradient(z.data.size());
    const ck_matrix on_host = {z.data.data(), rows, 24}, on_device = {device.at, rows, 24};
    Floats host_gradient(z.data.size());
    expect(ck_nt_xent(&on_host, 0, &options, nullptr, nullptr, host_gradient.data(), &result, &error) == CK_OK, "host step");
    expect(ck_nt_xent(&on_device, 0, &options, nullptr, nullptr, gradient.at, &result, &error) == CK_OK, "device step");
    expect(gradient.read() == host_gradient, "both steps: the same gradient");
  };
  step(130);
  const size_t before = simt::allocations();
  for (int repeat = 0; repeat < 3; ++repeat) step(130);
  step(120);  // a smaller last batch
  expect(simt::allocations() == before, "warm calls allocate " + text(double(simt::allocations() - before)) + " times");
  expect(ck_cuda_kept_bytes() == simt::allocated_bytes() && ck_cuda_kept_bytes() > 0, "everything allocated is kept");
  ck_cuda_trim();
  expect(simt::allocated_bytes() == 0 && ck_cuda_kept_bytes() == 0, "trim frees what is kept");
  step(130);
  expect(simt::allocations() > before, "and the next call allocates again");
}

// What is kept must never be the reason that there is no room.
void test_kept_memory_makes_room() {
  ck_cuda_trim();
  { const OnDevice old(200000); }
  expect(ck_cuda_kept_bytes() == 800000, "kept");
  setenv("SIMT_MEMORY_BYTES", "2000000", 1);
  void* memory = nullptr;
  ck_error error;
  expect(ck_cuda_allocate(1900000, &memory, &error) == CK_OK && ck_cuda_kept_bytes() == 0, "kept memory is freed for a new matrix");
  void* more = &error;
  expect(ck_cuda_allocate(1900000, &more, &error) == CK_OUT_OF_MEMORY && !more && std::strstr(error.message, "1900000 bytes"), "no room");
  unsetenv("SIMT_MEMORY_BYTES");
  ck_cuda_release(memory);
  ck_cuda_trim();
  expect(simt::allocated_bytes() == 0, "given back");
}

// 1 GiB by default; of more, what came back first is freed.
void test_kept_memory_has_a_limit() {
  ck_cuda_trim();
  constexpr size_t kFloats = 100 << 20;
  {
    const OnDevice first(kFloats), second(kFloats + 1), third(kFloats + 2);
    expect(simt::allocated_bytes() == 3 * 4 * (kFloats + 1), "three matrices");
  }  // given back in the opposite order
  expect(ck_cuda_kept_bytes() == 2 * 4 * kFloats + 4 && simt::allocated_bytes() == ck_cuda_kept_bytes(), "two are kept, not the third");
  ck_cuda_trim();
}

// Inputs that would fill the staging memory to its last byte: the report still finds room to come back.
void test_full_staging() {
  const Matrix x = rows_of(2048, 64, 21), y = rows_of(2048, 64, 22);
  const ck_options options = options_of(1);
  const ck_matrix first = {x.data.data(), x.rows, x.cols}, second = {y.data.data(), y.rows, y.cols};
  ck_result result;
  ck_error error;
  const int status = ck_alignment(&first, &second, 2, &options, nullptr, nullptr, nullptr, &result, &error);
  expect(status == CK_OK && result.loss > 0, "inputs as large as the staging memory");
}

void test_no_device() {
  setenv("SIMT_NO_DEVICE", "1", 1);
  void* memory = nullptr;
  ck_error error;
  expect(ck_cuda_allocate(4, &memory, &error) == CK_UNAVAILABLE && std::strstr(error.message, "no CUDA-capable device"), "no device");
  unsetenv("SIMT_NO_DEVICE");
}

void test_threads() {
  const Matrix z = rows_of(64, 16, 9);
  const ck_options options = options_of(0.2);
  std::vector<std::thread> threads;
  std::vector<Floats> gradients(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int repeat = 0; repeat < 5; ++repeat) {
        const OnDevice device(z.data), gradient(z.data.size());
        const ck_matrix in = {device.at, z.rows, z.cols};
        ck_result result;
        ck_error error;
        if (ck_nt_xent(&in, 0, &options, nullptr, nullptr, gradient.at, &result, &error) == CK_OK) gradients[i] = gradient.read();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Floats& gradient : gradients) expect(!gradient.empty() && gradient == gradients[0], "threads with matrices of their own");
}

}  // namespace

int main() {
  test_round_trip();
  test_inputs_and_outputs_on_the_device();
  test_large_outputs();
  test_warm_calls_allocate_nothing();
  test_kept_memory_makes_room();
  test_kept_memory_has_a_limit();
  test_full_staging();
  test_no_device();
  test_threads();
  std::printf("%d checks, %d failed\n", checks(), failures());
  return failures() ? 1 : 0;
}
