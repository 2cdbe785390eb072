// Coefficients of a pairwise backward on tensor cores: a table of what each row contributes to them, and the kernel that stores a panel
// of them for the product (rows of the fused backward, tensor_backward.hpp, never store them).
//
//   one_sided    exp2(k score - l)                       l one number for all rows
//   weighted     exp2(k (score - reference)) (w_i + w_j)   w = exp2(k reference - l): one exponential serves both sides where the fixed
//                shift fits float32
//   two_sided    exp2(k score - l_i) + exp2(k score - l_j) below that temperature
#pragma once
#include "cuda/normaliser.hpp"
#include "cuda/product.hpp"
#include "cuda/tensor_rows.hpp"

namespace ck::cuda {

enum class Sides { one_sided, weighted, two_sided };

// The entries of the table are Normalisers; where weighted, `at` is w.
struct Coefficients {
  double k;
  float reference;
  const double* log2_normaliser;  // [rows]; one number where one-sided
  const double* exponent;         // one number
  Normaliser* of_rows;            // [padded_rows]
};

template <Sides kSides>
__device__ __forceinline__ float coefficient(float k, float reference, float score, const Normaliser& row, const Normaliser& column) {
  if constexpr (kSides == Sides::weighted) return exp2_fast(k * (score - reference)) * (row.at + column.at);
  const float own = exp2_fast(row.exponent(k, score));
  return kSides == Sides::two_sided ? own + exp2_fast(column.exponent(k, score)) : own;
}

// Stores a tile of coefficients in a panel, at its row local0.
template <class Shape, bool kSplit>
__device__ __forceinline__ void store_coefficients(const Fragments<Shape::kRowFragments, Shape::kColumnFragments>& tile,
                                                   const CoefficientPanel& g, int local0, int col0, const WarpTile& at) {
  CK_UNROLL
  for (int i = 0; i < Shape::kRowFragments; ++i) {
    CK_UNROLL
    for (int h = 0; h < 2; ++h) {
      uint16_t* const out = g.data + (local0 + at.row(i, 2 * h)) * g.stride;
      CK_UNROLL
      for (int j = 0; j < Shape::kColumnFragments; ++j) {
        const Split first = split(tile[i][j][2 * h]), second = split(tile[i][j][2 * h + 1]);
        const int k0 = col0 + at.column(j, 0), place = k0 / slab_depth(kSplit) * kSlabHalves + k0 % slab_depth(kSplit);
        *reinterpret_cast<uint32_t*>(out + place) = pack(first.high, second.high);
        if (kSplit) *reinterpret_cast<uint32_t*>(out + place + kSlabHalves / 2) = pack(first.low, second.low);
      }
    }
  }
}

namespace detail {

template <Sides kSides>
__global__ void __launch_bounds__(256, 1) fill_normalisers(Coefficients job, Rows u) {
  const int row = int(blockIdx.x) * 256 + int(threadIdx.x);
  if (row >= u.padded_rows) return;
  const double l = job.log2_normaliser[kSides == Sides::one_sided || row >= u.rows ? 0 : row] - *job.exponent;
  if constexpr (kSides == Sides::weighted) {
    const double exponent = job.k * job.reference - l;
    job.of_rows[row] = {float(exp2(exponent < Normaliser::kLargest ? exponent : Normaliser::kLargest)), 0.0f};
  } else {
    job.of_rows[row] = make_normaliser(job.k, l);
  }
}

template <Sides kSides, bool kSplit, class Policy>
__global__ void __launch_bounds__(LargeTile::kThreads, 1)
    tensor_coefficients(Coefficients job, Rows u, CoefficientPanel g, Policy policy, int first_row) {
  using Shape = LargeTile;
  constexpr int kR = Shape::kRowFragments, kC = Shape::kColumnFragments;
  CK_SHARED_MEMORY(shared);
  const int local0 = int(blockIdx.y) * Shape::kSide, row0 = first_row + local0, col0 = int(blockIdx.x) * Shape::kSide;
  if (row0 >= u.padded_rows) return;
  const WarpTile at = WarpTile::of_thread<Shape>();
  Fragments<kR, kC> tile = {};
  similarity_tile<Shape, kSplit>(tile, shared, u, u, row0, col0, at);
  const bool careful =
      row0 == col0 || row0 + Shape::kSide > u.rows || col0 + Shape::kSide > u.rows || policy.template meets<Shape::kSide>(row0, col0);
  const float k = float(job.k);
  CK_UNROLL
  for (int i = 0; i < kR; ++i) {
    CK_UNROLL
    for (int h = 0; h < 2; ++h) {
      const int row = row0 + at.row(i, 2 * h);
      const Normaliser of_row = job.of_rows[row];
      CK_UNROLL
      for (int j = 0; j < kC; ++j) {
        CK_UNROLL
        for (int e = 2 * h; e < 2 * h + 2; ++e) {
          const int col = col0 + at.column(j, e);
          tile[i][j][e] = coefficient<kSides>(k, job.reference, policy.score(tile[i][j][e], row, col), of_row, job.of_rows[col]);
          if (careful && (row >= u.rows || col >= u.rows || policy.excluded(row, col))) tile[i][j][e] = 0.0f;
        }
      }
    }
  }
  store_coefficients<Shape, kSplit>(tile, g, local0, col0, at);
}

}  // namespace detail
}  // namespace ck::cuda
