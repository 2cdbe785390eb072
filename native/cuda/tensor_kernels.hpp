// Kernels on tensor cores that are no templates of a policy.
#pragma once
#include "cuda/rows.hpp"

namespace ck::cuda {

// out[i] = scale (x_i . y_other(i)) by exactly the arithmetic of a tile's element, for every padded row of x; other null: row i. Beyond the
// rows of x it is with row 0 of y.
void tensor_pairs(Run& run, const Rows& x, const Rows& y, const int32_t* other, float scale, float* out);

// out[i][j] = u_i . v_j, [x.rows, y.rows].
void tensor_similarities(Run& run, const Rows& x, const Rows& y, float* out, ck_cuda_report* report);

}  // namespace ck::cuda
