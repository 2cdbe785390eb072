// Everything that is spelled differently on the GPU and in the emulation, and the small device functions every kernel shares.
// <cuda_runtime.h> is the toolkit's under nvcc and native/simt's stand-in otherwise; kernels themselves have no conditionals.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define CK_SHARED_MEMORY(name) extern __shared__ __align__(1024) unsigned char name[]
#define CK_UNROLL _Pragma("unroll")
#define CK_ROLL _Pragma("unroll 1")
#else
#define CK_SHARED_MEMORY(name) unsigned char* name = simt::shared_memory()
#define CK_UNROLL
#define CK_ROLL
#endif

namespace ck::cuda {

constexpr int kWarp = 32;

#ifdef __CUDACC__

// Starts kernel(arguments...) on the stream; arguments convert to the kernel's parameter types.
template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, const A&... arguments) {
  if (shared_bytes > 48 * 1024) {  // the runtime wants to be asked first
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
    if (error != cudaSuccess) return error;
  }
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<P>(arguments)...);
  return cudaGetLastError();
}

// One rounding.
__device__ __forceinline__ float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }

// Memory between two buffers, which nobody may touch.
inline void guard(void*, size_t) {}

// Memory that is used again: in the emulation it looks as fresh as from cudaMalloc, so that nothing can lean on old values.
inline void refresh(void*, size_t) {}

#else

template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t, const A&... arguments) {
  const auto body = [&] { kernel(static_cast<P>(arguments)...); };
  return simt::launch(
      grid, block, shared_bytes, [](const void* closure) { (*static_cast<decltype(body)*>(closure))(); }, &body);
}

// Two roundings: fmaf is a slow library call without the instruction. The GPU is the more accurate one.
inline float multiply_add(float a, float b, float c) { return a * b + c; }

inline void guard(void* memory, size_t bytes) { simt::guard(memory, bytes); }
inline void refresh(void* memory, size_t bytes) { simt::refresh(memory, bytes); }

#endif

// 2^x for x <= 127, denormals included: the nearest integer, then a polynomial of degree 6 whose relative error on [-1/2, 1/2]
// is 2e-9; with float32 rounding 1.0e-7 at most. ex2.approx is 2.4e-7. The power of two comes as two factors, because
// one float32 factor ends at 2^-126. `lift`: times 2^lift, x + lift at most 127, without the rounding that adding it to x would cost.
__device__ __forceinline__ float exp2_accurate(float x, int lift = 0) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
  const float least = -152.0f - float(lift);
  x = x > least ? x : least;
  const float shifted = x + kRounder;
  const float f = x - (shifted - kRounder);
  float p = 1.5353362e-4f;
  p = multiply_add(p, f, 1.3398874e-3f);
  p = multiply_add(p, f, 9.618437e-3f);
  p = multiply_add(p, f, 5.5503324e-2f);
  p = multiply_add(p, f, 2.4022648e-1f);
  p = multiply_add(p, f, 6.931472e-1f);
  p = multiply_add(p, f, 1.0f);
  const uint32_t biased = uint32_t(__float_as_int(shifted)) - 0x4B400000u + 254u + uint32_t(lift);  // 102 .. 381
  const uint32_t half = biased / 2;
  return p * __int_as_float(int(half << 23)) * __int_as_float(int((biased - half) << 23));
}

// The sum over a warp, the same in every lane: partners are added in a fixed order.
__device__ __forceinline__ double warp_sum(double value) {
  CK_UNROLL
  for (int mask = 1; mask < kWarp; mask *= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, mask);
  return value;
}

// Folds one value per thread of a block of kThreads, in a fixed order; every thread gets the result. shared: kThreads doubles.
template <int kThreads, class Fold>
__device__ __forceinline__ double block_fold(double value, double* shared, Fold fold) {
  const int t = int(threadIdx.x);
  shared[t] = value;
  __syncthreads();
  for (int step = kThreads / 2; step > 0; step /= 2) {
    if (t < step) shared[t] = fold(shared[t], shared[t + step]);
    __syncthreads();
  }
  const double total = shared[0];
  __syncthreads();
  return total;
}
template <int kThreads>
__device__ __forceinline__ double block_sum(double value, double* shared) {
  return block_fold<kThreads>(value, shared, [](double a, double b) { return a + b; });
}

// Integer atomics, whose result does not depend on the order.
__device__ __forceinline__ void keep_minimum(uint64_t* cell, uint64_t value) {
  atomicMin(reinterpret_cast<unsigned long long*>(cell), static_cast<unsigned long long>(value));
}
// The larger of two non-negative doubles: their bits order as integers.
__device__ __forceinline__ void keep_maximum(double* cell, double value) {
  atomicMax(reinterpret_cast<unsigned long long*>(cell), static_cast<unsigned long long>(__double_as_longlong(value)));
}

}  // namespace ck::cuda
