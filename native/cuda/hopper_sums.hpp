// pair_sums for compute capability 9.0: the sums of tensor_sums.hpp in the same table, tile by tile of hopper_tile.hpp.
//
// The grid fills the device once; a block takes every gridDim.x-th super-tile, and its producer runs ahead of its consumers over all of
// them. A row of a tile lies in one quarter of a warp, whose first lane adds it to the row's cell; columns are folded over the eight
// warps, and consumer t < 128 adds column t. On the diagonal, where both are one cell, only the former happens.
#pragma once
#include "cuda/hopper.hpp"
#include "cuda/hopper_tile.hpp"
#include "cuda/pair_cells.hpp"
#include "cuda/tensor_sums.hpp"

namespace ck::cuda {
namespace detail {

constexpr int kConsumersMeet = 1;  // the named barrier
__device__ __forceinline__ void sync_consumers() { sync_named(kConsumersMeet, HopperTile::kConsumers); }

// Row totals, in all four lanes of a row.
template <class Fold>
__device__ __forceinline__ void fold_rows(float (&rows)[2], Fold fold) {
  CK_UNROLL
  for (float& value : rows) {
    value = fold(value, __shfl_xor_sync(0xFFFFFFFFu, value, 1));
    value = fold(value, __shfl_xor_sync(0xFFFFFFFFu, value, 2));
  }
}

// Column t's total for consumer t < 128. `shared` is free again after the consumers' next barrier.
template <class Fold>
__device__ __forceinline__ float fold_columns(float (&columns)[2 * HopperTile::kColumnFragments], float* shared, const WarpTile& at, int t,
                                              Fold fold) {
  constexpr int kColumns = 2 * HopperTile::kColumnFragments;
  scatter_fold<16, 4>(columns, at.lane, fold);
  const int group = at.lane / 4, first = (group & 4 ? kColumns / 2 : 0) + (group & 2 ? kColumns / 4 : 0) + (group & 1 ? kColumns / 8 : 0);
  CK_UNROLL
  for (int n = 0; n < kColumns / 8; ++n) shared[t / kWarp * HopperTile::kSide + at.column((first + n) / 2, (first + n) % 2)] = columns[n];
  sync_consumers();
  if (t >= HopperTile::kSide) return 0.0f;
  float total = shared[t];
  CK_UNROLL
  for (int warp = 1; warp < HopperTile::kConsumerWarps; ++warp) total = fold(total, shared[warp * HopperTile::kSide + t]);
  return total;
}

// Calls element(score, h, c, column): row 2 h of the lane's fragment, its column value c and the tile's column.
template <class Element>
__device__ __forceinline__ void each_score(const HopperFragments& tile, const WarpTile& at, const Element& element) {
  CK_UNROLL
  for (int j = 0; j < HopperTile::kColumnFragments; ++j) {
    CK_UNROLL
    for (int e = 0; e < 4; ++e) element(tile[0][j][e], e / 2, 2 * j + e % 2, at.column(j, e));
  }
}

template <bool kFixed, bool kMaxima>
__device__ __forceinline__ void add_hopper_tile(const PairSums& job, const HopperFragments& tile, float* shared, const SuperTile& super,
                                                int row0, int col0, const WarpTile& at, int t) {
  constexpr int kColumns = 2 * HopperTile::kColumnFragments;
  const auto larger = [](float a, float b) { return fmaxf(a, b); };
  float* const column_maxima = shared + HopperTile::kConsumerWarps * HopperTile::kSide;
  float row_maxima[2] = {kNoScore, kNoScore}, column_maximum = kNoScore;
  float rows[2] = {}, columns[kColumns];
  if constexpr (kMaxima) {
    CK_UNROLL
    for (float& value : columns) value = kNoScore;
    each_score(tile, at, [&](float score, int h, int c, int) {
      row_maxima[h] = fmaxf(row_maxima[h], score);
      columns[c] = fmaxf(columns[c], score);
    });
    fold_rows(row_maxima, larger);
    column_maximum = fold_columns(columns, shared, at, t, larger);
    if (!kFixed && t < HopperTile::kSide) column_maxima[t] = column_maximum;
    sync_consumers();
  }
  CK_UNROLL
  for (float& value : columns) value = 0;
  each_score(tile, at, [&](float score, int h, int c, int column) {
    if constexpr (kFixed) {
      const float term = exp2_fast(multiply_add(job.k, score - job.shift.reference, job.shift.headroom));
      rows[h] += term;
      columns[c] += term;
    } else {
      rows[h] += exp2_fast(job.k * (score - row_maxima[h]));
      columns[c] += exp2_fast(job.k * (score - column_maxima[column]));
    }
  });
  const auto sum = [](float a, float b) { return a + b; };
  fold_rows(rows, sum);
  const float column_sum = fold_columns(columns, shared, at, t, sum);
  if (at.lane % 4 == 0) {
    CK_UNROLL
    for (int h = 0; h < 2; ++h) add_to_cell<kFixed, kMaxima>(job, super.b, row0 + at.row(0, 2 * h), rows[h], row_maxima[h]);
  }
  if (row0 != col0 && t < HopperTile::kSide) add_to_cell<kFixed, kMaxima>(job, super.a, col0 + t, column_sum, column_maximum);
  sync_consumers();
}

template <bool kSplit, bool kFixed, bool kMaxima, class Policy>
__global__ void __launch_bounds__(HopperTile::kThreads, 1)
    hopper_sums_kernel(const __grid_constant__ CUtensorMap map, PairSums job, Policy policy, int super_tiles) {
#ifdef CK_HOPPER
  static_assert(kFixed || kMaxima, "a running maximum is a maximum");
  CK_SHARED_MEMORY(shared);
  TileRing ring(shared);
  const int slabs = job.rows.packed_slabs;
  const auto each_tile = [&](const auto& start, const auto& tile) {
    for (int index = int(blockIdx.x); index < super_tiles; index += int(gridDim.x)) {
      const SuperTile super(job, index);
      start(super);
      for (TileCursor tiles(super); tiles.row < super.rows1; tiles.next(HopperTile::kSide)) tile(super, tiles.row, tiles.col);
    }
  };
  const auto produce = [&] {
    each_tile([](const SuperTile&) {},
              [&](const SuperTile&, int row, int col) {
                for (int s = 0; s < slabs; ++s) ring.load(map, row, col, s);
              });
  };
  const auto consume = [&](int t, int group) {
    const WarpTile at = {16 * (t / kWarp), 0, t % kWarp};
    const auto start = [&](const SuperTile& super) {
      super.start_cells<HopperTile::kConsumers, kMaxima>(job, t);
      sync_consumers();
    };
    each_tile(start, [&](const SuperTile& super, int row, int col) {
      HopperFragments tile;
      hopper_multiply<kSplit>(tile, ring, job.rows, group);
      score_tile<HopperTile>(tile, job, policy, row, col, at);
      add_hopper_tile<kFixed, kMaxima>(job, tile, ring.fold, super, row, col, at, t);
    });
  };
  run_warpgroups(produce, consume);
#endif
}

template <bool kSplit, class Policy>
void launch_hopper_sums(Run& run, const PairSums& job, const Policy& policy) {
  CUtensorMap map;
  run.check(encode_slabs(&map, job.rows));
  const int super_tiles = job.blocks * (job.blocks + 1) / 2;
  // As in launch_tensor_sums.
  auto* const kernel =
      job.shift.fixed ? hopper_sums_kernel<kSplit, true, Policy::kCompared, Policy> : hopper_sums_kernel<kSplit, false, true, Policy>;
  run.launch(kernel, persistent_blocks(super_tiles), HopperTile::kThreads, HopperTile::kSharedBytes, map, job, policy, super_tiles);
}

}  // namespace detail

template <class Policy>
void hopper_pair_sums(Run& run, const PairSums& job, const Policy& policy) {
  job.rows.split() ? detail::launch_hopper_sums<true>(run, job, policy) : detail::launch_hopper_sums<false>(run, job, policy);
}

}  // namespace ck::cuda
