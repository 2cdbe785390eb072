// What a call takes from the system, by counting allocations: posix_memalign and operator new are this program's own. A call may take
//   (3 + min(threads, 8)) * R * C * 4 + threads * 256 KiB + 8 * threads * R + 4 MiB
// (R: rows rounded up to 192, C: columns rounded up to 32), no more than it announces, and nothing the second time. Every other loss takes
// no more than it announces, nothing the second time, and in proportion to the rows.
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <vector>

#include "contrastive_kernels.h"
#include "loss_calls.hpp"

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {
std::atomic<int64_t> taken{0};

void* count(size_t alignment, size_t bytes) {
  taken += static_cast<int64_t>(bytes);
  return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}
}  // namespace

extern "C" int posix_memalign(void** out, size_t alignment, size_t bytes) {
  *out = count(alignment, bytes);
  return *out == nullptr ? ENOMEM : 0;
}
// Never inlined: a caller that saw the body of only one of the two would look to the compiler as if it freed what it had not allocated.
[[gnu::noinline]] void* operator new(size_t bytes) {
  void* data = count(16, bytes);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}
[[gnu::noinline]] void operator delete(void* data) noexcept { std::free(data); }
[[gnu::noinline]] void operator delete(void* data, size_t) noexcept { std::free(data); }

namespace {

int failures = 0;

int64_t up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

template <class Run>
void check(const char* name, int kernel, int64_t rows, int64_t cols, int threads, bool gradients, const ck_options& options, Run&& run) {
  const int64_t padded = up(rows, 192);
  const int64_t bound =
      (3 + (threads < 8 ? threads : 8)) * padded * up(cols, 32) * 4 + threads * 256 * 1024 + 8 * threads * padded + 4 * 1024 * 1024;
  const int64_t told = ck_workspace_bytes(kernel, rows, 0, cols, gradients, &options);
  const int64_t start = taken;
  run();
  const int64_t first = taken - start;
  run();
  const int64_t second = taken - start - first;
  // Starting threads takes some hundred bytes each.
  const bool good = told <= bound && first <= told + 1024 * threads && second == 0;
  if (!good) ++failures;
  std::printf("%-4s %s %lld x %lld on %d threads: takes %lld, then %lld; tells %lld; may take %lld\n", good ? "ok" : "FAIL", name,
              static_cast<long long>(rows), static_cast<long long>(cols), threads, static_cast<long long>(first),
              static_cast<long long>(second), static_cast<long long>(told), static_cast<long long>(bound));
}

// Puts blocks that are too small for any other call where the library keeps two for the next ones.
void forget_blocks() {
  for (int64_t rows : {1, 600}) {
    std::vector<float> data(rows, 1.0f);
    const ck_matrix m = {data.data(), rows, 1};
    ck_options options = {};
    options.weight = options.threads = 1;
    ck_result result;
    ck_alignment(&m, &m, 2, &options, nullptr, nullptr, nullptr, &result, nullptr);
  }
}

constexpr int64_t kHugePage = int64_t{2} << 20;  // what large blocks are rounded up to

void check_every_loss(int64_t rows, int64_t cols, int threads) {
  ck_options options = {};
  options.temperature = 0.1;
  options.weight = options.normalize = options.stats = 1;
  options.threads = threads;
  std::vector<loss_calls::LossCall> calls = loss_calls::every_call(rows, cols, options);
  const std::vector<loss_calls::LossCall> twice = loss_calls::every_call(2 * rows, cols, options);
  for (size_t i = 0; i < calls.size(); ++i) {
    loss_calls::LossCall& call = calls[i];
    call.run(nullptr);  // makes the test's own outputs
    forget_blocks();
    const int64_t start = taken;
    const int status = call.run(nullptr);
    const int64_t first = taken - start;
    call.run(nullptr);
    const int64_t second = taken - start - first;
    const bool good = status == CK_OK && first > call.told / 2 && first <= call.told + 1024 * threads && second == 0 &&
                      twice[i].told <= 2 * call.told + kHugePage;
    if (!good) ++failures;
    std::printf("%-4s %s %lld x %lld on %d threads: takes %lld, then %lld; tells %lld, of twice the rows %lld\n", good ? "ok" : "FAIL",
                call.name.c_str(), static_cast<long long>(rows), static_cast<long long>(cols), threads, static_cast<long long>(first),
                static_cast<long long>(second), static_cast<long long>(call.told), static_cast<long long>(twice[i].told));
  }
}

}  // namespace

int main() {
  char description[200];
  ck_describe(description, sizeof description);
  if (std::strstr(description, "\"available\":true") == nullptr) return 77;
  const bool bfloat16 = std::strstr(description, "bfloat16") != nullptr;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const int64_t shapes[][2] = {{192, 768}, {500, 33}, {512, 128}, {2048, 128}, {3072, 32}, {4096, 768}, {12288, 16}};
  for (const auto& shape : shapes) {
    std::vector<float> data(shape[0] * shape[1]), gradient(data.size());
    for (float& value : data) value = normal(random);
    const ck_matrix m = {data.data(), shape[0], shape[1]};
    for (int threads : {1, 2, 8, 16}) {
      ck_options options = {};
      options.temperature = 0.1;
      options.weight = 1;
      options.normalize = 1;
      options.stats = 1;
      options.threads = threads;
      ck_result result;
      check("ntXent forward", CK_NT_XENT, shape[0], shape[1], threads, false, options,
            [&] { ck_nt_xent(&m, 0, &options, nullptr, nullptr, nullptr, &result, nullptr); });
      check("ntXent forward and backward", CK_NT_XENT, shape[0], shape[1], threads, true, options,
            [&] { ck_nt_xent(&m, 0, &options, nullptr, nullptr, gradient.data(), &result, nullptr); });
      if (bfloat16) {
        options.precision = CK_BFLOAT16;
        check("ntXent forward and backward in bfloat16", CK_NT_XENT, shape[0], shape[1], threads, true, options,
              [&] { ck_nt_xent(&m, 0, &options, nullptr, nullptr, gradient.data(), &result, nullptr); });
        options.precision = CK_FLOAT32;
      }
      check("uniformity forward and backward", CK_UNIFORMITY, shape[0], shape[1], threads, true, options,
            [&] { ck_uniformity(&m, 2, &options, gradient.data(), &result, nullptr); });
    }
  }
  for (int threads : {1, 2}) check_every_loss(3072, 64, threads);
  std::printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}

#else
int main() { return 77; }  // a sanitizer's allocator, or a system whose C library may not be replaced in part
#endif
