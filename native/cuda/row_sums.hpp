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
#pragma once
#include "cuda/pair_cells.hpp"
#include "cuda/tile_fold.hpp"

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
    constexpr int kEnoughBlocks = 512;
    const int row_tiles = tiles_of(x.rows), tiles = y.rows > 0 ? tiles_of(y.rows) : 1;
    const int most = (kEnoughBlocks + row_tiles - 1) / row_tiles, share = (tiles + most - 1) / most;
    RowSums sums{x, y, (tiles + share - 1) / share, share * Tile::kSide, nullptr};
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
};

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
__global__ void __launch_bounds__(Tile::kThreads, 4) row_sums_kernel(RowSums job, Policy policy) {
  CK_SHARED_MEMORY(bytes);
  float* shared = reinterpret_cast<float*>(bytes);
  const int row0 = int(blockIdx.x) * Tile::kSide, split = int(blockIdx.y), first = split * job.split_rows;
  const int last = first + job.split_rows < job.y.padded_rows ? first + job.split_rows : job.y.padded_rows;
  auto* const totals = reinterpret_cast<RowTotal<Policy>*>(bytes + Tile::kSharedBytes) + threadIdx.x;  // of group g: [g * kThreads]
  for (int g = 0; g < Policy::kGroups; ++g) totals[g * Tile::kThreads] = {};
  for (int col0 = first; col0 < last; col0 += Tile::kSide) {
    Accumulator tile = {};
    multiply(tile, shared, job.x.operand(row0), job.y.operand(col0), 0, job.x.depth());
    CK_ROLL
    for (int g = 0; g < Policy::kGroups; ++g) add_group(totals[g * Tile::kThreads], job, policy, tile, g, row0, col0, shared);
  }
  for (int g = 0; g < Policy::kGroups; ++g) {
    const RowTotal<Policy>& total = totals[g * Tile::kThreads];
    constexpr int kValues = RowSums::kValues<Policy>;
    double* const cell = job.cells + size_t(g * job.splits + split) * kValues * job.x.padded_rows + row0 + threadIdx.x;
    const auto store = [&](int value, double number) { cell[size_t(value) * job.x.padded_rows] = number; };
    store(0, total.largest);
    CK_UNROLL
    for (int n = 0; n < Policy::kTerms; ++n) store(1 + n, total.sums[n]);
    if constexpr (Policy::kStatistics) {
      store(1 + Policy::kTerms, total.score);
      store(2 + Policy::kTerms, total.count);
    }
  }
}

}  // namespace detail

template <class Policy>
void row_sums(Run& run, const RowSums& job, const Policy& policy) {
  const dim3 grid(unsigned(tiles_of(job.x.rows)), unsigned(job.splits));
  constexpr size_t kShared = Tile::kSharedBytes + Policy::kGroups * Tile::kThreads * sizeof(RowTotal<Policy>);
  run.launch(detail::row_sums_kernel<Policy>, grid, Tile::kThreads, kShared, job, policy);
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
    part.raise(policy, total.largest, row);
    for (int n = 0; n < Policy::kTerms; ++n) total.sums[n] += part.sums[n];
    total.score += part.score;
    total.count += part.count;
  }
  return total;
}

// Terms exp2(k score): one sum, relative to the largest.
struct ExponentialTerms {
  static constexpr int kTerms = 1;
  double exact_k;
  float k;
  CK_HOST_DEVICE explicit ExponentialTerms(double k_) : exact_k(k_), k(float(k_)) {}

  struct Relative {
    float k, largest;
    __device__ __forceinline__ void operator()(float score, float (&out)[1]) const { out[0] = exp2_accurate(k * (score - largest)); }
  };
  __device__ __forceinline__ Relative relative_to(float largest, int) const { return {k, largest}; }
  __device__ __forceinline__ void move(double (&sums)[1], double, float before, float largest, int) const {
    sums[0] *= exp2(exact_k * (double(before) - largest));
  }
  // log2 of a sum; -infinity where there is no pair.
  template <class Total>
  __device__ __forceinline__ double log2_sum(const Total& total) const {
    return log2(total.sums[0]) + (total.sums[0] > 0 ? exact_k * total.largest : 0);
  }
};

}  // namespace ck::cuda
