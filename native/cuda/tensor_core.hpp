// The instructions that move and multiply tiles on tensor cores, each with a GPU body (PTX, compute capability 8.0) and, in the
// emulation, the model of native/simt/tensor_core.hpp. With device.hpp the only place where the two differ.
//
// Older architectures get bodies that stop the kernel: the host never starts one there (check_tensor_call).
#pragma once
#include "cuda/device.hpp"

namespace ck::cuda {

#ifdef __CUDACC__
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define CK_TENSOR_CORE(...) __trap()
#else
#define CK_TENSOR_CORE(...) asm volatile(__VA_ARGS__)
#endif

__device__ __forceinline__ uint32_t shared_address(const void* memory) { return uint32_t(__cvta_generic_to_shared(memory)); }

// 16 bytes from global to shared memory without passing registers; zeros where not valid, whose address must still be one.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid) {
  CK_TENSOR_CORE("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copy_async_commit() { CK_TENSOR_CORE("cp.async.commit_group;" ::: "memory"); }
// Until at most kPending of this thread's groups are in flight; other threads' copies need a barrier besides.
template <int kPending>
__device__ __forceinline__ void copy_async_wait() {
  CK_TENSOR_CORE("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8 x 8 matrices of 16-bit elements; lane 8m + r gives the address of row r of matrix m.
__device__ __forceinline__ void load_matrix(uint32_t (&r)[4], const void* row) {
  CK_TENSOR_CORE("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void load_matrix_transposed(uint32_t (&r)[4], const void* row) {
  CK_TENSOR_CORE("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// c += A B, A 16 x 16 and B 16 x 8 of bfloat16, c in float32.
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  CK_TENSOR_CORE("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 2^x, relative error 2^-22; below 2^-126 it is 0.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

#else

inline void copy_async(void* to, const void* from, bool valid) { simt::copy_async(to, valid ? from : nullptr); }
inline void copy_async_commit() { simt::copy_async_commit(); }
template <int kPending>
void copy_async_wait() {
  simt::copy_async_wait(kPending);
}
inline void load_matrix(uint32_t (&r)[4], const void* row) { simt::load_matrix(r, row, false); }
inline void load_matrix_transposed(uint32_t (&r)[4], const void* row) { simt::load_matrix(r, row, true); }
inline void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { simt::multiply_bf16(c, a, b0, b1); }
inline float exp2_fast(float x) { return x >= -126.0f ? exp2_accurate(x) : 0.0f; }

#endif

template <bool kFast>
__device__ __forceinline__ float exp2_either(float x) {
  return kFast ? exp2_fast(x) : exp2_accurate(x);
}

// The nearest bfloat16, ties to even, as its 16 bits. What is finite stays finite: the largest floats do not round up to infinity.
__device__ __forceinline__ uint32_t to_bf16(float value) {
  const uint32_t bits = uint32_t(__float_as_int(value)), rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  return (rounded & 0x7F80u) == 0x7F80u && (bits & 0x7F800000u) != 0x7F800000u ? rounded - 1 : rounded;
}
__device__ __forceinline__ float from_bf16(uint32_t bits) { return __int_as_float(int(bits << 16)); }

// Two bfloat16 in one register, the first in the low half.
__device__ __forceinline__ uint32_t pack(uint32_t low, uint32_t high) { return low | high << 16; }

// value = high + low to 2^-17 of it.
struct Split {
  uint32_t high, low;
};
__device__ __forceinline__ Split split(float value) {
  const uint32_t high = to_bf16(value);
  return {high, to_bf16(value - from_bf16(high))};
}

// What they leave of it, to 2^-26 of it; both differences are exact.
__device__ __forceinline__ uint32_t rest_of(float value, const Split& parts) {
  return to_bf16(value - from_bf16(parts.high) - from_bf16(parts.low));
}

}  // namespace ck::cuda
