// What a call takes from the device and gives back for the next one: a block of device memory, a stream, and a little page-locked
// host memory. A warm repeated call allocates nothing. The pool is the process's: calls of all threads and environments lease from
// it, each gets a stream of its own, so no call waits for another's work unless the device itself has no room for both.
//
// A block is given back only when the stream that used it has come to an end, so whoever takes it next needs to wait for nothing.
#pragma once
#include <list>
#include <mutex>
#include <vector>

#include "cuda/device.hpp"

namespace ck::cuda {

struct Block {
  void* memory = nullptr;
  size_t bytes = 0;
  int device = 0;
};

// A stream that does not wait for the default stream, and page-locked memory through which small arrays travel: their copies run
// without the driver's own staging, and the call waits for the device once.
struct Lane {
  static constexpr size_t kStagingBytes = size_t(1) << 20;
  cudaStream_t stream = nullptr;
  unsigned char* staging = nullptr;
  int device = 0;
};

class DevicePool {
 public:
  // Never destroyed: calls may still be running when the process exits.
  static DevicePool& get();

  // At least `bytes` on the current device, 256-byte aligned. Where the device has no room, everything that is kept is freed first.
  cudaError_t take(size_t bytes, Block* block);
  // Kept for a later call, as long as all kept blocks together stay below the limit; those kept longest are freed first.
  void give(const Block& block);
  // After an error nobody knows whether the device still writes to it: freed, which waits for the device.
  void discard(const Block& block);

  cudaError_t take(Lane* lane);
  void give(const Lane& lane);
  void discard(const Lane& lane);

  // Frees everything that no call is using.
  void trim();
  size_t kept_bytes();

 private:
  DevicePool();
  bool reuse(size_t bytes, Block* block);

  const size_t limit_;  // bytes kept
  std::mutex lock_;
  std::list<Block> blocks_;  // kept, in the order they came back
  size_t kept_ = 0;
  std::vector<Lane> lanes_;  // kept
};

// A block and a lane for one call. They go back to the pool at the end, unless the call failed half-way.
class Lease {
 public:
  Lease() = default;
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease();
  // bytes 0: no block.
  cudaError_t open(size_t bytes);
  // The stream is idle and the device well: what was leased may be used again.
  void settle() { settled_ = true; }
  void unsettle() { settled_ = false; }
  void* memory() const { return block_.memory; }
  const Lane& lane() const { return lane_; }

 private:
  Block block_;
  Lane lane_;
  bool settled_ = true;
};

}  // namespace ck::cuda
