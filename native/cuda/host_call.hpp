// One call of the host C ABI: its arrays on the device, and the one function that carries a call out.
#pragma once
#include <functional>
#include <initializer_list>

#include "contrastive_kernels_cuda.h"

namespace ck::cuda {

constexpr int kMostInputs = 6;
constexpr int kMostIntegers = 5;
constexpr int kMostOutputs = 5;

// An array of the caller; null: not given, not wanted.
struct HostArray {
  const void* data;
  size_t bytes;
  template <class T>
  HostArray(const T* array, size_t count) : data(array), bytes(count * sizeof(T)) {}
};

struct HostCall {
  ck_kernel kernel;
  bool gradients;
  std::initializer_list<const ck_matrix*> inputs;  // a null pointer: not given
  std::initializer_list<HostArray> integers;
  std::initializer_list<HostArray> outputs;
  size_t workspace_bytes = 0;  // 0: as much as ck_cuda_workspace_bytes says
};

// Where the arrays of a HostCall are on the device, in its order; null for null.
struct DeviceArrays {
  ck_matrix in[kMostInputs] = {};
  const int32_t* integers[kMostIntegers] = {};
  float* out[kMostOutputs] = {};
};

// Starts the kernels of one call on device pointers.
using Launch = std::function<int(const DeviceArrays& at, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream,
                                 ck_error* error)>;

// Leases memory and a stream, copies what is not on the device yet, launches, and copies the outputs back only after the device has
// finished and the report says that everything is right. (A device lost between two of those copies has filled the first.)
// Inputs in device memory are used, and outputs in device memory written, where they are.
int run_on_device(const HostCall& call, const ck_options& options, ck_result* result, ck_error* error, const Launch& launch);

}  // namespace ck::cuda
