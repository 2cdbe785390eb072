// Kernels on tensor cores that are no templates of a policy.
#pragma once
#include "cuda/rows.hpp"

namespace ck::cuda {

// half[i] = u_i . u_i / 2 by exactly the arithmetic of a tile's element, as half_squares does in float32.
void tensor_half_squares(Run& run, const Rows& rows, float* half);

// out[i][j] = u_i . v_j, [x.rows, y.rows].
void tensor_similarities(Run& run, const Rows& x, const Rows& y, float* out, ck_cuda_report* report);

}  // namespace ck::cuda
