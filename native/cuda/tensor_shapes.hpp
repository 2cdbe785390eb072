// The one table of tile sizes for tensor cores: which shape a problem gets, and what a shape takes. Nothing here has run on a GPU yet:
// the choice follows from counts (registers, shared memory, bytes loaded for a multiplication), not from measurements.
//
// A slab is 128 bytes of each row of an operand: 64 columns in bfloat16; in bfloat16x3 32 columns' high parts, then their low
// parts. high + low leaves up to 2^-17 of an element, and 2^-16 of a similarity where nothing averages, such as of rows of one magnitude:
// more than a loss may be off by, once divided by the temperature. So rows that are multiplied with each other have as many slabs of a
// third part before them: 32 columns' high parts, then what high + low leaves, the rest. All share every copy, address and ring; only the
// multiplication differs.
//
// All shapes fit the 99 KiB of shared memory that the smallest devices (8.6, 8.9, 12.0) give a block.
#pragma once
#include <cstddef>

#include "policies/host_device.hpp"

namespace ck::cuda {

constexpr int kSlabBytes = 128;
constexpr int kSlabHalves = kSlabBytes / 2;  // 16-bit elements of a slab
constexpr int kTensorRows = 128;             // operands' rows are padded to this, their columns to kSlabHalves

// Columns of a slab.
CK_HOST_DEVICE constexpr int slab_depth(bool split) { return split ? kSlabHalves / 2 : kSlabHalves; }

// Warps in a grid of kWarpRows x kWarpColumns share a tile of kSide x kSide similarities; slabs of both operands pass through a ring.
template <int kSide_, int kWarpRows_, int kWarpColumns_, int kStages_>
struct TileShape {
  static constexpr int kSide = kSide_, kWarpRows = kWarpRows_, kWarpColumns = kWarpColumns_, kStages = kStages_;
  static constexpr int kThreads = 32 * kWarpRows * kWarpColumns;
  static constexpr int kRowFragments = kSide / kWarpRows / 16, kColumnFragments = kSide / kWarpColumns / 8;
  static constexpr int kOperandBytes = kSide * kSlabBytes, kStageBytes = 2 * kOperandBytes;
  static constexpr int kFoldBytes = kSide * (kWarpRows + kWarpColumns) * 4;
  static constexpr int kSharedBytes = kStages * kStageBytes + kFoldBytes;
  static_assert(kThreads == 2 * kSide, "one thread for every row and every column of a tile");
  static_assert(kSharedBytes <= 99 * 1024);
};

// 64 flop for a byte loaded from the L2 cache; one block a multiprocessor.
using LargeTile = TileShape<128, 4, 2, 3>;
// Half of that, but four times as many blocks: for few rows.
using SmallTile = TileShape<64, 2, 2, 4>;

// Half the tiles of side 128 of this many rows are fewer than the multiprocessors of a large device.
CK_HOST_DEVICE constexpr int tile_side(int rows) { return rows <= 2048 ? SmallTile::kSide : LargeTile::kSide; }

// The fused backward of bfloat16: a block of 4 warps owns 64 rows of the gradient in registers, and reads 64 rows at a time. Deeper rows,
// and the parts of bfloat16x3, do not fit its shared memory; for them coefficients go through memory (tensor_product.cpp).
struct FusedShape {
  static constexpr int kSide = 64, kThreads = 128;
  static constexpr int kMostSlabs = 4;  // 256 columns
  static constexpr int shared_bytes(int slabs) { return 3 * slabs * kSide * kSlabBytes; }
};
static_assert(FusedShape::shared_bytes(FusedShape::kMostSlabs) <= 99 * 1024);

// Rows of a share of the second product's sum: its float32 sum is cut at every step on tensor cores, so a step costs 2^-24 of it.
constexpr int kLongestSum = 4096;

}  // namespace ck::cuda
