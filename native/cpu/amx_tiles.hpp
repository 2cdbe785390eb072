// The tile registers of AMX: eight matrices of 16 rows of 64 bytes, and products of bfloat16 matrices added to a float32 one.
// Included by unit_amx.cpp in the namespace of its instruction set.
//
// The instructions are spelled in bytes: they then need neither a flag of the compiler nor a name that its assembler knows, which GCC
// before 11 and clang before 12 lack, and which the rest of the library does not ask for. With CK_EMULATED_TILES the same operations
// work on arrays: a machine without AMX runs the kernels so in tests, and sanitizers see every access.
#pragma once

#include "cpu/tile.hpp"

namespace ck {
namespace CK_ISA {

// Registers by use. c += a b takes TILE_ROWS rows of 32 bfloat16 in a; b holds 16 words of two rows (neighbours in the sum) each.
constexpr int TILE_ROWS = GROUP;  // a product takes as many cycles as a has rows, so that a tile of 12 wastes nothing
constexpr int TILE_WORDS = 16;    // of a's rows, and rows of b
constexpr int C00 = 0, C01 = 1, C10 = 2, C11 = 3, A0 = 4, A1 = 5, B0 = 6, B1 = 7;
constexpr int64_t LINE_OF_WORDS = NR * sizeof(float);  // bytes from row to row, in packed layouts

constexpr int tile_rows(int tile) { return tile < B0 ? TILE_ROWS : TILE_WORDS; }

#ifdef CK_EMULATED_TILES

struct EmulatedTile {
  float words[16][16];
};
static thread_local EmulatedTile emulated[8];

class Tiles {
 public:
  Tiles() { __builtin_memset(emulated, 0, sizeof emulated); }
};

template <int TILE>
static void tile_clear() {
  __builtin_memset(&emulated[TILE], 0, sizeof(EmulatedTile));
}
template <int TILE>
static void tile_load(const float* first, int64_t stride) {
  for (int r = 0; r < tile_rows(TILE); ++r)
    __builtin_memcpy(emulated[TILE].words[r], reinterpret_cast<const char*>(first) + r * stride, 64);
}
template <int TILE>
static void tile_store(float* first, int64_t stride) {
  for (int r = 0; r < tile_rows(TILE); ++r) __builtin_memcpy(reinterpret_cast<char*>(first) + r * stride, emulated[TILE].words[r], 64);
}
// Numbers below 2^-126 count as 0. A product of two bfloat16 is exact in float32.
CK_INLINE float flushed(float x) { return __builtin_fabsf(x) < 1.17549435e-38f ? 0.0f : x; }
CK_INLINE float half_of(float word, int half) {
  uint32_t bits;
  __builtin_memcpy(&bits, &word, 4);
  bits = half == 0 ? bits << 16 : bits & 0xffff0000u;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return flushed(value);
}
template <int C, int A, int B>
static void tile_multiply_add() {
  for (int r = 0; r < TILE_ROWS; ++r)
    for (int n = 0; n < 16; ++n) {
      float sums[2] = {0.0f, 0.0f};  // of the first, and of the second numbers of the words
      for (int k = 0; k < TILE_WORDS; ++k)
        for (int half = 0; half < 2; ++half)
          sums[half] = flushed(__builtin_fmaf(half_of(emulated[A].words[r][k], half), half_of(emulated[B].words[k][n], half), sums[half]));
      emulated[C].words[r][n] = flushed(emulated[C].words[r][n] + flushed(sums[0] + sums[1]));
    }
}

#else

// Shapes of the registers for as long as it lives, on its thread. The registers must not stay in use: the operating system would save
// them with every switch of threads, and the processor would not clock down.
class Tiles {
 public:
  Tiles() {
    struct alignas(64) {
      uint8_t palette, start_row, reserved[14];
      uint16_t row_bytes[16];
      uint8_t rows[16];
    } shapes = {};
    shapes.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
      shapes.row_bytes[tile] = 64;
      shapes.rows[tile] = static_cast<uint8_t>(tile_rows(tile));
    }
    asm volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0x00" ::"a"(&shapes) : "memory");  // ldtilecfg [rax]
  }
  ~Tiles() { asm volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0xc0" ::: "memory"); }  // tilerelease
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

template <int TILE>
CK_INLINE void tile_clear() {
  asm volatile(".byte 0xc4, 0xe2, 0x7b, 0x49, %c0" ::"i"(0xc0 | TILE << 3));  // tilezero
}
template <int TILE>
CK_INLINE void tile_load(const float* first, int64_t stride) {
  asm volatile(".byte 0xc4, 0xe2, 0x7b, 0x4b, %c0, 0x08" ::"i"(4 | TILE << 3), "a"(first), "c"(stride) : "memory");  // tileloadd [rax+rcx]
}
template <int TILE>
CK_INLINE void tile_store(float* first, int64_t stride) {
  asm volatile(".byte 0xc4, 0xe2, 0x7a, 0x4b, %c0, 0x08" ::"i"(4 | TILE << 3), "a"(first), "c"(stride) : "memory");  // tilestored
}
template <int C, int A, int B>
CK_INLINE void tile_multiply_add() {
  asm volatile(".byte 0xc4, 0xe2, %c0, 0x5c, %c1" ::"i"(0x02 | (~B & 15) << 3), "i"(0xc0 | C << 3 | A));  // tdpbf16ps
}

#endif

}  // namespace CK_ISA
}  // namespace ck
