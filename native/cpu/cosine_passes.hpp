// The passes of the cosine matrix over a pair of blocks: storing it, and applying an upstream gradient to both sides.
// Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/block.hpp"

namespace ck {
namespace CK_ISA {

// The stored cosine matrix: a block is computed into cache, then copied to its place and, mirrored, to the other half.
struct CosineStore {
  float* values;

  CK_INLINE void begin(int64_t) {}
  CK_INLINE void row(int r, int64_t, Floats y0, Floats y1) {
    store(values + r * BLOCK_STRIDE, y0);
    store(values + r * BLOCK_STRIDE + LANES, y1);
  }
  CK_INLINE void end(int64_t) { values += NR; }
};

// Writes the rows of a block to their place in the matrix. STREAM: whole cache lines past the caches. The lines that a row shares with
// its neighbours left and right go through them, and are asked for ahead: the stores would wait for each (arrays of a JavaScript engine
// begin within a line, so that every row of a block has two of them).
template <bool STREAM>
class RowsInPlace {
 public:
  // rows x cols at `out`, rows `stride` apart.
  CK_INLINE RowsInPlace(float* out, int64_t stride, int64_t rows, int64_t cols) : out_(out), stride_(stride), rows_(rows), cols_(cols) {
    for (int64_t r = 0; r < AHEAD; ++r) ask(r);
  }
  CK_INLINE void put(int64_t r, const float* in) {
    ask(r + AHEAD);
    float* out = out_ + r * stride_;
    int64_t k = 0;
    if (STREAM) {
      k = smaller((CACHE_LINE - within_line(out)) % CACHE_LINE, cols_);
      copy(in, out, k);
      for (; k + CACHE_LINE <= cols_; k += CACHE_LINE) {
#pragma GCC unroll 4
        for (int i = 0; i < CACHE_LINE; i += LANES) stream(out + k + i, load(in + k + i));
      }
    }
    copy(in + k, out + k, cols_ - k);
  }

 private:
  static constexpr int64_t AHEAD = 16;  // rows

  static CK_INLINE int64_t within_line(const float* p) {
    return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p) / sizeof(float) % CACHE_LINE);
  }
  static CK_INLINE void copy(const float* in, float* out, int64_t count) {
    int64_t k = 0;
    for (; k + LANES <= count; k += LANES) store(out + k, load(in + k));
    for (; k + 4 <= count; k += 4) __builtin_memcpy(out + k, in + k, 4 * sizeof(float));
    for (; k < count; ++k) out[k] = in[k];
  }
  CK_INLINE void ask(int64_t r) const {
    if (!STREAM || r >= rows_) return;
    const float *first = out_ + r * stride_, *end = first + cols_;
    if (within_line(first) != 0) __builtin_prefetch(first, 1);
    if (within_line(end) != 0) __builtin_prefetch(end, 1);
  }

  float* out_;
  int64_t stride_, rows_, cols_;
};

template <bool STREAM>
CK_INLINE void cosine_store_blocks(const CosinePass& pass, const BlockPair& pair, const Scratch& scratch) {
  const int64_t stride = pass.y_layout->rows;
  for_blocks(pair, pass.block, [&](const Block& found) {
    Block block = found;
    const bool mirrored = pass.mirror && block.row_first != block.col_first;
    block.triangle = block.diagonal = false;
    CosineStore policy;
    policy.values = scratch.coefficients;
    walk(block, {*pass.x_layout, pass.x_panels, pass.x_grouped}, {*pass.y_layout, pass.y_panels, nullptr}, nullptr, nullptr, scratch,
         policy);
    const int64_t width = block.col_last - block.col_first, height = block.row_last - block.row_first;
    RowsInPlace<STREAM> rows(pass.out + block.row_first * stride + block.col_first, stride, height, width);
    for (int64_t r = 0; r < height; ++r) rows.put(r, scratch.coefficients + r * BLOCK_STRIDE);
    if (!mirrored) return;
    RowsInPlace<STREAM> mirror(pass.out + block.col_first * stride + block.row_first, stride, width, height);
    for (int64_t col = 0; col < width; col += LANES) {
      float* turned = scratch.row_lanes;  // [LANES][BLOCK_LARGE]
      for (int64_t row = 0; row < height; row += LANES) {
        Floats square[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) square[i] = load(scratch.coefficients + (row + i) * BLOCK_STRIDE + col);
        transpose(square);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) store(turned + i * BLOCK_LARGE + row, square[i]);
      }
      for (int64_t c = 0; c < LANES && col + c < width; ++c) mirror.put(col + c, turned + c * BLOCK_LARGE);
    }
  });
  if (STREAM) stream_fence();
}

void cosine_store(const CosinePass& pass, const BlockPair& pair, const Scratch& scratch) {
  if (pass.stream)
    cosine_store_blocks<true>(pass, pair, scratch);
  else
    cosine_store_blocks<false>(pass, pair, scratch);
}

// Applies a block of a given matrix to both sides. Returns its largest magnitude, NaN if it holds a non-finite value.
float cosine_apply(const ApplyPass& pass, const BlockPair& pair, const Scratch& scratch) {
  constexpr int64_t ROWS_AHEAD = 8;  // a row's piece in a block is too short for the caches' own prefetchers
  const int64_t stride = pass.y_layout->rows;
  Floats peak = zero(), poison = zero();
  for_blocks(pair, pass.block, [&](const Block& block) {
    const Floats scale = broadcast(pass.scale);
    const int64_t width = block.col_last - block.col_first;
    const int64_t covered = (width + NR - 1) / NR * NR;
    for (int64_t r = 0; r < block.count * GROUP; ++r) {
      float* out = scratch.coefficients + r * BLOCK_STRIDE;
      int64_t c = 0;
      if (block.row_first + r < block.row_last) {
        const float* in = pass.upstream + (block.row_first + r) * stride + block.col_first;
        const auto take = [&](Floats g, float* to) CK_LAMBDA_INLINE {
          peak = maximum(peak, maximum(g, sub(zero(), g)));
          poison = add(poison, mul(g, zero()));
          store(to, mul(g, scale));
        };
        for (; c + LANES <= width; c += LANES) {
          __builtin_prefetch(in + ROWS_AHEAD * stride + c);
          take(load(in + c), out + c);
        }
        if (c < width) {
          alignas(64) float tail[LANES] = {};
          for (int64_t k = c; k < width; ++k) tail[k - c] = in[k];
          take(load(tail), out + c);
          c += LANES;
        }
      }
      for (; c < covered; ++c) out[c] = 0.0f;
    }
    apply(block, *pass.x_layout, pass.x_grouped, pass.x_sums, *pass.y_layout, pass.y_grouped, pass.y_sums, scratch.coefficients);
  });
  const float bad = sum_lanes(poison);
  return bad == 0.0f ? max_lanes(peak) : bad;
}

}  // namespace CK_ISA
}  // namespace ck
