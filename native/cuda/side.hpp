// Backward of losses that compare two matrices: the gradient by one of them, its "side", a panel of rows at a time.
//
//   pair_coefficients   G of the panel's rows against all rows of the other matrix, k-major; one block a tile, S computed again
//                       (on tensor cores: tensor_side.hpp)
//   product.hpp         D = G v, for each matrix the side is compared with
//   close_side          adds the D, and the pairs that a loss lists one by one, in double; then the gradient. One warp a row
//
// A coefficient policy says  coefficient(s, i, j)  what row j of the columns' matrix has in the gradient of row i of the rows', times
// 2^exponent. The gradient by the columns' matrix is the same with kSwapped. With kOnTensorCores it also has what tensor_side.hpp asks.
#pragma once
#include "cuda/product.hpp"
#include "cuda/tensor_side.hpp"

namespace ck::cuda {

// Listed pairs of rows of a side with rows of another matrix: a positive, explicit negatives.
struct PairList {
  PairList() = default;
  PairList(const Rows& rows, const double* coefficients, int64_t entries) : coefficient(coefficients), with(rows), count(entries) {}

  const double* coefficient = nullptr;  // [count], of each entry
  Rows with = {};                       // the other matrix; entry e is with its row other[e], or e / divide
  const int32_t* other = nullptr;
  int64_t divide = 1;
  const int32_t* target = nullptr;  // [count] the entries of row r are those with target r; null: r * each .. r * each + each - 1
  int64_t each = 1;
  int64_t count = 0;
};

// How a side's gradient ends: v = sum of the D and 2^exponent times the listed pairs; gradient = factor 2^-exponent
// (v - (v . u) u) / |x|, 0 for a zero row; without normalisation factor 2^-exponent v.
struct Close {
  const double* exponent;
  double factor;
  float* gradient;  // [rows, cols]; null: not wanted
  double* along;    // [rows] v . u; null: not wanted
  int argument;     // number of the gradient in the report
  ck_cuda_report* report;
  int lists;
  PairList list[2];
};

struct Side {
  Rows rows;
  Panels first, second;                          // of the matrices it is compared with, at most two
  float* panel;                                  // float32: coefficients [the longer depth, first.rows]
  CoefficientPanel first_tensor, second_tensor;  // on tensor cores
  double* totals;                                // [first.rows, rows.stride]

  // depth: padded rows of each matrix the side is compared with, 0: none. Without gradients nothing is taken.
  Side(Arena& arena, const Rows& rows_, bool wanted, int depth, int second_depth = 0)
      : Side(wanted ? &arena : nullptr, Arena(), rows_, depth, second_depth) {}

 private:
  Side(Arena* arena, Arena none, const Rows& rows_, int depth, int second_depth)
      : rows(rows_),
        first(make(arena, none, rows_, depth)),
        second(make(arena, none, rows_, second_depth)),
        panel(rows_.tensor() ? nullptr
                             : (arena ? *arena : none).take<float>(size_t(depth > second_depth ? depth : second_depth) * first.rows)),
        first_tensor(arena ? *arena : none, first, rows_.split(), rows_.tensor() && depth > 0),
        second_tensor(arena ? *arena : none, second, rows_.split(), rows_.tensor() && second_depth > 0),
        totals((arena ? *arena : none).take<double>(size_t(first.rows) * rows_.stride)) {}

  static Panels make(Arena* arena, Arena& none, const Rows& rows, int depth) {
    const auto some = [](int size) { return size > 0 ? size : Tile::kSide; };
    const ProductBlock block = rows.tensor() ? tensor_block(rows.split()) : kFloatBlock;
    return Panels(arena && depth > 0 ? *arena : none, some(rows.padded_rows), panel_limit(rows.stride), some(depth), rows.stride, block);
  }
  // Enough rows for the device to be full, few enough for G to stay in a large device's cache.
  static int panel_limit(int stride) { return 2 * stride < 1024 ? 2 * stride : 1024; }
};

// What a side is compared with: G of x and y, D = G v.
template <bool kSwapped, class Policy>
struct Compared {
  bool wanted;
  Rows x, y, v;
  Policy policy;
};
template <bool kSwapped = false, class Policy>
Compared<kSwapped, Policy> compared(const Rows& x, const Rows& y, const Policy& policy, bool wanted, const Rows& v) {
  return {wanted, x, y, v, policy};
}
template <bool kSwapped = false, class Policy>
Compared<kSwapped, Policy> compared(const Rows& x, const Rows& y, const Policy& policy, bool wanted = true) {
  return {wanted, x, y, y, policy};
}

// Adds `first` and, with two matrices, `second` of the panel that starts at first_row.
void close_side(Run& run, const Side& side, const Close& close, int matrices, int first_row);

// out[e] = similarity of row e / each of x with row other[e] of y (row e where other is null), in double; from the unrounded rows, but in
// bfloat16.
void listed_similarities(Run& run, const Rows& x, const Rows& y, const int32_t* other, int64_t each, int64_t count, double* out);

// out[i] = similarity of row i of x with row other[i] of y (row i where other is null) by exactly the arithmetic of a tile's element: to be
// compared with the largest of a row.
void tile_similarities(Run& run, const Rows& x, const Rows& y, const int32_t* other, float* out);

// Reports a row whose products, times k, may leave float32. Rows that are normalised have none.
void check_products(Run& run, const Rows& x, const Rows& y, double k, ck_cuda_report* report);

// result.temperature_gradient = factor 2^-exponent (the sums of the two sides' along); the second may be null.
void temperature_gradient(Run& run, const double* first, int first_rows, const double* second, int second_rows, double factor,
                          const double* exponent, ck_cuda_report* report);

namespace detail {

template <bool kSwapped, class Policy>
__global__ void __launch_bounds__(Tile::kThreads, 4)
    pair_coefficients(Rows x, Rows y, float* panel, int panel_rows, Policy policy, int first_row) {
  CK_SHARED_MEMORY(bytes);
  const int local0 = int(blockIdx.y) * Tile::kSide, row0 = first_row + local0, col0 = int(blockIdx.x) * Tile::kSide;
  Accumulator tile = {};
  if (row0 < x.padded_rows) multiply(tile, reinterpret_cast<float*>(bytes), x.operand(row0), y.operand(col0), 0, x.depth());
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    CK_UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) {
      const int row = row0 + tile_row(i), col = col0 + tile_column(j);
      const bool inside = row < x.rows && col < y.rows;
      tile[i][j] = inside ? policy.coefficient(tile[i][j], kSwapped ? col : row, kSwapped ? row : col) : 0.0f;
    }
  }
  store_k_major(tile, panel + size_t(col0) * panel_rows + local0, size_t(panel_rows));
}

template <bool kSwapped, class Policy>
int add_compared(Run& run, const Side& side, int first_row, int done, const Compared<kSwapped, Policy>& with) {
  if (!with.wanted) return done;
  const Panels& panels = done == 0 ? side.first : side.second;
  if constexpr (Policy::kOnTensorCores) {
    if (with.x.tensor()) {
      tensor_panel<kSwapped>(run, panels, done == 0 ? side.first_tensor : side.second_tensor, with.x, with.y, with.v, with.policy,
                             first_row);
      return done + 1;
    }
  }
  const dim3 grid(unsigned(with.y.padded_rows / Tile::kSide), unsigned(panels.rows / Tile::kSide));
  run.launch(pair_coefficients<kSwapped, Policy>, grid, Tile::kThreads, Tile::kSharedBytes, with.x, with.y, side.panel, panels.rows,
             with.policy, first_row);
  multiply_panel(run, panels, side.panel, with.v.by_row);
  return done + 1;
}

}  // namespace detail

// The panel of side.first.rows rows from first_row on.
template <class... C>
void side_panel(Run& run, const Side& side, const Close& close, int first_row, const C&... with) {
  int matrices = 0;
  ((matrices = detail::add_compared(run, side, first_row, matrices, with)), ...);
  close_side(run, side, close, matrices, first_row);
  run.checkpoint();
}

template <class... C>
void side_gradient(Run& run, const Side& side, const Close& close, const C&... with) {
  for (int first_row = 0; first_row < side.rows.rows; first_row += side.first.rows) side_panel(run, side, close, first_row, with...);
}

}  // namespace ck::cuda
