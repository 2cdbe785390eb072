// Vectors of 4 floats and 2 doubles for any machine, by the vector types of GCC and Clang (SSE2, NEON, ...). Included inside the
// unit that is compiled for it. A NEON unit of its own would differ in MR and in the fused multiply-add only.
#pragma once

#define CK_INLINE inline __attribute__((always_inline))

namespace ck {
namespace CK_ISA {

constexpr int LANES = 4;
constexpr int DOUBLE_LANES = 2;
#if defined(__aarch64__)
constexpr int MR = 12;  // 32 registers
#else
constexpr int MR = 6;  // 16 registers
#endif

typedef float Floats __attribute__((vector_size(16)));
typedef float UnalignedFloats __attribute__((vector_size(16), aligned(4), may_alias));
typedef int Integers __attribute__((vector_size(16)));
typedef double Doubles __attribute__((vector_size(16)));
typedef double UnalignedDoubles __attribute__((vector_size(16), aligned(8), may_alias));

CK_INLINE Floats broadcast(float x) { return Floats{x, x, x, x}; }
CK_INLINE Floats load(const float* p) { return *reinterpret_cast<const UnalignedFloats*>(p); }
CK_INLINE void store(float* p, Floats x) { *reinterpret_cast<UnalignedFloats*>(p) = x; }
CK_INLINE void stream(float* p, Floats x) { store(p, x); }  // no portable way past the caches
CK_INLINE void stream_fence() {}
CK_INLINE Floats add(Floats a, Floats b) { return a + b; }
CK_INLINE Floats sub(Floats a, Floats b) { return a - b; }
CK_INLINE Floats mul(Floats a, Floats b) { return a * b; }
CK_INLINE Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
CK_INLINE Floats maximum(Floats a, Floats b) { return a > b ? a : b; }

CK_INLINE Doubles double_broadcast(double x) { return Doubles{x, x}; }
CK_INLINE Doubles double_load(const double* p) { return *reinterpret_cast<const UnalignedDoubles*>(p); }
CK_INLINE void double_store(double* p, Doubles x) { *reinterpret_cast<UnalignedDoubles*>(p) = x; }
CK_INLINE Doubles double_from_floats(const float* p) { return Doubles{p[0], p[1]}; }
CK_INLINE Doubles double_add(Doubles a, Doubles b) { return a + b; }
CK_INLINE Doubles double_sub(Doubles a, Doubles b) { return a - b; }
CK_INLINE Doubles double_mul(Doubles a, Doubles b) { return a * b; }
CK_INLINE Doubles double_divide(Doubles a, Doubles b) { return a / b; }
CK_INLINE Doubles double_fma(Doubles a, Doubles b, Doubles c) { return a * b + c; }

CK_INLINE Floats zero() { return broadcast(0.0f); }
CK_INLINE Doubles double_zero() { return double_broadcast(0.0); }
CK_INLINE float sum_lanes(Floats x) { return (x[0] + x[2]) + (x[1] + x[3]); }
CK_INLINE float max_lanes(Floats x) {
  const float a = x[0] > x[2] ? x[0] : x[2];
  const float b = x[1] > x[3] ? x[1] : x[3];
  return a > b ? a : b;
}
CK_INLINE bool any_above(Floats a, Floats b) { return (a[0] > b[0]) | (a[1] > b[1]) | (a[2] > b[2]) | (a[3] > b[3]); }
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
CK_INLINE Floats scale_by_power(Floats p, Floats n) { return mul(p, reinterpret_cast<Floats>(reinterpret_cast<Integers>(n) << 23)); }
// Transposes LANES vectors in place.
CK_INLINE void transpose(Floats* r) {
  const Floats a = r[0], b = r[1], c = r[2], d = r[3];
  for (int i = 0; i < 4; ++i) r[i] = Floats{a[i], b[i], c[i], d[i]};
}
CK_INLINE void floats_from_double(float* p, Doubles x) {
  p[0] = static_cast<float>(x[0]);
  p[1] = static_cast<float>(x[1]);
}
CK_INLINE double double_sum_lanes(Doubles x) { return x[0] + x[1]; }

}  // namespace CK_ISA
}  // namespace ck
