// Backward of the pairwise losses: D_i = sum_j G_ij u_j with G_ij = exp2(k score_ij - l_i) + exp2(k score_ij - l_j) (one
// exponential where the policy is one-sided), a panel of rows at a time:
//
//   coefficients   G of the panel's rows against all rows, k-major [padded_rows, panel rows]; one block a tile, S computed again
//   product.hpp    D = G u, and from D to the gradient
//
// A panel has about 2 d rows, so G takes as much memory as a few copies of the input for any number of rows, never rows x rows.
// l is a row's log2 normaliser, so no exponent can overflow whatever the temperature. An exponent common to all rows is added to
// make the largest coefficient that matters about 1; finish takes it out in double, and gradients down to the denormals keep their
// accuracy.
#pragma once
#include "cuda/normaliser.hpp"
#include "cuda/product.hpp"

namespace ck::cuda {

struct PairGradient {
  Rows rows;
  double k;
  const double* log2_normaliser;  // [rows]; one number where the policy is one-sided
  const double* exponent;         // one number
  Panels panels;
  float* panel;  // [padded_rows, panels.rows]

  PairGradient(Arena& arena, const Rows& rows_, double k_, const double* normaliser, const double* exponent_)
      : rows(rows_),
        k(k_),
        log2_normaliser(normaliser),
        exponent(exponent_),
        panels(arena, rows_.padded_rows, panel_limit(rows_.stride), rows_.padded_rows, rows_.stride),
        panel(arena.take<float>(size_t(rows_.padded_rows) * panels.rows)) {}

  // Enough rows for the device to be full, few enough for G to stay in a large device's cache.
  static int panel_limit(int stride) { return 2 * stride < 1024 ? 2 * stride : 1024; }
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

}  // namespace detail

template <class Policy>
void pair_gradient(Run& run, const PairGradient& job, const Policy& policy, const Finish& last) {
  const dim3 grid(unsigned(job.rows.padded_rows / Tile::kSide), unsigned(job.panels.rows / Tile::kSide));
  for (int first = 0; first < job.rows.rows; first += job.panels.rows) {
    run.launch(detail::coefficients<Policy>, grid, Tile::kThreads, Tile::kSharedBytes, job, policy, first);
    multiply_panel(run, job.panels, job.panel, job.rows.by_row);
    finish(run, job.panels, last, first);
    run.checkpoint();
  }
}

}  // namespace ck::cuda
