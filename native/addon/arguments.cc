// See arguments.h.
#include "addon/arguments.h"

#include <limits>
#include <string>

#include "addon/device.h"

namespace ck_addon {
namespace {

[[noreturn]] void refuse(Napi::Env env, const Kernel& kernel, const std::string& what) {
  throw Napi::TypeError::New(env, std::string("native ") + kernel.name + ": " + what);
}

const char* name_of(Element element) {
  return element == Element::kFloat32 ? "a Float32Array" : element == Element::kInt32 ? "an Int32Array" : "a Uint8Array";
}

bool is_of(Element element, napi_typedarray_type type) {
  return type == (element == Element::kFloat32 ? napi_float32_array : element == Element::kInt32 ? napi_int32_array : napi_uint8_array);
}

void* array_at(const Napi::CallbackInfo& info, const Kernel& kernel, size_t position, Element element, size_t expected, Call& call) {
  napi_value value = info[position];
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  // One call for everything; a value that is no typed array is the only way it fails.
  if (napi_get_typedarray_info(info.Env(), value, &type, &length, &data, nullptr, nullptr) != napi_ok) {
    const DeviceArray* const device = element == Element::kFloat32 ? device_array(info[position]) : nullptr;
    if (!device || !device->memory) refuse(info.Env(), kernel, "argument " + std::to_string(position) + " must be " + name_of(element));
    call.device_memory.push_back(device->memory);
    data = device->memory.get();
    length = device->length;
  } else if (!is_of(element, type)) {
    refuse(info.Env(), kernel, "argument " + std::to_string(position) + " must be " + name_of(element));
  }
  if (length != expected) {
    refuse(info.Env(), kernel,
           "argument " + std::to_string(position) + " must have " + std::to_string(expected) + " elements, it has " +
               std::to_string(length) + (length == 0 ? " (its buffer may be detached)" : ""));
  }
  return data;
}

double number(const Napi::CallbackInfo& info, size_t position) { return info[position].As<Napi::Number>().DoubleValue(); }

ck_matrix read_matrix(const Napi::CallbackInfo& info, const Kernel& kernel, size_t position, Call& call) {
  const int64_t rows = info[position + 1].As<Napi::Number>().Int64Value();
  const int64_t cols = info[position + 2].As<Napi::Number>().Int64Value();
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  if (rows < 1 || cols < 1 || rows > kLargest / cols) refuse(info.Env(), kernel, "rows and cols must be positive");
  const void* data = array_at(info, kernel, position, Element::kFloat32, static_cast<size_t>(rows * cols), call);
  return {static_cast<const float*>(data), rows, cols};
}

}  // namespace

ck_options read_options(const Napi::CallbackInfo& info, size_t first) {
  ck_options options = {};
  options.temperature = 1.0;
  options.weight = number(info, first);
  options.normalize = info[first + 1].As<Napi::Boolean>().Value();
  options.stats = info[first + 2].As<Napi::Boolean>().Value();
  options.threads = info[first + 3].As<Napi::Number>().Int32Value();
  options.precision = info[first + 4].As<Napi::Number>().Int32Value();
  return options;
}

Call read_call(const Napi::CallbackInfo& info, const Kernel& kernel) {
  Call call;
  size_t position = 0;
  for (int i = 0; i < kernel.inputs; ++i, position += 3) {
    const bool absent = i >= kernel.required_inputs && info[position].IsNull();
    if (!absent) call.inputs[i] = read_matrix(info, kernel, position, call);
  }
  const size_t integers = position;
  position += static_cast<size_t>(kernel.integers);
  for (int i = 0; i < kernel.parameters; ++i, ++position) call.parameters[i] = number(info, position);
  const auto array = [&](size_t at, const Array& expected) -> void* {
    if (info[at].IsNull()) return nullptr;
    return array_at(info, kernel, at, expected.element, static_cast<size_t>(expected.length(call)), call);
  };
  for (int i = 0; i < kernel.integers; ++i) call.integers[i] = array(integers + i, kernel.integer_arrays[i]);
  for (int i = 0; i < kernel.outputs; ++i, ++position) call.outputs[i] = array(position, kernel.output_arrays[i]);
  call.options = read_options(info, position);
  return call;
}

ck_result empty_result() {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  return {0.0, kNone, kNone, kNone, kNone, 0, kNone};
}

ck_error empty_error() {
  ck_error error = {};
  error.argument = -1;
  return error;
}

Napi::Value to_array(Napi::Env env, const ck_result& result) {
  const double fields[] = {result.loss,
                           result.temperature_gradient,
                           result.positive_similarity,
                           result.negative_similarity,
                           result.accuracy,
                           static_cast<double>(result.skipped_rows),
                           result.bias_gradient};
  constexpr uint32_t kFields = sizeof fields / sizeof fields[0];
  Napi::Array array = Napi::Array::New(env, kFields);
  for (uint32_t i = 0; i < kFields; ++i) array.Set(i, fields[i]);
  return array;
}

Napi::Error to_error(Napi::Env env, int status, const ck_error& error, const Call& call) {
  Napi::Value value = env.Undefined();
  if (status == CK_NON_FINITE && error.argument >= 0 && error.argument < kMaxInputs) {
    const ck_matrix& input = call.inputs[error.argument];
    const bool inside = input.data != nullptr && error.row >= 0 && error.row < input.rows && error.column >= 0 && error.column < input.cols;
    if (inside && !call.is_on_device(input.data)) value = Napi::Number::New(env, input.data[error.row * input.cols + error.column]);
  }
  Napi::Error result = Napi::Error::New(env, std::string(error.message));
  result.Set("status", Napi::Number::New(env, status));
  result.Set("argument", Napi::Number::New(env, error.argument));
  result.Set("row", Napi::Number::New(env, static_cast<double>(error.row)));
  result.Set("column", Napi::Number::New(env, static_cast<double>(error.column)));
  result.Set("value", value);
  return result;
}

}  // namespace ck_addon
