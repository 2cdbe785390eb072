// The tile engine: 64 threads multiply a 64 x 64 tile, tile[r][c] = sum_k A[k][r] B[k][c], on the ordinary float units.
//
// Operands are "k-major": k is the slow index, so that both come into shared memory as contiguous rows, 32 of k at a time.
// Thread (x, y) of 8 x 8 owns 8 x 8 elements: rows 4y..4y+3 and 32+4y.., columns 4x..4x+3 and 32+4x..; its operands are
// then 16-byte loads free of bank conflicts. Every slab of 32 is summed from zero and then added to the total, which keeps the
// rounding of long sums (d = 4096, or M rows in the gradient) that of sqrt(32) + sqrt(k / 32) steps instead of sqrt(k).
// An element's arithmetic does not depend on where in the tile it lies: equal rows give equal bits.
#pragma once
#include "cuda/device.hpp"
#include "policies/host_device.hpp"

namespace ck::cuda {

struct Tile {
  static constexpr int kSide = 64;
  static constexpr int kThreads = 64;
  static constexpr int kOwn = 8;     // a thread owns kOwn x kOwn elements
  static constexpr int kSlab = 32;   // depth of k in shared memory
  static constexpr int kPitch = 68;  // floats from one k to the next: a multiple of 4 that spreads transposed stores over banks
  static constexpr int kSlabFloats = kSlab * kPitch;
  static constexpr int kSharedBytes = 2 * kSlabFloats * int(sizeof(float));
};

using Accumulator = float[Tile::kOwn][Tile::kOwn];

CK_HOST_DEVICE constexpr int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }
CK_HOST_DEVICE constexpr int tiles_of(int rows) { return (rows + Tile::kSide - 1) / Tile::kSide; }

// Row and column, within the tile, of this thread's element [i][j].
__device__ __forceinline__ int tile_row(int i) { return i / 4 * 32 + int(threadIdx.x) / 8 * 4 + i % 4; }
__device__ __forceinline__ int tile_column(int j) { return j / 4 * 32 + int(threadIdx.x) % 8 * 4 + j % 4; }

// An operand that lies k-major and padded in memory: element (k, r) is data[k * stride + r], data at the tile's first r.
struct KMajor {
  const float* data;
  size_t stride;

  __device__ __forceinline__ void load(float* slab, int k) const {
    const float* from = data + size_t(k) * stride;
    CK_UNROLL
    for (int step = 0; step < Tile::kSlab * Tile::kSide / 4 / Tile::kThreads; ++step) {
      const int chunk = step * Tile::kThreads + int(threadIdx.x), row = chunk / 16, r = chunk % 16 * 4;
      *reinterpret_cast<float4*>(slab + row * Tile::kPitch + r) = *reinterpret_cast<const float4*>(from + size_t(row) * stride + r);
    }
  }
};

// total += A B over k in [first, last), both multiples of the slab. All threads of the block call it; shared memory is free again
// when it returns.
template <class A, class B>
__device__ __forceinline__ void multiply(Accumulator& total, float* shared, const A& a, const B& b, int first, int last) {
  float* const slab_a = shared;
  float* const slab_b = shared + Tile::kSlabFloats;
  const float* const own_a = slab_a + threadIdx.x / 8 * 4;
  const float* const own_b = slab_b + threadIdx.x % 8 * 4;
  for (int k0 = first; k0 < last; k0 += Tile::kSlab) {
    a.load(slab_a, k0);
    b.load(slab_b, k0);
    __syncthreads();
    Accumulator part = {};
    for (int k = 0; k < Tile::kSlab; ++k) {
      float x[Tile::kOwn], y[Tile::kOwn];
      CK_UNROLL
      for (int h = 0; h < 2; ++h) {
        const float4 p = *reinterpret_cast<const float4*>(own_a + k * Tile::kPitch + 32 * h);
        const float4 q = *reinterpret_cast<const float4*>(own_b + k * Tile::kPitch + 32 * h);
        x[4 * h] = p.x, x[4 * h + 1] = p.y, x[4 * h + 2] = p.z, x[4 * h + 3] = p.w;
        y[4 * h] = q.x, y[4 * h + 1] = q.y, y[4 * h + 2] = q.z, y[4 * h + 3] = q.w;
      }
      CK_UNROLL
      for (int i = 0; i < Tile::kOwn; ++i) {
        CK_UNROLL
        for (int j = 0; j < Tile::kOwn; ++j) part[i][j] = multiply_add(x[i], y[j], part[i][j]);
      }
    }
    CK_UNROLL
    for (int i = 0; i < Tile::kOwn; ++i) {
      CK_UNROLL
      for (int j = 0; j < Tile::kOwn; ++j) total[i][j] += part[i][j];
    }
    __syncthreads();
  }
}

// Stores a tile k-major, as an operand: element [i][j] to out[tile_column(j) * stride + tile_row(i)].
__device__ __forceinline__ void store_k_major(const Accumulator& tile, float* out, size_t stride) {
  CK_UNROLL
  for (int j = 0; j < Tile::kOwn; ++j) {
    float* const row = out + tile_column(j) * stride;
    CK_UNROLL
    for (int h = 0; h < 2; ++h) {
      *reinterpret_cast<float4*>(row + tile_row(4 * h)) = {tile[4 * h][j], tile[4 * h + 1][j], tile[4 * h + 2][j], tile[4 * h + 3][j]};
    }
  }
}

// Element (0, 0) of such a product, by one thread and to the bit.
__device__ __forceinline__ float tile_element(const KMajor& a, const KMajor& b, int depth) {
  float total = 0;
  for (int k0 = 0; k0 < depth; k0 += Tile::kSlab) {
    float part = 0;
    for (int k = k0; k < k0 + Tile::kSlab; ++k) part = multiply_add(a.data[k * a.stride], b.data[k * b.stride], part);
    total += part;
  }
  return total;
}

}  // namespace ck::cuda
