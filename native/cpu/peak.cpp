// The machine's rate of multiply-adds, measured: what shares of peak are taken of (ck_measure_peak).
//
// Twelve independent chains in registers keep both FMA pipes full for the four to five cycles an FMA takes. One function for each
// instruction set, by attribute, since nothing here may be inlined into code that runs on any machine.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "contrastive_kernels.h"
#include "cpu/dispatch.hpp"

namespace {

constexpr int CHAINS = 12;

// Floating-point operations done. `out` keeps the compiler from dropping them.
template <class V>
inline __attribute__((always_inline)) double multiply_add(int64_t turns, float* out) {
  V c[CHAINS];
  // From no fixed point of the recurrence: a compiler finds that such a chain does not change, and drops it.
  for (int i = 0; i < CHAINS; ++i) c[i] = V{} + 2.0f + 0.01f * i;
  const V a = V{} + 0.999f, b = V{} + 0.001f;
  for (int64_t turn = 0; turn < turns; ++turn)
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; ++i) c[i] = c[i] * a + b;
  for (int i = 1; i < CHAINS; ++i) c[0] += c[i];
  *out = c[0][0];
  return static_cast<double>(turns) * CHAINS * 2.0 * (sizeof(V) / sizeof(float));
}

typedef float Float4 __attribute__((vector_size(16)));
double portable(int64_t turns, float* out) { return multiply_add<Float4>(turns, out); }
#if defined(__x86_64__)
typedef float Float8 __attribute__((vector_size(32)));
typedef float Float16 __attribute__((vector_size(64)));
__attribute__((target("avx2,fma"))) double avx2(int64_t turns, float* out) { return multiply_add<Float8>(turns, out); }
__attribute__((target("avx512f,fma"))) double avx512(int64_t turns, float* out) { return multiply_add<Float16>(turns, out); }
#endif

double (*chains_of(const char* instruction_set))(int64_t, float*) {
#if defined(__x86_64__)
  if (std::strcmp(instruction_set, "avx512") == 0) return avx512;
  if (std::strcmp(instruction_set, "avx2") == 0) return avx2;
#endif
  static_cast<void>(instruction_set);
  return portable;
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

// The best of many runs of a third of a millisecond, on all threads at once: neighbours can only take from it.
extern "C" double ck_measure_peak(int32_t threads) {
  const ck::KernelTable* kernels = ck::dispatch().kernels;
  if (kernels == nullptr || threads < 1) return 0.0;
  double (*chains)(int64_t, float*) = chains_of(kernels->name);
  try {
    std::vector<double> rates(static_cast<size_t>(threads));
    std::vector<std::thread> team;
    for (double& rate : rates)
      team.emplace_back([&rate, chains] {
        float sink;
        chains(1 << 16, &sink);
        for (int repeat = 0; repeat < 100; ++repeat) {
          const double start = now();
          const double operations = chains(1 << 17, &sink);
          rate = std::max(rate, operations / (now() - start));
        }
      });
    for (std::thread& thread : team) thread.join();
    double sum = 0.0;
    for (double rate : rates) sum += rate;
    return sum;
  } catch (...) {
    return 0.0;
  }
}
