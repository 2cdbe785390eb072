// Single similarities by exactly the arithmetic of a tile on tensor cores: a tile of the rows of x and the rows of y that they are
// compared with, of which the diagonal is kept. A block owns 64 rows of x.
#include "cuda/tensor_kernels.hpp"
#include "cuda/tensor_tile.hpp"

namespace ck::cuda {
namespace {

using Shape = SmallTile;

template <bool kSplit>
__global__ void __launch_bounds__(Shape::kThreads, 1) paired_products(Rows x, Rows y, const int32_t* other, float scale, float* out) {
  CK_SHARED_MEMORY(shared);
  const WarpTile at = WarpTile::of_thread<Shape>();
  const int row0 = int(blockIdx.x) * Shape::kSide, slabs = x.packed_slabs;
  int loading = 0;
  auto load = [&](unsigned char* stage) {
    if (loading >= slabs) return;
    load_slab<Shape::kSide, Shape::kThreads>(stage, x.slab(row0, loading), x.packed_stride());
    CK_UNROLL
    for (int step = 0; step < Shape::kSide * 8 / Shape::kThreads; ++step) {
      const int index = step * Shape::kThreads + int(threadIdx.x), local = index / 8, chunk = index % 8, row = row0 + local;
      const int mate = row >= x.rows ? 0 : other ? other[row] : row;
      copy_async(stage + Shape::kOperandBytes + swizzled(local, chunk), y.slab(mate, loading) + 8 * chunk, true);
    }
    ++loading;
  };
  Ring<Shape::kStages, Shape::kStageBytes> ring(shared);
  ring.start(load);
  Fragments<Shape::kRowFragments, Shape::kColumnFragments> tile = {};
  for (int s = 0; s < slabs; ++s) {
    const unsigned char* const stage = ring.next(load);
    multiply_slab<kSplit, Shape::kRowFragments, Shape::kColumnFragments>(tile, stage, stage + Shape::kOperandBytes, at, s < x.rest_slabs);
  }
  CK_UNROLL
  for (int i = 0; i < Shape::kRowFragments; ++i) {
    CK_UNROLL
    for (int j = 0; j < Shape::kColumnFragments; ++j) {
      CK_UNROLL
      for (int e = 0; e < 4; ++e) {
        if (at.row(i, e) == at.column(j, e)) out[row0 + at.row(i, e)] = scale * tile[i][j][e];
      }
    }
  }
}

}  // namespace

void tensor_pairs(Run& run, const Rows& x, const Rows& y, const int32_t* other, float scale, float* out) {
  run.launch(x.split() ? paired_products<true> : paired_products<false>, unsigned(x.padded_rows / Shape::kSide), Shape::kThreads,
             Shape::kSharedBytes, x, y, other, scale, out);
}

}  // namespace ck::cuda
