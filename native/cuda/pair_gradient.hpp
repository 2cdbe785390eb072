// Backward of the pairwise losses: D_i = sum_j G_ij u_j with G_ij = exp2(k score_ij - l_i) + exp2(k score_ij - l_j) (one
// exponential where the policy is one-sided), a panel of rows at a time:
//
//   coefficients   G of the panel's rows against all rows, k-major [padded_rows, panel rows]; one block a tile, S computed again
//   product.hpp    D = G u, and from D to the gradient
//
// Of bfloat16, rows of few columns take the fused kernel of tensor_backward.hpp (compute capability 9.0: hopper_backward.hpp) instead,
// which stores no coefficient at all.
//
// A panel has about 2 d rows, so G takes as much memory as a few copies of the input for any number of rows, never rows x rows.
// l is a row's log2 normaliser, so no exponent can overflow whatever the temperature. An exponent common to all rows is added to
// make the largest coefficient that matters about 1; finish takes it out in double, and gradients down to the denormals keep their
// accuracy.
#pragma once
#include "cuda/hopper_backward.hpp"
#include "cuda/normaliser.hpp"
#include "cuda/pair_cells.hpp"
#include "cuda/product.hpp"
#include "cuda/tensor_backward.hpp"

namespace ck::cuda {

struct PairGradient {
  Rows rows;
  double k;
  const double* log2_normaliser;  // [rows]; one number where the policy is one-sided
  const double* exponent;         // one number
  bool hopper;                    // the kernel of hopper_backward.hpp runs
  bool fused;                     // or that of tensor_backward.hpp
  Panels panels;
  float* panel;  // float32: [padded_rows, panels.rows]
  CoefficientPanel tensor_panel;
  bool weighted;  // one exponential serves both sides: see tensor_coefficients.hpp
  Coefficients coefficients;

  // `shift` is that of the forward; a one-sided policy needs none.
  PairGradient(Arena& arena, const Rows& rows_, double k_, const double* normaliser, const double* exponent_,
               const Shift& shift = {false, 0.0f, 0.0f})
      : rows(rows_),
        k(k_),
        log2_normaliser(normaliser),
        exponent(exponent_),
        hopper(HopperBackward::takes(rows_) && hopper_chosen()),
        fused(!hopper && rows_.precision == CK_BFLOAT16 && rows_.slabs() <= FusedShape::kMostSlabs),
        panels(arena, rows_.padded_rows, panel_limit(), rows_.padded_rows, rows_.stride, block()),
        panel(rows_.tensor() ? nullptr : arena.take<float>(size_t(rows_.padded_rows) * panels.rows)),
        tensor_panel(arena, panels, rows_.split(), rows_.tensor() && !hopper && !fused),
        weighted(shift.fixed && shift.headroom == 0),
        coefficients{k_, shift.reference, normaliser, exponent_, rows_.tensor() ? arena.take<Normaliser>(rows_.padded_rows) : nullptr} {}

 private:
  // Enough rows for the device to be full, few enough for G to stay in a large device's cache; without G, for D to take little memory.
  int panel_limit() const {
    if (hopper || fused) return 16384;
    return 2 * rows.stride < 1024 ? 2 * rows.stride : 1024;
  }
  ProductBlock block() const {
    if (!rows.tensor()) return kFloatBlock;
    const int longest = tensor_block(rows.split()).longest;
    if (hopper) return {HopperBackward::kRows, HopperBackward::kSliceSlabs * slab_depth(rows.split()), HopperBackward::kSide, longest};
    if (fused) return {FusedShape::kSide, rows.stride, FusedShape::kSide, longest};
    return tensor_block(rows.split());
  }
};

namespace detail {

template <class Policy>
__global__ void __launch_bounds__(Tile::kThreads, 4) coefficients(PairGradient job, Policy policy, int first_row) {
  CK_SHARED_MEMORY(bytes);
  float* shared = reinterpret_cast<float*>(bytes);
  const Rows& u = job.rows;
  const int t = int(threadIdx.x), local0 = int(blockIdx.y) * Tile::kSide, row0 = first_row + local0, col0 = int(blockIdx.x) * Tile::kSide;
  Accumulator tile = {};
  if (row0 < u.padded_rows) multiply(tile, shared, u.operand(row0), u.operand(col0), 0, u.depth());

  Normaliser* const of_rows = reinterpret_cast<Normaliser*>(shared);
  Normaliser* const of_columns = of_rows + Tile::kSide;
  auto normaliser_of = [&](int row) {
    return make_normaliser(job.k, job.log2_normaliser[Policy::kTwoSided && row < u.rows ? row : 0] - *job.exponent);
  };
  of_rows[t] = normaliser_of(row0 + t);
  if (Policy::kTwoSided) of_columns[t] = normaliser_of(col0 + t);
  __syncthreads();

  const float k = float(job.k);
  const bool careful =
      row0 == col0 || row0 + Tile::kSide > u.rows || col0 + Tile::kSide > u.rows || policy.template meets<Tile::kSide>(row0, col0);
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    CK_UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) {
      const int row = row0 + tile_row(i), col = col0 + tile_column(j);
      if (careful && (row >= u.rows || col >= u.rows || policy.excluded(row, col))) {
        tile[i][j] = 0.0f;
        continue;
      }
      const float score = policy.score(tile[i][j], row, col);
      tile[i][j] = of_rows[tile_row(i)].coefficient(k, score);
      if (Policy::kTwoSided) tile[i][j] += of_columns[tile_column(j)].coefficient(k, score);
    }
  }
  store_k_major(tile, job.panel + size_t(col0) * job.panels.rows + local0, size_t(job.panels.rows));
}

template <Sides kSides, bool kSplit, class Policy>
void launch_tensor_panel(Run& run, const PairGradient& job, const Policy& policy, int first) {
  const int left = job.rows.padded_rows - first, rows = left < job.panels.rows ? left : job.panels.rows;
  const FusedJob of_panel{job.coefficients, job.rows, job.panels};
  if (job.hopper) return launch_hopper_panel<kSides, kSplit>(run, of_panel, policy, first, rows);
  if constexpr (!kSplit) {
    if (job.fused) {
      constexpr int kMost = FusedShape::kMostSlabs;
      const bool narrow = job.rows.slabs() <= kMost / 2;
      auto* const kernel = narrow ? fused_backward<kMost / 2, kSides, Policy> : fused_backward<kMost, kSides, Policy>;
      const dim3 grid(unsigned(rows / FusedShape::kSide), unsigned(job.panels.splits));
      run.launch(kernel, grid, FusedShape::kThreads, FusedShape::shared_bytes(narrow ? kMost / 2 : kMost), of_panel, policy, first);
      return;
    }
  }
  const dim3 grid(unsigned(job.rows.padded_rows / LargeTile::kSide), unsigned(job.panels.rows / LargeTile::kSide));
  run.launch(tensor_coefficients<kSides, kSplit, Policy>, grid, LargeTile::kThreads, LargeTile::kSharedBytes, job.coefficients, job.rows,
             job.tensor_panel, policy, first);
  multiply_panel(run, job.panels, job.tensor_panel, job.rows, rows);
}

template <Sides kSides, class Policy>
void tensor_gradient(Run& run, const PairGradient& job, const Policy& policy, const Finish& last) {
  run.launch(fill_normalisers<kSides>, (job.rows.padded_rows + 255) / 256, 256, 0, job.coefficients, job.rows);
  for (int first = 0; first < job.rows.rows; first += job.panels.rows) {
    if (job.rows.split())
      launch_tensor_panel<kSides, true>(run, job, policy, first);
    else
      launch_tensor_panel<kSides, false>(run, job, policy, first);
    finish(run, job.panels, last, first);
    run.checkpoint();
  }
}

}  // namespace detail

template <class Policy>
void pair_gradient(Run& run, const PairGradient& job, const Policy& policy, const Finish& last) {
  if (job.rows.tensor()) {
    if constexpr (!Policy::kTwoSided) {
      detail::tensor_gradient<Sides::one_sided>(run, job, policy, last);
    } else if (job.weighted) {
      detail::tensor_gradient<Sides::weighted>(run, job, policy, last);
    } else {
      detail::tensor_gradient<Sides::two_sided>(run, job, policy, last);
    }
    return;
  }
  const dim3 grid(unsigned(job.rows.padded_rows / Tile::kSide), unsigned(job.panels.rows / Tile::kSide));
  for (int first = 0; first < job.rows.rows; first += job.panels.rows) {
    run.launch(detail::coefficients<Policy>, grid, Tile::kThreads, Tile::kSharedBytes, job, policy, first);
    multiply_panel(run, job.panels, job.panel, job.rows.by_row);
    finish(run, job.panels, last, first);
    run.checkpoint();
  }
}

}  // namespace ck::cuda
