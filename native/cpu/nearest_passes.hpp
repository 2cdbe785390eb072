// The nearest rows: similarities above a row's threshold are noted, and nothing else is kept. Included by unit.hpp in the namespace of
// an instruction set.
#pragma once

#include "cpu/block.hpp"

namespace ck {
namespace CK_ISA {

struct Nearest {
  const NearestPass* pass;
  int64_t first_row;  // of the job
  int64_t col, first_col;

  CK_INLINE void begin(int64_t c) { col = first_col + c; }
  CK_INLINE void row(int, int64_t i, Floats y0, Floats y1) {
    if (!any_above(maximum(y0, y1), broadcast(pass->thresholds[i - first_row]))) return;
    alignas(64) float values[NR];
    store(values, y0);
    store(values + LANES, y1);
    note(i - first_row, values);
  }
  // Rarely reached: the threshold rises as a row's candidates come in.
  __attribute__((noinline)) void note(int64_t r, const float* values) const {
    NearestCandidate* candidates = pass->candidates + r * pass->capacity;
    float threshold = pass->thresholds[r];
    int32_t count = pass->counts[r];
    for (int j = 0; j < NR; ++j) {
      if (!(values[j] > threshold)) continue;
      candidates[count++] = {values[j], static_cast<int32_t>(col + j)};
      if (count < pass->capacity) continue;
      pass->counts[r] = count;
      pass->compact(*pass, r);
      threshold = pass->thresholds[r];
      count = pass->counts[r];
    }
    pass->counts[r] = count;
  }
  CK_INLINE void end(int64_t) {}
};

// Rows [row_first, row_last) of a pair against its columns, in ascending order.
void nearest(const NearestPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_blocks(pair, pass.block, [&](const Block& block) {
    Nearest policy;
    policy.pass = &pass;
    policy.first_row = pair.row_first;
    policy.first_col = block.col_first;
    walk(block, {*pass.x_layout, pass.x_panels, pass.x_grouped}, {*pass.y_layout, pass.y_panels, nullptr}, pass.partner, nullptr, scratch,
         policy);
  });
}

}  // namespace CK_ISA
}  // namespace ck
