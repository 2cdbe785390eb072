// Rows and coefficients in bfloat16: words of two numbers, multiplied in pairs and added in float32 (vdpbf16ps).
// Included by unit_avx512_bf16.cpp in the namespace of its instruction set.
//
// Rounding is to nearest, ties to even; numbers below 2^-126 count as 0, as the instructions have it.
#pragma once

#include "cpu/rows.hpp"

namespace ck {
namespace CK_ISA {

static_assert(PANEL_ROWS, "there are no groups of words for dot products to read");

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
  static constexpr int ROW = WORD_STRIDE;
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
      const float* first = coefficients + r * ROW;
      for (int c = 0; c < cols; c += NR)
        interleave(load_words(first + c / 2), load_words(first + ROW + c / 2), out + r / 2 * BLOCK_STRIDE + c);
    }
    return out;
  }
};

// A row times factor, rounded, in float32.
CK_INLINE void round_row(const float* x, double factor, int64_t cols, float* rounded) {
  const Doubles f = double_broadcast(factor);
  alignas(64) float u[NR];
  for (; cols > 0; x += NR, rounded += NR, cols -= NR) {
    const int64_t count = cols < NR ? cols : NR;
    int64_t k = 0;
    for (; k + DOUBLE_LANES <= count; k += DOUBLE_LANES) floats_from_double(u + k, double_mul(double_from_floats(x + k), f));
    for (; k < count; ++k) u[k] = static_cast<float>(x[k] * factor);
    for (; k < NR; ++k) u[k] = 0.0f;
    const __m512i words = to_bfloat16(load(u), load(u + LANES));
    store_words(u, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(words)), 16));
    store_words(u + LANES, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(words, 1)), 16));
    for (k = 0; k < count; ++k) rounded[k] = u[k];
  }
}

// A piece of NR words of a rounded row, `count` of its dimensions left.
CK_INLINE void word_piece(const float* rounded, int64_t count, float* out) {
  for (int half = 0; half < 2; ++half, count -= NR, rounded += NR, out += LANES) {
    if (count >= NR) {
      store_words(out, to_bfloat16(load(rounded), load(rounded + LANES)));
      continue;
    }
    alignas(64) float some[NR] = {};
    for (int64_t k = 0; k < count; ++k) some[k] = rounded[k];
    store_words(out, to_bfloat16(load(some), load(some + LANES)));
  }
}

// NR rounded rows from `first` on: their panel, and where they are wanted their groups and their words of two rows.
CK_INLINE void pack_words(const RoundJob& job, int64_t first) {
  const Layout& layout = *job.layout;
  const Layout& words = *job.words;
  const auto piece = [&](int64_t row, int64_t chunk, float* spare) {
    float* to = job.grouped == nullptr ? spare : job.grouped + row / GROUP * words.group_stride + chunk * GROUP * NR + row % GROUP * NR;
    const int64_t done = 2 * chunk * NR;
    word_piece(job.rounded + row * layout.cols + done, row < layout.rows ? layout.cols - done : 0, to);
    return to;
  };
  const int64_t pairs_stride = job.pair_rows / GROUP * layout.group_stride / 2;
  const auto pair = [&](int64_t chunk, const float* const* pieces) {
    if (job.pairs == nullptr) return;
    for (int half = 0; half < 2 && 2 * chunk + half < layout.chunks; ++half)
      for (int r = 0; r < NR; r += 2) {
        const int64_t row = first + r;
        interleave(load_words(pieces[r] + half * LANES), load_words(pieces[r + 1] + half * LANES),
                   job.pairs + row / job.pair_rows * pairs_stride + ((2 * chunk + half) * job.pair_rows + row % job.pair_rows) / 2 * NR);
      }
  };
  pack_panel(words, first, job.panels, piece, pair);
}

void pack_rounded(RoundJob* job) {
  const Layout& layout = *job->layout;
  const int64_t cols = layout.cols;
  *job->totals = {-1, 0, __builtin_inf(), 0.0};
  if (job->column_sum != nullptr)
    for (int64_t k = 0; k < cols; ++k) job->column_sum[k] = 0.0;
  for (int64_t row = job->first; row < job->last; ++row) {
    if (row >= layout.rows) {
      job->lengths[row] = job->norms[row] = 0.0;
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
    round_row(x, !job->normalize ? 1.0 : length > 0.0 ? 1.0 / length : 0.0, cols, rounded);
    const double norm = norm_of(rounded, cols);
    job->norms[row] = norm;
    if (norm > job->totals->largest_norm) job->totals->largest_norm = norm;
    if (job->column_sum != nullptr) add_scaled_row(rounded, 1.0, cols, job->column_sum);
  }
  for (int64_t row = job->first; row < job->last; row += NR) pack_words(*job, row);
}

}  // namespace CK_ISA
}  // namespace ck
