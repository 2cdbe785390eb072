// pair_sums on tensor cores: for every row the sum over its pairs of exp2(k score_ij), in the table of pair_cells.hpp.
//
// A block walks the tiles of its super-tile as one stream of slabs, so that the next tile's copies run while this one's exponentials
// do. Pairs that do not count get the score -infinity, whose exponential is 0 under either scheme. A cell has one owner: thread t < side
// adds tile sums to its row's cell, thread side + t to its column's; on the diagonal, where both are one cell, only the former does.
#pragma once
#include "cuda/pair_cells.hpp"
#include "cuda/tensor_fold.hpp"

namespace ck::cuda {
namespace detail {

// The tiles (row, col) of a super-tile in the order of rows; of a diagonal one the upper triangle.
struct TileCursor {
  int row, col, first_col, last_col;
  bool triangle;

  __device__ __forceinline__ TileCursor(const SuperTile& super)
      : row(super.rows0), col(super.cols0), first_col(super.cols0), last_col(super.cols1), triangle(super.a == super.b) {}
  __device__ __forceinline__ void next(int side) {
    col += side;
    if (col < last_col) return;
    row += side;
    col = triangle ? row : first_col;
  }
};

// Turns similarities into scores; those that do not count into -infinity. Positives' scores are kept for the comparison.
template <class Shape, class Policy>
__device__ __forceinline__ void score_tile(Fragments<Shape::kRowFragments, Shape::kColumnFragments>& tile, const PairSums& job,
                                           const Policy& policy, int row0, int col0, const WarpTile& at) {
  const int rows = job.rows.rows;
  const bool diagonal = row0 == col0;
  const bool careful = diagonal || col0 + Shape::kSide > rows || policy.template meets<Shape::kSide>(row0, col0);
  CK_UNROLL
  for (int i = 0; i < Shape::kRowFragments; ++i) {
    CK_UNROLL
    for (int j = 0; j < Shape::kColumnFragments; ++j) {
      CK_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = row0 + at.row(i, e), col = col0 + at.column(j, e);
        const float score = policy.score(tile[i][j][e], row, col);
        tile[i][j][e] = score;
        if (!careful) continue;
        const bool inside = row < rows && col < rows;
        if (inside && !policy.excluded(row, col)) continue;
        tile[i][j][e] = -INFINITY;
        if (Policy::kCompared && job.keep_maxima && inside && row != col) {
          job.positive_tile[row] = score;
          if (!diagonal) job.positive_tile[col] = score;
        }
      }
    }
  }
}

template <class Shape, bool kFixed, bool kMaxima>
__device__ __forceinline__ void add_tile(const PairSums& job, Fragments<Shape::kRowFragments, Shape::kColumnFragments>& tile, float* shared,
                                         int row0, int col0, const SuperTile& super, const WarpTile& at) {
  constexpr int kR = Shape::kRowFragments, kC = Shape::kColumnFragments;
  const int t = int(threadIdx.x);
  const bool of_row = t < Shape::kSide;
  float maximum = kNoScore;
  float rows[2 * kR], columns[2 * kC];
  auto each = [&](auto&& element) {
    CK_UNROLL
    for (int i = 0; i < kR; ++i) {
      CK_UNROLL
      for (int j = 0; j < kC; ++j) {
        CK_UNROLL
        for (int e = 0; e < 4; ++e) element(tile[i][j][e], 2 * i + e / 2, 2 * j + e % 2, at.row(i, e), at.column(j, e));
      }
    }
  };
  if constexpr (kMaxima) {
    CK_UNROLL
    for (float& value : rows) value = kNoScore;
    CK_UNROLL
    for (float& value : columns) value = kNoScore;
    each([&](float score, int r, int c, int, int) {
      rows[r] = fmaxf(rows[r], score);
      columns[c] = fmaxf(columns[c], score);
    });
    maximum = fold_warps<Shape>(rows, columns, shared, at, [](float a, float b) { return fmaxf(a, b); });
    __syncthreads();
  }
  if constexpr (!kFixed) {
    shared[t] = maximum;  // [rows' maxima, columns' maxima]
    __syncthreads();
  }
  CK_UNROLL
  for (float& value : rows) value = 0;
  CK_UNROLL
  for (float& value : columns) value = 0;
  each([&](float score, int r, int c, int row, int column) {
    if constexpr (kFixed) {
      const float term = exp2_fast(multiply_add(job.k, score - job.shift.reference, job.shift.headroom));
      rows[r] += term;
      columns[c] += term;
    } else {
      rows[r] += exp2_fast(job.k * (score - shared[row]));
      columns[c] += exp2_fast(job.k * (score - shared[Shape::kSide + column]));
    }
  });
  if constexpr (!kFixed) __syncthreads();
  const float sum = fold_warps<Shape>(rows, columns, shared, at, [](float a, float b) { return a + b; });
  if (of_row)
    add_to_cell<kFixed, kMaxima>(job, super.b, row0 + t, sum, maximum);
  else if (row0 != col0)
    add_to_cell<kFixed, kMaxima>(job, super.a, col0 + t - Shape::kSide, sum, maximum);
}

template <class Shape, bool kSplit, bool kFixed, bool kMaxima, class Policy>
__global__ void __launch_bounds__(Shape::kThreads, 1) tensor_sums_kernel(PairSums job, Policy policy) {
  static_assert(kFixed || kMaxima, "a running maximum is a maximum");
  CK_SHARED_MEMORY(shared);
  const Rows& u = job.rows;
  const SuperTile super(job, int(blockIdx.x));
  super.start_cells<Shape::kThreads, kMaxima>(job, int(threadIdx.x));
  const WarpTile at = WarpTile::of_thread<Shape>();
  const int slabs = u.packed_slabs;
  TileCursor loading(super);
  int loading_slab = 0;
  auto load = [&](unsigned char* stage) {
    if (loading.row >= super.rows1) return;
    load_slab<Shape::kSide, Shape::kThreads>(stage, u.slab(loading.row, loading_slab), u.packed_stride());
    load_slab<Shape::kSide, Shape::kThreads>(stage + Shape::kOperandBytes, u.slab(loading.col, loading_slab), u.packed_stride());
    if (++loading_slab < slabs) return;
    loading_slab = 0;
    loading.next(Shape::kSide);
  };
  Ring<Shape::kStages, Shape::kStageBytes> ring(shared);
  ring.start(load);
  for (TileCursor tiles(super); tiles.row < super.rows1; tiles.next(Shape::kSide)) {
    Fragments<Shape::kRowFragments, Shape::kColumnFragments> tile = {};
    for (int s = 0; s < slabs; ++s) {
      const unsigned char* const stage = ring.next(load);
      multiply_slab<kSplit, Shape::kRowFragments, Shape::kColumnFragments>(tile, stage, stage + Shape::kOperandBytes, at, s < u.rest_slabs);
    }
    score_tile<Shape>(tile, job, policy, tiles.row, tiles.col, at);
    add_tile<Shape, kFixed, kMaxima>(job, tile, reinterpret_cast<float*>(shared + Shape::kStages * Shape::kStageBytes), tiles.row,
                                     tiles.col, super, at);
  }
}

template <class Shape, bool kSplit, class Policy>
void launch_tensor_sums(Run& run, const PairSums& job, const Policy& policy) {
  // A loss that compares keeps its maxima whether they are wanted or not: fewer kernels, and little to save.
  auto* const kernel = job.shift.fixed ? tensor_sums_kernel<Shape, kSplit, true, Policy::kCompared, Policy>
                                       : tensor_sums_kernel<Shape, kSplit, false, true, Policy>;
  run.launch(kernel, unsigned(job.blocks * (job.blocks + 1) / 2), Shape::kThreads, Shape::kSharedBytes, job, policy);
}

}  // namespace detail

template <class Policy>
void tensor_pair_sums(Run& run, const PairSums& job, const Policy& policy) {
  if (job.side == SmallTile::kSide) {
    job.rows.split() ? detail::launch_tensor_sums<SmallTile, true>(run, job, policy)
                     : detail::launch_tensor_sums<SmallTile, false>(run, job, policy);
  } else {
    job.rows.split() ? detail::launch_tensor_sums<LargeTile, true>(run, job, policy)
                     : detail::launch_tensor_sums<LargeTile, false>(run, job, policy);
  }
}

}  // namespace ck::cuda
