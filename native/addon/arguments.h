// Between JavaScript values and the C structs: arguments in, results and failures out. The shapes have been checked in
// TypeScript (src/losses); here an array whose length does not fit its rows and cols is refused all the same, because a buffer
// can be detached after that check and a wrong length would read or write outside it.
#ifndef CONTRASTIVE_KERNELS_ADDON_ARGUMENTS_H
#define CONTRASTIVE_KERNELS_ADDON_ARGUMENTS_H

#include <napi.h>

#include <cstddef>

#include "addon/kernels.h"

namespace ck_addon {

// What failed, beyond ck_status: an output array was detached or shrunk while an async call was under way.
constexpr int kOutputDetached = 100;

// Arguments of a kernel in JavaScript, the async `cancel` not counted.
inline int argument_count(const Kernel& kernel) { return 3 * kernel.inputs + kernel.integers + kernel.parameters + kernel.outputs + 5; }
// Position of output `index` among them.
inline int output_position(const Kernel& kernel, int index) { return 3 * kernel.inputs + kernel.integers + kernel.parameters + index; }

inline size_t element_size(Element element) { return element == Element::kUint8 ? 1 : 4; }

// The call's structs, pointing into the JavaScript arrays. Throws TypeError or RangeError.
Call read_call(const Napi::CallbackInfo& info, const Kernel& kernel);

// Options at argument `first`: weight, normalize, stats, threads, precision. No temperature, no cancel flag.
ck_options read_options(const Napi::CallbackInfo& info, size_t first);

// A result whose fields are NaN until a kernel sets them, for those that have no meaning for it.
ck_result empty_result();
ck_error empty_error();

// [loss, temperatureGradient, positiveSimilarity, negativeSimilarity, accuracy, skippedRows, biasGradient]
Napi::Value to_array(Napi::Env env, const ck_result& result);

// An Error with status, argument, row, column and value (of the non-finite element, where it can be read), from which TypeScript makes the
// typed one.
Napi::Error to_error(Napi::Env env, int status, const ck_error& error, const Call& call);

}  // namespace ck_addon

#endif  // CONTRASTIVE_KERNELS_ADDON_ARGUMENTS_H
