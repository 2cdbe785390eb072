// The Node addon: marshals between JavaScript and the C ABI, and computes nothing. The same sources are linked with the CPU
// library, with the CUDA library and with its emulation. JavaScript sees (src/native/binding.ts): for every row of kKernels a
// function <name> and its twin <name>Async if the library has the kernel, describe(), workspaceBytes() and measurePeak(),
// and with a CUDA library the functions of device.h.
//
// It keeps no state, neither per process nor per environment: whatever a call needs lives in the call, so that any number of
// worker threads may load it and end in the middle of a call.
#include <napi.h>

#include <string>

#include "addon/arguments.h"
#include "addon/async_call.h"
#include "addon/device.h"
#include "addon/kernels.h"

namespace ck_addon {
namespace {

const Kernel& row_of(const Napi::CallbackInfo& info) { return *static_cast<const Kernel*>(info.Data()); }

// A file built from other sources than the TypeScript that calls it would read the arguments at the wrong positions.
void require_count(const Napi::CallbackInfo& info, size_t expected) {
  if (info.Length() == expected) return;
  throw Napi::TypeError::New(info.Env(), "native addon: expected " + std::to_string(expected) + " arguments, got " +
                                             std::to_string(info.Length()) + "; it was built from another version, build it again");
}

Napi::Value run(const Napi::CallbackInfo& info) {
  const Kernel& kernel = row_of(info);
  require_count(info, argument_count(kernel));
  Call call = read_call(info, kernel);
  ck_result result = empty_result();
  ck_error error = empty_error();
  const int status = kernel.run(call, &result, &error);
  if (status != CK_OK) throw to_error(info.Env(), status, error, call);
  return to_array(info.Env(), result);
}

Napi::Value run_async(const Napi::CallbackInfo& info) {
  const Kernel& kernel = row_of(info);
  require_count(info, argument_count(kernel) + 1);
  return AsyncCall::start(info, kernel);
}

// describe(): what the library is and whether it can run here, the JSON of ck_describe parsed.
Napi::Value describe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::string text(ck_describe(nullptr, 0) + 1, '\0');
  ck_describe(&text[0], text.size());
  const Napi::Object json = env.Global().Get("JSON").As<Napi::Object>();
  return json.Get("parse").As<Napi::Function>().Call({Napi::String::New(env, text.c_str())});
}

// InfoNCE's explicit negatives, and how many neighbours nearest looks for.
struct OwnSizes {
  int64_t negative_rows, per_query, k;
  int32_t negative_mode;
};

int64_t workspace_of(int32_t kernel, int64_t rows_x, int64_t rows_y, int64_t cols, int32_t gradients, const OwnSizes& own,
                     const ck_options& options) {
  if (kernel == CK_NEAREST) return ck_nearest_workspace_bytes(rows_x, rows_y, cols, own.k, &options);
  if (kernel != CK_INFO_NCE || own.negative_rows == 0) return ck_workspace_bytes(kernel, rows_x, rows_y, cols, gradients, &options);
  const ck_matrix query = {nullptr, rows_x, cols}, key = {nullptr, rows_y, cols}, negatives = {nullptr, own.negative_rows, cols};
  ck_info_nce_pairs pairs = {};
  pairs.in_batch = pairs.symmetric = 1;
  pairs.negative_mode = own.negative_mode;
  pairs.per_query = own.per_query;
  return ck_info_nce_workspace_bytes(&query, &key, &negatives, &pairs, gradients, &options);
}

// workspaceBytes(kernel, rowsX, rowsY, cols, gradients, negativeRows, negativeMode, perQuery, k, weight, normalize, stats, threads,
// precision)
Napi::Value workspace_bytes(const Napi::CallbackInfo& info) {
  require_count(info, 14);
  const std::string name = info[0].As<Napi::String>();
  const auto integer = [&](size_t index) { return info[index].As<Napi::Number>().Int64Value(); };
  for (const Kernel& kernel : kKernels) {
    if (name != kernel.name) continue;
    const OwnSizes own = {integer(5), integer(7), integer(8), static_cast<int32_t>(integer(6))};
    const int64_t bytes =
        workspace_of(kernel.id, integer(1), integer(2), integer(3), info[4].As<Napi::Boolean>().Value(), own, read_options(info, 9));
    return Napi::Number::New(info.Env(), static_cast<double>(bytes));
  }
  throw Napi::RangeError::New(info.Env(), "native addon: no kernel is called '" + name + "'");
}

// measurePeak(threads): FLOP/s, 0 where not known.
Napi::Value measure_peak(const Napi::CallbackInfo& info) {
  require_count(info, 1);
  return Napi::Number::New(info.Env(), ck_measure_peak(info[0].As<Napi::Number>().Int32Value()));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  for (const Kernel& kernel : kKernels) {
    if (!ck_supports(kernel.id)) continue;
    void* row = const_cast<Kernel*>(&kernel);
    const std::string async_name = std::string(kernel.name) + "Async";
    exports.Set(kernel.name, Napi::Function::New<run>(env, kernel.name, row));
    exports.Set(async_name, Napi::Function::New<run_async>(env, async_name.c_str(), row));
  }
  exports.Set("describe", Napi::Function::New<describe>(env, "describe"));
  exports.Set("workspaceBytes", Napi::Function::New<workspace_bytes>(env, "workspaceBytes"));
  exports.Set("measurePeak", Napi::Function::New<measure_peak>(env, "measurePeak"));
  add_device_functions(env, exports);
  return exports;
}

}  // namespace
}  // namespace ck_addon

static Napi::Object Init(Napi::Env env, Napi::Object exports) { return ck_addon::init(env, exports); }
NODE_API_MODULE(contrastive_kernels, Init)
