// D = G V on tensor cores: a block owns 128 x 128 elements of one part of D. G's slabs are read as in a tile of similarities; V is
// row-major with k down the rows, so its fragments are transposed while they are loaded. In bfloat16x3 both have a low half, and the
// product of the two low ones is left out.
#include "cuda/product.hpp"
#include "cuda/tensor_tile.hpp"

namespace ck::cuda {
namespace {

using Shape = LargeTile;
constexpr int kTranspose = 32;

// A stage's second half: slab_depth rows of V, its 128 columns in groups of a slab each.
template <bool kSplit>
struct ValueStage {
  static constexpr int kRows = slab_depth(kSplit), kGroups = Shape::kSide / kRows, kGroupBytes = kRows * kSlabBytes;
  static_assert(kGroups * kGroupBytes == Shape::kOperandBytes);

  // Columns column .. column + 15 of rows 16 k .. 16 k + 15, transposed.
  __device__ __forceinline__ static void load(uint32_t (&b)[4], const unsigned char* values, int k, int column, bool low, int lane) {
    const int chunk = column % kRows / 8 + lane / 16 + (low ? 4 : 0);
    load_matrix_transposed(b, values + column / kRows * kGroupBytes + swizzled(16 * k + lane % 16, chunk));
  }
};

template <bool kSplit>
__global__ void __launch_bounds__(Shape::kThreads, 1) tensor_product(Panels panels, CoefficientPanel g, Rows v, int panel_rows) {
  using Stage = ValueStage<kSplit>;
  constexpr int kR = Shape::kRowFragments, kC = Shape::kColumnFragments;
  CK_SHARED_MEMORY(shared);
  const int col0 = int(blockIdx.x) * Shape::kSide, row0 = int(blockIdx.y) * Shape::kSide, split = int(blockIdx.z);
  if (row0 >= panel_rows) return;
  const WarpTile at = WarpTile::of_thread<Shape>();
  int loading = split * panels.split_depth;
  const int last = loading + panels.split_depth < panels.depth ? loading + panels.split_depth : panels.depth;
  const int steps = (last - loading) / Stage::kRows;
  auto load = [&](unsigned char* stage) {
    if (loading >= last) return;
    load_slab<Shape::kSide, Shape::kThreads>(stage, g.data + row0 * g.stride + size_t(loading / Stage::kRows) * kSlabHalves, g.stride);
    CK_UNROLL
    for (int group = 0; group < Stage::kGroups; ++group) {
      const int slab = col0 / Stage::kRows + group;
      const bool inside = slab < v.slabs();
      load_slab<Stage::kRows, Shape::kThreads>(stage + Shape::kOperandBytes + group * Stage::kGroupBytes,
                                               v.value_slab(loading, inside ? slab : 0), v.packed_stride(), inside);
    }
    loading += Stage::kRows;
  };
  Ring<Shape::kStages, Shape::kStageBytes> ring(shared);
  ring.start(load);
  Fragments<kR, kC> total = {};
  for (int s = 0; s < steps; ++s) {
    const unsigned char* const stage = ring.next(load);
    const unsigned char* const values = stage + Shape::kOperandBytes;
    CK_UNROLL
    for (int k = 0; k < Stage::kRows / 16; ++k) {
      uint32_t high[kR][4], low[kR][4];
      CK_UNROLL
      for (int i = 0; i < kR; ++i) {
        at.load_a(high[i], stage, i, 2 * k);
        if (kSplit) at.load_a(low[i], stage, i, 4 + 2 * k);
      }
      CK_UNROLL
      for (int j = 0; j < kC / 2; ++j) {
        uint32_t b[4], b_low[4];
        Stage::load(b, values, k, at.first_column + 16 * j, false, at.lane);
        if (kSplit) Stage::load(b_low, values, k, at.first_column + 16 * j, true, at.lane);
        CK_UNROLL
        for (int i = 0; i < kR; ++i) {
          CK_UNROLL
          for (int f = 0; f < 2; ++f) {
            multiply_bf16(total[i][2 * j + f], high[i], b[2 * f], b[2 * f + 1]);
            if (!kSplit) continue;
            multiply_bf16(total[i][2 * j + f], high[i], b_low[2 * f], b_low[2 * f + 1]);
            multiply_bf16(total[i][2 * j + f], low[i], b[2 * f], b[2 * f + 1]);
          }
        }
      }
    }
  }
  float* const out = panels.parts + (size_t(split) * panels.rows + row0) * panels.stride + col0;
  CK_UNROLL
  for (int i = 0; i < kR; ++i) {
    CK_UNROLL
    for (int j = 0; j < kC; ++j) {
      if (col0 + at.column(j, 0) >= panels.stride) continue;
      CK_UNROLL
      for (int h = 0; h < 2; ++h) {
        *reinterpret_cast<float2*>(out + size_t(at.row(i, 2 * h)) * panels.stride + at.column(j, 0)) = {total[i][j][2 * h],
                                                                                                        total[i][j][2 * h + 1]};
      }
    }
  }
}

// G[r][k] = W[first_row + r][k] (transposed: W[k][first_row + r]) times 2^exponent, 32 x 32 elements a block; zeros beyond W.
__global__ void __launch_bounds__(kTranspose * 8, 1) convert(CoefficientPanel g, Upstream w, int first_row) {
  CK_SHARED_MEMORY(bytes);
  float* tile = reinterpret_cast<float*>(bytes);  // [32 of r][33]
  const int x = int(threadIdx.x) % kTranspose, y = int(threadIdx.x) / kTranspose;
  const int k0 = int(blockIdx.x) * kTranspose, r0 = int(blockIdx.y) * kTranspose;
  const float scale = float(exp2(*w.exponent));
  for (int i = y; i < kTranspose; i += 8) {  // threads run along the direction in which memory is contiguous
    const int r = w.transposed ? x : i, k = w.transposed ? i : x;
    const int64_t row = w.transposed ? k0 + k : int64_t(first_row) + r0 + r, col = w.transposed ? int64_t(first_row) + r0 + r : k0 + k;
    tile[r * (kTranspose + 1) + k] = row < w.rows && col < w.cols ? w.data[row * w.cols + col] * scale : 0.0f;
  }
  __syncthreads();
  const int depth = slab_depth(g.split), column = (k0 + x) / depth * kSlabHalves + (k0 + x) % depth;
  for (int i = y; i < kTranspose; i += 8) {
    const Split parts = split(tile[i * (kTranspose + 1) + x]);
    uint16_t* const out = g.data + size_t(r0 + i) * g.stride + column;
    out[0] = uint16_t(parts.high);
    if (g.split) out[kSlabHalves / 2] = uint16_t(parts.low);
  }
}

}  // namespace

ProductBlock tensor_block(bool split) {
  // bfloat16 rounds G to 2^-9 of itself; what cutting adds to a long sum does not show beside it.
  return {Shape::kSide, Shape::kSide, slab_depth(split), split ? kLongestSum : 1 << 30};
}

CoefficientPanel::CoefficientPanel(Arena& arena, const Panels& panels, bool split_, bool wanted)
    : split(split_),
      stride(size_t(panels.depth / slab_depth(split_)) * kSlabHalves),
      data(wanted ? arena.take<uint16_t>(panels.rows * stride) : nullptr) {}

void multiply_panel(Run& run, const Panels& panels, const CoefficientPanel& g, const Rows& v, int panel_rows) {
  const dim3 grid(unsigned((panels.stride + Shape::kSide - 1) / Shape::kSide), unsigned(panels.rows / Shape::kSide),
                  unsigned(panels.splits));
  run.launch(g.split ? tensor_product<true> : tensor_product<false>, grid, Shape::kThreads, Shape::kSharedBytes, panels, g, v, panel_rows);
}

void convert_upstream(Run& run, const Panels& panels, const CoefficientPanel& g, const Upstream& w, int first_row) {
  const dim3 grid(unsigned(panels.depth / kTranspose), unsigned(panels.rows / kTranspose));
  run.launch(convert, grid, kTranspose * 8, kTranspose * (kTranspose + 1) * sizeof(float), g, w, first_row);
}

}  // namespace ck::cuda
