// Vectors of 8 floats and 4 doubles on AVX2 with FMA. Included inside the namespace of the unit that is compiled for it.
#pragma once

#include <immintrin.h>

#define CK_INLINE inline __attribute__((always_inline))

namespace ck {
namespace CK_ISA {

using Floats = __m256;
using Doubles = __m256d;
constexpr int LANES = 8;
constexpr int DOUBLE_LANES = 4;
constexpr int MR = 6;

CK_INLINE Floats zero() { return _mm256_setzero_ps(); }
CK_INLINE Floats broadcast(float x) { return _mm256_set1_ps(x); }
CK_INLINE Floats load(const float* p) { return _mm256_loadu_ps(p); }
CK_INLINE void store(float* p, Floats x) { _mm256_storeu_ps(p, x); }
CK_INLINE void stream(float* p, Floats x) { _mm256_stream_ps(p, x); }  // p aligned to the vector
CK_INLINE void stream_fence() { _mm_sfence(); }
CK_INLINE Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
CK_INLINE Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
CK_INLINE Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
CK_INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
CK_INLINE Floats maximum(Floats a, Floats b) { return _mm256_max_ps(a, b); }
CK_INLINE float sum_lanes(Floats x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
CK_INLINE float max_lanes(Floats x) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
CK_INLINE bool any_above(Floats a, Floats b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0; }
// y = n + f with the nearest integer n, at least -127, which stands for 0; f is in [-1/2, 1/2]. Added to INTEGERS, y has n + 127 in the
// last bits of its significand, and no fraction.
constexpr float INTEGERS = 12582912.0f + 127.0f;
CK_INLINE Floats clamp_exponent(Floats y) { return maximum(y, broadcast(-127.0f)); }
CK_INLINE Floats fraction(Floats y, Floats& n) {
  n = add(y, broadcast(INTEGERS));
  return sub(y, sub(n, broadcast(INTEGERS)));
}
constexpr float POWERS_OF_TWO[6] = {1.00000007f, 0.693146949f, 0.240221218f, 5.55074109e-2f, 9.67545975e-3f, 1.32669704e-3f};
// p * 2^n
CK_INLINE Floats scale_by_power(Floats p, Floats n) { return mul(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(n), 23))); }

CK_INLINE Floats scale_moderate(Floats p, Floats n) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_sub_epi32(_mm256_castps_si256(n), _mm256_set1_epi32(127)), 23)));
}
// Transposes LANES vectors in place.
CK_INLINE void transpose(Floats* r) {
  Floats t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      r[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0x44);
      r[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0xee);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

CK_INLINE Doubles double_zero() { return _mm256_setzero_pd(); }
CK_INLINE Doubles double_broadcast(double x) { return _mm256_set1_pd(x); }
CK_INLINE Doubles double_load(const double* p) { return _mm256_loadu_pd(p); }
CK_INLINE void double_store(double* p, Doubles x) { _mm256_storeu_pd(p, x); }
CK_INLINE Doubles double_from_floats(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
CK_INLINE void floats_from_double(float* p, Doubles x) { _mm_storeu_ps(p, _mm256_cvtpd_ps(x)); }
CK_INLINE Doubles double_add(Doubles a, Doubles b) { return _mm256_add_pd(a, b); }
CK_INLINE Doubles double_sub(Doubles a, Doubles b) { return _mm256_sub_pd(a, b); }
CK_INLINE Doubles double_mul(Doubles a, Doubles b) { return _mm256_mul_pd(a, b); }
CK_INLINE Doubles double_divide(Doubles a, Doubles b) { return _mm256_div_pd(a, b); }
CK_INLINE Doubles double_fma(Doubles a, Doubles b, Doubles c) { return _mm256_fmadd_pd(a, b, c); }
CK_INLINE double double_sum_lanes(Doubles x) {
  __m128d s = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

}  // namespace CK_ISA
}  // namespace ck
