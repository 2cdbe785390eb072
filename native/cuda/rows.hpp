// Rows ready for the tile engine. See rows.cpp for who computes what.
#pragma once
#include "cuda/run.hpp"
#include "cuda/tensor_core.hpp"
#include "cuda/tensor_shapes.hpp"
#include "cuda/tile.hpp"
#include "policies/pair_policy.hpp"

namespace ck::cuda {

// One row of u in double, as the kernels of its precision see it.
struct UnitRow {
  const float* data;
  double scale;
  bool rounded;  // to bfloat16

  __device__ __forceinline__ double operator[](int c) const {
    const double value = data[c] * scale;
    return rounded ? from_bf16(to_bf16(float(value))) : value;
  }
};

// u_i = x_i / |x_i| (x_i itself where not normalised; 0 for a zero row), padded with zeros so that tiles need no edges: twice in
// float32 for the ordinary units, or in bfloat16 for tensor cores.
struct Rows {
  int rows, cols;
  int precision;            // ck_precision of the kernels that run
  int padded_rows, stride;  // multiples of the tile's side; tensor cores: of kTensorRows and of kSlabHalves
  int rest_slabs;           // bfloat16x3: slabs of the third part, 0 or slabs(); they come first in a packed row
  int packed_slabs;         // of a packed row, all of which a product of rows takes; one with coefficients takes the last slabs()
  bool normalized;
  const float* input;  // [rows, cols]
  float* by_row;       // float32: [padded_rows, stride]
  float* by_column;    // float32: [stride, padded_rows], or null: no tile of similarities is needed
  uint16_t* packed;    // else: [padded_rows, packed_stride()], slabs as in tensor_shapes.hpp
  double* norm;        // [padded_rows] |x_i|, in either case; 0 beyond rows

  Rows() = default;
  // Takes its buffers from the arena. `similarities`: rows are multiplied with each other, not only with coefficients.
  Rows(Arena& arena, const float* data, int64_t row_count, int64_t col_count, bool normalize, bool similarities,
       int32_t precision_ = CK_FLOAT32);

  CK_HOST_DEVICE bool tensor() const { return precision != CK_FLOAT32; }
  CK_HOST_DEVICE bool split() const { return precision == CK_BFLOAT16X3; }

  CK_HOST_DEVICE int depth() const { return round_up(cols, Tile::kSlab); }
  // The columns' tile that starts at `row`, as an operand whose k runs over cols.
  __device__ __forceinline__ KMajor operand(int row) const { return {by_column + row, size_t(padded_rows)}; }

  // Slabs of the columns.
  CK_HOST_DEVICE int slabs() const { return stride / slab_depth(split()); }
  CK_HOST_DEVICE size_t packed_stride() const { return size_t(packed_slabs) * kSlabHalves; }
  // Of the packed row.
  __device__ __forceinline__ uint16_t* slab(int row, int index) const { return packed + row * packed_stride() + index * kSlabHalves; }
  // Of the columns.
  __device__ __forceinline__ uint16_t* value_slab(int row, int index) const { return slab(row, rest_slabs + index); }

  // Columns below cols.
  __device__ __forceinline__ UnitRow unit(int row) const {
    if (!tensor()) return {by_row + size_t(row) * stride, 1.0, false};
    return {input + size_t(row) * cols, !normalized ? 1.0 : norm[row] > 0 ? 1 / norm[row] : 0.0, precision == CK_BFLOAT16};
  }
};

// Whether the device can run this build's kernels at all.
cudaError_t kernels_loadable();

// Writes the report's initial values.
void start_report(Run& run, ck_cuda_report* report);

// Fills the buffers; finds the first non-finite element of input number `argument`.
void prepare(Run& run, const Rows& rows, int argument, ck_cuda_report* report);

// by_column from by_row.
void fill_columns(Run& run, const Rows& rows);

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
