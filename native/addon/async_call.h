// One asynchronous call: inputs copied on the JavaScript thread, computed on a thread of libuv's pool into arrays of its own,
// and copied into the caller's outputs on the JavaScript thread when, and only when, it succeeded.
#ifndef CONTRASTIVE_KERNELS_ADDON_ASYNC_CALL_H
#define CONTRASTIVE_KERNELS_ADDON_ASYNC_CALL_H

#include <napi.h>

#include <memory>

#include "addon/arguments.h"

namespace ck_addon {

class AsyncCall : public Napi::AsyncWorker {
 public:
  // Reads and copies the arguments, queues the work, returns the promise. Argument `argument_count(kernel)` is null or an
  // Int32Array(1), the cancel flag: it is polled while the call runs and must not be detached.
  static Napi::Value start(const Napi::CallbackInfo& info, const Kernel& kernel);

 protected:
  void Execute() override;
  void OnOK() override;

 private:
  AsyncCall(const Napi::CallbackInfo& info, const Kernel& kernel);

  void copy_inputs();
  bool cancelled() const { return call_.options.cancel != nullptr && *call_.options.cancel != 0; }
  void fail(int status, int argument = -1);

  const Kernel& kernel_;
  Call call_;
  ck_result result_;
  ck_error error_;
  int status_ = CK_OK;
  std::unique_ptr<float[]> copies_[kMaxInputs];
  std::unique_ptr<char[]> integer_copies_[kMaxIntegers];
  std::unique_ptr<char[]> computed_[kMaxOutputs];
  size_t lengths_[kMaxOutputs] = {};  // in elements; 0: nothing to copy back
  Napi::ObjectReference outputs_[kMaxOutputs];
  Napi::ObjectReference cancel_;
  Napi::Promise::Deferred deferred_;
};

}  // namespace ck_addon

#endif  // CONTRASTIVE_KERNELS_ADDON_ASYNC_CALL_H
