// A panel of a side's gradient (side.hpp) on tensor cores: G by the coefficient policy, one block a tile, then D = G v.
//
// Of the policy it asks, beside what side.hpp does,
//   meets<side>(row0, col0)                   false where no pair of the tile has a coefficient of 0 by rule
//   coefficient<true>(s, i, j, careful)       the same by exp2_fast; where not careful, for tiles that are not met
#pragma once
#include "cuda/tensor_coefficients.hpp"

namespace ck::cuda::detail {

template <bool kSwapped, bool kSplit, class Policy>
__global__ void __launch_bounds__(LargeTile::kThreads, 1)
    tensor_pair_coefficients(Rows x, Rows y, CoefficientPanel g, Policy policy, int first_row) {
  using Shape = LargeTile;
  constexpr int kR = Shape::kRowFragments, kC = Shape::kColumnFragments;
  CK_SHARED_MEMORY(shared);
  const int local0 = int(blockIdx.y) * Shape::kSide, row0 = first_row + local0, col0 = int(blockIdx.x) * Shape::kSide;
  if (row0 >= x.padded_rows) return;
  const WarpTile at = WarpTile::of_thread<Shape>();
  Fragments<kR, kC> tile = {};
  similarity_tile<Shape, kSplit>(tile, shared, x, y, row0, col0, at);
  const bool edge = row0 + Shape::kSide > x.rows || col0 + Shape::kSide > y.rows;
  const bool careful = policy.template meets<Shape::kSide>(kSwapped ? col0 : row0, kSwapped ? row0 : col0);
  CK_UNROLL
  for (int i = 0; i < kR; ++i) {
    CK_UNROLL
    for (int j = 0; j < kC; ++j) {
      CK_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = row0 + at.row(i, e), col = col0 + at.column(j, e);
        const bool inside = !edge || (row < x.rows && col < y.rows);
        const float s = tile[i][j][e];
        tile[i][j][e] = inside ? policy.template coefficient<true>(s, kSwapped ? col : row, kSwapped ? row : col, careful) : 0.0f;
      }
    }
  }
  store_coefficients<Shape, kSplit>(tile, g, local0, col0, at);
}

template <bool kSwapped, class Policy>
void tensor_panel(Run& run, const Panels& panels, const CoefficientPanel& g, const Rows& x, const Rows& y, const Rows& v,
                  const Policy& policy, int first_row) {
  const dim3 grid(unsigned(y.padded_rows / LargeTile::kSide), unsigned(panels.rows / LargeTile::kSide));
  auto* const kernel = x.split() ? tensor_pair_coefficients<kSwapped, true, Policy> : tensor_pair_coefficients<kSwapped, false, Policy>;
  run.launch(kernel, grid, LargeTile::kThreads, LargeTile::kSharedBytes, x, y, g, policy, first_row);
  const int left = x.padded_rows - first_row;
  multiply_panel(run, panels, g, v, left < panels.rows ? left : panels.rows);
}

}  // namespace ck::cuda::detail
