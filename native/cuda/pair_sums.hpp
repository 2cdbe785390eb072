// Forward of the pairwise losses: for every row i the sum over its pairs of exp2(k score_ij), never storing a score.
//
// Half of the symmetric matrix is computed. The rows are cut into at most kSuperBlocks super-blocks; one CUDA block walks the tiles
// of super-tile (a, b), a <= b, and adds each tile's row sums to cells [b][row] and its column sums to cells [a][column].
// A cell belongs to one thread of one block, which starts it at zero: no atomics, no order that depends on timing.
// merge_cells (one thread a row) adds a row's cells in order, in double.
#pragma once
#include "cuda/hopper_sums.hpp"
#include "cuda/pair_cells.hpp"
#include "cuda/tensor_sums.hpp"
#include "cuda/tile_fold.hpp"

namespace ck::cuda {
namespace detail {

template <bool kFixed, bool kMaxima, class Policy>
__device__ __forceinline__ void sum_tile(const PairSums& job, const Policy& policy, float* shared, int row0, int col0, int row_slot,
                                         int col_slot) {
  const Rows& u = job.rows;
  Accumulator tile = {};
  multiply(tile, shared, u.operand(row0), u.operand(col0), 0, u.depth());

  const bool diagonal = row0 == col0;
  const bool careful = diagonal || col0 + Tile::kSide > u.rows || policy.template meets<Tile::kSide>(row0, col0);
  // Bit 8 i + j: element [i][j] is no term of this loss.
  uint64_t excluded = 0;
  float row_max[Tile::kOwn], col_max[Tile::kOwn], row_sum[Tile::kOwn] = {}, col_sum[Tile::kOwn] = {};
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) row_max[i] = col_max[i] = kNoScore;
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    CK_UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) {
      const int row = row0 + tile_row(i), col = col0 + tile_column(j);
      tile[i][j] = policy.score(tile[i][j], row, col);
      const float score = tile[i][j];
      if (careful) {
        const bool inside = row < u.rows && col < u.rows;
        if (!inside || policy.excluded(row, col)) {
          excluded |= uint64_t(1) << (8 * i + j);
          if (kMaxima && job.keep_maxima && inside && row != col) {
            job.positive_tile[row] = score;
            if (!diagonal) job.positive_tile[col] = score;
          }
          continue;
        }
      }
      if constexpr (kMaxima) {
        row_max[i] = fmaxf(row_max[i], score);
        col_max[j] = fmaxf(col_max[j], score);
      }
      if constexpr (kFixed) {
        const float term = exp2_accurate(multiply_add(job.k, score - job.shift.reference, job.shift.headroom));
        row_sum[i] += term;
        col_sum[j] += term;
      }
    }
  }
  RowColumn maximum = {kNoScore, kNoScore};
  if constexpr (kMaxima) maximum = fold_tile(row_max, col_max, shared, [](float a, float b) { return fmaxf(a, b); });
  if constexpr (!kFixed) {
    shared[threadIdx.x] = maximum.row;
    shared[Tile::kSide + threadIdx.x] = maximum.column;
    __syncthreads();
    CK_UNROLL
    for (int i = 0; i < Tile::kOwn; ++i) {
      CK_UNROLL
      for (int j = 0; j < Tile::kOwn; ++j) {
        if (excluded >> (8 * i + j) & 1) continue;
        row_sum[i] += exp2_accurate(job.k * (tile[i][j] - shared[tile_row(i)]));
        col_sum[j] += exp2_accurate(job.k * (tile[i][j] - shared[Tile::kSide + tile_column(j)]));
      }
    }
    __syncthreads();
  }
  const RowColumn sum = fold_tile(row_sum, col_sum, shared, [](float a, float b) { return a + b; });
  const int t = int(threadIdx.x);
  add_to_cell<kFixed, kMaxima>(job, row_slot, row0 + t, sum.row, maximum.row);
  if (!diagonal) add_to_cell<kFixed, kMaxima>(job, col_slot, col0 + t, sum.column, maximum.column);
}

template <bool kFixed, bool kMaxima, class Policy>
__global__ void __launch_bounds__(Tile::kThreads, 4) pair_sums_kernel(PairSums job, Policy policy) {
  static_assert(kFixed || kMaxima, "a running maximum is a maximum");
  CK_SHARED_MEMORY(bytes);
  float* shared = reinterpret_cast<float*>(bytes);
  const SuperTile super(job, int(blockIdx.x));
  super.start_cells<Tile::kThreads, kMaxima>(job, int(threadIdx.x));
  for (int row = super.rows0; row < super.rows1; row += Tile::kSide) {
    for (int col = super.a == super.b ? row : super.cols0; col < super.cols1; col += Tile::kSide)
      sum_tile<kFixed, kMaxima>(job, policy, shared, row, col, super.b, super.a);
  }
}

}  // namespace detail

template <class Policy>
void pair_sums(Run& run, const PairSums& job, const Policy& policy) {
  if (job.hopper) return hopper_pair_sums(run, job, policy);
  if (job.rows.tensor()) return tensor_pair_sums(run, job, policy);
  const dim3 grid(unsigned(job.blocks * (job.blocks + 1) / 2));
  auto* kernel = detail::pair_sums_kernel<true, false, Policy>;
  if constexpr (Policy::kCompared) {
    if (job.keep_maxima) kernel = detail::pair_sums_kernel<true, true, Policy>;
  }
  if (!job.shift.fixed) kernel = detail::pair_sums_kernel<false, true, Policy>;
  run.launch(kernel, grid, Tile::kThreads, Tile::kSharedBytes, job, policy);
}

}  // namespace ck::cuda
