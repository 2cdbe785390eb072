// See device_pool.hpp.
#include "cuda/device_pool.hpp"

#include <cstdlib>
#include <utility>

namespace ck::cuda {
namespace {

// Calls that need more take longer than the allocation does by far. CONTRASTIVE_KERNELS_CUDA_KEEP_BYTES overrides; 0 keeps nothing.
constexpr size_t kKeptByDefault = size_t(1) << 30;

size_t limit() {
  const char* const text = std::getenv("CONTRASTIVE_KERNELS_CUDA_KEEP_BYTES");
  return text && *text ? size_t(std::strtoull(text, nullptr, 10)) : kKeptByDefault;
}

// A kept block serves requests down to half of it, small ones whatever is asked: a smaller last batch must not allocate.
bool serves(const Block& block, size_t bytes, int device) {
  constexpr size_t kSmall = size_t(1) << 20;
  return block.device == device && block.bytes >= bytes && block.bytes <= 2 * bytes + kSmall;
}

int current_device() {
  int device = 0;
  cudaGetDevice(&device);
  return device;
}

void destroy(const Lane& lane) {
  if (lane.stream) cudaStreamDestroy(lane.stream);
  if (lane.staging) cudaFreeHost(lane.staging);
}

}  // namespace

DevicePool& DevicePool::get() {
  static DevicePool& pool = *new DevicePool;
  return pool;
}

DevicePool::DevicePool() : limit_(limit()) {}

bool DevicePool::reuse(size_t bytes, Block* block) {
  const int device = current_device();
  const std::lock_guard<std::mutex> guard(lock_);
  auto best = blocks_.end();
  for (auto it = blocks_.begin(); it != blocks_.end(); ++it) {
    if (serves(*it, bytes, device) && (best == blocks_.end() || it->bytes < best->bytes)) best = it;
  }
  if (best == blocks_.end()) return false;
  *block = *best;
  kept_ -= best->bytes;
  blocks_.erase(best);
  return true;
}

cudaError_t DevicePool::take(size_t bytes, Block* block) {
  if (reuse(bytes, block)) {
    refresh(block->memory, block->bytes);
    return cudaSuccess;
  }
  *block = {nullptr, bytes, current_device()};
  cudaError_t error = cudaMalloc(&block->memory, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // dealt with here
    trim();
    error = cudaMalloc(&block->memory, bytes);
  }
  if (error != cudaSuccess) *block = {};
  return error;
}

void DevicePool::give(const Block& block) {
  if (!block.memory) return;
  std::list<Block> freed;
  {
    const std::lock_guard<std::mutex> guard(lock_);
    blocks_.push_back(block);
    kept_ += block.bytes;
    while (kept_ > limit_) {
      kept_ -= blocks_.front().bytes;
      freed.splice(freed.end(), blocks_, blocks_.begin());
    }
  }
  for (const Block& old : freed) cudaFree(old.memory);
}

void DevicePool::discard(const Block& block) {
  if (block.memory) cudaFree(block.memory);
}

cudaError_t DevicePool::take(Lane* lane) {
  const int device = current_device();
  {
    const std::lock_guard<std::mutex> guard(lock_);
    for (size_t i = lanes_.size(); i-- > 0;) {
      if (lanes_[i].device != device) continue;
      *lane = lanes_[i];
      lanes_.erase(lanes_.begin() + std::ptrdiff_t(i));
      return cudaSuccess;
    }
  }
  Lane made;
  made.device = device;
  cudaError_t error = cudaStreamCreateWithFlags(&made.stream, cudaStreamNonBlocking);
  if (error == cudaSuccess) {
    void* staging = nullptr;
    error = cudaMallocHost(&staging, Lane::kStagingBytes);
    made.staging = static_cast<unsigned char*>(staging);
  } else {
    made.stream = nullptr;
  }
  if (error != cudaSuccess) {
    destroy(made);
    return error;
  }
  *lane = made;
  return cudaSuccess;
}

void DevicePool::give(const Lane& lane) {
  if (!lane.stream && !lane.staging) return;
  const std::lock_guard<std::mutex> guard(lock_);
  lanes_.push_back(lane);
}

void DevicePool::discard(const Lane& lane) { destroy(lane); }

void DevicePool::trim() {
  std::list<Block> blocks;
  std::vector<Lane> lanes;
  {
    const std::lock_guard<std::mutex> guard(lock_);
    blocks.swap(blocks_);
    lanes.swap(lanes_);
    kept_ = 0;
  }
  for (const Block& block : blocks) cudaFree(block.memory);
  for (const Lane& lane : lanes) destroy(lane);
}

size_t DevicePool::kept_bytes() {
  const std::lock_guard<std::mutex> guard(lock_);
  return kept_;
}

cudaError_t Lease::open(size_t bytes) {
  const cudaError_t error = bytes ? DevicePool::get().take(bytes, &block_) : cudaSuccess;
  return error == cudaSuccess ? DevicePool::get().take(&lane_) : error;
}

Lease::~Lease() {
  DevicePool& pool = DevicePool::get();
  if (settled_) {
    pool.give(block_);
    pool.give(lane_);
  } else {
    cudaStreamSynchronize(lane_.stream);  // copies may still be under way
    cudaGetLastError();                   // the call has reported what went wrong
    pool.discard(lane_);
    pool.discard(block_);
  }
}

}  // namespace ck::cuda
