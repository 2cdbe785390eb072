// The rows of every class relative to a point near their mean m: with r = u - m the similarity of two rows of a class is
//
//   s_ip = <m, m> + <m, r_i> + <m, r_p> + <r_i, r_p> = base_i + bias_p + <r_i, r_p>
//
// and where the rows of a class lie close together the differences between a row's positives keep their digits.
#pragma once
#include "cuda/rows.hpp"

namespace ck::cuda {

struct ClassRows {
  const int32_t* labels;
  Rows u, r;
  int32_t* leader;  // [rows] the first row of the row's class
  float* mean;      // [rows, u.stride] m, at the row of the class's leader
  float* bias;      // [padded rows]
  double* base;     // [rows]

  ClassRows(Arena& arena, const Rows& rows, const int32_t* labels_)
      : labels(labels_),
        u(rows),
        r(arena, nullptr, rows.rows, rows.cols, false, true),
        leader(arena.take<int32_t>(rows.rows)),
        mean(arena.take<float>(size_t(rows.rows) * rows.stride)),
        bias(arena.take<float>(rows.padded_rows)),
        base(arena.take<double>(rows.rows)) {}
};

// Fills the buffers from u, which has been prepared.
void prepare_classes(Run& run, const ClassRows& classes);

}  // namespace ck::cuda
