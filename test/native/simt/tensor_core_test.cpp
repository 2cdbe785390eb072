// The models of the tensor-core instructions against plain loops, and planted bugs around them, each of which must be reported.
#include <cmath>

#include "child.hpp"
#include "cuda/tensor_core.hpp"

using namespace planted;

namespace {

unsigned char* shared_bytes() {
  CK_SHARED_MEMORY(bytes);
  return bytes;
}

// ---- The models ------------------------------------------------------------------------------------------------------------------

// A small number that bfloat16 holds exactly, different for every (i, k).
float element(int i, int k) { return float((7 * i + 3 * k) % 23 - 11) / 8; }

// out[t]: how many of the elements of A B that thread t holds differ from the plain sum; warp 1 uses other numbers than warp 0.
__global__ void product(float* out) {
  const int t = int(threadIdx.x), warp = t / 32, lane = t % 32, group = lane / 4, quad = lane % 4;
  auto* a = reinterpret_cast<uint16_t*>(shared_bytes()) + warp * 512;  // [16][16], row-major
  uint16_t* b = a + 256;                                               // [16][8]: row k, column n
  for (int i = lane; i < 256; i += 32) a[i] = uint16_t(ck::cuda::to_bf16(element(i / 16 + warp, i % 16)));
  for (int i = lane; i < 128; i += 32) b[i] = uint16_t(ck::cuda::to_bf16(element(i % 8 + 40, i / 8 + warp)));
  __syncthreads();
  uint32_t fa[4], fb[4];
  ck::cuda::load_matrix(fa, a + lane % 16 * 16 + lane / 16 * 8);
  ck::cuda::load_matrix_transposed(fb, b + lane % 16 * 8);  // matrices 2 and 3 repeat 0 and 1
  float c[4] = {0.5f, 0.5f, 0.5f, 0.5f};
  ck::cuda::multiply_bf16(c, fa, fb[0], fb[1]);
  float wrong = 0;
  for (int r = 0; r < 4; ++r) {
    double sum = 0.5;
    for (int k = 0; k < 16; ++k) sum += double(element(group + r / 2 * 8 + warp, k)) * element(2 * quad + r % 2 + 40, k + warp);
    wrong += c[r] != float(sum);
  }
  out[t] = wrong;
}

// Registers hold the elements that the layout of ldmatrix says; out[t] counts those that do not.
__global__ void matrix_layout(float* out) {
  const int t = int(threadIdx.x), lane = t % 32;
  auto* rows = reinterpret_cast<uint16_t*>(shared_bytes());  // [32 rows][8]
  for (int i = t; i < 256; i += kThreads) rows[i] = uint16_t(i);
  __syncthreads();
  uint32_t plain[4], transposed[4];
  ck::cuda::load_matrix(plain, rows + 8 * lane);
  ck::cuda::load_matrix_transposed(transposed, rows + 8 * lane);
  float wrong = 0;
  for (int m = 0; m < 4; ++m) {
    for (int half = 0; half < 2; ++half) {
      const int major = lane / 4, minor = lane % 4 * 2 + half;
      wrong += (plain[m] >> 16 * half & 0xFFFF) != uint32_t(64 * m + 8 * major + minor);
      wrong += (transposed[m] >> 16 * half & 0xFFFF) != uint32_t(64 * m + 8 * minor + major);
    }
  }
  out[t] = wrong;
}

// Sums that do not fit float32 are cut towards zero, and the order of a product's terms does not matter.
__global__ void product_rounding(float* out) {
  using ck::cuda::pack;
  const int quad = int(threadIdx.x) % 4;
  const uint32_t one = ck::cuda::to_bf16(1.0f), tiny = ck::cuda::to_bf16(std::ldexp(1.5f, -24));
  const uint32_t ones = pack(one, one), terms = quad == 0 ? pack(tiny, 0) : 0;
  const uint32_t a[4] = {ones, ones, ones, ones};
  float up[4] = {1, 1, 1, 1}, down[4] = {-1, -1, -1, -1}, first[4] = {}, second[4] = {};
  ck::cuda::multiply_bf16(up, a, terms, 0);
  ck::cuda::multiply_bf16(down, a, 0, quad == 0 ? pack(ck::cuda::to_bf16(-std::ldexp(1.5f, -24)), 0) : 0);
  ck::cuda::multiply_bf16(first, a, ck::cuda::to_bf16(0.3f) << 16, ck::cuda::to_bf16(1e-4f));
  ck::cuda::multiply_bf16(second, a, ck::cuda::to_bf16(1e-4f), ck::cuda::to_bf16(0.3f) << 16);
  out[threadIdx.x] = float(up[0] != 1.0f) + float(down[3] != -1.0f) + float(first[1] != second[1]);
}

__global__ void conversions(float* out) {
  using namespace ck::cuda;
  float wrong = 0;
  const float largest = 3.402823466e38f;
  wrong += from_bf16(to_bf16(largest)) != std::ldexp(255.0f, 120) || from_bf16(to_bf16(-largest)) != -std::ldexp(255.0f, 120);
  wrong += from_bf16(to_bf16(1.00390625f)) != 1.0f || from_bf16(to_bf16(1.01171875f)) != 1.015625f;  // ties go to even
  for (float value : {1.2345678f, -3e-20f, 7e19f}) {
    const Split parts = split(value);
    wrong += std::fabs(from_bf16(parts.high) + from_bf16(parts.low) - value) > std::fabs(value) * std::ldexp(1.0f, -17);
  }
  wrong += exp2_fast(-HUGE_VALF) != 0 || exp2_fast(-127.0f) != 0 || std::fabs(exp2_fast(-100.5f) / std::exp2(-100.5f) - 1) > 3e-7;
  out[threadIdx.x] = wrong;
}

// ---- A ring of asynchronous copies, and what can be wrong with one -------------------------------------------------------------------

enum class Bug { none, no_wait, no_commit, no_barrier, early_refill, late_wait, no_last_wait };

constexpr int kStages = 3, kSteps = 8;  // more steps than stages, or a refill that is too early would go unseen

// The source needs no more than the copies can see: written by no kernel, it lies in memory of the host.
alignas(16) uint32_t source[kSteps][4 * kThreads];

// out[t] = the sum over steps of what thread t's mirror image copied. Step s lies in stage s % kStages.
template <Bug kBug>
__global__ void ring(float* out) {
  const int t = int(threadIdx.x);
  auto* stages = reinterpret_cast<uint32_t*>(shared_bytes());
  auto stage = [&](int step) { return stages + step % kStages * 4 * kThreads; };
  auto issue = [&](int step) {
    if (step < kSteps) ck::cuda::copy_async(stage(step) + 4 * t, source[step] + 4 * t, true);
    if (kBug != Bug::no_commit) ck::cuda::copy_async_commit();
  };
  constexpr int kAhead = kStages - 1;
  for (int s = 0; s < kAhead; ++s) issue(s);
  float sum = 0;
  for (int s = 0; s < kSteps; ++s) {
    if (kBug == Bug::early_refill) issue(s + kAhead);  // before the others have read the stage it overwrites
    if (kBug == Bug::late_wait)
      ck::cuda::copy_async_wait<kStages>();
    else if (kBug != Bug::no_wait && !(kBug == Bug::no_last_wait && s + 1 == kSteps))
      ck::cuda::copy_async_wait<kBug == Bug::early_refill ? kAhead : kAhead - 1>();
    if (kBug != Bug::no_barrier) __syncthreads();
    if (kBug != Bug::early_refill) issue(s + kAhead);
    float value;
    std::memcpy(&value, stage(s) + 4 * (kThreads - 1 - t), sizeof value);
    sum += value;
  }
  out[t] = sum;
}

float ring_sum(int t) {
  float sum = 0;
  for (int s = 0; s < kSteps; ++s) sum += float(100 * s + (kThreads - 1 - t));
  return sum;
}

void fill_source() {
  for (int s = 0; s < kSteps; ++s)
    for (int t = 0; t < kThreads; ++t) {
      const float value = float(100 * s + t);
      std::memcpy(&source[s][4 * t], &value, sizeof value);
    }
}

// ---- Bugs around single instructions -----------------------------------------------------------------------------------------------

template <bool kBarrier>
__global__ void load_of_others(float* out) {
  const int t = int(threadIdx.x), lane = t % 32, other = (t / 32 + 1) % 2;
  auto* rows = reinterpret_cast<uint16_t*>(shared_bytes());  // [2 warps][32 rows][8]
  for (int i = 0; i < 8; ++i) rows[8 * t + i] = uint16_t(ck::cuda::to_bf16(1.0f));
  if (kBarrier) __syncthreads();
  uint32_t r[4];
  ck::cuda::load_matrix(r, rows + 256 * other + 8 * lane);
  out[t] = ck::cuda::from_bf16(r[0] & 0xFFFF) + ck::cuda::from_bf16(r[3] >> 16) - 1;
}

__global__ void load_misaligned(float*) {
  uint32_t r[4];
  ck::cuda::load_matrix(r, shared_bytes() + 16 * (threadIdx.x % 32) + 8);
}
__global__ void load_outside(float*) {
  uint32_t r[4];
  ck::cuda::load_matrix(r, shared_bytes() + 16 * (threadIdx.x % 32) + 4096);
}
__global__ void copy_misaligned(float*) { ck::cuda::copy_async(shared_bytes() + 16 * threadIdx.x, &source[0][1], true); }
__global__ void copy_outside(float*) {
  ck::cuda::copy_async(shared_bytes() + 16 * (threadIdx.x + 1), source[0], true);
  __syncthreads();
}
__global__ void copy_from_beyond(float* out) {
  ck::cuda::copy_async(shared_bytes() + 16 * threadIdx.x, out + 4 * threadIdx.x, true);
  ck::cuda::copy_async_commit();
  ck::cuda::copy_async_wait<0>();
}

// Half of a warp multiplies, the other half shuffles.
__global__ void diverged_product(float* out) {
  float c[4] = {};
  const uint32_t a[4] = {};
  if (threadIdx.x % 2)
    ck::cuda::multiply_bf16(c, a, 0, 0);
  else
    c[0] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
  out[threadIdx.x] = c[0];
}

// Lanes that leave before a product.
__global__ void product_of_few(float* out) {
  float c[4] = {};
  const uint32_t a[4] = {};
  if (threadIdx.x % 32 > 15) return;
  ck::cuda::multiply_bf16(c, a, 0, 0);
  out[threadIdx.x] = c[0];
}

float zero(int) { return 0; }
float one(int) { return 1; }

void test_models() {
  auto right = [](const char* what, Kernel kernel, float (*expected)(int), size_t bytes) {
    const Outcome o = in_child([&] { return run(kernel, 1, expected, bytes); });
    expect(succeeded(o), what, o);
  };
  right("ldmatrix: layout, plain and transposed", matrix_layout, zero, 512);
  right("mma.sync: a plain product", product, zero, 2048);
  right("mma.sync: cuts, in any order of terms", product_rounding, zero, 0);
  right("conversions", conversions, zero, 0);
  right("right: ring of asynchronous copies", ring<Bug::none>, ring_sum, kStages * 16 * kThreads);
  right("right: ldmatrix after a barrier", load_of_others<true>, one, 1024);
}

void test_planted() {
  auto child = [](Kernel kernel, float (*expected)(int), size_t bytes) {
    return in_child([=] { return run(kernel, 1, expected, bytes); });
  };
  constexpr size_t kRing = kStages * 16 * kThreads;
  Outcome o = child(ring<Bug::no_wait>, ring_sum, kRing);
  expect(reported(o, "did not wait for") || wrong_numbers(o), "no wait for asynchronous copies", o);
  o = child(ring<Bug::no_commit>, ring_sum, kRing);
  expect(reported(o, "did not wait for"), "asynchronous copies never committed", o);
  o = child(ring<Bug::late_wait>, ring_sum, kRing);
  expect(reported(o, "did not wait for") || race(o, true), "a wait that leaves too many groups in flight", o);
  o = child(ring<Bug::no_last_wait>, ring_sum, kRing);
  expect(reported(o, "did not wait for"), "no wait for the last copies", o);
  o = child(ring<Bug::no_barrier>, ring_sum, kRing);
  expect(race(o, true), "no barrier after the wait", o);
  o = child(ring<Bug::early_refill>, ring_sum, kRing);
  expect(race(o, true), "a stage of the ring filled again too early", o);
  o = child(load_of_others<false>, one, 1024);
  expect(race(o, true), "no barrier before ldmatrix", o);
  o = child(load_misaligned, nullptr, 1024);
  expect(reported(o, "not aligned to 16 bytes"), "ldmatrix of a misaligned row", o);
  o = child(load_outside, nullptr, 1024);
  expect(reported(o, "not shared memory"), "ldmatrix outside of shared memory", o);
  o = child(copy_misaligned, nullptr, 1024);
  expect(reported(o, "not aligned to 16 bytes"), "an asynchronous copy from a misaligned address", o);
  o = child(copy_outside, nullptr, 16 * kThreads);
  expect(reported(o, "not shared memory"), "an asynchronous copy past the end of shared memory", o);
  o = child(copy_from_beyond, nullptr, 16 * kThreads);
  expect(!kAsan || reported(o, "heap-buffer-overflow"), "an asynchronous copy from beyond global memory", o);
  o = child(diverged_product, nullptr, 0);
  expect(reported(o, "different operations"), "half a warp in a product, half in a shuffle", o);
  o = child(product_of_few, nullptr, 0);
  expect(reported(o, "ended"), "a product that half of the warp does not reach", o);
  o = in_child([] {
    Buffer out(kThreads);
    ck::cuda::launch(product, 1, 16, 2048, nullptr, out.data);
    return 0;
  });
  expect(reported(o, "not full"), "a product in a warp of 16 threads", o);
}

}  // namespace

int main() {
  fill_source();
  test_models();
  test_planted();
  std::printf("%d failed\n", failures);
  return failures ? 1 : 0;
}
