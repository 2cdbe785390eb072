// Kernels of product.hpp.
#include "cuda/product.hpp"

namespace ck::cuda {
namespace {

constexpr int kRowThreads = 128;
constexpr int kRowsPerBlock = kRowThreads / kWarp;
constexpr int kEnoughBlocks = 256;   // two for every multiprocessor of a large device
constexpr int kShortestSplit = 256;  // k of a share; below, adding the parts costs more than it gains

// G as an operand of `multiply`: begin once, then slabs.
struct PanelOperand {
  const float* g;
  size_t stride;
  __device__ __forceinline__ KMajor begin(int row) const { return {g + row, stride}; }
};

struct UpstreamSlabs {
  Upstream w;
  int64_t row;  // of the tile
  float scale;

  // Threads run along the direction in which memory is contiguous.
  __device__ __forceinline__ void load(float* slab, int k0) const {
    for (int index = int(threadIdx.x); index < Tile::kSlab * Tile::kSide; index += Tile::kThreads) {
      const int k = w.transposed ? index / Tile::kSide : index % Tile::kSlab, r = w.transposed ? index % Tile::kSide : index / Tile::kSlab;
      const int64_t i = w.transposed ? k0 + k : row + r, j = w.transposed ? row + r : k0 + k;
      slab[k * Tile::kPitch + r] = i < w.rows && j < w.cols ? w.data[i * w.cols + j] * scale : 0.0f;
    }
  }
};
struct UpstreamOperand {
  Upstream w;
  int first_row;
  __device__ __forceinline__ UpstreamSlabs begin(int row) const { return {w, int64_t(first_row) + row, float(exp2(*w.exponent))}; }
};

template <class Operand>
__global__ void __launch_bounds__(Tile::kThreads, 4) panel_product(Panels panels, Operand g, const float* v) {
  CK_SHARED_MEMORY(bytes);
  const int col0 = int(blockIdx.x) * Tile::kSide, row0 = int(blockIdx.y) * Tile::kSide, split = int(blockIdx.z);
  const int first = split * panels.split_depth;
  const int last = first + panels.split_depth < panels.depth ? first + panels.split_depth : panels.depth;
  Accumulator tile = {};
  multiply(tile, reinterpret_cast<float*>(bytes), g.begin(row0), KMajor{v + col0, size_t(panels.stride)}, first, last);
  float* const out = panels.parts + (size_t(split) * panels.rows + row0) * panels.stride + col0;
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    CK_UNROLL
    for (int h = 0; h < 2; ++h) {
      *reinterpret_cast<float4*>(out + size_t(tile_row(i)) * panels.stride + tile_column(4 * h)) = {tile[i][4 * h], tile[i][4 * h + 1],
                                                                                                    tile[i][4 * h + 2], tile[i][4 * h + 3]};
    }
  }
}

template <class Operand>
void start_product(Run& run, const Panels& panels, const Operand& g, const float* v) {
  const dim3 grid(unsigned(panels.stride / Tile::kSide), unsigned(panels.rows / Tile::kSide), unsigned(panels.splits));
  run.launch(panel_product<Operand>, grid, Tile::kThreads, Tile::kSharedBytes, panels, g, v);
}

__global__ void __launch_bounds__(kRowThreads, 1) finish_rows(Panels panels, Finish job, int first_row) {
  const int local = int(blockIdx.x) * kRowsPerBlock + int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int row = first_row + local;
  if (local >= panels.rows || row >= job.u.rows) return;
  const UnitRow u = job.u.unit(row), mate = job.u.unit(job.mate.positive(row));
  const double correction = job.correction ? job.correction[row] : 0;
  auto v = [&](int c) {
    double sum = 0;
    for (int s = 0; s < panels.splits; ++s) sum += panels.parts[(size_t(s) * panels.rows + local) * panels.stride + c];
    return sum - correction * mate[c];
  };
  const double norm = job.u.normalized ? job.u.norm[row] : 1;
  if (!(norm > 0)) {  // a zero row, whose D means nothing
    for (int c = lane; c < job.u.cols; c += kWarp) job.gradient[size_t(row) * job.u.cols + c] = 0.0f;
    if (lane == 0 && job.along) job.along[row] = 0;
    return;
  }
  double along = 0;
  for (int c = lane; c < job.u.cols; c += kWarp) along += v(c) * u[c];
  along = warp_sum(along);
  const double tangent = job.u.normalized ? along : 0, scale = job.factor * exp2(-*job.exponent) / norm;
  for (int c = lane; c < job.u.cols; c += kWarp) {
    const float g = float((v(c) - tangent * u[c]) * scale);
    if (!(fabsf(g) <= 3.402823466e38f)) keep_minimum(&job.report->overflow[job.argument], uint64_t(row));
    job.gradient[size_t(row) * job.u.cols + c] = g;
  }
  if (lane == 0 && job.along) job.along[row] = along;
}

__global__ void __launch_bounds__(kWarp, 1) upstream_exponent(const ck_cuda_report* report, double* exponent) {
  if (threadIdx.x != 0) return;
  const double largest = report->largest_upstream;
  const double e = largest > 0 ? -floor(log2(largest)) : 0;
  *exponent = e > 126 ? 126 : e < -126 ? -126 : e;
}

}  // namespace

Panels::Panels(Arena& arena, int padded_rows, int limit, int padded_depth, int stride_, const ProductBlock& block)
    : depth(padded_depth), stride(stride_) {
  rows = padded_rows < limit ? padded_rows : limit;
  const int tiles = (rows + block.rows - 1) / block.rows * ((stride + block.cols - 1) / block.cols);
  const int wanted = (kEnoughBlocks + tiles - 1) / tiles, most = (depth + kShortestSplit - 1) / kShortestSplit;
  const int least = (depth + block.longest - 1) / block.longest;
  splits = wanted < most ? wanted : most;
  splits = splits > least ? splits : least;
  split_depth = round_up((depth + splits - 1) / splits, block.slab);
  splits = (depth + split_depth - 1) / split_depth;
  parts = arena.take<float>(size_t(splits) * rows * stride);
}

void multiply_panel(Run& run, const Panels& panels, const Upstream& g, int first_row, const float* v) {
  start_product(run, panels, UpstreamOperand{g, first_row}, v);
}
void multiply_panel(Run& run, const Panels& panels, const float* g, const float* v) {
  start_product(run, panels, PanelOperand{g, size_t(panels.rows)}, v);
}

void choose_upstream_exponent(Run& run, const ck_cuda_report* report, double* exponent) {
  run.launch(upstream_exponent, 1, kWarp, 0, report, exponent);
}

void finish(Run& run, const Panels& panels, const Finish& job, int first_row) {
  run.launch(finish_rows, (panels.rows + kRowsPerBlock - 1) / kRowsPerBlock, kRowThreads, 0, panels, job, first_row);
}

}  // namespace ck::cuda
