// See host_call.hpp.
#include "cuda/host_call.hpp"

#include "cuda/describe.hpp"
#include "cuda/device_pool.hpp"
#include "cuda/failure.hpp"
#include "cuda/launchers.hpp"
#include "cuda/transfers.hpp"

namespace ck::cuda {
namespace {

// What the report's findings are as a status; nothing found: CK_OK.
int judge(const ck_cuda_report& report, const DeviceArrays& at, ck_error* error) {
  for (int i = 0; i < kMostInputs; ++i) {
    if (report.non_finite[i] == CK_CUDA_NONE) continue;
    error->argument = i;
    error->row = int64_t(report.non_finite[i]) / at.in[i].cols;
    error->column = int64_t(report.non_finite[i]) % at.in[i].cols;
    return CK_NON_FINITE;
  }
  if (report.out_of_range != CK_CUDA_NONE) {
    error->argument = 0;
    error->row = int64_t(report.out_of_range);
    std::snprintf(error->message, sizeof error->message, "expected products and losses that fit float32, got one beyond it at row %lld",
                  (long long)report.out_of_range);
    return CK_OUT_OF_RANGE;
  }
  for (int i = 0; i < int(sizeof report.overflow / sizeof *report.overflow); ++i) {
    if (report.overflow[i] == CK_CUDA_NONE) continue;
    error->argument = i;
    error->row = int64_t(report.overflow[i]);
    return CK_GRADIENT_OVERFLOW;
  }
  return CK_OK;
}

size_t bytes_of(const ck_matrix& matrix) { return size_t(matrix.rows * matrix.cols) * sizeof(float); }

// Which of the caller's arrays are on the device already.
struct Residence {
  bool in[kMostInputs] = {}, out[kMostOutputs] = {};

  cudaError_t find(const HostCall& call) {
    cudaError_t error = cudaSuccess;
    int i = 0;
    for (const ck_matrix* matrix : call.inputs) error = look(matrix ? matrix->data : nullptr, &in[i++], error);
    i = 0;
    for (const HostArray& array : call.outputs) error = look(array.data, &out[i++], error);
    return error;
  }

 private:
  static cudaError_t look(const void* data, bool* resident, cudaError_t earlier) {
    cudaPointerAttributes attributes = {};
    if (earlier != cudaSuccess || !data) return earlier;
    const cudaError_t error = cudaPointerGetAttributes(&attributes, data);
    *resident = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
    return error;
  }
};

// A call under way: what it leased, and how its arrays lie in it.
class Execution {
 public:
  Execution(const HostCall& call, const ck_options& options) : call_(call), options_(options) {
    const ck_matrix* const first = *call.inputs.begin();
    const ck_matrix* const second = call.inputs.size() > 1 ? call.inputs.begin()[1] : nullptr;
    workspace_bytes_ = call.workspace_bytes;
    if (workspace_bytes_ > 0) return;
    workspace_bytes_ =
        ck_cuda_workspace_bytes(call.kernel, first->rows, second ? second->rows : first->rows, first->cols, call.gradients, &options);
  }

  // CK_OK, or why there is no room.
  int open(ck_error* error) {
    if (const cudaError_t code = resident_.find(call_)) return device_error(code, error);
    const size_t bytes = lay_out(Arena());
    if (const cudaError_t code = lease_.open(bytes)) return allocation_error(code, "the call", bytes, error);
    lay_out(Arena(lease_.memory()));
    return CK_OK;
  }

  int run(const Launch& launch, ck_result* result, ck_error* error) {
    Transfers transfers(lease_.lane());
    lease_.unsettle();
    cudaError_t code = upload(transfers);
    if (code != cudaSuccess) return device_error(code, error);
    if (const int status = launch(at_, report_, workspace_, workspace_bytes_, lease_.lane().stream, error)) {
      if (transfers.finish() == cudaSuccess && status != CK_DEVICE_FAILURE) lease_.settle();
      cudaGetLastError();
      return status;
    }
    auto* const report = static_cast<const ck_cuda_report*>(transfers.fetch(report_, sizeof *report_, &code));
    const void* fetched[kMostOutputs] = {};
    each_output([&](int i, const HostArray& array) {
      if (code == cudaSuccess) fetched[i] = transfers.fetch(at_.out[i], array.bytes, &code);
    });
    if (code == cudaSuccess) code = transfers.finish();
    if (code != cudaSuccess) return device_error(code, error);
    lease_.settle();
    if (is_cancelled(options_.cancel)) return CK_CANCELLED;
    if (const int status = judge(*report, at_, error)) return status;
    return deliver(transfers, fetched, *report, result, error);
  }

 private:
  // The same walk measures, then hands out.
  size_t lay_out(Arena arena) {
    report_ = arena.take<ck_cuda_report>(1);
    workspace_ = arena.take<unsigned char>(workspace_bytes_);
    int i = 0;
    for (const ck_matrix* matrix : call_.inputs) {
      if (matrix) at_.in[i] = *matrix;
      if (matrix && !resident_.in[i]) at_.in[i].data = arena.take<float>(size_t(matrix->rows * matrix->cols));
      ++i;
    }
    i = 0;
    for (const HostArray& array : call_.integers) {
      at_.integers[i++] = array.data ? reinterpret_cast<int32_t*>(arena.take<unsigned char>(array.bytes)) : nullptr;
    }
    i = 0;
    for (const HostArray& array : call_.outputs) {
      void* const own = const_cast<void*>(array.data);
      at_.out[i] = static_cast<float*>(!own || resident_.out[i] ? own : arena.take<unsigned char>(array.bytes));
      ++i;
    }
    return arena.used();
  }

  // The outputs that have to be copied back.
  template <class F>
  void each_output(const F& f) {
    int i = 0;
    for (const HostArray& array : call_.outputs) {
      if (array.data && !resident_.out[i]) f(i, array);
      ++i;
    }
  }

  cudaError_t upload(Transfers& transfers) {
    cudaError_t code = cudaSuccess;
    int i = 0;
    for (const ck_matrix* matrix : call_.inputs) {
      if (matrix && !resident_.in[i] && code == cudaSuccess) {
        code = transfers.upload(const_cast<float*>(at_.in[i].data), matrix->data, bytes_of(*matrix));
      }
      ++i;
    }
    i = 0;
    for (const HostArray& array : call_.integers) {
      if (array.data && code == cudaSuccess) code = transfers.upload(const_cast<int32_t*>(at_.integers[i]), array.data, array.bytes);
      ++i;
    }
    return code;
  }

  // The large outputs first, because only their copies can fail.
  int deliver(Transfers& transfers, const void* const* fetched, const ck_cuda_report& report, ck_result* result, ck_error* error) {
    cudaError_t code = cudaSuccess;
    bool large = false;
    each_output([&](int i, const HostArray& array) {
      if (fetched[i] || code != cudaSuccess) return;
      large = true;
      code = transfers.download(const_cast<void*>(array.data), at_.out[i], array.bytes);
    });
    if (large) {
      lease_.unsettle();
      if (code == cudaSuccess) code = transfers.finish();
      if (code != cudaSuccess) return device_error(code, error);
      lease_.settle();
    }
    each_output([&](int i, const HostArray& array) {
      if (fetched[i]) std::memcpy(const_cast<void*>(array.data), fetched[i], array.bytes);
    });
    if (result) *result = report.result;
    return CK_OK;
  }

  const HostCall& call_;
  const ck_options& options_;
  size_t workspace_bytes_;
  Residence resident_;
  Lease lease_;
  DeviceArrays at_;
  ck_cuda_report* report_ = nullptr;
  void* workspace_ = nullptr;
};

}  // namespace

int run_on_device(const HostCall& call, const ck_options& options, ck_result* result, ck_error* error, const Launch& launch) {
  ck_error ignored;
  if (!error) error = &ignored;
  *error = {-1, 0, 0, ""};
  unavailable_reason(error->message, sizeof error->message);
  if (*error->message) return CK_UNAVAILABLE;
  if (const int status = check_sizes(call.inputs, error)) return status;
  Execution execution(call, options);
  if (const int status = execution.open(error)) return status;
  return execution.run(launch, result, error);
}

}  // namespace ck::cuda
