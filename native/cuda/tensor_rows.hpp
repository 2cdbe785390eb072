// A tile of the similarities of two matrices' rows on tensor cores.
#pragma once
#include "cuda/rows.hpp"
#include "cuda/tensor_tile.hpp"

namespace ck::cuda {

// tile += x y' at (row0, col0). All of a block's threads call it; `shared` holds the ring's stages.
template <class Shape, bool kSplit>
__device__ __forceinline__ void similarity_tile(Fragments<Shape::kRowFragments, Shape::kColumnFragments>& tile, unsigned char* shared,
                                                const Rows& x, const Rows& y, int row0, int col0, const WarpTile& at) {
  int loading = 0;
  const int slabs = x.packed_slabs;
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
    multiply_slab<kSplit, Shape::kRowFragments, Shape::kColumnFragments>(tile, stage, stage + Shape::kOperandBytes, at, s < x.rest_slabs);
  }
}

}  // namespace ck::cuda
