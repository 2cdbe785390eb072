// The second half of every backward: D = G V for a panel of rows, then the gradient by x.
//
//   multiply_panel   parts[split] = G V over the split's share of k; one block owns 64 x 64 elements of one part
//   finish           adds the parts in order and takes D to the gradient; one warp owns a row
//
// Splitting k fills the device where a panel alone has few tiles, and shortens the float32 sums; the split depends on shapes only.
#pragma once
#include "cuda/rows.hpp"

namespace ck::cuda {

// What one block of a product takes: rows and columns of D, and k at a time; a share of k is at most `longest` of it.
struct ProductBlock {
  int rows, cols, slab, longest;
};
constexpr ProductBlock kFloatBlock = {Tile::kSide, Tile::kSide, Tile::kSlab, 1 << 30};

struct Panels {
  int rows;         // of a panel, a multiple of the block's
  int splits;       // shares of k
  int split_depth;  // of a share, a multiple of the slab
  int depth;        // all of k, a multiple of the slab
  int stride;       // columns of D
  float* parts;     // [splits, rows, stride]

  // For D of `padded_rows` rows, made in panels of at most `limit` rows.
  Panels(Arena& arena, int padded_rows, int limit, int padded_depth, int stride, const ProductBlock& block = kFloatBlock);
};

// An upstream gradient W [rows, cols] as G (element (k, r) is W[r][k]) or, transposed, as G' (W[k][r]): unpadded, and
// multiplied by 2^exponent while it is read so that neither tiny nor huge values leave float32's range on the way.
struct Upstream {
  const float* data;
  int64_t rows, cols;
  bool transposed;
  const double* exponent;  // one number, integral
};

// Row r of the panel is row first_row + r of W (of W' where transposed).
void multiply_panel(Run& run, const Panels& panels, const Upstream& g, int first_row, const float* v);
// G k-major: [depth, panels.rows].
void multiply_panel(Run& run, const Panels& panels, const float* g, const float* v);

// The same on tensor cores, where G lies row-major in slabs, like an operand (tensor_shapes.hpp).
struct CoefficientPanel {
  bool split;
  size_t stride;   // 16-bit elements of a row
  uint16_t* data;  // [panel rows, stride]

  // Without `wanted` it takes no memory.
  CoefficientPanel(Arena& arena, const Panels& panels, bool split, bool wanted);
};
ProductBlock tensor_block(bool split);
// V's rows are k. Rows of the panel from padded_rows of D on are left alone.
void multiply_panel(Run& run, const Panels& panels, const CoefficientPanel& g, const Rows& v, int panel_rows);
// A panel of the upstream gradient as G.
void convert_upstream(Run& run, const Panels& panels, const CoefficientPanel& g, const Upstream& w, int first_row);

// exponent = minus the exponent of the report's largest upstream magnitude, at most 126 in size.
void choose_upstream_exponent(Run& run, const ck_cuda_report* report, double* exponent);

// From D to the gradient: v = D - correction_i u_mate(i); gradient = factor 2^-exponent (v - (v . u) u) / |x|, 0 for a zero row;
// without normalisation factor 2^-exponent v.
struct Finish {
  Rows u;
  const double* exponent;
  double factor;
  const double* correction;  // [rows] or null: none
  PairLayout mate;
  float* gradient;  // [rows, cols]
  double* along;    // [rows] v . u, or null
  int argument;     // number of the gradient in the report
  ck_cuda_report* report;
};
void finish(Run& run, const Panels& panels, const Finish& job, int first_row);

}  // namespace ck::cuda
