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

// Writes a row of a block to its place; STREAM: past the caches, whole vectors at a time.
template <bool STREAM>
CK_INLINE void put(const float* in, int64_t count, float* out) {
  int64_t k = 0;
  if (STREAM)
    for (; k < count && reinterpret_cast<uintptr_t>(out + k) % sizeof(Floats) != 0; ++k) out[k] = in[k];
  for (; k + LANES <= count; k += LANES) STREAM ? stream(out + k, load(in + k)) : store(out + k, load(in + k));
  for (; k < count; ++k) out[k] = in[k];
}

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
    for (int64_t r = 0; r < height; ++r)
      put<STREAM>(scratch.coefficients + r * BLOCK_STRIDE, width, pass.out + (block.row_first + r) * stride + block.col_first);
    if (!mirrored) return;
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
      for (int64_t c = 0; c < LANES && col + c < width; ++c)
        put<STREAM>(turned + c * BLOCK_LARGE, height, pass.out + (block.col_first + col + c) * stride + block.row_first);
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
        for (; c + LANES <= width; c += LANES) take(load(in + c), out + c);
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
