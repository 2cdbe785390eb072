// Folds the elements that the warps of a tile hold over its rows and over its columns, in a fixed order and without atomics.
#pragma once
#include "cuda/tensor_tile.hpp"

namespace ck::cuda {

// Folds kN values over the lanes that differ in the bits kFirst .. kLast (kFirst the larger) and leaves each of those lanes with
// kN / lanes of the totals, at the front of `values`: half the values travel at every step, a third of the shuffles of a full fold.
template <int kFirst, int kLast, int kN, class Fold>
__device__ __forceinline__ void scatter_fold(float (&values)[kN], int lane, Fold fold) {
  int count = kN / 2;
  CK_UNROLL
  for (int mask = kFirst; mask >= kLast; mask /= 2, count /= 2) {
    const bool upper = (lane & mask) != 0;
    CK_UNROLL
    for (int n = 0; n < kN / 2; ++n) {
      if (n >= count) continue;
      const float give = upper ? values[n] : values[n + count], keep = upper ? values[n + count] : values[n];
      values[n] = fold(keep, __shfl_xor_sync(0xFFFFFFFFu, give, mask));
    }
  }
}

// A tile's fold over the block. Thread t < side gets row t's total, thread side + t column t's. Rows: values [fragment i][half h];
// columns: [fragment j][parity]. `shared` is Shape::kFoldBytes; it is free again after the caller's next barrier.
template <class Shape, class Fold>
__device__ __forceinline__ float fold_warps(float (&rows)[2 * Shape::kRowFragments], float (&columns)[2 * Shape::kColumnFragments],
                                            float* shared, const WarpTile& at, Fold fold) {
  constexpr int kRows = 2 * Shape::kRowFragments, kColumns = 2 * Shape::kColumnFragments;
  static_assert(kRows % 4 == 0 && kColumns % 8 == 0);
  scatter_fold<2, 1>(rows, at.lane, fold);
  scatter_fold<16, 4>(columns, at.lane, fold);
  float* const by_column = shared + Shape::kWarpColumns * Shape::kSide;
  const int quad = at.lane % 4, group = at.lane / 4, warp = int(threadIdx.x) / kWarp;
  CK_UNROLL
  for (int n = 0; n < kRows / 4; ++n) {
    const int value = (quad & 2 ? kRows / 2 : 0) + (quad & 1 ? kRows / 4 : 0) + n;
    shared[warp % Shape::kWarpColumns * Shape::kSide + at.row(value / 2, value % 2 * 2)] = rows[n];
  }
  CK_UNROLL
  for (int n = 0; n < kColumns / 8; ++n) {
    const int value = (group & 4 ? kColumns / 2 : 0) + (group & 2 ? kColumns / 4 : 0) + (group & 1 ? kColumns / 8 : 0) + n;
    by_column[warp / Shape::kWarpColumns * Shape::kSide + at.column(value / 2, value % 2)] = columns[n];
  }
  __syncthreads();
  const int t = int(threadIdx.x);
  const bool row = t < Shape::kSide;
  const float* const parts = row ? shared + t : by_column + t - Shape::kSide;
  float total = parts[0];
  CK_UNROLL
  for (int part = 1; part < (Shape::kWarpRows > Shape::kWarpColumns ? Shape::kWarpRows : Shape::kWarpColumns); ++part) {
    if (part < (row ? Shape::kWarpColumns : Shape::kWarpRows)) total = fold(total, parts[part * Shape::kSide]);
  }
  return total;
}

}  // namespace ck::cuda
