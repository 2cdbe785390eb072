// The two products of the fused backward for compute capability 9.0 (hopper_backward.hpp): S of a warpgroup's 64 rows, which stay in shared
// memory, with 64 rows of the ring, and D += G u of 64 rows of the ring with G in registers.
#pragma once
#include "cuda/hopper_tile.hpp"

namespace ck::cuda {

struct HopperBackward {
  static constexpr int kRows = 128, kSide = 64, kStages = 4;
  static constexpr int kThreads = HopperTile::kThreads;
  static constexpr int kSliceSlabs = 4, kNarrowSlabs = 2;  // the narrow slice where it takes all
  static constexpr int kMostPacked = 3 * kSliceSlabs;      // three slices, whose rows still fit: 768 columns, 192 of bfloat16x3
  static bool takes(const Rows& u) { return u.tensor() && u.packed_slabs <= kMostPacked; }
  static constexpr int kSlabArea = kSide * kSlabBytes, kOwnSlab = kRows * kSlabBytes, kRing = kStages * kSlabArea;
  static constexpr int kBarrierBytes = (2 * kStages + 1) * 8;
  static constexpr int shared_bytes(int slabs) { return kRing + slabs * kOwnSlab + kBarrierBytes; }
  static_assert(kRows == kTensorRows, "rows are padded to whole blocks");
};
static_assert(HopperBackward::shared_bytes(HopperBackward::kMostPacked) <= 227 * 1024);

namespace detail {

using HopperValueRing = HopperRing<HopperBackward::kStages, HopperBackward::kSlabArea>;
using BackwardTile = Fragments<1, HopperBackward::kSide / 8>;

// tile += A B' of the ring's next slab in bfloat16x3, summed from zero, the small products first, because tensor cores cut sums. kRest: it
// is one of the third part, in the place of low.
template <bool kRest>
__device__ __forceinline__ void multiply_own_split(BackwardTile& tile, HopperValueRing& ring, uint64_t a) {
  const uint64_t b = matrix_descriptor(ring.next());
  float part[HopperBackward::kSide / 8][4];
  group_fence();
  if constexpr (!kRest) {
    CK_UNROLL
    for (int k = 0; k < 2; ++k) group_multiply(part, a + 4 + 2 * k, b + 4 + 2 * k, k > 0);
  }
  CK_UNROLL
  for (int k = 0; k < 2; ++k) {
    group_multiply(part, a + 2 * k, b + 4 + 2 * k, !kRest || k > 0);
    group_multiply(part, a + 4 + 2 * k, b + 2 * k, true);
  }
  if constexpr (!kRest) {
    CK_UNROLL
    for (int k = 0; k < 2; ++k) group_multiply(part, a + 2 * k, b + 2 * k, true);
  }
  group_commit();
  group_wait<0>();
  give_back(ring.empty());
  CK_UNROLL
  for (int j = 0; j < HopperBackward::kSide / 8; ++j) {
    CK_UNROLL
    for (int e = 0; e < 4; ++e) tile[0][j][e] += part[j][e];
  }
}

// tile = A B', A being u's rows of which `own` are the warpgroup's 64 of the first slab, B the ring's next slabs.
template <bool kSplit>
__device__ __forceinline__ void multiply_own(BackwardTile& tile, HopperValueRing& ring, const unsigned char* own, const Rows& u) {
  constexpr int kOwnStep = HopperBackward::kOwnSlab >> 4;
  const int slabs = u.slabs();
  uint64_t a = matrix_descriptor(own);
  for (float(&fragment)[4] : tile[0])
    for (float& element : fragment) element = 0;
  if constexpr (kSplit) {
    for (int s = 0; s < u.rest_slabs; ++s, a += kOwnStep) multiply_own_split<true>(tile, ring, a);
    for (int s = 0; s < slabs; ++s, a += kOwnStep) multiply_own_split<false>(tile, ring, a);
  } else {
    uint64_t* before = nullptr;
    for (int s = 0; s < slabs; ++s, a += kOwnStep) {
      const uint64_t b = matrix_descriptor(ring.next());
      group_fence();
      CK_UNROLL
      for (int k = 0; k < 4; ++k) group_multiply(tile[0], a + 2 * k, b + 2 * k, true);
      group_commit();
      group_wait<1>();  // the slab before
      if (before) give_back(before);
      before = ring.empty();
    }
    group_wait<0>();
    give_back(before);
  }
}

// d += G u: `g` are the warp's 16 x 64 coefficients, u's slabs the ring's next kSlabs. In bfloat16x3 the second half of d is what u's low
// halves add to the first.
template <bool kSplit, int kSlabs>
__device__ __forceinline__ void add_values(float (&d)[kSlabs][8][4], const BackwardTile& g, HopperValueRing& ring) {
  uint32_t high[4][4], low[kSplit ? 4 : 1][4];
  CK_UNROLL
  for (int k = 0; k < 4; ++k) {
    CK_UNROLL
    for (int r = 0; r < 4; ++r) {
      const float(&pair)[4] = g[0][2 * k + r / 2];
      const Split first = split(pair[r % 2 * 2]), second = split(pair[r % 2 * 2 + 1]);
      high[k][r] = pack(first.high, second.high);
      if constexpr (kSplit) low[k][r] = pack(first.low, second.low);
    }
  }
  uint64_t* before = nullptr;
  CK_UNROLL
  for (int s = 0; s < kSlabs; ++s) {
    const uint64_t b = matrix_descriptor(ring.next());
    group_fence();
    CK_UNROLL
    for (int k = 0; k < 4; ++k) {
      if constexpr (kSplit) group_multiply_rows(d[s], low[k], b + k * kNextRows);
      group_multiply_rows(d[s], high[k], b + k * kNextRows);
    }
    group_commit();
    group_wait<1>();  // the slab before
    if (s > 0) give_back(before);
    before = ring.empty();
  }
  group_wait<0>();
  give_back(before);
}

}  // namespace detail
}  // namespace ck::cuda
