// The columns of two views of a batch as rows, for the losses that compare columns with columns (Barlow Twins, VICReg): their moments in
// double, their centred and scaled values ready for the tile engine, and the way from sums over them back to the batch.
//
// Values are taken relative to the first row before they are averaged, so that a constant column is exactly 0.
#pragma once
#include "cuda/launchers.hpp"
#include "cuda/row_sums.hpp"
#include "cuda/side.hpp"

namespace ck::cuda {

constexpr int kColumnThreads = 256;

// Products off the diagonal times `inverse`, that is correlations or covariances: the sums of their squares, and themselves as
// coefficients.
struct SquareSums {
  static constexpr int kGroups = 1, kTerms = 1;
  static constexpr bool kStatistics = false, kOnTensorCores = false;
  float inverse;

  struct Square {
    __device__ __forceinline__ void operator()(float c, float (&out)[1]) const { out[0] = c * c; }
  };
  __device__ __forceinline__ int group(int i, int j) const { return i != j ? 0 : -1; }
  __device__ __forceinline__ float score(float s, int, int) const { return s * inverse; }
  __device__ __forceinline__ Square relative_to(float, int) const { return {}; }
  __device__ __forceinline__ void move(double (&)[1], double, float, float, int) const {}
  __device__ __forceinline__ float coefficient(float s, int i, int j) const { return i == j ? 0.0f : s * inverse; }
};

// One view: a batch [items, columns].
struct ColumnView {
  const float* batch;
  Rows u;            // [columns, items]: (value - mean) * factor
  double* mean;      // [columns], relative to the first row
  double* variance;  // [columns], biased
  double* factor;    // [columns], the caller's
  Side side;

  // depth: padded columns.
  ColumnView(Arena& arena, const ck_matrix& matrix, bool gradients)
      : batch(matrix.data),
        u(arena, matrix.data, matrix.cols, matrix.rows, false, true),
        mean(arena.take<double>(u.rows)),
        variance(arena.take<double>(u.rows)),
        factor(arena.take<double>(u.rows)),
        side(arena, u, gradients, u.padded_rows) {}

  CK_HOST_DEVICE int columns() const { return u.rows; }
  CK_HOST_DEVICE int items() const { return u.cols; }
  __device__ __forceinline__ double centred(int n, int k) const { return double(batch[size_t(n) * columns() + k]) - batch[k] - mean[k]; }
};

// Sizes and precision.
int check_columns(const ck_matrix& a, const ck_matrix& b, const ck_options& options, ck_error* error);

// Checks the values, input number `argument`, and takes the moments.
void measure_columns(Run& run, const ColumnView& view, int argument, ck_cuda_report* report);

// Fills u from mean and factor.
void fill_view(Run& run, const ColumnView& view);

// apart[k] = sum over items of the squared difference: of the scaled values, or of the batches' own (raw).
void column_differences(Run& run, const ColumnView& a, const ColumnView& b, bool raw, double* apart);

// How a gradient by columns ends. With v = factor D + pull_k with_k:
//   standardised   weight (v - mean v - u mean(v u)) factor_k, each mean over the column
//   else           weight (v + difference (own - other)), own and other the batches' values
struct ColumnClose {
  const double* factor;  // one number
  double weight;
  const double* pull;  // [columns]
  Rows with;
  bool standardised;
  double difference;
  const float* other;  // batch
  float* gradient;     // [items, columns]
  int argument;
  ck_cuda_report* report;
};
void column_gradient(Run& run, const ColumnView& view, const ColumnView& other, const SquareSums& policy, const ColumnClose& close);

}  // namespace ck::cuda
