// Forward of losses that compare the rows of x with the rows of y (or of x again): for every row of x, and every group of its pairs,
// the largest score, sums of terms relative to it, and the sum and the number of the scores. No similarity is stored.
//
// One CUDA block owns a tile of rows and a share of y; thread t owns row t of the tile, keeps its totals in double while the block
// walks the share's tiles, and writes them to the row's cells: each cell is written once. Unlike pair_sums.hpp, which halves the work
// of one matrix against itself by symmetry, this takes any two matrices, any pairs and any terms; columns are the same with x and y
// exchanged. The largest score so far is every row's own reference, so no term over- or underflows at any temperature.
//
// A policy says
//   kGroups, kTerms, kStatistics             groups of pairs, terms of a pair, whether scores are summed and pairs counted
//   group(i, j)                              the pair's group; -1: it does not count
//   score(s, i, j)                           the similarity, or what else the terms are made of
//   relative_to(largest, i)                  (score, out) -> the terms, relative to the row's largest score
//   move(sums, count, before, largest, i)    sums of that many pairs, relative to `before`, become relative to `largest`
//   kOnTensorCores                           whether rows may be operands of tensor cores (tensor_row_sums.hpp); then it also says
//   meets<side>(row0, col0)                  false where every pair of the tile counts
//   kCounted                                 whether anybody reads the number of pairs
//   relative_to<true>, move_fast             the same by exp2_fast, in float32
#pragma once
#include "cuda/row_cells.hpp"
#include "cuda/tensor_row_sums.hpp"
#include "cuda/tile_fold.hpp"

namespace ck::cuda {

namespace detail {

// Adds a tile's pairs of one group to the total of the thread's row, which lies in shared memory beyond the slabs: in registers it would be
// in the product's way.
template <class Policy>
__device__ __forceinline__ void add_group(RowTotal<Policy>& total, const RowSums& job, const Policy& policy, const Accumulator& tile,
                                          int group, int row0, int col0, float* shared) {
  uint64_t members = 0;  // bit 8 i + j: element [i][j]
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    CK_UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) {
      const int row = row0 + tile_row(i), col = col0 + tile_column(j);
      const bool member = row < job.x.rows && col < job.y.rows && policy.group(row, col) == group;
      members |= uint64_t(member) << (8 * i + j);
    }
  }
  const auto add = [](float a, float b) { return a + b; };
  float part[Policy::kTerms][Tile::kOwn] = {}, largest[Tile::kOwn];
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    largest[i] = kNoScore;
    CK_UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) {
      if (members >> (8 * i + j) & 1) largest[i] = fmaxf(largest[i], policy.score(tile[i][j], row0 + tile_row(i), col0 + tile_column(j)));
    }
  }
  const float of_tile = fold_rows(largest, shared, [](float a, float b) { return fmaxf(a, b); });
  total.raise(policy, fmaxf(total.largest, of_tile), row0 + int(threadIdx.x));
  shared[threadIdx.x] = total.largest;
  __syncthreads();
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    const auto terms_of = policy.relative_to(shared[tile_row(i)], row0 + tile_row(i));
    CK_UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) {
      if (!(members >> (8 * i + j) & 1)) continue;
      float terms[Policy::kTerms];
      terms_of(policy.score(tile[i][j], row0 + tile_row(i), col0 + tile_column(j)), terms);
      CK_UNROLL
      for (int n = 0; n < Policy::kTerms; ++n) part[n][i] += terms[n];
    }
  }
  __syncthreads();
  CK_UNROLL
  for (int n = 0; n < Policy::kTerms; ++n) total.sums[n] += fold_rows(part[n], shared, add);
  if constexpr (Policy::kStatistics) {
    float score[Tile::kOwn] = {}, count[Tile::kOwn] = {};
    CK_UNROLL
    for (int i = 0; i < Tile::kOwn; ++i) {
      CK_UNROLL
      for (int j = 0; j < Tile::kOwn; ++j) {
        if (!(members >> (8 * i + j) & 1)) continue;
        score[i] += policy.score(tile[i][j], row0 + tile_row(i), col0 + tile_column(j));
        count[i] += 1.0f;
      }
    }
    total.score += fold_rows(score, shared, add);
    total.count += fold_rows(count, shared, add);
  }
}

template <class Policy>
__global__ void __launch_bounds__(Tile::kThreads, 4) row_sums_kernel(RowSums job, Policy policy, int first_row) {
  CK_SHARED_MEMORY(bytes);
  float* shared = reinterpret_cast<float*>(bytes);
  const int row0 = first_row + int(blockIdx.x) * Tile::kSide, split = int(blockIdx.y), first = split * job.split_rows;
  const int last = first + job.split_rows < job.y.padded_rows ? first + job.split_rows : job.y.padded_rows;
  auto* const totals = reinterpret_cast<RowTotal<Policy>*>(bytes + Tile::kSharedBytes) + threadIdx.x;  // of group g: [g * kThreads]
  for (int g = 0; g < Policy::kGroups; ++g) totals[g * Tile::kThreads] = {};
  for (int col0 = first; col0 < last; col0 += Tile::kSide) {
    Accumulator tile = {};
    multiply(tile, shared, job.x.operand(row0), job.y.operand(col0), 0, job.x.depth());
    CK_ROLL
    for (int g = 0; g < Policy::kGroups; ++g) add_group(totals[g * Tile::kThreads], job, policy, tile, g, row0, col0, shared);
  }
  for (int g = 0; g < Policy::kGroups; ++g) store_total(job, totals[g * Tile::kThreads], row0 + int(threadIdx.x), split, g);
}

}  // namespace detail

// Of `count` rows from `first` on; first is a multiple of a tile's rows.
template <class Policy>
void row_sums(Run& run, const RowSums& job, const Policy& policy, int first, int count) {
  if constexpr (Policy::kOnTensorCores) {
    if (job.x.tensor()) return tensor_row_sums(run, job, policy, first, count);
  }
  const dim3 grid(unsigned(tiles_of(count)), unsigned(job.splits));
  constexpr size_t kShared = Tile::kSharedBytes + Policy::kGroups * Tile::kThreads * sizeof(RowTotal<Policy>);
  run.launch(detail::row_sums_kernel<Policy>, grid, Tile::kThreads, kShared, job, policy, first);
}
template <class Policy>
void row_sums(Run& run, const RowSums& job, const Policy& policy) {
  row_sums(run, job, policy, 0, job.x.rows);
}

// Whether a tile has a pair of equal numbers.
template <int kSide>
__device__ __forceinline__ bool on_diagonal(int row0, int col0) {
  return row0 < col0 + kSide && col0 < row0 + kSide;
}

// Terms exp2(k score): one sum, relative to the largest.
struct ExponentialTerms {
  static constexpr int kTerms = 1;
  double exact_k;
  float k;
  CK_HOST_DEVICE explicit ExponentialTerms(double k_) : exact_k(k_), k(float(k_)) {}

  template <bool kFast>
  struct Relative {
    float k, largest;
    __device__ __forceinline__ void operator()(float score, float (&out)[1]) const { out[0] = exp2_either<kFast>(k * (score - largest)); }
  };
  template <bool kFast = false>
  __device__ __forceinline__ Relative<kFast> relative_to(float largest, int) const {
    return {k, largest};
  }
  __device__ __forceinline__ void move(double (&sums)[1], double, float before, float largest, int) const {
    sums[0] *= exp2(exact_k * (double(before) - largest));
  }
  __device__ __forceinline__ void move_fast(float (&sums)[1], float before, float largest, int) const {
    sums[0] *= exp2_fast(k * (before - largest));
  }
  // log2 of a sum; -infinity where there is no pair.
  template <class Total>
  __device__ __forceinline__ double log2_sum(const Total& total) const {
    return log2(total.sums[0]) + (total.sums[0] > 0 ? exact_k * total.largest : 0);
  }
};

}  // namespace ck::cuda
