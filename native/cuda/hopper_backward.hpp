// The fused backward for compute capability 9.0: D_i = sum_j G_ij u_j as in tensor_backward.hpp, tile by tile of 64 columns.
//
// A block owns 128 rows of D in one slice of its columns: 64 rows for each of two consumer warpgroups, in registers. Its own rows stay in
// shared memory; of each tile of columns all slabs come through the ring for S, then those of the slice for D += G u. S is the
// accumulator of one wgmma and, turned into G and packed, the left operand of the next. Blocks of other slices compute S again, which
// costs less than G in memory while they are few. Each cell of a part of D has one owner; the parts are added in order by `finish`.
#pragma once
#include "cuda/hopper.hpp"
#include "cuda/hopper_backward_products.hpp"
#include "cuda/tensor_backward.hpp"

namespace ck::cuda {

namespace detail {

template <int kSlabs, Sides kSides, bool kSplit, class Policy>
__global__ void __launch_bounds__(HopperBackward::kThreads, 1)
    hopper_backward(const __grid_constant__ CUtensorMap map, FusedJob job, Policy policy, int first_row) {
#ifdef CK_HOPPER
  using Shape = HopperBackward;
  constexpr int kSide = Shape::kSide, kDepth = slab_depth(kSplit);
  CK_SHARED_MEMORY(shared);
  const Rows& u = job.u;
  const Panels& panels = job.panels;
  const int local0 = int(blockIdx.x) * Shape::kRows, block0 = first_row + local0, slice = int(blockIdx.y), part = int(blockIdx.z);
  const int slabs = u.packed_slabs, first = part * panels.split_depth;
  const int last = first + panels.split_depth < panels.depth ? first + panels.split_depth : panels.depth;
  unsigned char* const own = shared + Shape::kRing;
  auto* const own_full = reinterpret_cast<uint64_t*>(own + slabs * Shape::kOwnSlab);
  HopperValueRing ring(shared, own_full + 1);
  if (threadIdx.x == 0) {
    barrier_init(own_full, 1);
    ring.init();
    barrier_init_fence();
  }
  __syncthreads();

  const auto produce = [&] {
    barrier_expect(own_full, slabs * Shape::kOwnSlab);
    for (int box = 0; box < 2 * slabs; ++box)
      copy_box(own + box * Shape::kSlabArea, map, box / 2 * kSlabHalves, block0 + box % 2 * kSide, own_full);
    for (int col0 = first; col0 < last; col0 += kSide) {
      for (int s = 0; s < slabs + kSlabs; ++s) {  // a slice's slabs beyond the last are zeros
        unsigned char* const stage = ring.fill();
        copy_box(stage, map, (s < slabs ? s : u.rest_slabs + slice * kSlabs + s - slabs) * kSlabHalves, col0, ring.full());
      }
    }
  };
  const auto consume = [&](int t, int group) {
    const WarpTile at = {16 * (t / kWarp % 4), 0, t % kWarp};
    const int row0 = block0 + group * kSide;
    const float k = float(job.coefficients.k), reference = job.coefficients.reference;
    const Normaliser* const of_rows = job.coefficients.of_rows;
    const Normaliser mine[2] = {of_rows[row0 + at.row(0, 0)], of_rows[row0 + at.row(0, 2)]};
    float d[kSlabs][8][4] = {};
    barrier_wait(own_full, 0);
    for (int col0 = first; col0 < last; col0 += kSide) {
      BackwardTile g;
      multiply_own<kSplit>(g, ring, own + group * Shape::kSlabArea, u);
      const bool careful = row0 == col0 || row0 + kSide > u.rows || col0 + kSide > u.rows || policy.template meets<kSide>(row0, col0);
      CK_UNROLL
      for (int j = 0; j < kSide / 8; ++j) {
        CK_UNROLL
        for (int e = 0; e < 4; ++e) {
          const int row = row0 + at.row(0, e), col = col0 + at.column(j, e);
          const Normaliser other = kSides == Sides::one_sided ? mine[0] : of_rows[col];
          g[0][j][e] = coefficient<kSides>(k, reference, policy.score(g[0][j][e], row, col), mine[e / 2], other);
          if (careful && (row >= u.rows || col >= u.rows || policy.excluded(row, col))) g[0][j][e] = 0.0f;
        }
      }
      add_values<kSplit>(d, g, ring);
    }
    float* const out = panels.parts + (size_t(part) * panels.rows + local0 + group * kSide) * panels.stride;
    CK_UNROLL
    for (int s = 0; s < kSlabs; ++s) {
      CK_UNROLL
      for (int j = 0; j < kDepth / 8; ++j) {
        const int column = (slice * kSlabs + s) * kDepth + at.column(j, 0);
        if (column >= panels.stride) continue;
        CK_UNROLL
        for (int h = 0; h < 2; ++h) {
          float2 pair = {d[s][j][2 * h], d[s][j][2 * h + 1]};
          if constexpr (kSplit) pair = {pair.x + d[s][j + 4][2 * h], pair.y + d[s][j + 4][2 * h + 1]};
          *reinterpret_cast<float2*>(out + size_t(at.row(0, 2 * h)) * panels.stride + column) = pair;
        }
      }
    }
  };
  run_warpgroups(produce, consume);
#endif
}

// The panel of D that starts at row `first`, `rows` rows of it.
template <Sides kSides, bool kSplit, class Policy>
void launch_hopper_panel(Run& run, const FusedJob& job, const Policy& policy, int first, int rows) {
  using Shape = HopperBackward;
  CUtensorMap map;
  run.check(encode_slabs(&map, job.u, Shape::kSide));
  const bool narrow = !kSplit && job.u.slabs() <= Shape::kNarrowSlabs;  // split rows would save half a product of three
  auto* kernel = hopper_backward<Shape::kSliceSlabs, kSides, kSplit, Policy>;
  if constexpr (!kSplit) {
    if (narrow) kernel = hopper_backward<Shape::kNarrowSlabs, kSides, kSplit, Policy>;
  }
  const int slices = (job.u.slabs() + Shape::kSliceSlabs - 1) / Shape::kSliceSlabs;
  const dim3 grid(unsigned(rows / Shape::kRows), unsigned(slices), unsigned(job.panels.splits));
  run.launch(kernel, grid, Shape::kThreads, Shape::shared_bytes(job.u.packed_slabs), map, job, policy, first);
}

}  // namespace detail
}  // namespace ck::cuda
