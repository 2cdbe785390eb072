// Vectors of 16 floats and 8 doubles on AVX-512. Included inside the namespace of the unit that is compiled for it.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns about its own _mm512_undefined_*()
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif

#define CK_INLINE inline __attribute__((always_inline))

namespace ck {
namespace CK_ISA {

using Floats = __m512;
using Doubles = __m512d;
constexpr int LANES = 16;
constexpr int DOUBLE_LANES = 8;
constexpr int MR = 12;

CK_INLINE Floats zero() { return _mm512_setzero_ps(); }
CK_INLINE Floats broadcast(float x) { return _mm512_set1_ps(x); }
CK_INLINE Floats load(const float* p) { return _mm512_loadu_ps(p); }
CK_INLINE void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
CK_INLINE void stream(float* p, Floats x) { _mm512_stream_ps(p, x); }  // p aligned to the vector
CK_INLINE void stream_fence() { _mm_sfence(); }
CK_INLINE Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
CK_INLINE Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
CK_INLINE Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
CK_INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
CK_INLINE Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
CK_INLINE float sum_lanes(Floats x) { return _mm512_reduce_add_ps(x); }
CK_INLINE float max_lanes(Floats x) { return _mm512_reduce_max_ps(x); }
CK_INLINE bool any_above(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
// y = n + f with the integer n below y, so that f is in [0, 1): one instruction, as scale_by_power() takes n of y by itself.
CK_INLINE Floats clamp_exponent(Floats y) { return y; }
CK_INLINE Floats fraction(Floats y, Floats& n) {
  n = y;
  return _mm512_reduce_ps(y, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
constexpr float POWERS_OF_TWO[6] = {0.99999994f, 0.693153083f, 0.240153611f, 5.58263175e-2f, 8.98933969e-3f, 1.87757669e-3f};
// p * 2^n; denormal results are kept, far below them 0.
CK_INLINE Floats scale_by_power(Floats p, Floats n) { return _mm512_scalef_ps(p, n); }

// Transposes LANES vectors in place: pairs of elements, pairs of pairs, then quarters of registers change places.
CK_INLINE void transpose(Floats* r) {
  Floats t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    for (int j = 0; j < 2; ++j) {
      r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i + j]), _mm512_castps_pd(t[i + j + 2])));
      r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i + j]), _mm512_castps_pd(t[i + j + 2])));
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

CK_INLINE Doubles double_zero() { return _mm512_setzero_pd(); }
CK_INLINE Doubles double_broadcast(double x) { return _mm512_set1_pd(x); }
CK_INLINE Doubles double_load(const double* p) { return _mm512_loadu_pd(p); }
CK_INLINE void double_store(double* p, Doubles x) { _mm512_storeu_pd(p, x); }
CK_INLINE Doubles double_from_floats(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
CK_INLINE void floats_from_double(float* p, Doubles x) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(x)); }
CK_INLINE Doubles double_add(Doubles a, Doubles b) { return _mm512_add_pd(a, b); }
CK_INLINE Doubles double_sub(Doubles a, Doubles b) { return _mm512_sub_pd(a, b); }
CK_INLINE Doubles double_mul(Doubles a, Doubles b) { return _mm512_mul_pd(a, b); }
CK_INLINE Doubles double_divide(Doubles a, Doubles b) { return _mm512_div_pd(a, b); }
CK_INLINE Doubles double_fma(Doubles a, Doubles b, Doubles c) { return _mm512_fmadd_pd(a, b, c); }
CK_INLINE double double_sum_lanes(Doubles x) { return _mm512_reduce_add_pd(x); }

}  // namespace CK_ISA
}  // namespace ck
