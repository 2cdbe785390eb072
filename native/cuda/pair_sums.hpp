// Forward of the pairwise losses: for every row i the sum over its pairs of exp2(k score_ij), never storing a score.
//
// Half of the symmetric matrix is computed. The rows are cut into at most kSuperBlocks super-blocks; one CUDA block walks the tiles
// of super-tile (a, b), a <= b, and adds each tile's row sums to cells [b][row] and its column sums to cells [a][column].
// A cell belongs to one thread of one block, which starts it at zero: no atomics, no order that depends on timing.
// merge_cells (one thread a row) adds a row's cells in order, in double.
//
// Two schemes hold the exponent in float32's range, chosen by choose_shift:
//   fixed    terms are exp2(k (score - reference) + headroom), one shift for all; a bound on the score makes it safe
//   running  every cell keeps its largest score, and its sum relative to it; two exponentials an element instead of one
#pragma once
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
        super_rows((tiles_of(rows_.rows) + kSuperBlocks - 1) / kSuperBlocks * Tile::kSide),
        blocks((rows_.padded_rows + super_rows - 1) / super_rows),
        k(float(k_)),
        shift(shift_),
        sums(arena.take<float>(size_t(blocks) * rows_.padded_rows)),
        keep_maxima(want_maxima),
        maxima(arena.take<float>(size_t(blocks) * rows_.padded_rows)),
        positive_tile(arena.take<float>(rows_.padded_rows)) {}
};

namespace detail {

// Two numbers a thread keeps for its row and for its column of a tile.
struct RowColumn {
  float row, column;
};

// Folds 8 x 8 threads' parts: thread t gets row t's and column t's total, in a fixed order. Uses 2 * 64 * 9 floats of shared memory.
template <class Fold>
__device__ __forceinline__ RowColumn fold_tile(const float (&rows)[Tile::kOwn], const float (&columns)[Tile::kOwn], float* shared,
                                               Fold fold) {
  constexpr int kPitch = 9;
  float* const by_column = shared + Tile::kSide * kPitch;
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    shared[tile_row(i) * kPitch + int(threadIdx.x) % 8] = rows[i];
    by_column[tile_column(i) * kPitch + int(threadIdx.x) / 8] = columns[i];
  }
  __syncthreads();
  const int t = int(threadIdx.x);
  RowColumn total = {shared[t * kPitch], by_column[t * kPitch]};
  CK_UNROLL
  for (int i = 1; i < 8; ++i) {
    total.row = fold(total.row, shared[t * kPitch + i]);
    total.column = fold(total.column, by_column[t * kPitch + i]);
  }
  __syncthreads();
  return total;
}

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
  int b = 0;  // blockIdx.x = b (b + 1) / 2 + a
  while ((b + 1) * (b + 2) / 2 <= int(blockIdx.x)) ++b;
  const int a = int(blockIdx.x) - b * (b + 1) / 2;
  const int padded = job.rows.padded_rows;
  const int rows0 = a * job.super_rows, rows1 = rows0 + job.super_rows < padded ? rows0 + job.super_rows : padded;
  const int cols0 = b * job.super_rows, cols1 = cols0 + job.super_rows < padded ? cols0 + job.super_rows : padded;
  auto start_cells = [&](int slot, int first, int last) {
    for (int row = first + int(threadIdx.x); row < last; row += Tile::kThreads) {
      job.sums[size_t(slot) * padded + row] = 0.0f;
      if (kMaxima) job.maxima[size_t(slot) * padded + row] = kNoScore;
    }
  };
  start_cells(b, rows0, rows1);
  if (a != b) start_cells(a, cols0, cols1);
  for (int row = rows0; row < rows1; row += Tile::kSide) {
    for (int col = a == b ? row : cols0; col < cols1; col += Tile::kSide) sum_tile<kFixed, kMaxima>(job, policy, shared, row, col, b, a);
  }
}

}  // namespace detail

template <class Policy>
void pair_sums(Run& run, const PairSums& job, const Policy& policy) {
  const dim3 grid(unsigned(job.blocks * (job.blocks + 1) / 2));
  auto* kernel = detail::pair_sums_kernel<true, false, Policy>;
  if constexpr (Policy::kCompared) {
    if (job.keep_maxima) kernel = detail::pair_sums_kernel<true, true, Policy>;
  }
  if (!job.shift.fixed) kernel = detail::pair_sums_kernel<false, true, Policy>;
  run.launch(kernel, grid, Tile::kThreads, Tile::kSharedBytes, job, policy);
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
