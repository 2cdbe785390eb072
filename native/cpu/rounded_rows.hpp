// Rows rounded to bfloat16 in the layouts of bfloat16_kernels.hpp, for a call in that precision.
#ifndef CK_CPU_ROUNDED_ROWS_HPP
#define CK_CPU_ROUNDED_ROWS_HPP

#include "cpu/call.hpp"

namespace ck {

struct RoundedRows {
  // Takes nothing when `kernels` is NULL; `gradients`: with the operand of the second product.
  RoundedRows(Arena& arena, const Layout& layout, bool gradients, const Bfloat16Table* kernels);

  Layout words;           // of panels and groups
  float* rows = nullptr;  // [rows, cols]: the rounded rows in float32
  float* panels = nullptr;
  float* grouped = nullptr;  // where tiles read it
  float* pairs = nullptr;
  double* lengths = nullptr;  // [padded_rows]: |x|
};

// Packs rows [index * PACK_ROWS, ...); `packed` gets the norms, totals and column sums.
void round_job(const Call& call, Packed& packed, const RoundedRows& rounded, int64_t index);

// Rounds and packs the matrix of `packed`, as pack() does in float32.
template <class Prepare>
void pack_rounded(Call& call, int threads, Packed& packed, const RoundedRows& rounded, int32_t argument, Prepare&& prepare) {
  call.each(threads, job_count(packed.layout.padded_rows, PACK_ROWS), [&](int64_t index, int) {
    round_job(call, packed, rounded, index);
    prepare(index * PACK_ROWS, (index + 1) * PACK_ROWS);
  });
  finish_packing(packed, argument);
}

}  // namespace ck

#endif
