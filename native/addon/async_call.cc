// See async_call.h.
#include "addon/async_call.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace ck_addon {

Napi::Value AsyncCall::start(const Napi::CallbackInfo& info, const Kernel& kernel) {
  std::unique_ptr<AsyncCall> call(new AsyncCall(info, kernel));
  const Napi::Promise promise = call->deferred_.Promise();
  call->Queue();
  call.release();  // deletes itself after OnOK, or when the environment ends
  return promise;
}

AsyncCall::AsyncCall(const Napi::CallbackInfo& info, const Kernel& kernel)
    : Napi::AsyncWorker(info.Env(), kernel.name),
      kernel_(kernel),
      call_(read_call(info, kernel)),
      result_(empty_result()),
      error_(empty_error()),
      deferred_(Napi::Promise::Deferred::New(info.Env())) {
  for (int i = 0; i < kernel.outputs; ++i) {
    if (call_.outputs[i] == nullptr || call_.is_on_device(call_.outputs[i])) continue;
    lengths_[i] = static_cast<size_t>(kernel.output_arrays[i].length(call_));
    outputs_[i] = Napi::Persistent(info[output_position(kernel, i)].As<Napi::Object>());
  }
  const Napi::Value cancel = info[argument_count(kernel)];
  if (cancel.IsTypedArray()) {
    call_.options.cancel = cancel.As<Napi::Int32Array>().Data();
    cancel_ = Napi::Persistent(cancel.As<Napi::Object>());
  }
  try {
    copy_inputs();
  } catch (const std::bad_alloc&) {
    fail(CK_OUT_OF_MEMORY);  // rejects like any other failure: Execute then does nothing
  }
}

void AsyncCall::copy_inputs() {
  const float* originals[kMaxInputs] = {};
  for (int i = 0; i < kernel_.inputs; ++i) {
    ck_matrix& input = call_.inputs[i];
    originals[i] = input.data;
    if (input.data == nullptr || call_.is_on_device(input.data)) continue;
    // The same array given twice stays one array: a kernel may take a shorter way then, and async must give the bits of sync.
    const float* const* same = std::find(originals, originals + i, input.data);
    if (same != originals + i && call_.inputs[same - originals].rows == input.rows) {
      input.data = call_.inputs[same - originals].data;
      continue;
    }
    const size_t length = static_cast<size_t>(input.rows * input.cols);
    copies_[i].reset(new float[length]);
    std::memcpy(copies_[i].get(), input.data, length * sizeof(float));
    input.data = copies_[i].get();
  }
  for (int i = 0; i < kernel_.integers; ++i) {
    if (call_.integers[i] == nullptr) continue;
    const Array& array = kernel_.integer_arrays[i];
    const size_t bytes = static_cast<size_t>(array.length(call_)) * element_size(array.element);
    integer_copies_[i].reset(new char[bytes]);
    std::memcpy(integer_copies_[i].get(), call_.integers[i], bytes);
    call_.integers[i] = integer_copies_[i].get();
  }
}

// On a thread of the pool: no JavaScript value may be touched.
void AsyncCall::Execute() {
  if (status_ != CK_OK) return;
  if (cancelled()) return fail(CK_CANCELLED);
  try {
    for (int i = 0; i < kernel_.outputs; ++i) {
      if (lengths_[i] == 0) continue;
      computed_[i].reset(new char[lengths_[i] * element_size(kernel_.output_arrays[i].element)]);
      call_.outputs[i] = computed_[i].get();
    }
    status_ = kernel_.run(call_, &result_, &error_);
  } catch (const std::bad_alloc&) {
    fail(CK_OUT_OF_MEMORY);
  }
}

// On the JavaScript thread. An abort that came while the result waited in the queue still counts: nothing was written yet.
void AsyncCall::OnOK() {
  if (status_ == CK_OK && cancelled()) fail(CK_CANCELLED);
  void* destinations[kMaxOutputs] = {};
  for (int i = 0; i < kernel_.outputs && status_ == CK_OK; ++i) {
    if (lengths_[i] == 0) continue;
    const Napi::TypedArray array = outputs_[i].Value().As<Napi::TypedArray>();
    if (array.ElementLength() != lengths_[i]) {
      fail(kOutputDetached, i);
    } else {
      // The array object may keep the address it had when it was wrapped, so ask again rather than trust a stored pointer.
      void* data = nullptr;
      napi_get_typedarray_info(Env(), array, nullptr, nullptr, &data, nullptr, nullptr);
      destinations[i] = data;
    }
  }
  if (status_ != CK_OK) return deferred_.Reject(to_error(Env(), status_, error_, call_).Value());
  for (int i = 0; i < kernel_.outputs; ++i) {
    if (lengths_[i] != 0) std::memcpy(destinations[i], computed_[i].get(), lengths_[i] * element_size(kernel_.output_arrays[i].element));
  }
  deferred_.Resolve(to_array(Env(), result_));
}

void AsyncCall::fail(int status, int argument) {
  status_ = status;
  error_ = empty_error();
  error_.argument = argument;
}

}  // namespace ck_addon
