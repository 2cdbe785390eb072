// The one table of sizes that the packed layouts, the micro-kernels and the schedule share.
//
// A register tile is MR rows by two vectors: 2 * MR accumulators, two vectors of the right operand and one broadcast fit the
// register file. Rows are packed in groups of GROUP, which every MR divides; a block (rows of S computed before its
// coefficients are applied) is a multiple of GROUP and of every tile width, so that only the matrix edge has partial tiles.
//
//   instruction set   lanes   MR x NR   registers   micro-kernel from the second-level cache, share of FMA peak
//   AVX-512           16      12 x 32   32          98 % (measured on Zen 5)
//   AVX2 + FMA         8       6 x 16   16          not measured alone
//   NEON               4      12 x  8   32          not measured
//   portable (SSE2)    4       6 x  8   16          not measured alone; multiply and add are two instructions
#ifndef CK_CPU_TILE_SIZES_HPP
#define CK_CPU_TILE_SIZES_HPP

#include <stdint.h>

namespace ck {

constexpr int GROUP = 12;         // rows of a packed group
constexpr int PACK_ROWS = 96;     // rows of one packing job: whole groups and whole tiles of every width
constexpr int BLOCK_LARGE = 192;  // rows and columns of a block of S whose coefficients stay in the L2 cache
constexpr int BLOCK_SMALL = 96;   // the same for small problems, where parallelism matters more, and for small caches
constexpr int MAX_WIDTH = 32;     // widest tile (NR) of all instruction sets
constexpr int MAX_LANES = 16;
constexpr int CACHE_LINE = 16;                     // floats
constexpr int BLOCK_STRIDE = BLOCK_LARGE + 16;     // row stride of a block of coefficients: no power of two
constexpr int WORD_STRIDE = BLOCK_LARGE / 2 + 16;  // the same of words of two: whole cache lines, an odd number of them

// A dot product is summed in blocks of dimensions, each from 0, and the blocks are added: what rounding costs then is near that
// of one block. Cosines near 1 of 128 dimensions: 0.9e-7 rms in blocks of 64, 1.6e-7 in one (measured); 64 costs 2 % of a forward at
// 128 dimensions, 32 another 2 %, which is why only shorter rows take it. The more blocks, the smaller the share of each and its error:
// from 384 dimensions on blocks of 128 are as exact as 64 are at 128, and a tile is put down and taken up again half as often.
constexpr int DOT_BLOCK = 64;
constexpr int DOT_BLOCK_SHORT = 32;
constexpr int DOT_BLOCK_LONG = 128;
constexpr int SHORT_ROW = 128;
constexpr int LONG_ROW = 384;

// Dimensions that are summed from 0. They depend on the number of dimensions only: equal rows give equal bits wherever they stand.
constexpr int64_t dot_block(int64_t cols) { return cols < SHORT_ROW ? DOT_BLOCK_SHORT : cols < LONG_ROW ? DOT_BLOCK : DOT_BLOCK_LONG; }

// Where tiles read their rows in groups (tile.hpp), long rows are taken in slices of dimensions, so that a block's share of both operands
// stays in the caches while its tiles are walked; the sums so far wait in the memory of the block's coefficients (AVX2: 4 % at 768
// dimensions). Slices of 128 took 7 to 10 % longer.
constexpr int SLICE = 256;
static_assert(SLICE % DOT_BLOCK_LONG == 0, "slices must be whole blocks: a row's sum does not depend on them");

// Exponentials are taken relative to a fixed shift (all in log2 units). Terms reach at most 2^SHIFT_HEADROOM, so that sums of
// 2^27 of them stay inside float32. A term is lost (flushed) below 2^-126; a row whose sum is at least 2^ROW_SUM_FLOOR loses
// at most rows * 2^(-126 - ROW_SUM_FLOOR) = rows * 2^-50 of it, under 2^-26 up to 16 million rows. Rows below the floor are
// repaired with their own maximum.
constexpr double SHIFT_HEADROOM = 100.0;
constexpr double ROW_SUM_FLOOR = -76.0;

// The shift for |y| <= bound. bound itself where every term, 2^(-2 bound) at least, stays above the floor so; then the largest that
// keeps them above it, which is possible up to 2 bound = SHIFT_HEADROOM - ROW_SUM_FLOOR: temperature >= log2(e) / 88 = 0.0164 for
// cosines. A shift close to the largest y matters: y - shift is rounded, and the less the smaller it is.
constexpr double fixed_shift(double bound) {
  const double above_floor = -ROW_SUM_FLOOR - bound, below_headroom = bound - SHIFT_HEADROOM;
  const double least = above_floor > below_headroom ? above_floor : below_headroom;
  return bound < least ? bound : least;
}

// Up to this bound NT-Xent and uniformity take no shift, which rounds nothing: terms and sums of them are moderate numbers anyhow.
// Temperature >= 0.045 for cosines.
constexpr double UNSHIFTED_BOUND = 32.0;

}  // namespace ck

#endif
