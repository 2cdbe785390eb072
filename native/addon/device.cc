// See device.h. CONTRASTIVE_KERNELS_DEVICE is defined where the addon is linked with the CUDA library, or its emulation.
#include "addon/device.h"

#ifdef CONTRASTIVE_KERNELS_DEVICE

#include <cstring>
#include <new>
#include <string>

#include "addon/arguments.h"
#include "contrastive_kernels_cuda.h"

namespace ck_addon {
namespace {

constexpr napi_type_tag kTag = {0x6b2f0c5d9a1e4f37, 0x8d54e1b7c03a6f92};

void throw_status(Napi::Env env, int status, const ck_error& error) { throw to_error(env, status, error, Call()); }

DeviceArray& array_at(const Napi::CallbackInfo& info, size_t position) {
  const DeviceArray* const array = device_array(info[position]);
  if (!array) throw Napi::TypeError::New(info.Env(), "native addon: argument " + std::to_string(position) + " must be a device array");
  return *const_cast<DeviceArray*>(array);
}

Napi::Float32Array floats_at(const Napi::CallbackInfo& info, size_t position) {
  const Napi::Value value = info[position];
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    throw Napi::TypeError::New(info.Env(), "native addon: argument " + std::to_string(position) + " must be a Float32Array");
  return value.As<Napi::Float32Array>();
}

// Device memory counts as memory that the external keeps alive, so that forgotten matrices are collected before the device is full.
void count_memory(Napi::BasicEnv env, const DeviceArray& array, int sign) {
  if (array.memory) Napi::MemoryManagement::AdjustExternalMemory(env, sign * static_cast<int64_t>(array.length * sizeof(float)));
}

Napi::External<DeviceArray> allocate(Napi::Env env, size_t length) {
  void* memory = nullptr;
  ck_error error = empty_error();
  const int status = ck_cuda_allocate(length * sizeof(float), &memory, &error);
  if (status != CK_OK) throw_status(env, status, error);
  auto array = std::make_unique<DeviceArray>(DeviceArray{{static_cast<float*>(memory), ck_cuda_release}, length});
  auto external = Napi::External<DeviceArray>::New(env, array.get(), [](Napi::BasicEnv basic, DeviceArray* collected) {
    count_memory(basic, *collected, -1);
    delete collected;
  });
  const DeviceArray& owned = *array.release();
  external.TypeTag(&kTag);
  count_memory(env, owned, 1);
  return external;
}

// deviceAllocate(length): an array whose elements are not set.
Napi::Value device_allocate(const Napi::CallbackInfo& info) {
  return allocate(info.Env(), static_cast<size_t>(info[0].As<Napi::Number>().Int64Value()));
}

// deviceUpload(data): an array with these elements.
Napi::Value device_upload(const Napi::CallbackInfo& info) {
  const Napi::Float32Array data = floats_at(info, 0);
  const Napi::External<DeviceArray> external = allocate(info.Env(), data.ElementLength());
  ck_error error = empty_error();
  const int status = ck_cuda_upload(external.Data()->memory.get(), data.Data(), data.ByteLength(), &error);
  if (status != CK_OK) throw_status(info.Env(), status, error);
  return external;
}

void require_length(const Napi::CallbackInfo& info, const DeviceArray& array, const Napi::Float32Array& out) {
  if (out.ElementLength() == array.length) return;
  throw Napi::TypeError::New(info.Env(), "native addon: the array to read into must have " + std::to_string(array.length) +
                                             " elements, it has " + std::to_string(out.ElementLength()));
}

// deviceRead(array, out)
Napi::Value device_read(const Napi::CallbackInfo& info) {
  const DeviceArray& array = array_at(info, 0);
  Napi::Float32Array out = floats_at(info, 1);
  require_length(info, array, out);
  ck_error error = empty_error();
  const int status = ck_cuda_download(out.Data(), array.memory.get(), out.ByteLength(), &error);
  if (status != CK_OK) throw_status(info.Env(), status, error);
  return info.Env().Undefined();
}

// Reads off the JavaScript thread into memory of its own; the caller's array is filled when the promise resolves.
class ReadCall : public Napi::AsyncWorker {
 public:
  ReadCall(const Napi::CallbackInfo& info, const DeviceArray& array, const Napi::Float32Array& out)
      : Napi::AsyncWorker(info.Env(), "deviceRead"),
        array_(array),
        out_(Napi::Persistent(static_cast<Napi::Object>(out))),
        deferred_(Napi::Promise::Deferred::New(info.Env())) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    error_ = empty_error();
    copy_.reset(new (std::nothrow) float[array_.length]);
    status_ = copy_ ? ck_cuda_download(copy_.get(), array_.memory.get(), array_.length * sizeof(float), &error_) : int(CK_OUT_OF_MEMORY);
  }
  void OnOK() override {
    Napi::Float32Array out = out_.Value().As<Napi::Float32Array>();
    if (status_ == CK_OK && out.ElementLength() != array_.length) status_ = kOutputDetached;
    if (status_ != CK_OK) return deferred_.Reject(to_error(Env(), status_, error_, Call()).Value());
    std::memcpy(out.Data(), copy_.get(), array_.length * sizeof(float));
    deferred_.Resolve(Env().Undefined());
  }

 private:
  const DeviceArray array_;  // a copy: the memory lives until the read is done
  Napi::ObjectReference out_;
  Napi::Promise::Deferred deferred_;
  std::unique_ptr<float[]> copy_;
  ck_error error_;
  int status_ = CK_OK;
};

// deviceReadAsync(array, out)
Napi::Value device_read_async(const Napi::CallbackInfo& info) {
  const DeviceArray& array = array_at(info, 0);
  const Napi::Float32Array out = floats_at(info, 1);
  require_length(info, array, out);
  auto call = std::make_unique<ReadCall>(info, array, out);
  const Napi::Promise promise = call->promise();
  call->Queue();
  call.release();  // deletes itself after OnOK, or when the environment ends
  return promise;
}

// deviceRelease(array): gives the memory back, as soon as no call uses it.
Napi::Value device_release(const Napi::CallbackInfo& info) {
  DeviceArray& array = array_at(info, 0);
  count_memory(info.Env(), array, -1);
  array.memory.reset();
  return info.Env().Undefined();
}

// deviceTrim(): frees the device memory that is kept for later calls; the bytes that were.
Napi::Value device_trim(const Napi::CallbackInfo& info) {
  const size_t kept = ck_cuda_kept_bytes();
  ck_cuda_trim();
  return Napi::Number::New(info.Env(), static_cast<double>(kept));
}

}  // namespace

const DeviceArray* device_array(const Napi::Value& value) {
  if (!value.IsExternal()) return nullptr;
  const auto external = value.As<Napi::External<DeviceArray>>();
  return external.CheckTypeTag(&kTag) ? external.Data() : nullptr;
}

void add_device_functions(Napi::Env env, Napi::Object exports) {
  exports.Set("deviceAllocate", Napi::Function::New<device_allocate>(env, "deviceAllocate"));
  exports.Set("deviceUpload", Napi::Function::New<device_upload>(env, "deviceUpload"));
  exports.Set("deviceRead", Napi::Function::New<device_read>(env, "deviceRead"));
  exports.Set("deviceReadAsync", Napi::Function::New<device_read_async>(env, "deviceReadAsync"));
  exports.Set("deviceRelease", Napi::Function::New<device_release>(env, "deviceRelease"));
  exports.Set("deviceTrim", Napi::Function::New<device_trim>(env, "deviceTrim"));
}

}  // namespace ck_addon

#else

namespace ck_addon {

const DeviceArray* device_array(const Napi::Value&) { return nullptr; }

void add_device_functions(Napi::Env, Napi::Object) {}

}  // namespace ck_addon

#endif
