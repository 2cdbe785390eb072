// Rows and coefficients in bfloat16: words of two numbers, multiplied in pairs and added in float32 (vdpbf16ps).
// Included by unit_avx512_bf16.cpp in the namespace of its instruction set.
//
// Rounding is to nearest, ties to even; numbers below 2^-126 count as 0, as the instructions have it.
#pragma once

#include "cpu/rows.hpp"

namespace ck {
namespace CK_ISA {

// Two vectors of floats as bfloat16, in order.
CK_INLINE __m512i to_bfloat16(Floats low, Floats high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

CK_INLINE __m512i load_words(const float* p) { return _mm512_loadu_si512(p); }
CK_INLINE void store_words(float* p, __m512i x) { _mm512_storeu_si512(p, x); }

// Words of element k of `first` and element k of `second`, for the 32 elements of both.
CK_INLINE void interleave(__m512i first, __m512i second, float* out) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34,
                                       2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  store_words(out, _mm512_permutex2var_epi16(first, low, second));
  store_words(out + LANES, _mm512_permutex2var_epi16(first, high, second));
}

struct Bfloat16Products {
  static constexpr int PER_WORD = 2;
  Floats scale;  // log2(e) / temperature, applied to finished sums: what is rounded are the rows themselves

  static Bfloat16Products of(float scale) { return {broadcast(scale)}; }
  CK_INLINE Floats multiply_add(Floats a, Floats b, Floats c) const {
    return _mm512_dpbf16_ps(c, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(b));
  }
  CK_INLINE Floats similarity(Floats sum) const { return mul(sum, scale); }
  static CK_INLINE float* coefficients(const Scratch& scratch) { return scratch.words; }
  static CK_INLINE void store_coefficients(float* out, Floats g0, Floats g1) { store_words(out, to_bfloat16(g0, g1)); }
  // Pairs of rows out of pairs of columns.
  static CK_INLINE const float* by_rows(const float* coefficients, int rows, int cols, float* out) {
    for (int r = 0; r < rows; r += 2) {
      const float* first = coefficients + r * (BLOCK_STRIDE / 2);
      for (int c = 0; c < cols; c += NR)
        interleave(load_words(first + c / 2), load_words(first + BLOCK_STRIDE / 2 + c / 2), out + r / 2 * BLOCK_STRIDE + c);
    }
    return out;
  }
};

// One row: rounded, in float32, and as words of its places in the left layout.
CK_INLINE void round_row(const float* x, double factor, int64_t cols, int64_t chunks, float* rounded, float* left) {
  constexpr int WIDE = 2 * NR;  // dimensions of a chunk of words
  const Doubles f = double_broadcast(factor);
  alignas(64) float u[WIDE];
  for (int64_t chunk = 0; chunk < chunks; ++chunk, x += WIDE, rounded += WIDE, left += GROUP * NR, cols -= WIDE) {
    const int64_t count = cols < WIDE ? cols : WIDE;
    int64_t k = 0;
    for (; k + DOUBLE_LANES <= count; k += DOUBLE_LANES) floats_from_double(u + k, double_mul(double_from_floats(x + k), f));
    for (; k < count; ++k) u[k] = static_cast<float>(x[k] * factor);
    for (; k < WIDE; ++k) u[k] = 0.0f;
#pragma GCC unroll 2
    for (int half = 0; half < WIDE; half += NR) {
      const __m512i words = to_bfloat16(load(u + half), load(u + half + LANES));
      store_words(left + half / 2, words);
      store_words(u + half, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(words)), 16));
      store_words(u + half + LANES, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(words, 1)), 16));
    }
    for (k = 0; k < count; ++k) rounded[k] = u[k];
  }
}

// The rows of a group of the left layout, two to a word.
CK_INLINE void pack_pairs(const Layout& layout, const float* left, float* pairs) {
  for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
    const float* in = left + chunk / 2 * GROUP * NR + chunk % 2 * LANES;
    for (int r = 0; r < GROUP; r += 2, pairs += NR) interleave(load_words(in + r * NR), load_words(in + (r + 1) * NR), pairs);
  }
}

void pack_rounded(RoundJob* job) {
  const Layout& layout = *job->layout;
  const Layout& words = *job->words;
  const int64_t cols = layout.cols;
  *job->totals = {-1, 0, __builtin_inf(), 0.0};
  if (job->column_sum != nullptr)
    for (int64_t k = 0; k < cols; ++k) job->column_sum[k] = 0.0;
  for (int64_t row = job->first; row < job->last; ++row) {
    float* left = job->left + row / GROUP * words.group_stride + row % GROUP * NR;
    if (row >= layout.rows) {
      job->lengths[row] = job->norms[row] = 0.0;
      for (int64_t chunk = 0; chunk < words.chunks; ++chunk)
        for (int k = 0; k < NR; ++k) left[chunk * GROUP * NR + k] = 0.0f;
      continue;
    }
    const float* x = job->data + row * cols;
    const double length = norm_of(x, cols);
    if (!is_finite(length)) {
      job->totals->bad_row = row;
      return;
    }
    job->lengths[row] = length;
    if (length == 0.0)
      ++job->totals->zero_rows;
    else if (length < job->totals->smallest_norm)
      job->totals->smallest_norm = length;
    float* rounded = job->rounded + row * cols;
    round_row(x, !job->normalize ? 1.0 : length > 0.0 ? 1.0 / length : 0.0, cols, words.chunks, rounded, left);
    const double norm = norm_of(rounded, cols);
    job->norms[row] = norm;
    if (norm > job->totals->largest_norm) job->totals->largest_norm = norm;
    if (job->column_sum != nullptr) add_scaled_row(rounded, 1.0, cols, job->column_sum);
  }
  for (int64_t row = job->first; row < job->last; row += NR) pack_right(words, job->left, row, job->right);
  if (job->pairs == nullptr) return;
  for (int64_t row = job->first; row < job->last; row += GROUP)
    pack_pairs(layout, job->left + row / GROUP * words.group_stride, job->pairs + row / GROUP * layout.group_stride / 2);
}

}  // namespace CK_ISA
}  // namespace ck
