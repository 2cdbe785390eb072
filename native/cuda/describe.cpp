// ck_describe and ck_default_threads: what the device is, or the exact reason there is none. Needs no driver to be installed.
#include "cuda/describe.hpp"

#include <cstdio>

#include "contrastive_kernels.h"
#include "cuda/rows.hpp"

namespace ck::cuda {
namespace {

struct Version {
  char text[16];
  explicit Version(int number) { std::snprintf(text, sizeof text, "%d.%d", number / 1000, number % 1000 / 10); }
};

struct Versions {
  int driver = 0, runtime = 0;
  Versions() {
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
    cudaGetLastError();  // the error has been dealt with; the next call must not see it
  }
};

// Properties take the driver a while, so a call that needs none does not ask for them.
cudaError_t find_device(cudaDeviceProp* properties) {
  int count = 0, device = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
  if (error == cudaSuccess) error = cudaGetDevice(&device);
  if (error == cudaSuccess && properties) error = cudaGetDeviceProperties(properties, device);
  if (error == cudaSuccess) error = kernels_loadable();
  if (error != cudaSuccess) cudaGetLastError();
  return error;
}

void explain(cudaError_t error, const cudaDeviceProp& device, char* reason, size_t size) {
  const Versions versions;
  const Version driver(versions.driver), runtime(versions.runtime);
  if (versions.driver == 0) {
    std::snprintf(reason, size, "no NVIDIA driver is installed (%s: %s)", cudaGetErrorName(error), cudaGetErrorString(error));
  } else if (error == cudaErrorInsufficientDriver) {
    std::snprintf(reason, size, "the NVIDIA driver supports CUDA %s, this build needs %s (%s)", driver.text, runtime.text,
                  cudaGetErrorName(error));
  } else if (error == cudaErrorNoKernelImageForDevice) {
    std::snprintf(reason, size, "this build has no kernels for %s, compute capability %d.%d (%s)", device.name, device.major, device.minor,
                  cudaGetErrorName(error));
  } else {
    std::snprintf(reason, size, "%s (%s; driver for CUDA %s, runtime %s)", cudaGetErrorString(error), cudaGetErrorName(error), driver.text,
                  runtime.text);
  }
}

// Keeps JSON valid whatever a device or a driver calls itself.
void replace_quotes(char* text) {
  for (; *text; ++text) {
    if (*text == '"' || *text == '\\' || static_cast<unsigned char>(*text) < 0x20) *text = '\'';
  }
}

}  // namespace

void unavailable_reason(char* reason, size_t size) {
  const cudaError_t error = find_device(nullptr);
  *reason = '\0';
  if (error == cudaSuccess) return;
  cudaDeviceProp device = {};
  find_device(&device);
  explain(error, device, reason, size);
}

}  // namespace ck::cuda

int32_t ck_default_threads(void) { return 1; }

double ck_measure_peak(int32_t) { return 0.0; }

size_t ck_describe(char* buffer, size_t size) {
  using namespace ck::cuda;
  cudaDeviceProp device = {};
  const cudaError_t error = find_device(&device);
  int length;
  if (error != cudaSuccess) {
    char reason[512];
    explain(error, device, reason, sizeof reason);
    replace_quotes(reason);
    length = std::snprintf(buffer, size, "{\"available\":false,\"reason\":\"%s\"}", reason);
  } else {
    const Versions versions;
    const Version driver(versions.driver), runtime(versions.runtime);
    replace_quotes(device.name);
    length = std::snprintf(buffer, size,
                           "{\"available\":true,\"device\":\"%s\",\"computeCapability\":\"%d.%d\",\"memoryBytes\":%zu,"
                           "\"driverVersion\":\"%s\",\"runtimeVersion\":\"%s\"}",
                           device.name, device.major, device.minor, size_t(device.totalGlobalMem), driver.text, runtime.text);
  }
  return length < 0 ? 0 : size_t(length);
}
