// row_sums.hpp on tensor cores, for policies of one group, in large tiles: shares of y fill the device where rows are few.
//
// A block walks the tiles of its rows and its share of y as one stream of slabs, so that the next tile's copies run while this one's
// exponentials do. A lane keeps, for each of its rows, the sums over the columns that it has seen so far relative to the largest score
// among them: no tile needs a fold over lanes, and a share ends with one. Pairs that do not count get the score -infinity, whose terms
// are 0.
#pragma once
#include "cuda/row_cells.hpp"
#include "cuda/tensor_tile.hpp"

namespace ck::cuda {
namespace detail {

// What a lane knows of one of its rows.
template <class Policy>
struct LaneTotal {
  float largest = kNoScore;
  float sums[Policy::kTerms] = {};
  float score = 0, count = 0;

  // To a largest score that is no smaller.
  __device__ __forceinline__ void raise(const Policy& policy, float to, int row) {
    policy.move_fast(sums, largest, to, row);
    largest = to;
  }
};

// Makes -infinity of what does not count, and counts the rest.
template <class Shape, class Policy, int kRows>
__device__ __forceinline__ void select_pairs(Fragments<Shape::kRowFragments, Shape::kColumnFragments>& tile,
                                             LaneTotal<Policy> (&totals)[kRows], const RowSums& job, const Policy& policy, int row0,
                                             int col0, const WarpTile& at) {
  const bool careful =
      row0 + Shape::kSide > job.x.rows || col0 + Shape::kSide > job.y.rows || policy.template meets<Shape::kSide>(row0, col0);
  CK_UNROLL
  for (int i = 0; i < Shape::kRowFragments; ++i) {
    CK_UNROLL
    for (int j = 0; j < Shape::kColumnFragments; ++j) {
      CK_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = row0 + at.row(i, e), col = col0 + at.column(j, e);
        const bool counts = !careful || (row < job.x.rows && col < job.y.rows && policy.group(row, col) == 0);
        const float score = counts ? policy.score(tile[i][j][e], row, col) : -INFINITY;
        tile[i][j][e] = score;
        if (!Policy::kStatistics) continue;
        totals[2 * i + e / 2].score += counts ? score : 0.0f;
        if (Policy::kCounted) totals[2 * i + e / 2].count += counts ? 1.0f : 0.0f;
      }
    }
  }
}

// Adds a tile's terms, summed from zero, to the lane's totals.
template <class Shape, class Policy, int kRows>
__device__ __forceinline__ void add_terms(const Fragments<Shape::kRowFragments, Shape::kColumnFragments>& tile,
                                          LaneTotal<Policy> (&totals)[kRows], const Policy& policy, int row0, const WarpTile& at) {
  CK_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const int i = r / 2, first = r % 2 * 2, row = row0 + at.row(i, first);
    LaneTotal<Policy>& total = totals[r];
    float largest = total.largest;
    CK_UNROLL
    for (int j = 0; j < Shape::kColumnFragments; ++j) largest = fmaxf(largest, fmaxf(tile[i][j][first], tile[i][j][first + 1]));
    total.raise(policy, largest, row);
    const auto terms_of = policy.template relative_to<true>(largest, row);
    float part[Policy::kTerms] = {};
    CK_UNROLL
    for (int j = 0; j < Shape::kColumnFragments; ++j) {
      CK_UNROLL
      for (int e = first; e < first + 2; ++e) {
        float terms[Policy::kTerms];
        terms_of(tile[i][j][e], terms);
        CK_UNROLL
        for (int n = 0; n < Policy::kTerms; ++n) part[n] += terms[n];
      }
    }
    CK_UNROLL
    for (int n = 0; n < Policy::kTerms; ++n) total.sums[n] += part[n];
  }
}

// The four lanes that share a row agree on its total, in a fixed order.
template <class Policy>
__device__ __forceinline__ void fold_lanes(LaneTotal<Policy>& total, const Policy& policy, int row) {
  constexpr unsigned kAll = 0xFFFFFFFFu;
  float largest = total.largest;
  CK_UNROLL
  for (int mask = 1; mask <= 2; mask *= 2) largest = fmaxf(largest, __shfl_xor_sync(kAll, largest, mask));
  total.raise(policy, largest, row);
  CK_UNROLL
  for (int mask = 1; mask <= 2; mask *= 2) {
    CK_UNROLL
    for (int n = 0; n < Policy::kTerms; ++n) total.sums[n] += __shfl_xor_sync(kAll, total.sums[n], mask);
    if (!Policy::kStatistics) continue;
    total.score += __shfl_xor_sync(kAll, total.score, mask);
    if (Policy::kCounted) total.count += __shfl_xor_sync(kAll, total.count, mask);
  }
}

template <class Shape, bool kSplit, class Policy>
__global__ void __launch_bounds__(Shape::kThreads, 1) tensor_row_sums_kernel(RowSums job, Policy policy, int first_row) {
  static_assert(Policy::kGroups == 1);
  constexpr int kRows = 2 * Shape::kRowFragments;
  CK_SHARED_MEMORY(shared);
  const Rows &x = job.x, &y = job.y;
  const int row0 = first_row + int(blockIdx.x) * Shape::kSide, share = int(blockIdx.y), first = share * job.split_rows;
  const int last = first + job.split_rows < y.padded_rows ? first + job.split_rows : y.padded_rows;
  const WarpTile at = WarpTile::of_thread<Shape>();
  const int slabs = x.packed_slabs;
  int loading = first, loading_slab = 0;
  auto load = [&](unsigned char* stage) {
    if (loading >= last) return;
    load_slab<Shape::kSide, Shape::kThreads>(stage, x.slab(row0, loading_slab), x.packed_stride());
    load_slab<Shape::kSide, Shape::kThreads>(stage + Shape::kOperandBytes, y.slab(loading, loading_slab), y.packed_stride());
    if (++loading_slab < slabs) return;
    loading_slab = 0;
    loading += Shape::kSide;
  };
  Ring<Shape::kStages, Shape::kStageBytes> ring(shared);
  ring.start(load);
  LaneTotal<Policy> totals[kRows];
  for (int col0 = first; col0 < last; col0 += Shape::kSide) {
    Fragments<Shape::kRowFragments, Shape::kColumnFragments> tile = {};
    const auto multiply_next = [&](bool rest) {
      const unsigned char* const stage = ring.next(load);
      multiply_slab<kSplit, Shape::kRowFragments, Shape::kColumnFragments>(tile, stage, stage + Shape::kOperandBytes, at, rest);
    };
    for (int s = 0; s < slabs; ++s) multiply_next(s < x.rest_slabs);
    select_pairs<Shape>(tile, totals, job, policy, row0, col0, at);
    add_terms<Shape>(tile, totals, policy, row0, at);
  }
  __syncthreads();                                                      // the ring is empty, and everybody is done with it
  auto* const of_warps = reinterpret_cast<LaneTotal<Policy>*>(shared);  // [kWarpColumns, kSide]
  const int warp_column = int(threadIdx.x) / kWarp % Shape::kWarpColumns;
  CK_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const int row = at.row(r / 2, r % 2 * 2);
    fold_lanes(totals[r], policy, row0 + row);
    if (at.lane % 4 == 0) of_warps[warp_column * Shape::kSide + row] = totals[r];
  }
  __syncthreads();
  const int t = int(threadIdx.x);
  if (t >= Shape::kSide) return;
  RowTotal<Policy> total;
  for (int warp = 0; warp < Shape::kWarpColumns; ++warp) {
    const LaneTotal<Policy>& own = of_warps[warp * Shape::kSide + t];
    RowTotal<Policy> part;
    part.largest = own.largest, part.score = own.score, part.count = own.count;
    CK_UNROLL
    for (int n = 0; n < Policy::kTerms; ++n) part.sums[n] = own.sums[n];
    total.add(policy, part, row0 + t);
  }
  store_total(job, total, row0 + t, share);
}

}  // namespace detail

template <class Policy>
void tensor_row_sums(Run& run, const RowSums& job, const Policy& policy, int first_row, int count) {
  const dim3 grid(unsigned((count + LargeTile::kSide - 1) / LargeTile::kSide), unsigned(job.splits));
  auto* const kernel =
      job.x.split() ? detail::tensor_row_sums_kernel<LargeTile, true, Policy> : detail::tensor_row_sums_kernel<LargeTile, false, Policy>;
  run.launch(kernel, grid, LargeTile::kThreads, LargeTile::kStages * LargeTile::kStageBytes, job, policy, first_row);
}

}  // namespace ck::cuda
