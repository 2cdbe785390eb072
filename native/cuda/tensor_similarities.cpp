// The stored matrix of similarities on tensor cores, and its diagonal for one matrix with itself. One block owns one tile.
#include "cuda/tensor_kernels.hpp"
#include "cuda/tensor_tile.hpp"

namespace ck::cuda {
namespace {

constexpr float kLargest = 3.402823466e38f;

// The tile of x y' at (row0, col0).
template <class Shape, bool kSplit>
__device__ __forceinline__ void similarity_tile(Fragments<Shape::kRowFragments, Shape::kColumnFragments>& tile, unsigned char* shared,
                                                const Rows& x, const Rows& y, int row0, int col0, const WarpTile& at) {
  int loading = 0;
  const int slabs = x.slabs();
  auto load = [&](unsigned char* stage) {
    if (loading >= slabs) return;
    load_slab<Shape::kSide, Shape::kThreads>(stage, x.slab(row0, loading), x.packed_stride());
    load_slab<Shape::kSide, Shape::kThreads>(stage + Shape::kOperandBytes, y.slab(col0, loading), y.packed_stride());
    ++loading;
  };
  Ring<Shape::kStages, Shape::kStageBytes> ring(shared);
  ring.start(load);
  for (int s = 0; s < slabs; ++s) {
    const unsigned char* const stage = ring.next(load);
    multiply_slab<kSplit, Shape::kRowFragments, Shape::kColumnFragments>(tile, stage, stage + Shape::kOperandBytes, at);
  }
}

template <bool kSplit>
__global__ void __launch_bounds__(LargeTile::kThreads, 1) store_similarities(Rows x, Rows y, float* out, ck_cuda_report* report) {
  CK_SHARED_MEMORY(shared);
  using Shape = LargeTile;
  const WarpTile at = WarpTile::of_thread<Shape>();
  const int row0 = int(blockIdx.y) * Shape::kSide, col0 = int(blockIdx.x) * Shape::kSide;
  Fragments<Shape::kRowFragments, Shape::kColumnFragments> tile = {};
  similarity_tile<Shape, kSplit>(tile, shared, x, y, row0, col0, at);
  const bool aligned = y.rows % 2 == 0;  // of two neighbours in a row
  CK_UNROLL
  for (int i = 0; i < Shape::kRowFragments; ++i) {
    CK_UNROLL
    for (int h = 0; h < 2; ++h) {
      const int row = row0 + at.row(i, 2 * h);
      if (row >= x.rows) continue;
      CK_UNROLL
      for (int j = 0; j < Shape::kColumnFragments; ++j) {
        const int col = col0 + at.column(j, 0);
        if (col >= y.rows) continue;
        const float first = tile[i][j][2 * h], second = tile[i][j][2 * h + 1];
        if (!(fabsf(first) <= kLargest) || (col + 1 < y.rows && !(fabsf(second) <= kLargest)))
          keep_minimum(&report->out_of_range, uint64_t(row));
        float* const to = out + size_t(row) * y.rows + col;
        if (aligned) {
          *reinterpret_cast<float2*>(to) = {first, second};
        } else {
          to[0] = first;
          if (col + 1 < y.rows) to[1] = second;
        }
      }
    }
  }
}

template <bool kSplit>
__global__ void __launch_bounds__(SmallTile::kThreads, 1) own_products(Rows u, float* half) {
  CK_SHARED_MEMORY(shared);
  using Shape = SmallTile;
  const WarpTile at = WarpTile::of_thread<Shape>();
  const int row0 = int(blockIdx.x) * Shape::kSide;
  Fragments<Shape::kRowFragments, Shape::kColumnFragments> tile = {};
  similarity_tile<Shape, kSplit>(tile, shared, u, u, row0, row0, at);
  CK_UNROLL
  for (int i = 0; i < Shape::kRowFragments; ++i) {
    CK_UNROLL
    for (int j = 0; j < Shape::kColumnFragments; ++j) {
      CK_UNROLL
      for (int e = 0; e < 4; ++e) {
        if (at.row(i, e) == at.column(j, e)) half[row0 + at.row(i, e)] = 0.5f * tile[i][j][e];
      }
    }
  }
}

}  // namespace

void tensor_similarities(Run& run, const Rows& x, const Rows& y, float* out, ck_cuda_report* report) {
  const dim3 grid(unsigned(y.padded_rows / LargeTile::kSide), unsigned(x.padded_rows / LargeTile::kSide));
  run.launch(x.split() ? store_similarities<true> : store_similarities<false>, grid, LargeTile::kThreads, LargeTile::kSharedBytes, x, y,
             out, report);
}

void tensor_half_squares(Run& run, const Rows& rows, float* half) {
  run.launch(rows.split() ? own_products<true> : own_products<false>, rows.padded_rows / SmallTile::kSide, SmallTile::kThreads,
             SmallTile::kSharedBytes, rows, half);
}

}  // namespace ck::cuda
