// Folds the 64 x 64 elements that a block's threads hold over the rows and over the columns of the tile.
#pragma once
#include "cuda/tile.hpp"

namespace ck::cuda {

// Two numbers a thread keeps for its row and for its column of a tile.
struct RowColumn {
  float row, column;
};

// Folds 8 x 8 threads' parts: thread t gets row t's and column t's total, in a fixed order. Uses 2 * 64 * 9 floats of shared memory.
template <class Fold>
__device__ __forceinline__ RowColumn fold_tile(const float (&rows)[Tile::kOwn], const float (&columns)[Tile::kOwn], float* shared,
                                               Fold fold) {
  constexpr int kPitch = 9;
  float* const by_column = shared + Tile::kSide * kPitch;
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    shared[tile_row(i) * kPitch + int(threadIdx.x) % 8] = rows[i];
    by_column[tile_column(i) * kPitch + int(threadIdx.x) / 8] = columns[i];
  }
  __syncthreads();
  const int t = int(threadIdx.x);
  RowColumn total = {shared[t * kPitch], by_column[t * kPitch]};
  CK_UNROLL
  for (int i = 1; i < 8; ++i) {
    total.row = fold(total.row, shared[t * kPitch + i]);
    total.column = fold(total.column, by_column[t * kPitch + i]);
  }
  __syncthreads();
  return total;
}

// The same over rows alone: thread t gets row t's total. Uses 64 * 9 floats of shared memory.
template <class Fold>
__device__ __forceinline__ float fold_rows(const float (&rows)[Tile::kOwn], float* shared, Fold fold) {
  constexpr int kPitch = 9;
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) shared[tile_row(i) * kPitch + int(threadIdx.x) % 8] = rows[i];
  __syncthreads();
  const float* const own = shared + int(threadIdx.x) * kPitch;
  float total = own[0];
  CK_UNROLL
  for (int i = 1; i < 8; ++i) total = fold(total, own[i]);
  __syncthreads();
  return total;
}

}  // namespace ck::cuda
