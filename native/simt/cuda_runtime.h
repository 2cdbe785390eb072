// Stands in for the CUDA toolkit's <cuda_runtime.h> when native/cuda is built for the CPU (test only): the spellings of the
// language, run by simt.hpp, and the part of the runtime API that native/cuda calls, by runtime.cpp.
//
// The emulated device is one; streams run what they are given at once. Environment: SIMT_MEMORY_BYTES is the device's memory
// (cudaMalloc fails beyond it), SIMT_NO_DEVICE=1 takes the device away, SIMT_NO_DRIVER=1 the
// driver's version, SIMT_COMPUTE_CAPABILITY=75 makes it an older one.
#pragma once
#include <cmath>
#include <cstring>

#include "hopper.hpp"
#include "simt.hpp"
#include "tensor_core.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __grid_constant__

#define threadIdx (simt::current->thread_index)
#define blockIdx (simt::current->block_index)
#define blockDim (simt::current->block_size)
#define gridDim (simt::current->grid_size)

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};

inline void __syncthreads() { simt::sync_block(); }
inline void __syncwarp(unsigned = 0xFFFFFFFFu) { simt::sync_warp(); }
template <class T>
T __shfl_sync(unsigned, T value, int source) {
  return simt::shuffle(value, source);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return simt::shuffle(value, simt::current->lane ^ mask);
}
inline unsigned __ballot_sync(unsigned, int predicate) { return simt::ballot(predicate != 0); }

inline int __float_as_int(float value) {
  int bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __int_as_float(int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline long long __double_as_longlong(double value) {
  long long bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
template <class T>
T atomicMin(T* cell, T value) {
  T old = __atomic_load_n(cell, __ATOMIC_RELAXED);
  while (value < old && !__atomic_compare_exchange_n(cell, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <class T>
T atomicMax(T* cell, T value) {
  T old = __atomic_load_n(cell, __ATOMIC_RELAXED);
  while (old < value && !__atomic_compare_exchange_n(cell, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

using cudaError_t = int;
enum : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorLaunchFailure = 719
};
enum cudaMemoryType { cudaMemoryTypeUnregistered = 0, cudaMemoryTypeHost = 1, cudaMemoryTypeDevice = 2, cudaMemoryTypeManaged = 3 };
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum { cudaStreamNonBlocking = 1 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76 };
enum { cudaEnableDefault = 0 };
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess = 0, cudaDriverEntryPointSymbolNotFound = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
using cudaStream_t = struct CUstream_st*;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major;
  int minor;
};
struct cudaFuncAttributes {
  int numRegs;
};

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned version, unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* result);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);
cudaError_t cudaMalloc(void** pointer, size_t bytes);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaMallocHost(void** pointer, size_t bytes);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
  attributes->numRegs = 0;
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

namespace simt {

// What the tests can make go wrong, and see.
struct Faults {
  int fail_call = 0;  // the n-th runtime call from now fails (1: the next) with `error`; 0: none
  int error = cudaErrorLaunchFailure;
};
extern Faults faults;
size_t allocated_bytes();  // device memory now held
size_t peak_bytes();       // the most held since reset_peak
void reset_peak();
size_t allocations();  // of device and page-locked memory and of streams, since the process began

// Checks a launch as the runtime would, then runs it.
cudaError_t launch(dim3 grid, dim3 block, size_t shared_bytes, void (*body)(const void*), const void* closure);

// Marks memory that nothing may touch; AddressSanitizer reports who does.
void guard(void* memory, size_t bytes);
// Makes used memory look as fresh from cudaMalloc: unguarded, 0xFF.
void refresh(void* memory, size_t bytes);

}  // namespace simt
