// The stored matrix of similarities and its backward on the device.
//
//   out[i][j] = u_i . v_j                    one block owns a tile of 64 x 64 elements
//   D_x = W V, D_y = W' U                    W the upstream gradient; product.hpp
#include "cuda/launchers.hpp"
#include "cuda/product.hpp"
#include "cuda/tensor_kernels.hpp"

namespace ck::cuda {
namespace {

Rows rows_of(Arena& arena, const ck_matrix& m, const ck_options& options, bool similarities) {
  return Rows(arena, m.data, m.rows, m.cols, options.normalize != 0, similarities, options.precision);
}

struct Cosine {
  Rows x, y;
  Cosine(Arena& arena, const ck_matrix& x_, const ck_matrix* y_, const ck_options& options)
      : x(rows_of(arena, x_, options, true)), y(y_ ? rows_of(arena, *y_, options, true) : x) {}
};

struct CosineBackward {
  Rows x, y;
  Panels panels_x, panels_y;
  CoefficientPanel upstream_x, upstream_y;  // on tensor cores, a panel of the upstream gradient
  double* exponent;
  CosineBackward(Arena& arena, const ck_matrix& x_, const ck_matrix& y_, const ck_options& options)
      : x(rows_of(arena, x_, options, false)),
        y(rows_of(arena, y_, options, false)),
        panels_x(arena, x.padded_rows, panel_limit(), y.padded_rows, x.stride, block()),
        panels_y(arena, y.padded_rows, panel_limit(), x.padded_rows, x.stride, block()),
        upstream_x(arena, panels_x, x.split(), x.tensor()),
        upstream_y(arena, panels_y, x.split(), x.tensor()),
        exponent(arena.take<double>(1)) {}

 private:
  // Bounds the memory of D, and of the upstream gradient in bfloat16, at large sizes; any multiple of a tile is right.
  int panel_limit() const { return x.tensor() ? 1024 : 8192; }
  ProductBlock block() const { return x.tensor() ? tensor_block(x.split()) : kFloatBlock; }
};

__global__ void __launch_bounds__(Tile::kThreads, 4) store_similarities(Rows x, Rows y, float* out, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  const int row0 = int(blockIdx.y) * Tile::kSide, col0 = int(blockIdx.x) * Tile::kSide;
  Accumulator tile = {};
  multiply(tile, reinterpret_cast<float*>(bytes), x.operand(row0), y.operand(col0), 0, x.depth());
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    const int row = row0 + tile_row(i);
    CK_UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) {
      const int col = col0 + tile_column(j);
      if (row >= x.rows || col >= y.rows) continue;
      if (!(fabsf(tile[i][j]) <= kLargestFloat)) keep_minimum(&report->out_of_range, uint64_t(row));
      out[size_t(row) * y.rows + col] = tile[i][j];
    }
  }
}

void backward_of(Run& run, const Panels& panels, const CoefficientPanel& converted, const Upstream& g, const Rows& of, const Rows& by,
                 const ck_options& options, float* gradient, int argument, ck_cuda_report* report) {
  const Finish last{of, g.exponent, options.weight, nullptr, {of.rows, PairLayout::kSelf}, gradient, nullptr, argument, report};
  for (int first = 0; first < of.rows; first += panels.rows) {
    if (of.tensor()) {
      const int left = of.padded_rows - first;
      convert_upstream(run, panels, converted, g, first);
      multiply_panel(run, panels, converted, by, left < panels.rows ? left : panels.rows);
    } else {
      multiply_panel(run, panels, g, first, by.by_row);
    }
    finish(run, panels, last, first);
    run.checkpoint();
  }
}

}  // namespace

size_t cosine_similarity_workspace(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options) {
  Arena arena;
  const ck_matrix y{nullptr, rows_y, cols};
  Cosine(arena, {nullptr, rows_x, cols}, &y, options);
  return arena.used();
}

size_t cosine_similarity_backward_workspace(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options) {
  Arena arena;
  CosineBackward(arena, {nullptr, rows_x, cols}, {nullptr, rows_y, cols}, options);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_cosine_similarity(const ck_matrix* x, const ck_matrix* y, const ck_options* options, float* out, ck_cuda_report* report,
                              void* workspace, size_t workspace_bytes, void* stream, ck_error* error) {
  using namespace ck::cuda;
  if (const int status = check_tensor_call({x, y}, *options, error)) return status;
  Arena arena(workspace);
  const Cosine job(arena, *x, y, *options);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  prepare(run, job.x, 0, report);
  if (y) prepare(run, job.y, 1, report);
  if (job.x.tensor()) {
    tensor_similarities(run, job.x, job.y, out, report);
    return run.status(error);
  }
  const dim3 grid(unsigned(tiles_of(job.y.rows)), unsigned(tiles_of(job.x.rows)));
  run.launch(store_similarities, grid, Tile::kThreads, Tile::kSharedBytes, job.x, job.y, out, report);
  return run.status(error);
}

int ck_cuda_cosine_similarity_backward(const ck_matrix* x, const ck_matrix* y, const ck_matrix* upstream, const ck_options* options,
                                       float* gradient_x, float* gradient_y, ck_cuda_report* report, void* workspace,
                                       size_t workspace_bytes, void* stream, ck_error* error) {
  using namespace ck::cuda;
  if (const int status = check_tensor_call({x, y}, *options, error)) return status;
  Arena arena(workspace);
  const CosineBackward job(arena, *x, *y, *options);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  prepare(run, job.x, 0, report);
  prepare(run, job.y, 1, report);
  check_upstream(run, upstream->data, upstream->rows, upstream->cols, 2, report);
  choose_upstream_exponent(run, report, job.exponent);
  const Upstream w{upstream->data, upstream->rows, upstream->cols, false, job.exponent};
  const Upstream transposed{upstream->data, upstream->rows, upstream->cols, true, job.exponent};
  if (gradient_x) backward_of(run, job.panels_x, job.upstream_x, w, job.x, job.y, *options, gradient_x, 0, report);
  if (gradient_y) backward_of(run, job.panels_y, job.upstream_y, transposed, job.y, job.x, *options, gradient_y, 1, report);
  return run.status(error);
}
