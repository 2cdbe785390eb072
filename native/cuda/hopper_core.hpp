// The instructions of compute capability 9.0a: tensor copies, mbarriers, wgmma and what goes with them. Each has a GPU body (PTX) and, in
// the emulation, the model of native/simt/hopper.hpp, as in tensor_core.hpp.
//
// Only sm_90a has them, so a kernel's body stands inside #ifdef CK_HOPPER: elsewhere it is empty, and the host does not start it
// (hopper.hpp). The host's own pass compiles the body and drops it.
#pragma once
#include <cuda.h>

#include "cuda/tensor_core.hpp"

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CK_HOPPER
#endif

namespace ck::cuda {

#ifdef __CUDACC__

// ---- mbarriers: a phase completes when all arrivals and all announced bytes are there ---------------------------------------------------

__device__ __forceinline__ void barrier_init(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// After the last of them: tensor copies see them.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives, after announcing `bytes` of tensor copies.
__device__ __forceinline__ void barrier_expect(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
// Until the phase of this parity has completed: 0 for the first, 1 passes before it.
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, int parity) {
  asm volatile(
      "{.reg .pred p;\n"
      "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@!p bra again;}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// ---- Tensor copies
// ------------------------------------------------------------------------------------------------------------------------

// The map's box at (column, row), swizzled; zeros outside of the tensor. Its bytes count for the barrier.
__device__ __forceinline__ void copy_box(void* to, const CUtensorMap& map, int column, int row, uint64_t* barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
                   shared_address(to)),
               "l"(&map), "r"(column), "r"(row), "r"(shared_address(barrier))
               : "memory");
}

// Ordinary stores to shared memory become visible to tensor copies and wgmma.
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- wgmma: the 128 threads of a warpgroup multiply, from shared memory, while they go on ---------------------------------------------

// A matrix at `memory`, aligned to 1024 bytes: rows of 128 bytes, swizzled as `swizzled` does; adding 2 k is 16 k columns on.
__device__ __forceinline__ uint64_t matrix_descriptor(const void* memory) {
  constexpr uint64_t kGroupOfRows = 1024 >> 4, kSwizzle128 = 1;
  return uint64_t((shared_address(memory) & 0x3FFFF) >> 4) | uint64_t(1) << 16 | kGroupOfRows << 32 | kSwizzle128 << 62;
}

// Before the first wgmma, and whenever its registers have been used since.
__device__ __forceinline__ void group_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most kPending groups are in flight; only then may registers and operands of the others be used.
template <int kPending>
__device__ __forceinline__ void group_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// d = A B' or d += A B' over 16 columns: A 64 rows, B 128 rows (64 rows). Warp w of the group holds rows 16 w .. 16 w + 15, as in a
// fragment of mma.sync.
__device__ __forceinline__ void group_multiply(float (&d)[16][4], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %66, 0;"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "
      "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, "
      "%43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, p, 1, 1, 0, 0;}"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
        "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
        "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]),
        "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]),
        "+f"(d[10][0]), "+f"(d[10][1]), "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]),
        "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]), "+f"(d[13][3]),
        "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3])
      : "l"(a), "l"(b), "r"(int(accumulate)));
}
__device__ __forceinline__ void group_multiply(float (&d)[8][4], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %34, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "
      "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, p, 1, 1, 0, 0;}"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
        "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
        "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
      : "l"(a), "l"(b), "r"(int(accumulate)));
}

// d += A B over 16 rows of B: A 64 rows, in registers as mma.sync takes it, B a slab of 64 columns with k down its rows. Neither A nor d
// may be touched until the wait. Adding kNextRows to b is 16 rows on.
constexpr uint64_t kNextRows = 16 * 128 >> 4;
__device__ __forceinline__ void group_multiply_rows(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "{.reg .pred p; setp.eq.b32 p, 0, 0; "
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "
      "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;}"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
        "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
        "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// ---- Registers and barriers of a part of the block
// ---------------------------------------------------------------------------------------

template <int kCount>
__device__ __forceinline__ void registers_up() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void registers_down() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
// Barrier `id` (1 .. 15) of `threads` threads.
__device__ __forceinline__ void sync_named(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

// Whether what would run here of such a kernel is more than an empty body.
template <class Kernel>
bool built_for_hopper(Kernel* kernel) {
  constexpr int kMoreThanAnEmptyBodyNeeds = 64;
  cudaFuncAttributes attributes = {};
  if (cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess) return attributes.numRegs > kMoreThanAnEmptyBodyNeeds;
  cudaGetLastError();
  return false;
}

#else

template <class Kernel>
bool built_for_hopper(Kernel*) {
  return true;
}

inline void barrier_init(uint64_t* barrier, int arrivals) { simt::barrier_init(barrier, arrivals); }
inline void barrier_init_fence() { simt::barrier_init_fence(); }
inline void barrier_arrive(uint64_t* barrier) { simt::barrier_arrive(barrier); }
inline void barrier_expect(uint64_t* barrier, int bytes) { simt::barrier_arrive(barrier, bytes); }
inline void barrier_wait(uint64_t* barrier, int parity) { simt::barrier_wait(barrier, parity); }
inline void copy_box(void* to, const CUtensorMap& map, int column, int row, uint64_t* barrier) {
  simt::copy_box(to, map, column, row, barrier);
}
inline void fence_proxy_async() { simt::fence_proxy_async(); }
inline uint64_t matrix_descriptor(const void* memory) { return simt::matrix_descriptor(memory); }
inline void group_fence() { simt::group_fence(); }
inline void group_commit() { simt::group_commit(); }
template <int kPending>
void group_wait() {
  simt::group_wait(kPending);
}
template <int kN>
void group_multiply(float (&d)[kN][4], uint64_t a, uint64_t b, bool accumulate) {
  simt::group_multiply(d[0], 4 * kN, a, b, accumulate);
}
constexpr uint64_t kNextRows = 16 * 128 >> 4;
inline void group_multiply_rows(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) { simt::group_multiply_rows(d[0], a, b); }
template <int kCount>
void registers_up() {
  simt::set_registers(kCount, true);
}
template <int kCount>
void registers_down() {
  simt::set_registers(kCount, false);
}
inline void sync_named(int id, int threads) { simt::sync_named(id, threads); }

#endif

}  // namespace ck::cuda
