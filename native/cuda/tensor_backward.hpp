// The fused backward on tensor cores, for bfloat16 rows of at most FusedShape::kMostSlabs slabs: D_i = sum_j G_ij u_j with neither S nor G
// in memory, in the shape of a FlashAttention forward whose values are its keys.
//
// A block keeps 64 rows in shared memory and their D in registers, and walks its share of the columns 64 rows at a time: S by one
// product, G from it in registers (the accumulator of one product is, packed, the left operand of the next), D += G u by another. A
// tile of columns serves both. Each cell of a part of D has one owner; the parts are added in order by `finish`.
#pragma once
#include "cuda/tensor_coefficients.hpp"

namespace ck::cuda::detail {

struct FusedJob {
  Coefficients coefficients;
  Rows u;
  Panels panels;
};

// Adds G u to the block's D: `g` are this warp's 16 x 64 coefficients, `values` 64 rows of u in slabs.
template <int kSlabs>
__device__ __forceinline__ void add_product(float (&d)[kSlabs * kSlabHalves / 8][4], const Fragments<1, 8>& g, const unsigned char* values,
                                            int lane) {
  constexpr int kSlabArea = FusedShape::kSide * kSlabBytes;
  CK_UNROLL
  for (int k = 0; k < 4; ++k) {
    uint32_t a[4];
    CK_UNROLL
    for (int r = 0; r < 4; ++r) {
      const float(&pair)[4] = g[0][2 * k + r / 2];
      a[r] = pack(to_bf16(pair[r % 2 * 2]), to_bf16(pair[r % 2 * 2 + 1]));
    }
    CK_UNROLL
    for (int n = 0; n < kSlabs * kSlabHalves / 16; ++n) {
      const unsigned char* const slab = values + 16 * n / kSlabHalves * kSlabArea;
      uint32_t b[4];
      load_matrix_transposed(b, slab + swizzled(16 * k + lane % 16, 16 * n % kSlabHalves / 8 + lane / 16));
      CK_UNROLL
      for (int f = 0; f < 2; ++f) multiply_bf16(d[2 * n + f], a, b[2 * f], b[2 * f + 1]);
    }
  }
}

template <int kSlabs, Sides kSides, class Policy>
__global__ void __launch_bounds__(FusedShape::kThreads, 1) fused_backward(FusedJob job, Policy policy, int first_row) {
  constexpr int kSide = FusedShape::kSide, kSlabArea = kSide * kSlabBytes, kTileBytes = kSlabs * kSlabArea;
  constexpr int kColumns = kSlabs * kSlabHalves;
  CK_SHARED_MEMORY(shared);
  const Rows& u = job.u;
  const Panels& panels = job.panels;
  const int local0 = int(blockIdx.x) * kSide, row0 = first_row + local0, part = int(blockIdx.y);
  if (row0 >= u.padded_rows) return;
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const WarpTile of_rows = {16 * warp, 0, lane};
  const int first = part * panels.split_depth;
  const int last = first + panels.split_depth < panels.depth ? first + panels.split_depth : panels.depth;
  auto load_rows = [&](unsigned char* to, int row) {
    CK_UNROLL
    for (int s = 0; s < kSlabs; ++s) {
      const bool inside = s < u.slabs();
      load_slab<kSide, FusedShape::kThreads>(to + s * kSlabArea, u.slab(row, inside ? s : 0), u.packed_stride(), inside);
    }
  };
  load_rows(shared, row0);
  int loading = first;
  auto load = [&](unsigned char* stage) {
    if (loading < last) load_rows(stage, loading);
    loading += kSide;
  };
  Ring<2, kTileBytes> ring(shared + kTileBytes);
  ring.start(load);  // its first group holds the block's own rows as well

  const float k = float(job.coefficients.k), reference = job.coefficients.reference;
  const Normaliser own[2] = {job.coefficients.of_rows[row0 + of_rows.row(0, 0)], job.coefficients.of_rows[row0 + of_rows.row(0, 2)]};
  float d[kColumns / 8][4] = {};
  for (int col0 = first; col0 < last; col0 += kSide) {
    const unsigned char* const tile = ring.next(load);
    Fragments<1, 8> g = {};
    CK_ROLL  // unrolled, the addresses of all slabs take the registers that D needs
        for (int s = 0; s < kSlabs; ++s) multiply_slab_plain<1, 8>(g, shared + s * kSlabArea, tile + s * kSlabArea, of_rows);
    const bool careful = row0 == col0 || row0 + kSide > u.rows || col0 + kSide > u.rows || policy.template meets<kSide>(row0, col0);
    CK_UNROLL
    for (int j = 0; j < 8; ++j) {
      CK_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = row0 + of_rows.row(0, e), col = col0 + of_rows.column(j, e);
        const Normaliser other = kSides == Sides::one_sided ? own[0] : job.coefficients.of_rows[col];
        g[0][j][e] = coefficient<kSides>(k, reference, policy.score(g[0][j][e], row, col), own[e / 2], other);
        if (careful && (row >= u.rows || col >= u.rows || policy.excluded(row, col))) g[0][j][e] = 0.0f;
      }
    }
    add_product<kSlabs>(d, g, tile, lane);
  }
  float* const out = panels.parts + (size_t(part) * panels.rows + local0) * panels.stride;
  CK_UNROLL
  for (int n = 0; n < kColumns / 8; ++n) {
    if (of_rows.column(n, 0) >= panels.stride) continue;
    CK_UNROLL
    for (int h = 0; h < 2; ++h) {
      *reinterpret_cast<float2*>(out + size_t(of_rows.row(0, 2 * h)) * panels.stride + of_rows.column(n, 0)) = {d[n][2 * h],
                                                                                                                d[n][2 * h + 1]};
    }
  }
}

}  // namespace ck::cuda::detail
