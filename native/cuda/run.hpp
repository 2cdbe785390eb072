// What a launcher works with: the stream it launches on, with the first error kept, and the workspace it carves into buffers.
#pragma once
#include <cstdio>

#include "contrastive_kernels_cuda.h"
#include "cuda/device.hpp"

namespace ck::cuda {

// Whether another thread has asked to give the call up.
inline bool is_cancelled(const volatile int32_t* cancel) { return cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0; }

// Launches kernels one after another; after the first error, or once cancelled, it launches nothing more.
class Run {
 public:
  Run(void* stream, const ck_options& options) : stream_(static_cast<cudaStream_t>(stream)), cancel_(options.cancel) {}

  template <class... P, class... A>
  void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, const A&... arguments) {
    if (stopped()) return;
    error_ = ck::cuda::launch(kernel, grid, block, shared_bytes, stream_, arguments...);
  }

  // An error of what comes before a launch.
  void check(cudaError_t error) {
    if (error_ == cudaSuccess) error_ = error;
  }

  // Between the panels of a long call: waits for the device where somebody may want to cancel, so that there is something to cancel.
  void checkpoint() {
    if (cancel_ && !stopped()) error_ = cudaStreamSynchronize(stream_);
  }

  // The call's status so far; a runtime error is put into words.
  int status(ck_error* error) {
    if (error_ != cudaSuccess) {
      if (error)
        std::snprintf(error->message, sizeof error->message, "CUDA: %s (%s)", cudaGetErrorString(error_), cudaGetErrorName(error_));
      return CK_DEVICE_FAILURE;
    }
    return cancelled_ ? CK_CANCELLED : CK_OK;
  }

 private:
  bool stopped() {
    if (is_cancelled(cancel_)) cancelled_ = true;
    return cancelled_ || error_ != cudaSuccess;
  }

  cudaStream_t stream_;
  const volatile int32_t* cancel_;
  cudaError_t error_ = cudaSuccess;
  bool cancelled_ = false;
};

// Cuts a block of memory into 256-byte aligned buffers with a gap after each, which the emulation's AddressSanitizer build watches.
// Without memory it only measures: the same code that takes the buffers says how many bytes they need.
class Arena {
 public:
  explicit Arena(void* memory = nullptr) : memory_(static_cast<unsigned char*>(memory)) {}

  template <class T>
  T* take(size_t count) {
    constexpr size_t kAlign = 256;
    const size_t bytes = (count * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    T* result = memory_ ? reinterpret_cast<T*>(memory_ + used_) : nullptr;
    if (memory_) guard(memory_ + used_ + count * sizeof(T), bytes - count * sizeof(T) + kAlign);
    used_ += bytes + kAlign;
    return result;
  }

  size_t used() const { return used_; }

 private:
  unsigned char* memory_;
  size_t used_ = 0;
};

}  // namespace ck::cuda
