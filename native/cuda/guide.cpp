// See guide.hpp. One CUDA block decides a tile of 64 x 64 pairs, of those that the mask leaves: cosines in float32 by the tile engine, and
// in double, one by one, those too near a threshold for it.
#include "cuda/guide.hpp"

#include <initializer_list>

namespace ck::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFlagBytes = Tile::kSide * Tile::kSide;

__device__ __forceinline__ const float* row_of(const Rows& rows, int row) { return rows.input + size_t(row) * rows.cols; }

__global__ void __launch_bounds__(kThreads, 1) find_norms(GuideRows rows) {
  const int row = int(blockIdx.x) * kThreads + int(threadIdx.x);
  if (row >= rows.units.rows) return;
  const float* const x = row_of(rows.units, row);
  rows.norms[row] = sqrt(guide_dot(x, x, rows.units.cols));
}

__device__ double cosine(const Guide& guide, int i, int j) {
  const GuideRows& side = j < guide.split ? guide.query : guide.second;
  const double dot = guide_dot(row_of(side.units, i), row_of(guide.key.units, j), guide.key.units.cols);
  return guide_cosine(dot, side.norms[i], guide.key.norms[j]);
}

__global__ void __launch_bounds__(kThreads, 1) find_thresholds(Guide guide, const int32_t* positives) {
  const int row = int(blockIdx.x) * kThreads + int(threadIdx.x);
  if (row >= guide.query.units.rows) return;
  guide.thresholds[row] = guide_threshold(cosine(guide, row, positives ? positives[row] : row), guide.margin, guide.relative);
}

constexpr unsigned char kNear = 2;  // a flag until the definition has decided

// Flags of the tile's pairs whose keys are in [from, to), compared with the rows of one side. What is out stays out.
__device__ void decide_side(const Guide& guide, const Rows& side, float band, int row0, int col0, int from, int to, float* shared,
                            unsigned char* flags) {
  if (from >= to || col0 >= to || col0 + Tile::kSide <= from) return;  // a side of no keys may have no rows
  Accumulator tile = {};
  multiply(tile, shared, side.operand(row0), guide.key.units.operand(col0), 0, side.depth());
  CK_UNROLL
  for (int i = 0; i < Tile::kOwn; ++i) {
    const int row = row0 + tile_row(i);
    const float threshold = row < side.rows ? float(guide.thresholds[row]) : 0.0f;
    CK_UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) {
      const int col = col0 + tile_column(j);
      if (col < from || col >= to || row >= side.rows) continue;
      const float above = tile[i][j] - threshold;
      unsigned char& flag = flags[tile_row(i) * Tile::kSide + tile_column(j)];
      if (flag) flag = fabsf(above) <= band ? kNear : (unsigned char)(above <= 0);
    }
  }
}

__global__ void __launch_bounds__(Tile::kThreads, 4) decide_tile(Guide guide, DecidedPairs window, float band) {
  CK_SHARED_MEMORY(bytes);
  float* const shared = reinterpret_cast<float*>(bytes);
  unsigned char* const flags = bytes + Tile::kSharedBytes;
  const int row0 = window.first_query + int(blockIdx.y) * Tile::kSide, col0 = window.first_key + int(blockIdx.x) * Tile::kSide;
  const int t = int(threadIdx.x);
  for (int at = t; at < kFlagBytes; at += Tile::kThreads) {
    const int row = row0 + at / Tile::kSide, col = col0 + at % Tile::kSide;
    flags[at] = row < guide.rows && col < guide.keys && !(guide.mask && guide.mask[size_t(row) * guide.keys + col] == 0);
  }
  __syncthreads();
  if (guide.guided()) {
    decide_side(guide, guide.query.units, band, row0, col0, 0, guide.split, shared, flags);
    decide_side(guide, guide.second.units, band, row0, col0, guide.split, guide.keys, shared, flags);
    __syncthreads();
  }
  CK_ROLL
  for (int at = t; at < kFlagBytes; at += Tile::kThreads) {
    const int row = row0 + at / Tile::kSide;
    if (flags[at] == kNear) flags[at] = cosine(guide, row, col0 + at % Tile::kSide) <= guide.thresholds[row];
  }
  __syncthreads();
  const int row = row0 + t - window.first_query, word0 = (col0 - window.first_key) / 32;
  if (row >= window.queries) return;
  uint32_t* const out = window.bits + size_t(row) * window.words;
  for (int word = 0; word < Tile::kSide / 32; ++word) {
    uint32_t made = 0;
    for (int bit = 0; bit < 32; ++bit) made |= uint32_t(flags[t * Tile::kSide + word * 32 + bit]) << bit;
    if (word0 + word < window.words) out[word0 + word] = made;
  }
}

unsigned blocks(int rows) { return unsigned((rows + kThreads - 1) / kThreads); }

void decide(Run& run, const Guide& guide, const DecidedPairs& window) {
  const dim3 grid(unsigned(tiles_of(window.keys)), unsigned(tiles_of(window.queries)));
  const float band = guide_band(guide.key.units.cols, Tile::kSlab);
  run.launch(decide_tile, grid, Tile::kThreads, Tile::kSharedBytes + kFlagBytes, guide, window, band);
}

}  // namespace

DecidedPairs Guide::of_queries(Run& run, int first) const {
  if (!decides()) return {};
  const DecidedPairs pairs(bits, first, smaller_of(query_window, rows - first), 0, keys);
  if (!at_once()) decide(run, *this, pairs);
  return pairs;
}

DecidedPairs Guide::of_keys(Run& run, int first) const {
  if (!decides()) return {};
  if (at_once()) return of_queries(run, 0);
  const DecidedPairs pairs(bits, 0, rows, first, smaller_of(key_window, keys - first));
  decide(run, *this, pairs);
  return pairs;
}

void prepare(Run& run, const Guide& guide, const int32_t* positives, ck_cuda_report* report) {
  int argument = 3;
  for (const GuideRows* rows : {&guide.query, &guide.key, &guide.second}) {
    if (rows->units.rows > 0) {
      prepare(run, rows->units, argument, report);
      run.launch(find_norms, blocks(rows->units.rows), kThreads, 0, *rows);
    }
    ++argument;
  }
  if (guide.guided()) run.launch(find_thresholds, blocks(guide.rows), kThreads, 0, guide, positives);
  if (guide.decides() && guide.at_once()) decide(run, guide, guide.of_queries(run, 0));
}

}  // namespace ck::cuda
