// Device memory that a caller of the host API owns: data that stays on the device between calls. It comes from the pool of the
// calls, so a matrix that is made and dropped in every step of a training loop costs no allocation.
#include <mutex>
#include <unordered_map>

#include "contrastive_kernels_cuda.h"
#include "cuda/describe.hpp"
#include "cuda/device_pool.hpp"
#include "cuda/failure.hpp"
#include "cuda/transfers.hpp"

namespace ck::cuda {
namespace {

// The blocks handed out, by address.
struct Owned {
  std::mutex lock;
  std::unordered_map<void*, Block> blocks;
};

Owned& owned() {
  static Owned& all = *new Owned;
  return all;
}

int unavailable(ck_error* error) {
  *error = {-1, 0, 0, ""};
  unavailable_reason(error->message, sizeof error->message);
  return *error->message ? CK_UNAVAILABLE : CK_OK;
}

// One copy in either direction on a leased lane, complete when it returns.
template <class Copy>
int transfer(ck_error* error, const Copy& copy) {
  Lease lease;
  cudaError_t code = lease.open(0);
  if (code == cudaSuccess) {
    lease.unsettle();
    Transfers transfers(lease.lane());
    code = copy(transfers);
  }
  if (code != cudaSuccess) return device_error(code, error);
  lease.settle();
  return CK_OK;
}

}  // namespace
}  // namespace ck::cuda

using namespace ck::cuda;

int ck_cuda_allocate(size_t bytes, void** memory, ck_error* error) {
  *memory = nullptr;
  if (const int status = unavailable(error)) return status;
  Block block;
  if (const cudaError_t code = DevicePool::get().take(bytes, &block)) return allocation_error(code, "the matrix", bytes, error);
  const std::lock_guard<std::mutex> guard(owned().lock);
  owned().blocks[block.memory] = block;
  *memory = block.memory;
  return CK_OK;
}

void ck_cuda_release(void* memory) {
  Block block;
  {
    const std::lock_guard<std::mutex> guard(owned().lock);
    const auto found = owned().blocks.find(memory);
    if (found == owned().blocks.end()) return;
    block = found->second;
    owned().blocks.erase(found);
  }
  DevicePool::get().give(block);
}

int ck_cuda_upload(void* to, const void* from, size_t bytes, ck_error* error) {
  *error = {-1, 0, 0, ""};
  return transfer(error, [&](Transfers& transfers) {
    const cudaError_t code = transfers.upload(to, from, bytes);
    return code == cudaSuccess ? transfers.finish() : code;
  });
}

int ck_cuda_download(void* to, const void* from, size_t bytes, ck_error* error) {
  *error = {-1, 0, 0, ""};
  return transfer(error, [&](Transfers& transfers) {
    cudaError_t code = cudaSuccess;
    const void* const staged = transfers.fetch(from, bytes, &code);
    if (!staged) code = transfers.download(to, from, bytes);
    if (code == cudaSuccess) code = transfers.finish();
    if (code == cudaSuccess && staged) std::memcpy(to, staged, bytes);
    return code;
  });
}

int ck_cuda_synchronize(void* stream, ck_error* error) {
  *error = {-1, 0, 0, ""};
  const cudaError_t code = cudaStreamSynchronize(static_cast<cudaStream_t>(stream));
  return code == cudaSuccess ? CK_OK : device_error(code, error);
}

void ck_cuda_trim(void) { DevicePool::get().trim(); }

size_t ck_cuda_kept_bytes(void) { return DevicePool::get().kept_bytes(); }
