// One call of every kernel, and of every kind of negatives, with what the library says it takes: for the tests of memory.
#ifndef CK_TEST_LOSS_CALLS_HPP
#define CK_TEST_LOSS_CALLS_HPP

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "contrastive_kernels.h"

namespace loss_calls {

struct LossCall {
  std::string name;
  int64_t told;    // ck_workspace_bytes, or its like
  int64_t in_out;  // bytes of its inputs and outputs
  std::function<int(ck_error*)> run;
};

// Inputs and outputs of one call; outputs are large enough for any of them.
struct Arrays {
  int64_t rows, cols, in_out = 0;
  std::vector<float> x, y, z, outputs[5];
  std::vector<int32_t> labels, indices;
  ck_matrix guide = {};  // y as one
  ck_result result = {};

  Arrays(int64_t rows, int64_t cols)
      : rows(rows), cols(cols), x(rows * cols), y(x.size()), z(2 * x.size()), labels(rows), indices(rows * 3) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (std::vector<float>* values : {&x, &y, &z})
      for (float& value : *values) value = normal(random);
    for (int64_t i = 0; i < rows; ++i) labels[i] = static_cast<int32_t>(i % 5);
    for (size_t e = 0; e < indices.size(); ++e) indices[e] = static_cast<int32_t>(e * 7 % (2 * rows));
  }
  float* out(int index, int64_t count) {
    outputs[index].resize(count);
    return outputs[index].data();
  }
};

constexpr int64_t FEW = 40;  // rows of the second matrix where the output is rows x rows_y

// rows even. The list is made anew for each size: told is asked for when it is made.
inline std::vector<LossCall> every_call(int64_t rows, int64_t cols, const ck_options& o) {
  const auto a = std::make_shared<Arrays>(rows, cols);
  const int64_t n = rows, size = rows * cols;
  const ck_matrix x = {a->x.data(), n, cols}, y = {a->y.data(), n, cols}, z = {a->z.data(), 2 * n, cols}, few = {a->y.data(), FEW, cols};
  const auto told = [&](int32_t kernel, int64_t others) { return ck_workspace_bytes(kernel, n, others, cols, 1, &o); };
  std::vector<LossCall> calls;
  const auto add = [&](const char* name, int64_t bytes, int64_t floats, std::function<int(ck_error*)> run) {
    calls.push_back({name, bytes, 4 * floats, std::move(run)});
  };

  add("cosineSimilarity", told(CK_COSINE_SIMILARITY, FEW), size + FEW * cols + n * FEW,
      [=](ck_error* e) { return ck_cosine_similarity(&x, &few, &o, a->out(0, n * FEW), e); });
  const ck_matrix upstream = {a->z.data(), n, FEW};
  if (2 * cols >= FEW)
    add("cosineSimilarityBackward", told(CK_COSINE_SIMILARITY_BACKWARD, FEW), 2 * (size + FEW * cols) + n * FEW,
        [=](ck_error* e) { return ck_cosine_similarity_backward(&x, &few, &upstream, &o, a->out(0, size), a->out(1, FEW * cols), e); });
  add("ntXent", told(CK_NT_XENT, 0), 2 * size + 2 * n,
      [=](ck_error* e) { return ck_nt_xent(&x, 0, &o, a->out(0, n), a->out(1, n), a->out(2, size), &a->result, e); });
  add("uniformity", told(CK_UNIFORMITY, 0), 2 * size,
      [=](ck_error* e) { return ck_uniformity(&x, 2, &o, a->out(0, size), &a->result, e); });
  add("alignment", told(CK_ALIGNMENT, n), 4 * size + n,
      [=](ck_error* e) { return ck_alignment(&x, &y, 2, &o, a->out(0, n), a->out(1, size), a->out(2, size), &a->result, e); });
  add("dcl", told(CK_DCL, n), 4 * size + 4 * n, [=](ck_error* e) {
    return ck_dcl(&x, &y, 0.5, &o, a->out(0, 2 * n), a->out(1, 2 * n), a->out(2, size), a->out(3, size), &a->result, e);
  });
  add("sigLip", told(CK_SIG_LIP, n), 4 * size + n,
      [=](ck_error* e) { return ck_sig_lip(&x, &y, -1, &o, a->out(0, n), a->out(1, size), a->out(2, size), &a->result, e); });
  add("crossUniformity", told(CK_CROSS_UNIFORMITY, n), 4 * size,
      [=](ck_error* e) { return ck_cross_uniformity(&x, &y, 2, &o, a->out(0, size), a->out(1, size), &a->result, e); });
  add("barlowTwins", told(CK_BARLOW_TWINS, n), 4 * size,
      [=](ck_error* e) { return ck_barlow_twins(&x, &y, 0.01, &o, a->out(0, size), a->out(1, size), &a->result, e); });
  add("vicReg", told(CK_VIC_REG, n), 4 * size,
      [=](ck_error* e) { return ck_vic_reg(&x, &y, 25, 25, 1, &o, a->out(0, size), a->out(1, size), &a->result, e); });
  for (int32_t variant : {CK_SUP_CON_OUT, CK_SUP_CON_IN, CK_SUP_CON_PAIR})
    add("supCon", told(CK_SUP_CON, 0), 2 * size + 3 * n, [=](ck_error* e) {
      return ck_sup_con(&x, a->labels.data(), variant, &o, a->out(0, n), a->out(1, n), a->out(2, size), &a->result, e);
    });
  for (int64_t k : {1, 30})
    add("nearest", ck_nearest_workspace_bytes(n, n, cols, k, &o), 2 * size + 2 * n * k, [=](ck_error* e) {
      a->labels.resize(std::max<size_t>(a->labels.size(), n * k));
      return ck_nearest(&x, &y, k, 0, &o, a->labels.data(), a->out(0, n * k), e);
    });

  const auto info_nce = [&](const char* name, const ck_matrix* negatives, ck_info_nce_pairs pairs) {
    const bool given = negatives != nullptr;
    const ck_matrix third = given ? *negatives : ck_matrix{};
    const int64_t indices = pairs.negative_mode == CK_NEGATIVES_INDEXED ? n * pairs.per_query : 0;
    const int64_t guide = pairs.guide_query != nullptr ? 3 * size : 0;
    add(name, ck_info_nce_workspace_bytes(&x, &y, negatives, &pairs, 1, &o), 4 * size + 2 * third.rows * cols + 2 * n + indices + guide,
        [=](ck_error* e) {
          return ck_info_nce(&x, &y, given ? &third : nullptr, &pairs, &o, a->out(0, n), a->out(1, n), a->out(2, size), a->out(3, size),
                             given ? a->out(4, third.rows * cols) : nullptr, &a->result, e);
        });
  };
  ck_info_nce_pairs pairs = {};
  pairs.in_batch = pairs.symmetric = 1;
  info_nce("infoNce", nullptr, pairs);
  a->guide = y;
  pairs.guide_query = pairs.guide_key = pairs.guide_second_query = &a->guide;
  pairs.guide_split = n / 2;
  info_nce("infoNce, with a guide", nullptr, pairs);
  pairs.guide_query = pairs.guide_key = pairs.guide_second_query = nullptr;
  info_nce("infoNce, shared negatives", &z, pairs);
  pairs.own_negative_logit = 0.5;
  info_nce("infoNce, own negative", &z, pairs);
  pairs.own_negative_logit = 0;
  pairs.negative_mode = CK_NEGATIVES_PAIRED;
  pairs.per_query = 2;
  info_nce("infoNce, paired negatives", &z, pairs);
  pairs.negative_mode = CK_NEGATIVES_INDEXED;
  pairs.per_query = 3;
  pairs.negative_indices = a->indices.data();
  info_nce("infoNce, indexed negatives", &z, pairs);
  return calls;
}

}  // namespace loss_calls

#endif
