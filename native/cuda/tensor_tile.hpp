// The tile engine on tensor cores: operands come slab by slab through a ring of shared memory, mma.sync multiplies them.
//
// Rows of an operand are padded and lie row-major, so a tile of S = A B' reads both alike. In shared memory a slab's row is 8 chunks of
// 16 bytes whose order is exclusive-or'ed with the row number: ldmatrix then reads 8 rows without a bank conflict.
//
// bfloat16x3: u = high + low to 2^-17, and S = high high' + (high low' + low high') + low low'. The middle two are one instruction, 8
// columns of each: swapping the operands swaps its halves, so that S is symmetric to the bit and equal rows tie. The last is small for
// unrelated rows, but between nearly equal ones a sum of squares, 3e-6 of S. Every 16 columns are summed from zero and added to the total
// in float32, because tensor cores cut sums instead of rounding them. With a third part, to 2^-26, high rest' + rest high' comes first:
// another such instruction over the slabs that begin a row.
#pragma once
#include "cuda/tensor_core.hpp"
#include "cuda/tensor_shapes.hpp"

namespace ck::cuda {

// Where chunk `chunk` of row `row` lies in a slab.
__device__ __forceinline__ int swizzled(int row, int chunk) { return row * kSlabBytes + ((chunk ^ (row & 7)) << 4); }

// Starts copying a slab of kRows rows; `from` is its first element, rows are `stride` elements apart. Zeros where not valid.
template <int kRows, int kThreads>
__device__ __forceinline__ void load_slab(unsigned char* to, const uint16_t* from, size_t stride, bool valid = true) {
  CK_UNROLL
  for (int step = 0; step < kRows * 8 / kThreads; ++step) {
    const int index = step * kThreads + int(threadIdx.x), row = index / 8, chunk = index % 8;
    copy_async(to + swizzled(row, chunk), valid ? from + size_t(row) * stride + 8 * chunk : from, valid);
  }
}

// A warp's view of its part of a tile: rows first_row .. and columns first_column .., of which this lane holds element [i][j][e] at
// row(i, e), column(j, e).
struct WarpTile {
  int first_row, first_column, lane;

  template <class Shape>
  __device__ __forceinline__ static WarpTile of_thread() {
    const int warp = int(threadIdx.x) / kWarp;
    return {warp / Shape::kWarpColumns * (16 * Shape::kRowFragments), warp % Shape::kWarpColumns * (8 * Shape::kColumnFragments),
            int(threadIdx.x) % kWarp};
  }
  __device__ __forceinline__ int row(int i, int e) const { return first_row + 16 * i + lane / 4 + e / 2 * 8; }
  __device__ __forceinline__ int column(int j, int e) const { return first_column + 8 * j + lane % 4 * 2 + e % 2; }

  // 16 rows x 16 columns of A, chunks `chunk` and the next.
  __device__ __forceinline__ void load_a(uint32_t (&a)[4], const unsigned char* slab, int i, int chunk) const {
    load_matrix(a, slab + swizzled(first_row + 16 * i + lane % 16, chunk + lane / 16));
  }
  // The same of B for column fragments 2j (registers 0, 1) and 2j + 1 (2, 3); columns of S are rows of B.
  __device__ __forceinline__ void load_b(uint32_t (&b)[4], const unsigned char* slab, int j, int chunk) const {
    load_matrix(b, slab + swizzled(first_column + 16 * j + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2));
  }
};

template <int kRowFragments, int kColumnFragments>
using Fragments = float[kRowFragments][kColumnFragments][4];

template <int kR, int kC>
__device__ __forceinline__ void multiply_slab_plain(Fragments<kR, kC>& total, const unsigned char* a_slab, const unsigned char* b_slab,
                                                    const WarpTile& at) {
  CK_UNROLL
  for (int k = 0; k < 4; ++k) {
    uint32_t a[kR][4];
    CK_UNROLL
    for (int i = 0; i < kR; ++i) at.load_a(a[i], a_slab, i, 2 * k);
    CK_UNROLL
    for (int j = 0; j < kC / 2; ++j) {
      uint32_t b[4];
      at.load_b(b, b_slab, j, 2 * k);
      CK_UNROLL
      for (int i = 0; i < kR; ++i) {
        multiply_bf16(total[i][2 * j], a[i], b[0], b[1]);
        multiply_bf16(total[i][2 * j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

// kRest: a slab of the third part, in the place of low.
template <bool kRest, int kR, int kC>
__device__ __forceinline__ void multiply_slab_split(Fragments<kR, kC>& total, const unsigned char* a_slab, const unsigned char* b_slab,
                                                    const WarpTile& at) {
  CK_ROLL  // unrolled, loads of the second half move up and take registers that the tile needs
      for (int k = 0; k < 2; ++k) {
    uint32_t high[kR][4], low[kR][4];
    CK_UNROLL
    for (int i = 0; i < kR; ++i) {
      at.load_a(high[i], a_slab, i, 2 * k);
      at.load_a(low[i], a_slab, i, 4 + 2 * k);
    }
    CK_UNROLL
    for (int j = 0; j < kC / 2; ++j) {
      uint32_t b_high[4], b_low[4];
      at.load_b(b_high, b_slab, j, 2 * k);
      at.load_b(b_low, b_slab, j, 4 + 2 * k);
      CK_UNROLL
      for (int i = 0; i < kR; ++i) {
        const uint32_t(&h)[4] = high[i];
        const uint32_t(&l)[4] = low[i];
        const uint32_t first[4] = {h[0], h[1], l[0], l[1]}, second[4] = {h[2], h[3], l[2], l[3]};
        CK_UNROLL
        for (int f = 0; f < 2; ++f) {
          float part[4] = {};
          if (!kRest) multiply_bf16(part, l, b_low[2 * f], b_low[2 * f + 1]);
          multiply_bf16(part, first, b_low[2 * f], b_high[2 * f]);
          multiply_bf16(part, second, b_low[2 * f + 1], b_high[2 * f + 1]);
          if (!kRest) multiply_bf16(part, h, b_high[2 * f], b_high[2 * f + 1]);
          CK_UNROLL
          for (int e = 0; e < 4; ++e) total[i][2 * j + f][e] += part[e];
        }
      }
    }
  }
}

// total += A B' over one slab; rest: it is one of the third part.
template <bool kSplit, int kR, int kC>
__device__ __forceinline__ void multiply_slab(Fragments<kR, kC>& total, const unsigned char* a_slab, const unsigned char* b_slab,
                                              const WarpTile& at, bool rest) {
  if constexpr (!kSplit)
    multiply_slab_plain<kR, kC>(total, a_slab, b_slab, at);
  else if (rest)
    multiply_slab_split<true, kR, kC>(total, a_slab, b_slab, at);
  else
    multiply_slab_split<false, kR, kC>(total, a_slab, b_slab, at);
}

// A ring of stages, each filled by one group of asynchronous copies, at most kStages - 1 of them in flight. Every thread calls
// all of it alike:
//   start(load)            loads the first stages
//   next(load) -> stage    waits for the oldest, and starts the load that overwrites the one before it
// load(stage) starts a stage's copies and returns; past the end it does nothing.
template <int kStages, int kStageBytes>
class Ring {
 public:
  __device__ __forceinline__ explicit Ring(unsigned char* shared) : shared_(shared) {}

  template <class Load>
  __device__ __forceinline__ void start(const Load& load) {
    CK_UNROLL
    for (int s = 0; s < kStages - 1; ++s) {
      load(shared_ + s * kStageBytes);
      copy_async_commit();
    }
  }
  template <class Load>
  __device__ __forceinline__ const unsigned char* next(const Load& load) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // everybody's copies are there, and everybody is done with the stage before
    load(shared_ + (current_ == 0 ? kStages - 1 : current_ - 1) * kStageBytes);
    copy_async_commit();
    const unsigned char* const stage = shared_ + current_ * kStageBytes;
    current_ = current_ + 1 == kStages ? 0 : current_ + 1;
    return stage;
  }

 private:
  unsigned char* shared_;
  int current_ = 0;
};

}  // namespace ck::cuda
