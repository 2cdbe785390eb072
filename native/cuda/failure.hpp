// What the host side says when the runtime refuses.
#pragma once
#include <cstdio>

#include "contrastive_kernels.h"
#include "cuda/device.hpp"

namespace ck::cuda {

inline int device_error(cudaError_t code, ck_error* error) {
  cudaGetLastError();  // dealt with here
  std::snprintf(error->message, sizeof error->message, "CUDA: %s (%s)", cudaGetErrorString(code), cudaGetErrorName(code));
  return CK_DEVICE_FAILURE;
}

// Out of memory is a status of its own, every other code a device failure. `what`: "the call", "the matrix".
inline int allocation_error(cudaError_t code, const char* what, size_t bytes, ck_error* error) {
  if (code != cudaErrorMemoryAllocation) return device_error(code, error);
  cudaGetLastError();
  std::snprintf(error->message, sizeof error->message, "%s needs %zu bytes of device memory: use fewer rows, or the cpu backend", what,
                bytes);
  return CK_OUT_OF_MEMORY;
}

}  // namespace ck::cuda
