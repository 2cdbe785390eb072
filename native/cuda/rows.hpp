// Rows ready for the tile engine. See rows.cpp for who computes what.
#pragma once
#include "cuda/run.hpp"
#include "cuda/tile.hpp"
#include "policies/pair_policy.hpp"

namespace ck::cuda {

// u_i = x_i / |x_i| (x_i itself where not normalised; 0 for a zero row), twice, padded with zeros so that tiles need no edges.
struct Rows {
  int rows, cols;
  int padded_rows, stride;  // both multiples of Tile::kSide
  bool normalized;
  const float* input;  // [rows, cols]
  float* by_row;       // [padded_rows, stride]
  float* by_column;    // [stride, padded_rows], or null: no tile of similarities is needed
  double* norm;        // [padded_rows] |x_i|, in either case; 0 beyond rows

  // Takes its buffers from the arena.
  Rows(Arena& arena, const float* data, int64_t row_count, int64_t col_count, bool normalize, bool similarities);

  CK_HOST_DEVICE int depth() const { return round_up(cols, Tile::kSlab); }
  // The columns' tile that starts at `row`, as an operand whose k runs over cols.
  __device__ __forceinline__ KMajor operand(int row) const { return {by_column + row, size_t(padded_rows)}; }
};

// Whether the device can run this build's kernels at all.
cudaError_t kernels_loadable();

// Writes the report's initial values.
void start_report(Run& run, ck_cuda_report* report);

// Fills the buffers; finds the first non-finite element of input number `argument`.
void prepare(Run& run, const Rows& rows, int argument, ck_cuda_report* report);

// positive[i] = s_ip in double, from the unrounded rows; p as the layout says.
void positive_similarities(Run& run, const Rows& rows, PairLayout layout, double* positive);

// half[i] = u_i . u_i / 2 by exactly the arithmetic of a tile's element, for every padded row. Equal rows then have
// s - half_i - half_j = 0, and near rows lose only what the rounding of their difference costs.
void half_squares(Run& run, const Rows& rows, float* half);

// Reports the first non-finite element of a matrix that is used as it is, and its largest magnitude.
void check_upstream(Run& run, const float* data, int64_t rows, int64_t cols, int argument, ck_cuda_report* report);

// Column sums of u and of u squared over chunks of kChunk rows, [chunks, stride] each, for sums over all pairs in O(rows cols).
struct ColumnSums {
  static constexpr int kChunk = 256;
  int chunks;
  double* sums;
  double* squares;
  ColumnSums(Arena& arena, const Rows& rows)
      : chunks((rows.rows + kChunk - 1) / kChunk),
        sums(arena.take<double>(size_t(chunks) * rows.stride)),
        squares(arena.take<double>(size_t(chunks) * rows.stride)) {}
};
void column_sums(Run& run, const Rows& rows, const ColumnSums& sums);

}  // namespace ck::cuda
