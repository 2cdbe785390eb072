// The tile engine for compute capability 9.0: one thread issues tensor copies into a ring of stages, two warpgroups multiply from it with
// wgmma. A stage is full when its bytes have landed and empty when the eight consumer warps have said so.
//
// bfloat16x3: wgmma takes 16 neighbouring columns of each operand, so the two middle products of u = high + low are two instructions,
// summed apart and added in float32: swapping the operands swaps them, and S stays symmetric to the bit. A slab's 32 columns are
// summed from zero, because tensor cores cut sums instead of rounding them; half of the tile at a time, which bounds the registers. Slabs
// of a third part come first, and only the middle two products are made of them.
#pragma once
#include "cuda/hopper_core.hpp"
#include "cuda/rows.hpp"
#include "cuda/tensor_tile.hpp"

namespace ck::cuda {

// A tile of 128 x 128: 64 rows for each of two warpgroups, 16 rows and all columns for each of their warps.
struct HopperTile {
  static constexpr int kSide = 128, kStages = 4, kRowFragments = 1, kColumnFragments = kSide / 8;
  static constexpr int kWarpgroup = 128, kConsumers = 2 * kWarpgroup, kConsumerWarps = kConsumers / kWarp;
  static constexpr int kThreads = kWarpgroup + kConsumers;
  static constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;  // 168 a thread as the block starts
  static constexpr int kOperandBytes = kSide * kSlabBytes, kStageBytes = 2 * kOperandBytes;
  static constexpr int kFoldFloats = (kConsumerWarps + 1) * kSide;
  static constexpr int kSharedBytes = kStages * kStageBytes + kFoldFloats * 4 + 2 * kStages * 8;
  static_assert(kWarpgroup * kProducerRegisters + kConsumers * kConsumerRegisters <= 64 * 1024);
  static_assert(kSharedBytes <= 227 * 1024);
  static_assert(kSide == kTensorRows, "rows are padded to whole tiles");
};

// A block's ring of stages, as one of its threads goes through it.
template <int kStages, int kStageBytes>
class HopperRing {
 public:
  static constexpr int kBarriers = 2 * kStages;

  __device__ __forceinline__ HopperRing(unsigned char* stages, uint64_t* barriers)
      : stages_(stages), full_(barriers), empty_(barriers + kStages) {}

  // One thread of the block, which then calls barrier_init_fence.
  __device__ __forceinline__ void init() {
    for (int s = 0; s < kStages; ++s) {
      barrier_init(full_ + s, 1);
      barrier_init(empty_ + s, HopperTile::kConsumerWarps);
    }
  }

  // The producer: the next stage, when it is empty. Copies of kStageBytes bytes to it must follow, on full().
  __device__ __forceinline__ unsigned char* fill() {
    barrier_wait(empty_ + slot_, parity_ ^ 1);
    barrier_expect(full_ + slot_, kStageBytes);
    last_ = full_ + slot_;
    return advance();
  }
  __device__ __forceinline__ uint64_t* full() const { return last_; }

  // A consumer: the next stage, when it is full, and the barrier on which it gives back the stage that it has got last.
  __device__ __forceinline__ const unsigned char* next() {
    barrier_wait(full_ + slot_, parity_);
    last_ = empty_ + slot_;
    return advance();
  }
  __device__ __forceinline__ uint64_t* empty() const { return last_; }

 private:
  __device__ __forceinline__ unsigned char* advance() {
    unsigned char* const stage = stages_ + slot_ * kStageBytes;
    if (++slot_ == kStages) {
      slot_ = 0;
      parity_ ^= 1;
    }
    return stage;
  }

  unsigned char* stages_;
  uint64_t *full_, *empty_, *last_ = nullptr;
  int slot_ = 0, parity_ = 0;
};

// The ring of both operands of a tile, with where the consumers fold behind it. All of the block's threads make it.
class TileRing : public HopperRing<HopperTile::kStages, HopperTile::kStageBytes> {
 public:
  __device__ __forceinline__ explicit TileRing(unsigned char* shared)
      : HopperRing(shared, reinterpret_cast<uint64_t*>(shared + kFold + HopperTile::kFoldFloats * 4)),
        fold(reinterpret_cast<float*>(shared + kFold)) {
    if (threadIdx.x == 0) {
      init();
      barrier_init_fence();
    }
    __syncthreads();
  }

  // The producer: slab `index` of both operands of the tile at (row, column).
  __device__ __forceinline__ void load(const CUtensorMap& map, int row, int column, int index) {
    unsigned char* const stage = fill();
    copy_box(stage, map, index * kSlabHalves, row, full());
    copy_box(stage + HopperTile::kOperandBytes, map, index * kSlabHalves, column, full());
  }

  float* const fold;

 private:
  static constexpr int kFold = HopperTile::kStages * HopperTile::kStageBytes;
};

using HopperFragments = Fragments<HopperTile::kRowFragments, HopperTile::kColumnFragments>;

// One arrival for a warp, whose wgmma has been waited for by all its lanes.
__device__ __forceinline__ void give_back(uint64_t* empty) {
  if (int(threadIdx.x) % kWarp == 0) barrier_arrive(empty);
}

// tile += A B' of the ring's next `slabs` slabs in bfloat16x3; kRest: of the third part, in the place of low.
template <bool kRest>
__device__ __forceinline__ void hopper_multiply_split(HopperFragments& tile, TileRing& ring, int slabs, int group) {
  constexpr int kHalfBytes = HopperTile::kOperandBytes / 2, kHalf = HopperTile::kColumnFragments / 2;
  for (int s = 0; s < slabs; ++s) {
    const unsigned char* const stage = ring.next();
    const uint64_t a = matrix_descriptor(stage + group * kHalfBytes);
    CK_UNROLL
    for (int half = 0; half < 2; ++half) {
      const uint64_t b = matrix_descriptor(stage + HopperTile::kOperandBytes + half * kHalfBytes);
      float same[kRest ? 1 : kHalf][4], first[kHalf][4], second[kHalf][4];
      group_fence();
      CK_UNROLL
      for (int k = 0; k < 2; ++k) {
        const uint64_t high = 2 * k, low = 4 + 2 * k;
        group_multiply(first, a + high, b + low, k > 0);
        group_multiply(second, a + low, b + high, k > 0);
      }
      if constexpr (!kRest) {
        CK_UNROLL
        for (int k = 0; k < 4; ++k) group_multiply(same, a + (k + 2) % 4 * 2, b + (k + 2) % 4 * 2, k > 0);  // the small ones first
      }
      group_commit();
      group_wait<0>();
      CK_UNROLL
      for (int j = 0; j < kHalf; ++j) {
        CK_UNROLL
        for (int e = 0; e < 4; ++e) {
          const float crossed = first[j][e] + second[j][e];
          tile[0][half * kHalf + j][e] += kRest ? crossed : same[kRest ? 0 : j][e] + crossed;
        }
      }
    }
    give_back(ring.empty());
  }
}

// tile = x y' from the ring, both of the size of u, for the consumer warpgroup `group`.
template <bool kSplit>
__device__ __forceinline__ void hopper_multiply(HopperFragments& tile, TileRing& ring, const Rows& u, int group) {
  if constexpr (!kSplit) {
    constexpr int kHalfBytes = HopperTile::kOperandBytes / 2;
    const int slabs = u.slabs();
    uint64_t* before = nullptr;
    for (int s = 0; s < slabs; ++s) {
      const unsigned char* const stage = ring.next();
      const uint64_t a = matrix_descriptor(stage + group * kHalfBytes), b = matrix_descriptor(stage + HopperTile::kOperandBytes);
      group_fence();
      CK_UNROLL
      for (int k = 0; k < 4; ++k) group_multiply(tile[0], a + 2 * k, b + 2 * k, s + k > 0);
      group_commit();
      group_wait<1>();  // the slab before
      if (before) give_back(before);
      before = ring.empty();
    }
    group_wait<0>();
    give_back(before);
  } else {
    for (float(&fragment)[4] : tile[0])
      for (float& element : fragment) element = 0;
    hopper_multiply_split<true>(tile, ring, u.rest_slabs, group);
    hopper_multiply_split<false>(tile, ring, u.slabs(), group);
  }
}

// Divides the block: one thread runs produce(), the consumers run consume(thread of the consumers, warpgroup).
template <class Produce, class Consume>
__device__ __forceinline__ void run_warpgroups(const Produce& produce, const Consume& consume) {
  const int group = int(threadIdx.x) / HopperTile::kWarpgroup;
  if (group == 0) {
    registers_down<HopperTile::kProducerRegisters>();
    if (threadIdx.x == 0) produce();
  } else {
    registers_up<HopperTile::kConsumerRegisters>();
    consume(int(threadIdx.x) - HopperTile::kWarpgroup, group - 1);
  }
}

}  // namespace ck::cuda
