// Owners of what a call takes from the device: its memory and its stream. Both give back what they took.
#pragma once
#include "cuda/device.hpp"

namespace ck::cuda {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() {
    if (memory_) cudaFree(memory_);
  }
  cudaError_t allocate(size_t bytes) { return cudaMalloc(&memory_, bytes); }
  void* get() const { return memory_; }

 private:
  void* memory_ = nullptr;
};

// Does not wait for the default stream, so calls from several threads run side by side.
class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() {
    if (open_) cudaStreamDestroy(stream_);
  }
  cudaError_t open() {
    const cudaError_t error = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    open_ = error == cudaSuccess;
    return error;
  }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
  bool open_ = false;
};

}  // namespace ck::cuda
