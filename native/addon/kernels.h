// The table of kernels: what each takes, what it fills, and which C function computes it. One row is one binding; the sync and
// the async function of JavaScript are both made from it (addon.cc). The order of a kernel's arguments in JavaScript is
//   data, rows, cols of every input; the integer arrays; the parameters; the outputs;
//   weight, normalize, stats, threads, precision; async: cancel
// and src/native/binding.ts gives it as types.
#ifndef CONTRASTIVE_KERNELS_ADDON_KERNELS_H
#define CONTRASTIVE_KERNELS_ADDON_KERNELS_H

#include <memory>
#include <vector>

#include "contrastive_kernels.h"

namespace ck_addon {

constexpr int kMaxInputs = 6;
constexpr int kMaxIntegers = 5;
constexpr int kMaxParameters = 12;
constexpr int kMaxOutputs = 5;

// One call as the C functions want it. An input, array or output that was not given is a null pointer. Matrices and float outputs may
// be device memory, which the call then holds.
struct Call {
  ck_matrix inputs[kMaxInputs] = {};
  const void* integers[kMaxIntegers] = {};
  double parameters[kMaxParameters] = {};
  void* outputs[kMaxOutputs] = {};
  ck_options options = {};
  std::vector<std::shared_ptr<float>> device_memory;

  bool is_on_device(const void* data) const {
    for (const std::shared_ptr<float>& memory : device_memory) {
      if (memory.get() == data) return true;
    }
    return false;
  }
  const ck_matrix* input(int i) const { return inputs[i].data == nullptr ? nullptr : &inputs[i]; }
  const int32_t* int32s(int i) const { return static_cast<const int32_t*>(integers[i]); }
  const uint8_t* bytes(int i) const { return static_cast<const uint8_t*>(integers[i]); }
  int32_t flag(int i) const { return static_cast<int32_t>(parameters[i]); }
  float* output(int i) const { return static_cast<float*>(outputs[i]); }
};

enum class Element { kFloat32, kInt32, kUint8 };

// An integer array or an output: its elements, and how many it must have in a call whose inputs and parameters are known.
struct Array {
  Element element;
  int64_t (*length)(const Call& call);
};

struct Kernel {
  const char* name;  // in JavaScript; the async function is called <name>Async
  ck_kernel id;
  int inputs;
  int required_inputs;  // those after them may be null in JavaScript, a null pointer in C
  int integers;         // each may be null
  Array integer_arrays[kMaxIntegers];
  int parameters;
  int outputs;  // each may be null: not wanted
  Array output_arrays[kMaxOutputs];
  int (*run)(Call& call, ck_result* result, ck_error* error);
};

inline int64_t elements(const ck_matrix& m) { return m.rows * m.cols; }
// The matrix compared with: the second, or the first with itself.
inline const ck_matrix& second(const Call& c) { return c.inputs[1].data == nullptr ? c.inputs[0] : c.inputs[1]; }

// clang-format off
inline constexpr Array kLikeInput0 = {Element::kFloat32, [](const Call& c) { return elements(c.inputs[0]); }};
inline constexpr Array kLikeInput1 = {Element::kFloat32, [](const Call& c) { return elements(second(c)); }};
inline constexpr Array kLikeInput2 = {Element::kFloat32, [](const Call& c) { return elements(c.inputs[2]); }};
inline constexpr Array kRows = {Element::kFloat32, [](const Call& c) { return c.inputs[0].rows; }};
inline constexpr Array kTwiceRows = {Element::kFloat32, [](const Call& c) { return 2 * c.inputs[0].rows; }};
inline constexpr Array kProduct = {Element::kFloat32, [](const Call& c) { return c.inputs[0].rows * second(c).rows; }};
inline constexpr Array kIntegerPerRow = {Element::kInt32, [](const Call& c) { return c.inputs[0].rows; }};
inline constexpr Array kIntegerPerKey = {Element::kInt32, [](const Call& c) { return c.inputs[1].rows; }};
inline constexpr Array kNegativeIndices = {Element::kInt32, [](const Call& c) { return c.inputs[0].rows * static_cast<int64_t>(c.parameters[4]); }};
inline constexpr Array kMask = {Element::kUint8, [](const Call& c) { return c.inputs[0].rows * c.inputs[1].rows; }};
inline constexpr Array kNeighbours = {Element::kInt32, [](const Call& c) { return c.inputs[0].rows * static_cast<int64_t>(c.parameters[0]); }};
inline constexpr Array kNeighbourSimilarities = {Element::kFloat32, kNeighbours.length};

inline constexpr Kernel kKernels[] = {
    {"cosineSimilarity", CK_COSINE_SIMILARITY, 2, 1, 0, {}, 0, 1, {kProduct},
     [](Call& c, ck_result*, ck_error* error) {
       return ck_cosine_similarity(c.input(0), c.input(1), &c.options, c.output(0), error);
     }},
    {"cosineSimilarityBackward", CK_COSINE_SIMILARITY_BACKWARD, 3, 3, 0, {}, 0, 2, {kLikeInput0, kLikeInput1},
     [](Call& c, ck_result*, ck_error* error) {
       return ck_cosine_similarity_backward(c.input(0), c.input(1), c.input(2), &c.options, c.output(0), c.output(1), error);
     }},
    {"ntXent", CK_NT_XENT, 1, 1, 0, {}, 2, 3, {kLikeInput0, kRows, kRows},
     [](Call& c, ck_result* result, ck_error* error) {
       c.options.temperature = c.parameters[0];
       return ck_nt_xent(c.input(0), c.flag(1), &c.options, c.output(1), c.output(2), c.output(0), result, error);
     }},
    {"uniformity", CK_UNIFORMITY, 1, 1, 0, {}, 1, 1, {kLikeInput0},
     [](Call& c, ck_result* result, ck_error* error) {
       return ck_uniformity(c.input(0), c.parameters[0], &c.options, c.output(0), result, error);
     }},
    {"alignment", CK_ALIGNMENT, 2, 2, 0, {}, 1, 3, {kLikeInput0, kLikeInput1, kRows},
     [](Call& c, ck_result* result, ck_error* error) {
       return ck_alignment(c.input(0), c.input(1), c.parameters[0], &c.options, c.output(2), c.output(0), c.output(1), result, error);
     }},
    {"infoNce", CK_INFO_NCE, 6, 2, 5, {kIntegerPerRow, kNegativeIndices, kIntegerPerRow, kIntegerPerKey, kMask}, 12, 5,
     {kLikeInput0, kLikeInput1, kLikeInput2, kRows, kRows},
     [](Call& c, ck_result* result, ck_error* error) {
       c.options.temperature = c.parameters[0];
       ck_info_nce_pairs pairs = {};
       pairs.positives = c.int32s(0);
       pairs.negative_indices = c.int32s(1);
       pairs.query_labels = c.int32s(2);
       pairs.key_labels = c.int32s(3);
       pairs.mask = c.bytes(4);
       pairs.in_batch = c.flag(1);
       pairs.symmetric = c.flag(2);
       pairs.negative_mode = c.flag(3);
       pairs.per_query = static_cast<int64_t>(c.parameters[4]);
       pairs.own_negative_logit = c.parameters[5];
       pairs.guide_query = c.input(3);
       pairs.guide_key = c.input(4);
       pairs.guide_second_query = c.input(5);
       pairs.guide_margin = c.parameters[6];
       pairs.guide_relative = c.flag(7);
       pairs.guide_split = static_cast<int64_t>(c.parameters[8]);
       pairs.owned_keys = c.flag(9);
       pairs.sparse_keys = c.flag(10);
       pairs.also = c.flag(11);
       return ck_info_nce(c.input(0), c.input(1), c.input(2), &pairs, &c.options, c.output(3), c.output(4), c.output(0), c.output(1), c.output(2), result, error);
     }},
    {"supCon", CK_SUP_CON, 1, 1, 1, {kIntegerPerRow}, 2, 3, {kLikeInput0, kRows, kRows},
     [](Call& c, ck_result* result, ck_error* error) {
       c.options.temperature = c.parameters[0];
       return ck_sup_con(c.input(0), c.int32s(0), c.flag(1), &c.options, c.output(1), c.output(2), c.output(0), result, error);
     }},
    {"dcl", CK_DCL, 2, 2, 0, {}, 2, 4, {kLikeInput0, kLikeInput1, kTwiceRows, kTwiceRows},
     [](Call& c, ck_result* result, ck_error* error) {
       c.options.temperature = c.parameters[0];
       return ck_dcl(c.input(0), c.input(1), c.parameters[1], &c.options, c.output(2), c.output(3), c.output(0), c.output(1), result, error);
     }},
    {"sigLip", CK_SIG_LIP, 2, 2, 0, {}, 2, 3, {kLikeInput0, kLikeInput1, kRows},
     [](Call& c, ck_result* result, ck_error* error) {
       c.options.temperature = c.parameters[0];
       return ck_sig_lip(c.input(0), c.input(1), c.parameters[1], &c.options, c.output(2), c.output(0), c.output(1), result, error);
     }},
    {"barlowTwins", CK_BARLOW_TWINS, 2, 2, 0, {}, 1, 2, {kLikeInput0, kLikeInput1},
     [](Call& c, ck_result* result, ck_error* error) {
       return ck_barlow_twins(c.input(0), c.input(1), c.parameters[0], &c.options, c.output(0), c.output(1), result, error);
     }},
    {"vicReg", CK_VIC_REG, 2, 2, 0, {}, 3, 2, {kLikeInput0, kLikeInput1},
     [](Call& c, ck_result* result, ck_error* error) {
       return ck_vic_reg(c.input(0), c.input(1), c.parameters[0], c.parameters[1], c.parameters[2], &c.options, c.output(0), c.output(1), result, error);
     }},
    {"crossUniformity", CK_CROSS_UNIFORMITY, 2, 2, 0, {}, 1, 2, {kLikeInput0, kLikeInput1},
     [](Call& c, ck_result* result, ck_error* error) {
       return ck_cross_uniformity(c.input(0), c.input(1), c.parameters[0], &c.options, c.output(0), c.output(1), result, error);
     }},
    {"nearest", CK_NEAREST, 2, 2, 0, {}, 2, 2, {kNeighbours, kNeighbourSimilarities},
     [](Call& c, ck_result*, ck_error* error) {
       return ck_nearest(c.input(0), c.input(1), static_cast<int64_t>(c.parameters[0]), c.flag(1), &c.options, static_cast<int32_t*>(c.outputs[0]), c.output(1), error);
     }},
};
// clang-format on

constexpr bool fits_call(const Kernel& k) {
  return k.inputs <= kMaxInputs && k.integers <= kMaxIntegers && k.parameters <= kMaxParameters && k.outputs <= kMaxOutputs;
}
constexpr bool all_fit_call() {
  for (const Kernel& kernel : kKernels)
    if (!fits_call(kernel)) return false;
  return true;
}
static_assert(all_fit_call(), "a kernel takes more than Call has room for");

}  // namespace ck_addon

#endif  // CONTRASTIVE_KERNELS_ADDON_KERNELS_H
