// The stored matrix of similarities on tensor cores. One block owns one tile.
#include "cuda/tensor_kernels.hpp"
#include "cuda/tensor_rows.hpp"

namespace ck::cuda {
namespace {

constexpr float kLargest = 3.402823466e38f;

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

}  // namespace

void tensor_similarities(Run& run, const Rows& x, const Rows& y, float* out, ck_cuda_report* report) {
  const dim3 grid(unsigned(y.padded_rows / LargeTile::kSide), unsigned(x.padded_rows / LargeTile::kSide));
  run.launch(x.split() ? store_similarities<true> : store_similarities<false>, grid, LargeTile::kThreads, LargeTile::kSharedBytes, x, y,
             out, report);
}

}  // namespace ck::cuda
