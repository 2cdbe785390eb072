// The nearest rows on the device, a panel of rows of x at a time: the panel's similarities with all rows of y, then of each row the k
// largest, the largest first, of equals the lower row. A panel has so few rows that its similarities take no more than a few copies of y.
//
//   store_panel   one block owns a tile of 64 x 64 similarities
//   pick          one block owns a row: k times the best of what comes after the last pick
#include <climits>

#include "cuda/launchers.hpp"
#include "cuda/rows.hpp"

namespace ck::cuda {
namespace {

constexpr int kThreads = 256;

struct Nearest {
  Rows x, y;
  int panel_rows;
  float* panel;  // [panel_rows, y.padded_rows]

  Nearest(Arena& arena, const ck_matrix& x_, const ck_matrix& y_, const ck_options& options)
      : x(arena, x_.data, x_.rows, x_.cols, options.normalize != 0, true),
        y(arena, y_.data, y_.rows, y_.cols, options.normalize != 0, true),
        panel_rows(limit(x.padded_rows, 2 * x.stride)),
        panel(arena.take<float>(size_t(panel_rows) * y.padded_rows)) {}

  static int limit(int rows, int most) { return rows < most ? rows : most; }
};

__global__ void __launch_bounds__(Tile::kThreads, 4) store_panel(Nearest job, int first, ck_cuda_report* report) {
  CK_SHARED_MEMORY(bytes);
  const int local0 = int(blockIdx.y) * Tile::kSide, row0 = first + local0, col0 = int(blockIdx.x) * Tile::kSide;
  if (row0 >= job.x.padded_rows) return;
  Accumulator tile = {};
  multiply(tile, reinterpret_cast<float*>(bytes), job.x.operand(row0), job.y.operand(col0), 0, job.x.depth());
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    CK_UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) {
      if (!(fabsf(tile[i][j]) <= kLargestFloat)) keep_minimum(&report->out_of_range, uint64_t(row0 + tile_row(i)));
      job.panel[size_t(local0 + tile_row(i)) * job.y.padded_rows + col0 + tile_column(j)] = tile[i][j];
    }
  }
}

// Whether similarity a of row i of y comes before similarity b of row j.
__device__ __forceinline__ bool before(float a, int i, float b, int j) { return a > b || (a == b && i < j); }

__global__ void __launch_bounds__(kThreads, 1)
    pick(Nearest job, int first, int64_t k, bool exclude, int32_t* indices, float* similarities) {
  CK_SHARED_MEMORY(bytes);
  float* const value_of = reinterpret_cast<float*>(bytes);
  int* const row_of = reinterpret_cast<int*>(value_of + kThreads);
  const int t = int(threadIdx.x), row = first + int(blockIdx.x);
  if (row >= job.x.rows) return;
  const float* const s = job.panel + size_t(blockIdx.x) * job.y.padded_rows;
  float last = 0;
  int last_row = -1;  // none yet
  for (int64_t n = 0; n < k; ++n) {
    float best = 0;
    int best_row = INT_MAX;  // none
    for (int j = t; j < job.y.rows; j += kThreads) {
      if ((exclude && j == row) || (last_row >= 0 && !before(last, last_row, s[j], j))) continue;
      if (best_row == INT_MAX || before(s[j], j, best, best_row)) {
        best = s[j];
        best_row = j;
      }
    }
    value_of[t] = best;
    row_of[t] = best_row;
    __syncthreads();
    for (int step = kThreads / 2; step > 0; step /= 2) {
      if (t < step && row_of[t + step] != INT_MAX &&
          (row_of[t] == INT_MAX || before(value_of[t + step], row_of[t + step], value_of[t], row_of[t]))) {
        value_of[t] = value_of[t + step];
        row_of[t] = row_of[t + step];
      }
      __syncthreads();
    }
    last = value_of[0];
    last_row = row_of[0];
    __syncthreads();
    if (last_row == INT_MAX) return;  // fewer than k rows, or a similarity that is no number: reported
    if (t != 0) continue;
    indices[row * k + n] = last_row;
    similarities[row * k + n] = last;
  }
}

}  // namespace

size_t nearest_workspace(int64_t rows_x, int64_t rows_y, int64_t cols, const ck_options& options) {
  Arena arena;
  Nearest(arena, {nullptr, rows_x, cols}, {nullptr, rows_y, cols}, options);
  return arena.used();
}

}  // namespace ck::cuda

int ck_cuda_nearest(const ck_matrix* x, const ck_matrix* y, int64_t k, int32_t exclude_same_index, const ck_options* options,
                    int32_t* indices, float* similarities, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream,
                    ck_error* error) {
  using namespace ck::cuda;
  if (const int status = check_call({x, y}, *options, error)) return status;
  Arena arena(workspace);
  const Nearest job(arena, *x, *y, *options);
  if (const int status = check_workspace(arena, workspace_bytes, error)) return status;
  Run run(stream, *options);
  start_report(run, report);
  prepare(run, job.x, 0, report);
  prepare(run, job.y, 1, report);
  const dim3 grid(unsigned(tiles_of(job.y.rows)), unsigned(job.panel_rows / Tile::kSide));
  for (int first = 0; first < job.x.rows; first += job.panel_rows) {
    run.launch(store_panel, grid, Tile::kThreads, Tile::kSharedBytes, job, first, report);
    run.launch(pick, unsigned(job.panel_rows), kThreads, kThreads * (sizeof(float) + sizeof(int)), job, first, k, exclude_same_index != 0,
               indices, similarities);
    run.checkpoint();
  }
  return run.status(error);
}
