// The part of the CUDA runtime that native/cuda calls, on ordinary memory. Allocations start as 0xFF bytes (NaN as floats), copies
// are checked against them, and tests can make any call fail.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "cuda_runtime.h"

#ifdef SIMT_ASAN
extern "C" void __asan_poison_memory_region(void const volatile* memory, size_t bytes);
extern "C" void __asan_unpoison_memory_region(void const volatile* memory, size_t bytes);
#endif

namespace simt {
Faults faults;

namespace {

constexpr size_t kDefaultMemoryBytes = size_t(4) << 30;

struct Device {
  std::mutex lock;
  std::map<unsigned char*, size_t> allocations;
  size_t allocated = 0, peak = 0, allocations_made = 0;
  cudaError_t last_error = cudaSuccess;
};
Device& device = *new Device;  // never destroyed: calls may still be running when the process exits

size_t memory_bytes() {
  const char* text = std::getenv("SIMT_MEMORY_BYTES");
  return text ? size_t(std::strtoull(text, nullptr, 10)) : kDefaultMemoryBytes;
}

// 10 major + minor.
int compute_capability() {
  const char* text = std::getenv("SIMT_COMPUTE_CAPABILITY");
  return text ? std::atoi(text) : 80;
}

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) device.last_error = error;
  return error;
}

// Counts a call; the one that a test chose fails. Takes the lock first.
struct Call {
  std::lock_guard<std::mutex> guard{device.lock};
  cudaError_t injected = cudaSuccess;
  Call() {
    if (faults.fail_call && --faults.fail_call == 0) injected = remember(faults.error);
  }
};

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice", "no kernel image is available for execution on the device"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
};
const ErrorText& text_of(cudaError_t error) {
  for (const ErrorText& known : kErrors) {
    if (known.error == error) return known;
  }
  static constexpr ErrorText kUnknown = {-1, "cudaErrorUnknown", "unknown error"};
  return kUnknown;
}

bool on_device(const void* memory, size_t bytes) {
  auto* at = static_cast<unsigned char*>(const_cast<void*>(memory));
  auto next = device.allocations.upper_bound(at);
  if (next == device.allocations.begin()) return false;
  --next;
  return at + bytes <= next->first + next->second;
}

}  // namespace

size_t allocated_bytes() {
  std::lock_guard<std::mutex> guard(device.lock);
  return device.allocated;
}
size_t peak_bytes() {
  std::lock_guard<std::mutex> guard(device.lock);
  return device.peak;
}
void reset_peak() {
  std::lock_guard<std::mutex> guard(device.lock);
  device.peak = device.allocated;
}

size_t allocations() {
  std::lock_guard<std::mutex> guard(device.lock);
  return device.allocations_made;
}

cudaError_t launch(dim3 grid, dim3 block, size_t shared_bytes, void (*body)(const void*), const void* closure) {
  {
    Call call;
    if (call.injected) return call.injected;
    const size_t threads = size_t(block.x) * block.y * block.z;
    const bool fits = grid.x && grid.y && grid.z && grid.x < 0x80000000u && grid.y < 65536 && grid.z < 65536 && threads &&
                      threads <= 1024 && block.z <= 64 && shared_bytes <= (compute_capability() == 90 ? kMostSharedBytes : 99 * 1024);
    if (!fits) return remember(cudaErrorInvalidValue);
  }
  run(grid, block, shared_bytes, body, closure);
  return cudaSuccess;
}

void guard([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#ifdef SIMT_ASAN
  __asan_poison_memory_region(memory, bytes);
#endif
}

void refresh(void* memory, size_t bytes) {
#ifdef SIMT_ASAN
  __asan_unpoison_memory_region(memory, bytes);
#endif
  std::memset(memory, 0xFF, bytes);
}

}  // namespace simt

using simt::device;

cudaError_t cudaGetDeviceCount(int* count) {
  simt::Call call;
  const char* none = std::getenv("SIMT_NO_DEVICE");
  *count = none && *none == '1' ? 0 : 1;
  if (call.injected) return call.injected;
  return *count ? cudaSuccess : simt::remember(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int* index) {
  *index = 0;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "simt (emulated)");
  properties->totalGlobalMem = simt::memory_bytes();
  properties->major = simt::compute_capability() / 10;
  properties->minor = simt::compute_capability() % 10;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  simt::Call call;
  if (call.injected) return call.injected;
  const int capability = simt::compute_capability();
  *value = attribute == cudaDevAttrMultiProcessorCount      ? 2  // few, so that persistent blocks have more than one thing to do
           : attribute == cudaDevAttrComputeCapabilityMajor ? capability / 10
                                                            : capability % 10;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = std::getenv("SIMT_NO_DRIVER") ? 0 : 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  std::lock_guard<std::mutex> guard(device.lock);
  const cudaError_t error = device.last_error;
  device.last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorName(cudaError_t error) { return simt::text_of(error).name; }
const char* cudaGetErrorString(cudaError_t error) { return simt::text_of(error).text; }

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  simt::Call call;
  if (call.injected) return call.injected;
  *pointer = nullptr;
  if (device.allocated + bytes > simt::memory_bytes()) return simt::remember(cudaErrorMemoryAllocation);
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes ? bytes : 1)) return simt::remember(cudaErrorMemoryAllocation);
  std::memset(memory, 0xFF, bytes);
  device.allocations[static_cast<unsigned char*>(memory)] = bytes;
  device.allocated += bytes;
  ++device.allocations_made;
  if (device.allocated > device.peak) device.peak = device.allocated;
  *pointer = memory;
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  std::lock_guard<std::mutex> guard(device.lock);
  if (!pointer) return cudaSuccess;
  auto found = device.allocations.find(static_cast<unsigned char*>(pointer));
  if (found == device.allocations.end()) return simt::remember(cudaErrorInvalidValue);
#ifdef SIMT_ASAN
  __asan_unpoison_memory_region(pointer, found->second);
#endif
  device.allocated -= found->second;
  device.allocations.erase(found);
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  simt::Call call;
  *pointer = nullptr;
  if (call.injected) return call.injected;
  *pointer = std::malloc(bytes ? bytes : 1);
  if (!*pointer) return simt::remember(cudaErrorMemoryAllocation);
  ++device.allocations_made;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* pointer) {
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  std::lock_guard<std::mutex> guard(device.lock);
  attributes->type = simt::on_device(pointer, 1) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  attributes->device = 0;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  simt::Call call;
  if (call.injected) return call.injected;
  if (kind != cudaMemcpyHostToDevice && !simt::on_device(from, bytes)) return simt::remember(cudaErrorInvalidValue);
  if (kind != cudaMemcpyDeviceToHost && !simt::on_device(to, bytes)) return simt::remember(cudaErrorInvalidValue);
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  simt::Call call;
  if (call.injected) return call.injected;
  if (!simt::on_device(to, bytes)) return simt::remember(cudaErrorInvalidValue);
  std::memset(to, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  simt::Call call;
  *stream = nullptr;
  if (!call.injected) ++device.allocations_made;
  return call.injected;
}

cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }

cudaError_t cudaStreamSynchronize(cudaStream_t) {
  simt::Call call;
  return call.injected;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  simt::Call call;
  *function = nullptr;
  if (call.injected) return call.injected;
  const bool known = std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
  if (known) *function = reinterpret_cast<void*>(&cuTensorMapEncodeTiled);
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

// Refuses what the driver documents that it refuses, and memory that is not the device's.
CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType, cuuint32_t rank, void* data, const cuuint64_t* sizes,
                                const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t*, CUtensorMapInterleave,
                                CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  std::lock_guard<std::mutex> guard(device.lock);
  const bool aligned = simt::is_aligned(data, 16) && strides[0] % 16 == 0;
  const bool right = rank == 2 && aligned && sizes[0] > 0 && sizes[1] > 0 && strides[0] >= 2 * sizes[0] && box[0] * 2 == 128 &&
                     box[1] > 0 && box[1] <= 256 && simt::on_device(data, (sizes[1] - 1) * strides[0] + 2 * sizes[0]);
  if (!right) return CUDA_ERROR_INVALID_VALUE;
  *map = {static_cast<const uint16_t*>(data), sizes[0], sizes[1], strides[0] / 2, box[0], box[1], {}};
  return CUDA_SUCCESS;
}
