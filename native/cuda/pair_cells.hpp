// The table that the forward of a pairwise loss leaves behind: for every row and every super-block of columns the sum over that
// block's pairs of exp2(k score), and the largest score. See pair_sums.hpp for who fills a cell.
//
// Two schemes hold the exponent in float32's range, chosen by choose_shift:
//   fixed    terms are exp2(k (score - reference) + headroom), one shift for all; a bound on the score makes it safe
//   running  every cell keeps its largest score, and its sum relative to it; two exponentials an element instead of one
#pragma once
#include "cuda/hopper.hpp"
#include "cuda/rows.hpp"

namespace ck::cuda {

constexpr int kSuperBlocks = 64;
constexpr float kNoScore = -3.402823466e38f;

// exp2(k (score - reference) + headroom) for all pairs, or relative to each row's own maximum.
struct Shift {
  bool fixed;
  float reference;
  float headroom;
};

// Scores lie in [highest - 2 bound, highest] where bounded (cosines). The smallest and the largest term must be normal floats with
// room for a sum over 2^24 rows: 2^-120 .. 2^100. Below 2k bound = 120 no headroom is taken, because a large exponent
// argument costs accuracy; above 220 the range is too wide.
inline Shift choose_shift(double k, double highest, double bound, bool bounded) {
  const double range = 2 * k * bound;
  if (!bounded || range > 220) return {false, 0.0f, 0.0f};
  return {true, float(highest), range > 120 ? 100.0f : 0.0f};
}

struct PairSums {
  const Rows rows;
  bool hopper;     // the kernels of hopper_sums.hpp run
  int side;        // of a tile
  int super_rows;  // rows of a super-block, a multiple of the tile
  int blocks;      // super-blocks
  float k;
  Shift shift;
  float* sums;           // [blocks, padded_rows]
  bool keep_maxima;      // the largest scores are wanted; a running shift has them in any case
  float* maxima;         // [blocks, padded_rows] largest score, kNoScore where there is none
  float* positive_tile;  // [padded_rows] with keep_maxima: the positive's score in tile arithmetic, to compare with maxima exactly

  PairSums(Arena& arena, const Rows& rows_, double k_, Shift shift_, bool want_maxima)
      : rows(rows_),
        hopper(rows_.tensor() && hopper_chosen()),
        side(hopper           ? kTensorRows
             : rows_.tensor() ? tile_side(rows_.rows)
                              : Tile::kSide),
        super_rows(round_up((rows_.padded_rows + kSuperBlocks - 1) / kSuperBlocks, side)),
        blocks((rows_.padded_rows + super_rows - 1) / super_rows),
        k(float(k_)),
        shift(shift_),
        sums(arena.take<float>(size_t(blocks) * rows_.padded_rows)),
        keep_maxima(want_maxima),
        maxima(arena.take<float>(size_t(blocks) * rows_.padded_rows)),
        positive_tile(arena.take<float>(rows_.padded_rows)) {}
};

// The pair of super-blocks number b (b + 1) / 2 + a, a <= b.
struct SuperTile {
  int a, b;
  int rows0, rows1, cols0, cols1;

  __device__ __forceinline__ SuperTile(const PairSums& job, int index) : b(0) {
    while ((b + 1) * (b + 2) / 2 <= index) ++b;
    a = index - b * (b + 1) / 2;
    const int padded = job.rows.padded_rows;
    rows0 = a * job.super_rows, rows1 = rows0 + job.super_rows < padded ? rows0 + job.super_rows : padded;
    cols0 = b * job.super_rows, cols1 = cols0 + job.super_rows < padded ? cols0 + job.super_rows : padded;
  }

  // Gives the cells of this super-tile their first values; called by kThreads threads.
  template <int kThreads, bool kMaxima>
  __device__ __forceinline__ void start_cells(const PairSums& job, int thread) const {
    auto start = [&](int slot, int first, int last) {
      for (int row = first + thread; row < last; row += kThreads) {
        job.sums[size_t(slot) * job.rows.padded_rows + row] = 0.0f;
        if (kMaxima) job.maxima[size_t(slot) * job.rows.padded_rows + row] = kNoScore;
      }
    };
    start(b, rows0, rows1);
    if (a != b) start(a, cols0, cols1);
  }
};

// Adds a tile's part to a cell that this thread owns.
template <bool kFixed, bool kMaxima>
__device__ __forceinline__ void add_to_cell(const PairSums& job, int slot, int row, float sum, float maximum) {
  const size_t cell = size_t(slot) * job.rows.padded_rows + row;
  if constexpr (kFixed) {
    job.sums[cell] += sum;
    if (kMaxima) job.maxima[cell] = fmaxf(job.maxima[cell], maximum);
  } else {
    const float before = job.maxima[cell], largest = fmaxf(before, maximum);
    job.sums[cell] = job.sums[cell] * exp2_accurate(job.k * (before - largest)) + sum * exp2_accurate(job.k * (maximum - largest));
    job.maxima[cell] = largest;
  }
}

// A row's cells in order: log2 of its sum of exp2(k_exact score), -infinity where it has no pair, and its largest score.
struct MergedRow {
  double log2_sum;
  float maximum;
};
__device__ __forceinline__ MergedRow merge_cells(const PairSums& job, double k_exact, int row) {
  double sum = 0;
  float maximum = kNoScore;
  const size_t step = job.rows.padded_rows;
  if (job.keep_maxima || !job.shift.fixed) {
    for (int b = 0; b < job.blocks; ++b) maximum = fmaxf(maximum, job.maxima[b * step + row]);
  }
  if (job.shift.fixed) {
    for (int b = 0; b < job.blocks; ++b) sum += job.sums[b * step + row];
    return {log2(sum) + k_exact * job.shift.reference - job.shift.headroom, maximum};
  }
  for (int b = 0; b < job.blocks; ++b) {
    const float own = job.maxima[b * step + row];
    if (own > kNoScore) sum += job.sums[b * step + row] * exp2(k_exact * (double(own) - maximum));
  }
  return {log2(sum) + (sum > 0 ? k_exact * maximum : 0), maximum};
}

}  // namespace ck::cuda
