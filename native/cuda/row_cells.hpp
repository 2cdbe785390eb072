// The table that row_sums.hpp leaves behind: for every row of x, group of its pairs and share of y one cell with the largest score, sums
// of terms relative to it, and the sum and the number of the scores. Each cell is written once, by the thread that has the row's total.
#pragma once
#include "cuda/pair_cells.hpp"

namespace ck::cuda {

struct RowSums {
  Rows x, y;
  int splits, split_rows;  // shares of y, and the rows of one, a multiple of the tile
  double* cells;           // [groups, splits, values, x.padded_rows]

  template <class Policy>
  static constexpr int kValues = 1 + Policy::kTerms + (Policy::kStatistics ? 2 : 0);

  // Where it is not wanted nothing is taken.
  template <class Policy>
  static RowSums make(Arena& arena, const Rows& x, const Rows& y, bool wanted = true) {
    const int side = x.tensor() ? LargeTile::kSide : Tile::kSide;
    const int enough = x.tensor() ? 256 : 512;  // blocks: two, four for every multiprocessor of a large device
    const int row_tiles = (x.rows + side - 1) / side, tiles = y.rows > 0 ? (y.rows + side - 1) / side : 1;
    const int most = (enough + row_tiles - 1) / row_tiles, share = (tiles + most - 1) / most;
    RowSums sums{x, y, (tiles + share - 1) / share, share * side, nullptr};
    if (wanted) sums.cells = arena.take<double>(size_t(Policy::kGroups) * sums.splits * kValues<Policy> * x.padded_rows);
    return sums;
  }
};

// One row's totals of a group.
template <class Policy>
struct RowTotal {
  float largest = kNoScore;  // score
  double sums[Policy::kTerms] = {};
  double score = 0, count = 0;

  // To a largest score that is no smaller.
  __device__ __forceinline__ void raise(const Policy& policy, float to, int row) {
    if (largest > kNoScore && to > largest) policy.move(sums, count, largest, to, row);
    largest = to;
  }
  __device__ __forceinline__ void add(const Policy& policy, RowTotal part, int row) {
    const float both = fmaxf(largest, part.largest);
    raise(policy, both, row);
    part.raise(policy, both, row);
    for (int n = 0; n < Policy::kTerms; ++n) sums[n] += part.sums[n];
    score += part.score;
    count += part.count;
  }
};

template <class Policy>
__device__ __forceinline__ void store_total(const RowSums& job, const RowTotal<Policy>& total, int row, int split, int group = 0) {
  constexpr int kValues = RowSums::kValues<Policy>;
  double* const cell = job.cells + size_t(group * job.splits + split) * kValues * job.x.padded_rows + row;
  const auto store = [&](int value, double number) { cell[size_t(value) * job.x.padded_rows] = number; };
  store(0, total.largest);
  CK_UNROLL
  for (int n = 0; n < Policy::kTerms; ++n) store(1 + n, total.sums[n]);
  if constexpr (Policy::kStatistics) {
    store(1 + Policy::kTerms, total.score);
    store(2 + Policy::kTerms, total.count);
  }
}

// A row's cells in order.
template <class Policy>
__device__ __forceinline__ RowTotal<Policy> merge_sums(const RowSums& job, const Policy& policy, int row, int group = 0) {
  constexpr int kValues = RowSums::kValues<Policy>;
  const size_t padded = job.x.padded_rows;
  const double* const cells = job.cells + size_t(group) * job.splits * kValues * padded + row;
  RowTotal<Policy> total;
  for (int split = 0; split < job.splits; ++split) total.largest = fmaxf(total.largest, float(cells[split * kValues * padded]));
  for (int split = 0; split < job.splits; ++split) {
    const double* const cell = cells + split * kValues * padded;
    RowTotal<Policy> part;
    part.largest = float(cell[0]);
    if (!(part.largest > kNoScore)) continue;
    for (int n = 0; n < Policy::kTerms; ++n) part.sums[n] = cell[(1 + n) * padded];
    if constexpr (Policy::kStatistics) {
      part.score = cell[(1 + Policy::kTerms) * padded];
      part.count = cell[(2 + Policy::kTerms) * padded];
    }
    total.add(policy, part, row);
  }
  return total;
}

}  // namespace ck::cuda
