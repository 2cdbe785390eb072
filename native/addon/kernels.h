// The table of kernels: what each takes, what it fills, and which C function computes it. One row is one binding; the sync and
// the async function of JavaScript are both made from it (addon.cc). The order of a kernel's arguments in JavaScript is
//   data, rows, cols of every input; the parameters; the outputs; weight, normalize, stats, threads, precision; async: cancel
// and src/native/binding.ts gives it as types.
#ifndef CONTRASTIVE_KERNELS_ADDON_KERNELS_H
#define CONTRASTIVE_KERNELS_ADDON_KERNELS_H

#include "contrastive_kernels.h"

namespace ck_addon {

constexpr int kMaxInputs = 3;
constexpr int kMaxParameters = 2;
constexpr int kMaxOutputs = 3;

// One call as the C functions want it. An input or output that was not given has data nullptr.
struct Call {
  ck_matrix inputs[kMaxInputs] = {};
  double parameters[kMaxParameters] = {};
  float* outputs[kMaxOutputs] = {};
  ck_options options = {};
};

// The length an output must have: that of input 0 or 1, the rows of input 0, or the rows of both inputs multiplied.
enum class Length { kInput0, kInput1, kRows, kProduct };

struct Kernel {
  const char* name;  // in JavaScript; the async function is called <name>Async
  ck_kernel id;
  int inputs;
  bool second_input_optional;  // null in JavaScript, a null pointer in C
  int parameters;
  int outputs;  // each may be null: not wanted
  Length lengths[kMaxOutputs];
  int (*run)(Call& call, ck_result* result, ck_error* error);
};

inline const ck_matrix* given(const ck_matrix& matrix) { return matrix.data == nullptr ? nullptr : &matrix; }

// clang-format off
inline constexpr Kernel kKernels[] = {
    {"cosineSimilarity", CK_COSINE_SIMILARITY, 2, true, 0, 1, {Length::kProduct},
     [](Call& c, ck_result*, ck_error* error) {
       return ck_cosine_similarity(&c.inputs[0], given(c.inputs[1]), &c.options, c.outputs[0], error);
     }},
    {"cosineSimilarityBackward", CK_COSINE_SIMILARITY_BACKWARD, 3, false, 0, 2, {Length::kInput0, Length::kInput1},
     [](Call& c, ck_result*, ck_error* error) {
       return ck_cosine_similarity_backward(&c.inputs[0], &c.inputs[1], &c.inputs[2], &c.options, c.outputs[0], c.outputs[1], error);
     }},
    {"ntXent", CK_NT_XENT, 1, false, 2, 3, {Length::kInput0, Length::kRows, Length::kRows},
     [](Call& c, ck_result* result, ck_error* error) {
       c.options.temperature = c.parameters[0];
       const int32_t pairs = static_cast<int32_t>(c.parameters[1]);
       return ck_nt_xent(&c.inputs[0], pairs, &c.options, c.outputs[1], c.outputs[2], c.outputs[0], result, error);
     }},
    {"uniformity", CK_UNIFORMITY, 1, false, 1, 1, {Length::kInput0},
     [](Call& c, ck_result* result, ck_error* error) {
       return ck_uniformity(&c.inputs[0], c.parameters[0], &c.options, c.outputs[0], result, error);
     }},
    {"alignment", CK_ALIGNMENT, 2, false, 1, 3, {Length::kInput0, Length::kInput1, Length::kRows},
     [](Call& c, ck_result* result, ck_error* error) {
       return ck_alignment(&c.inputs[0], &c.inputs[1], c.parameters[0], &c.options, c.outputs[2], c.outputs[0], c.outputs[1], result, error);
     }},
};
// clang-format on

}  // namespace ck_addon

#endif  // CONTRASTIVE_KERNELS_ADDON_KERNELS_H
