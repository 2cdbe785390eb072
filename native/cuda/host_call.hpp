// One call on host memory: takes device memory once, copies the inputs, launches, and copies the outputs back only after the
// device has finished and the report says that everything is right. (A device lost between two of those copies has filled the first.)
#pragma once
#include <cstdio>
#include <initializer_list>

#include "cuda/describe.hpp"
#include "cuda/device_memory.hpp"
#include "cuda/launchers.hpp"

namespace ck::cuda {

// An array on the host and its place on the device. A null host pointer stays null: not wanted.
struct HostArray {
  const void* host;
  size_t count;
};

constexpr int kMostArrays = 3;

inline int device_error(cudaError_t code, ck_error* error) {
  cudaGetLastError();  // dealt with here
  std::snprintf(error->message, sizeof error->message, "CUDA: %s (%s)", cudaGetErrorString(code), cudaGetErrorName(code));
  return CK_DEVICE_FAILURE;
}

// What the report's findings are as a status; nothing found: CK_OK.
inline int judge(const ck_cuda_report& report, const int64_t* columns, ck_error* error) {
  for (int i = 0; i < kMostArrays; ++i) {
    if (report.non_finite[i] == CK_CUDA_NONE) continue;
    error->argument = i;
    error->row = int64_t(report.non_finite[i]) / columns[i];
    error->column = int64_t(report.non_finite[i]) % columns[i];
    return CK_NON_FINITE;
  }
  if (report.out_of_range != CK_CUDA_NONE) {
    error->argument = 0;
    error->row = int64_t(report.out_of_range);
    std::snprintf(error->message, sizeof error->message, "expected products and losses that fit float32, got one beyond it at row %lld",
                  (long long)report.out_of_range);
    return CK_OUT_OF_RANGE;
  }
  for (int i = 0; i < 2; ++i) {
    if (report.overflow[i] == CK_CUDA_NONE) continue;
    error->argument = i;
    error->row = int64_t(report.overflow[i]);
    return CK_GRADIENT_OVERFLOW;
  }
  return CK_OK;
}

// launch(in, out, report, workspace, bytes, stream, error) starts the kernels of one call on device pointers.
template <class Launch>
int run_on_device(ck_kernel kernel, bool gradients, std::initializer_list<const ck_matrix*> inputs,
                  std::initializer_list<HostArray> outputs, const ck_options& options, ck_result* result, ck_error* error,
                  const Launch& launch) {
  ck_error ignored;
  if (!error) error = &ignored;
  *error = {-1, 0, 0, ""};
  unavailable_reason(error->message, sizeof error->message);
  if (*error->message) return CK_UNAVAILABLE;
  if (const int status = check_call(inputs, options, error)) return status;

  const ck_matrix& first = **inputs.begin();
  const ck_matrix* const second = inputs.size() > 1 ? inputs.begin()[1] : nullptr;
  const size_t workspace_bytes =
      ck_cuda_workspace_bytes(kernel, first.rows, second ? second->rows : first.rows, first.cols, gradients, &options);
  ck_matrix in[kMostArrays] = {};
  float* out[kMostArrays] = {};
  int64_t columns[kMostArrays] = {1, 1, 1};
  ck_cuda_report* report = nullptr;
  void* workspace = nullptr;
  // The same walk measures, then hands out.
  auto lay_out = [&](Arena arena) {
    report = arena.take<ck_cuda_report>(1);
    workspace = arena.take<unsigned char>(workspace_bytes);
    int i = 0;
    for (const ck_matrix* matrix : inputs) {
      if (matrix) in[i] = {arena.take<float>(size_t(matrix->rows * matrix->cols)), matrix->rows, matrix->cols};
      if (matrix) columns[i] = matrix->cols;
      ++i;
    }
    i = 0;
    for (const HostArray& array : outputs) out[i++] = array.host ? arena.take<float>(array.count) : nullptr;
    return arena.used();
  };
  const size_t bytes = lay_out(Arena());
  DeviceMemory memory;
  if (const cudaError_t code = memory.allocate(bytes)) {
    if (code != cudaErrorMemoryAllocation) return device_error(code, error);
    cudaGetLastError();
    std::snprintf(error->message, sizeof error->message, "the call needs %zu bytes of device memory: use fewer rows, or the cpu backend",
                  bytes);
    return CK_OUT_OF_MEMORY;
  }
  lay_out(Arena(memory.get()));
  Stream stream;
  if (const cudaError_t code = stream.open()) return device_error(code, error);

  int i = 0;
  for (const ck_matrix* matrix : inputs) {
    float* const to = const_cast<float*>(in[i++].data);
    if (!matrix) continue;
    const size_t size = size_t(matrix->rows * matrix->cols) * sizeof(float);
    if (const cudaError_t code = cudaMemcpyAsync(to, matrix->data, size, cudaMemcpyHostToDevice, stream.get()))
      return device_error(code, error);
  }
  if (const int status = launch(in, out, report, workspace, workspace_bytes, stream.get(), error)) {
    cudaStreamSynchronize(stream.get());  // what was launched still uses the memory
    cudaGetLastError();
    return status;
  }
  ck_cuda_report found;
  cudaError_t code = cudaMemcpyAsync(&found, report, sizeof found, cudaMemcpyDeviceToHost, stream.get());
  if (code == cudaSuccess) code = cudaStreamSynchronize(stream.get());
  if (code != cudaSuccess) return device_error(code, error);
  if (is_cancelled(options.cancel)) return CK_CANCELLED;
  if (const int status = judge(found, columns, error)) return status;
  i = 0;
  for (const HostArray& array : outputs) {
    const float* const from = out[i++];
    if (!from) continue;
    void* const to = const_cast<void*>(array.host);
    code = cudaMemcpyAsync(to, from, array.count * sizeof(float), cudaMemcpyDeviceToHost, stream.get());
    if (code != cudaSuccess) return device_error(code, error);
  }
  code = cudaStreamSynchronize(stream.get());
  if (code != cudaSuccess) return device_error(code, error);
  if (result) *result = found.result;
  return CK_OK;
}

}  // namespace ck::cuda
