// Arrays that live on a device: what JavaScript holds of one, and the functions that make, read and release it. Only an addon linked
// with the CUDA library has them; for every other one no value is a device array.
#ifndef CONTRASTIVE_KERNELS_ADDON_DEVICE_H
#define CONTRASTIVE_KERNELS_ADDON_DEVICE_H

#include <napi.h>

#include <cstddef>
#include <memory>

namespace ck_addon {

// The target of a tagged external value. Calls under way hold the memory too, so that it outlives a release or a collection meanwhile.
struct DeviceArray {
  std::shared_ptr<float> memory;  // null once released
  size_t length;
};

// Null where `value` is no device array.
const DeviceArray* device_array(const Napi::Value& value);

// deviceAllocate, deviceUpload, deviceRead, deviceReadAsync, deviceRelease, deviceTrim
void add_device_functions(Napi::Env env, Napi::Object exports);

}  // namespace ck_addon

#endif  // CONTRASTIVE_KERNELS_ADDON_DEVICE_H
