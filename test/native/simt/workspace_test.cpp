// Device memory: a call of any kernel takes what it says it takes, beyond its inputs and outputs, and what it says grows with the rows and
// not with their square.
#include "../cpu/loss_calls.hpp"
#include "../cpu/support.hpp"
#include "contrastive_kernels_cuda.h"
#include "cuda_runtime.h"

using namespace support;
using loss_calls::every_call;
using loss_calls::LossCall;

namespace {

constexpr int64_t kSlack = 16 * 1024;  // alignment of inputs and outputs, the report

void test_what_is_taken(int64_t rows, int64_t cols) {
  const ck_options o = options(0.1, 1, true, 1);
  for (LossCall& call : every_call(rows, cols, o)) {
    ck_cuda_trim();
    const size_t before = simt::allocated_bytes();
    simt::reset_peak();
    ck_error error = {};
    const std::string what = call.name + " " + text(double(rows)) + "x" + text(double(cols));
    expect(call.run(&error) == CK_OK, what + ": " + error.message);
    const int64_t taken = int64_t(simt::peak_bytes() - before);
    expect(taken >= call.told && taken <= call.told + call.in_out + kSlack,
           what + ": takes " + text(double(taken)) + " bytes, says " + text(double(call.told)) + " beside " + text(double(call.in_out)));
    expect(taken >= call.told + call.in_out, what + ": the workspace is part of it, " + text(double(taken - call.in_out - call.told)));
  }
}

// The sizes at which losses are used; nothing is computed. Small calls spread a panel over more blocks than large ones, so that bytes
// a row go up and down by what the panels take; beyond them they grow with the rows alone.
void test_growth() {
  constexpr int64_t kCopies = 12;         // of the inputs, padded to a tile of columns; the third part of bfloat16x3 is one more
  constexpr int64_t kFixed = 16 << 20;    // a panel of a small call, spread over the device
  constexpr int64_t kLinearFrom = 32768;  // rows
  for (int32_t precision : {CK_FLOAT32, CK_BFLOAT16X3, CK_BFLOAT16})
    for (int64_t cols : {16, 128, 200, 768})
      for (int64_t rows = 2048; rows <= 262144; rows *= 2) {
        ck_options o = options(0.1, 1, true, 1);
        o.precision = precision;
        const ck_matrix x = {nullptr, rows, cols}, twice = {nullptr, 2 * rows, cols}, four = {nullptr, 4 * rows, cols};
        const auto check = [&](const std::string& what, int64_t inputs, int64_t small, int64_t large) {
          const std::string at = what + " of " + text(double(rows)) + "x" + text(double(cols)) + ", precision " + text(precision) + ": ";
          const int64_t copy = inputs * rows * std::max<int64_t>(cols, 128) * 4;
          expect(small > 0 && small <= (kCopies + (precision == CK_BFLOAT16X3)) * copy + kFixed,
                 at + text(double(small)) + " bytes are " + text(double(small) / copy) + " copies");
          if (rows >= kLinearFrom) expect(large <= 2.1 * small, at + text(double(small)) + ", then " + text(double(large)));
        };
        for (int32_t kernel = CK_COSINE_SIMILARITY; kernel <= CK_NEAREST; ++kernel) {
          const bool one = kernel == CK_NT_XENT || kernel == CK_UNIFORMITY || kernel == CK_SUP_CON;
          check("kernel " + text(kernel), one ? 1 : 2, ck_workspace_bytes(kernel, rows, rows, cols, 1, &o),
                ck_workspace_bytes(kernel, 2 * rows, 2 * rows, cols, 1, &o));
        }
        ck_info_nce_pairs guided = {}, guided_twice = {};
        guided.in_batch = guided.symmetric = guided_twice.in_batch = guided_twice.symmetric = 1;
        guided.guide_query = guided.guide_key = &x;
        guided_twice.guide_query = guided_twice.guide_key = &twice;
        check("infoNce with a guide", 4, ck_info_nce_workspace_bytes(&x, &x, nullptr, &guided, 1, &o),
              ck_info_nce_workspace_bytes(&twice, &twice, nullptr, &guided_twice, 1, &o));
        for (int32_t mode : {CK_NEGATIVES_SHARED, CK_NEGATIVES_PAIRED, CK_NEGATIVES_INDEXED}) {
          ck_info_nce_pairs pairs = {};
          pairs.in_batch = pairs.symmetric = 1;
          pairs.negative_mode = mode;
          pairs.per_query = 2;
          check("infoNce with negatives", 4, ck_info_nce_workspace_bytes(&x, &x, &twice, &pairs, 1, &o),
                ck_info_nce_workspace_bytes(&twice, &twice, &four, &pairs, 1, &o));
        }
      }
}

// Whoever asks before the temperature is known is told enough for all.
void test_any_temperature() {
  for (int32_t kernel = CK_COSINE_SIMILARITY; kernel <= CK_CROSS_UNIFORMITY; ++kernel)
    for (int64_t cols : {16, 128, 200, 768}) {
      ck_options cold = options(0.005, 1, true, 1), hot = options(10, 1, true, 1);
      cold.precision = hot.precision = CK_BFLOAT16X3;
      expect(ck_workspace_bytes(kernel, 300, 300, cols, 1, &cold) == ck_workspace_bytes(kernel, 300, 300, cols, 1, &hot),
             "kernel " + text(kernel) + " of " + text(double(cols)) + " columns: the same at any temperature");
    }
}

}  // namespace

int main() {
  test_any_temperature();
  test_what_is_taken(70, 24);
  test_what_is_taken(260, 9);
  test_growth();
  std::printf("%d checks, %d failed\n", checks(), failures());
  return failures() == 0 ? 0 : 1;
}
