// See arguments.h.
#include "addon/arguments.h"

#include <limits>
#include <string>

namespace ck_addon {
namespace {

[[noreturn]] void refuse(Napi::Env env, const Kernel& kernel, const std::string& what) {
  throw Napi::TypeError::New(env, std::string("native ") + kernel.name + ": " + what);
}

float* float_array(const Napi::CallbackInfo& info, const Kernel& kernel, size_t position, size_t expected) {
  napi_value value = info[position];
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  // One call for everything; a value that is no typed array is the only way it fails.
  if (napi_get_typedarray_info(info.Env(), value, &type, &length, &data, nullptr, nullptr) != napi_ok || type != napi_float32_array) {
    refuse(info.Env(), kernel, "argument " + std::to_string(position) + " must be a Float32Array");
  }
  if (length != expected) {
    refuse(info.Env(), kernel,
           "argument " + std::to_string(position) + " must have " + std::to_string(expected) + " elements, it has " +
               std::to_string(length) + (length == 0 ? " (its buffer may be detached)" : ""));
  }
  return static_cast<float*>(data);
}

double number(const Napi::CallbackInfo& info, size_t position) { return info[position].As<Napi::Number>().DoubleValue(); }

ck_matrix read_matrix(const Napi::CallbackInfo& info, const Kernel& kernel, size_t position) {
  const int64_t rows = info[position + 1].As<Napi::Number>().Int64Value();
  const int64_t cols = info[position + 2].As<Napi::Number>().Int64Value();
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  if (rows < 1 || cols < 1 || rows > kLargest / cols) refuse(info.Env(), kernel, "rows and cols must be positive");
  return {float_array(info, kernel, position, static_cast<size_t>(rows * cols)), rows, cols};
}

}  // namespace

size_t output_length(const Kernel& kernel, const Call& call, int index) {
  const ck_matrix& x = call.inputs[0];
  const ck_matrix& y = call.inputs[1].data == nullptr ? x : call.inputs[1];
  switch (kernel.lengths[index]) {
    case Length::kInput0:
      return static_cast<size_t>(x.rows * x.cols);
    case Length::kInput1:
      return static_cast<size_t>(y.rows * y.cols);
    case Length::kRows:
      return static_cast<size_t>(x.rows);
    case Length::kProduct:
      return static_cast<size_t>(x.rows * y.rows);
  }
  return 0;
}

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
    const bool absent = i == 1 && kernel.second_input_optional && info[position].IsNull();
    if (!absent) call.inputs[i] = read_matrix(info, kernel, position);
  }
  for (int i = 0; i < kernel.parameters; ++i, ++position) call.parameters[i] = number(info, position);
  for (int i = 0; i < kernel.outputs; ++i, ++position) {
    if (!info[position].IsNull()) call.outputs[i] = float_array(info, kernel, position, output_length(kernel, call, i));
  }
  call.options = read_options(info, position);
  return call;
}

ck_result empty_result() {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  return {0.0, kNone, kNone, kNone, kNone, 0};
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
                           static_cast<double>(result.skipped_rows)};
  Napi::Array array = Napi::Array::New(env, 6);
  for (uint32_t i = 0; i < 6; ++i) array.Set(i, fields[i]);
  return array;
}

Napi::Error to_error(Napi::Env env, int status, const ck_error& error, const Call& call) {
  double value = std::numeric_limits<double>::quiet_NaN();
  if (status == CK_NON_FINITE && error.argument >= 0 && error.argument < kMaxInputs) {
    const ck_matrix& input = call.inputs[error.argument];
    const bool inside = input.data != nullptr && error.row >= 0 && error.row < input.rows && error.column >= 0 && error.column < input.cols;
    if (inside) value = input.data[error.row * input.cols + error.column];
  }
  Napi::Error result = Napi::Error::New(env, std::string(error.message));
  result.Set("status", Napi::Number::New(env, status));
  result.Set("argument", Napi::Number::New(env, error.argument));
  result.Set("row", Napi::Number::New(env, static_cast<double>(error.row)));
  result.Set("column", Napi::Number::New(env, static_cast<double>(error.column)));
  result.Set("value", Napi::Number::New(env, value));
  return result;
}

}  // namespace ck_addon
