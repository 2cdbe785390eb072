// What the bfloat16 unit offers beside the table of its instruction set (kernels.hpp): plain structs, no inline code.
//
// A word holds two bfloat16 numbers. Layouts of rows r_i, rounded once:
//   panels, grouped  as in kernels.hpp, word k of a row holding its dimensions 2k and 2k + 1: the operands of dot products
//   pairs            [rows / pair_rows][chunks][pair_rows / 2][width], a word holding one dimension of rows 2i and 2i + 1: what
//                    coefficients are applied to; chunks as in the float32 layout, half as many floats
#ifndef CK_CPU_BFLOAT16_KERNELS_HPP
#define CK_CPU_BFLOAT16_KERNELS_HPP

#include <stdint.h>

namespace ck {

struct Layout;
struct PackTotals;

// Rows [first, last) of the padded matrix, whole PACK_ROWS: r = u (x when not normalised) rounded to bfloat16.
struct RoundJob {
  const float* data;
  const Layout* layout;  // of the float32 matrix
  const Layout* words;   // of panels and groups
  int64_t first, last;
  int32_t normalize;
  float* rounded;  // [rows, cols]: r in float32
  float* panels;
  float* grouped;  // NULL: not wanted
  float* pairs;    // NULL: not wanted
  int64_t pair_rows;
  double* lengths;     // [padded_rows]: |x|
  double* norms;       // [padded_rows]: |r|
  double* column_sum;  // NULL, or [cols]: sum of r
  PackTotals* totals;  // out: the smallest |x|, the largest |r|
};

}  // namespace ck

#endif
