// Copies between the caller's memory and the device on the stream of a lane. Small arrays go through the lane's page-locked memory,
// large ones straight: the driver stages those itself, in pieces that overlap.
#pragma once
#include <cstring>

#include "cuda/device_pool.hpp"

namespace ck::cuda {

class Transfers {
 public:
  explicit Transfers(const Lane& lane) : lane_(lane) {}

  // `from` may be changed as soon as this returns: it is in the staging memory, or (large, pageable) the copy has read it.
  cudaError_t upload(void* to, const void* from, size_t bytes) {
    if (unsigned char* const place = stage(bytes, Lane::kStagingBytes / 2)) {
      std::memcpy(place, from, bytes);
      from = place;
    }
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, lane_.stream);
  }

  // Starts a copy into the staging memory; null where there is no room. It is there when the stream has come that far. Uploads leave
  // half of the memory, so that what is fetched first (the report) always finds room.
  const void* fetch(const void* from, size_t bytes, cudaError_t* error) {
    unsigned char* const place = stage(bytes, Lane::kStagingBytes);
    if (place) *error = cudaMemcpyAsync(place, from, bytes, cudaMemcpyDeviceToHost, lane_.stream);
    return place;
  }

  cudaError_t download(void* to, const void* from, size_t bytes) {
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, lane_.stream);
  }

  cudaError_t finish() { return cudaStreamSynchronize(lane_.stream); }

 private:
  unsigned char* stage(size_t bytes, size_t limit) {
    constexpr size_t kAlign = 64;
    const size_t size = (bytes + kAlign - 1) / kAlign * kAlign;
    if (used_ + size > limit) return nullptr;
    unsigned char* const place = lane_.staging + used_;
    used_ += size;
    return place;
  }

  const Lane& lane_;
  size_t used_ = 0;
};

}  // namespace ck::cuda
