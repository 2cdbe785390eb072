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
CK_INLINE Floats flushed(Floats x) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(_mm512_abs_ps(x), broadcast(1.17549435e-38f), _CMP_NLT_UQ), x);
}
// The first or the second numbers of words.
template <int HALF>
CK_INLINE Floats half_of(Floats words) {
  const __m512i bits = _mm512_castps_si512(words);
  return flushed(_mm512_castsi512_ps(HALF == 0 ? _mm512_slli_epi32(bits, 16) : _mm512_slli_epi32(_mm512_srli_epi32(bits, 16), 16)));
}
template <int C, int A, int B>
static void tile_multiply_add() {
  Floats b[TILE_WORDS][2];
  for (int k = 0; k < TILE_WORDS; ++k) {
    const Floats words = load(emulated[B].words[k]);
    b[k][0] = half_of<0>(words);
    b[k][1] = half_of<1>(words);
  }
  for (int r = 0; r < TILE_ROWS; ++r) {
    const Floats words = load(emulated[A].words[r]);
    Floats first = zero(), second = zero();  // sums of the first, and of the second numbers of the words
    for (int k = 0; k < TILE_WORDS; ++k) {
      const Floats a = _mm512_permutexvar_ps(_mm512_set1_epi32(k), words);
      first = flushed(fma(half_of<0>(a), b[k][0], first));
      second = flushed(fma(half_of<1>(a), b[k][1], second));
    }
    float* c = emulated[C].words[r];
    store(c, flushed(add(load(c), flushed(add(first, second)))));
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
