// Row kernels: one warp a row, float64 inside. Normalisation with the check for finite values, positives, column sums.
//
// The square of any float32, denormals included, is a normal float64 and so is a sum of them: rows of norm 1e-30 or 1e30 need
// no scaling. Every output cell is written by one thread; the report's cells are integer minima and maxima, in any order the same.
#include "cuda/rows.hpp"

#include "cuda/tensor_kernels.hpp"

namespace ck::cuda {
namespace {

constexpr int kRowThreads = 128;
constexpr int kRowsPerBlock = kRowThreads / kWarp;
constexpr int kTranspose = 32;

__device__ __forceinline__ int warp_row() { return int(blockIdx.x) * kRowsPerBlock + int(threadIdx.x) / kWarp; }
__device__ __forceinline__ int warp_lane() { return int(threadIdx.x) % kWarp; }

// False for NaN and infinities.
__device__ __forceinline__ bool is_finite(float value) { return (__float_as_int(value) & 0x7F800000) != 0x7F800000; }

__global__ void __launch_bounds__(kWarp, 1) initialise_report(ck_cuda_report* report) {
  if (threadIdx.x != 0) return;
  for (uint64_t& cell : report->non_finite) cell = CK_CUDA_NONE;
  for (uint64_t& cell : report->overflow) cell = CK_CUDA_NONE;
  report->out_of_range = CK_CUDA_NONE;
  report->largest_upstream = 0;
  const double nan = double(__int_as_float(0x7FC00000));
  report->result = {0, nan, nan, nan, nan, 0, nan};
}

// The place of column c in the slabs of a row of the operand; in bfloat16x3 that of its high part.
__device__ __forceinline__ int packed_column(const Rows& u, int c) {
  const int depth = slab_depth(u.split());
  return c / depth * kSlabHalves + c % depth;
}

// by_row or the operand, and norm, of every padded row.
__global__ void __launch_bounds__(kRowThreads, 1) normalise(Rows u, int argument, ck_cuda_report* report) {
  const int row = warp_row(), lane = warp_lane();
  if (row >= u.padded_rows) return;
  const bool real = row < u.rows;
  const float* in = u.input + size_t(real ? row : 0) * u.cols;
  double square = 0;
  if (real) {
    for (int c = lane; c < u.cols; c += kWarp) {
      const float value = in[c];
      if (!is_finite(value)) keep_minimum(&report->non_finite[argument], uint64_t(row) * u.cols + c);
      square += double(value) * value;
    }
  }
  const double norm = sqrt(warp_sum(square));
  const double scale = !u.normalized ? 1 : norm > 0 ? 1 / norm : 0;
  for (int c = lane; c < u.stride; c += kWarp) {
    const float value = real && c < u.cols ? float(in[c] * scale) : 0.0f;
    if (!u.tensor()) {
      u.by_row[size_t(row) * u.stride + c] = value;
      continue;
    }
    const Split parts = split(value);
    const int column = packed_column(u, c);
    uint16_t* out = u.slab(row, 0) + column;
    if (u.rest_slabs > 0) {
      out[0] = uint16_t(parts.high);
      out[kSlabHalves / 2] = uint16_t(rest_of(value, parts));
      out = u.value_slab(row, 0) + column;
    }
    out[0] = uint16_t(parts.high);
    if (u.split()) out[kSlabHalves / 2] = uint16_t(parts.low);
  }
  if (lane == 0) u.norm[row] = norm;
}

__global__ void __launch_bounds__(kRowThreads, 1) own_products(Rows u, float* half) {
  const int row = int(blockIdx.x) * kRowThreads + int(threadIdx.x);
  if (row < u.padded_rows) half[row] = 0.5f * tile_element(u.operand(row), u.operand(row), u.depth());
}

// by_column from by_row, 32 x 32 elements a block.
__global__ void __launch_bounds__(kTranspose * 8, 1) transpose(Rows u) {
  CK_SHARED_MEMORY(bytes);
  float* tile = reinterpret_cast<float*>(bytes);  // [32][33]
  const int x = int(threadIdx.x) % kTranspose, y = int(threadIdx.x) / kTranspose;
  const int row0 = int(blockIdx.x) * kTranspose, col0 = int(blockIdx.y) * kTranspose;
  for (int i = y; i < kTranspose; i += 8) tile[i * (kTranspose + 1) + x] = u.by_row[size_t(row0 + i) * u.stride + col0 + x];
  __syncthreads();
  for (int i = y; i < kTranspose; i += 8) u.by_column[size_t(col0 + i) * u.padded_rows + row0 + x] = tile[x * (kTranspose + 1) + i];
}

__global__ void __launch_bounds__(kRowThreads, 1) positives(Rows u, PairLayout layout, double* positive) {
  const int row = warp_row(), lane = warp_lane();
  if (row >= u.rows) return;
  const int mate = layout.positive(row);
  const bool rounded = u.precision == CK_BFLOAT16;
  const UnitRow a = rounded ? u.unit(row) : UnitRow{u.input + size_t(row) * u.cols, 1, false};
  const UnitRow b = rounded ? u.unit(mate) : UnitRow{u.input + size_t(mate) * u.cols, 1, false};
  double dot = 0;
  for (int c = lane; c < u.cols; c += kWarp) dot += a[c] * b[c];
  dot = warp_sum(dot);
  const double norms = u.normalized && !rounded ? u.norm[row] * u.norm[mate] : 1;
  if (lane == 0) positive[row] = norms > 0 ? dot / norms : 0;
}

__global__ void __launch_bounds__(kRowThreads, 1)
    find_upstream(const float* data, int64_t rows, int64_t cols, int argument, ck_cuda_report* report) {
  double largest = 0;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    for (int64_t c = threadIdx.x; c < cols; c += kRowThreads) {
      const float value = data[row * cols + c];
      if (is_finite(value))
        largest = fmax(largest, fabs(double(value)));
      else
        keep_minimum(&report->non_finite[argument], uint64_t(row * cols + c));
    }
  }
  if (largest > 0) keep_maximum(&report->largest_upstream, largest);
}

__global__ void __launch_bounds__(kRowThreads, 1) sum_columns(Rows u, ColumnSums out) {
  const int first = int(blockIdx.x) * ColumnSums::kChunk;
  const int last = first + ColumnSums::kChunk < u.rows ? first + ColumnSums::kChunk : u.rows;
  for (int c = int(threadIdx.x); c < u.stride; c += kRowThreads) {
    double sum = 0, square = 0;
    for (int row = first; row < last; ++row) {
      const double value = c < u.cols ? u.unit(row)[c] : 0;
      sum += value;
      square += value * value;
    }
    out.sums[size_t(blockIdx.x) * u.stride + c] = sum;
    out.squares[size_t(blockIdx.x) * u.stride + c] = square;
  }
}

int row_blocks(int rows) { return (rows + kRowsPerBlock - 1) / kRowsPerBlock; }

}  // namespace

Rows::Rows(Arena& arena, const float* data, int64_t row_count, int64_t col_count, bool normalize, bool similarities, int32_t precision_)
    : rows(int(row_count)),
      cols(int(col_count)),
      precision(precision_),
      padded_rows(round_up(rows, tensor() ? kTensorRows : Tile::kSide)),
      stride(round_up(cols, tensor() ? kSlabHalves : Tile::kSide)),
      rest_slabs(similarities && split() ? slabs() : 0),
      packed_slabs(rest_slabs + slabs()),
      normalized(normalize),
      input(data),
      by_row(tensor() ? nullptr : arena.take<float>(size_t(padded_rows) * stride)),
      by_column(tensor() || !similarities ? nullptr : arena.take<float>(size_t(padded_rows) * stride)),
      packed(tensor() ? arena.take<uint16_t>(padded_rows * packed_stride()) : nullptr),
      norm(arena.take<double>(padded_rows)) {}

cudaError_t kernels_loadable() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, initialise_report);
}

void start_report(Run& run, ck_cuda_report* report) { run.launch(initialise_report, 1, kWarp, 0, report); }

void prepare(Run& run, const Rows& rows, int argument, ck_cuda_report* report) {
  run.launch(normalise, row_blocks(rows.padded_rows), kRowThreads, 0, rows, argument, report);
  if (rows.by_column) fill_columns(run, rows);
}

void fill_columns(Run& run, const Rows& rows) {
  const dim3 grid(unsigned(rows.padded_rows / kTranspose), unsigned(rows.stride / kTranspose));
  run.launch(transpose, grid, kTranspose * 8, kTranspose * (kTranspose + 1) * sizeof(float), rows);
}

void positive_similarities(Run& run, const Rows& rows, PairLayout layout, double* positive) {
  run.launch(positives, row_blocks(rows.rows), kRowThreads, 0, rows, layout, positive);
}

void half_squares(Run& run, const Rows& rows, float* half) {
  if (rows.tensor()) return tensor_pairs(run, rows, rows, nullptr, 0.5f, half);
  run.launch(own_products, (rows.padded_rows + kRowThreads - 1) / kRowThreads, kRowThreads, 0, rows, half);
}

void check_upstream(Run& run, const float* data, int64_t rows, int64_t cols, int argument, ck_cuda_report* report) {
  run.launch(find_upstream, unsigned(rows < 1024 ? rows : 1024), kRowThreads, 0, data, rows, cols, argument, report);
}

void column_sums(Run& run, const Rows& rows, const ColumnSums& sums) { run.launch(sum_columns, sums.chunks, kRowThreads, 0, rows, sums); }

}  // namespace ck::cuda
