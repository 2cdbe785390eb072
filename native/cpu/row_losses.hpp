// The middle of NT-Xent for many rows: policies/row_loss.hpp on vectors of doubles, since the library's logarithms and exponentials
// would cost as much as the whole forward pass of a small batch. Accurate to about 1e-15.
// Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/tile.hpp"

namespace ck {
namespace CK_ISA {

// Integers in the lanes of Doubles; operators on both are the compiler's.
typedef uint64_t DoubleBits __attribute__((vector_size(sizeof(Doubles))));

// log x of positive normal numbers: x = 2^k m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh(s), s = (m - 1) / (m + 1).
CK_INLINE Doubles log_of(Doubles x) {
  constexpr uint64_t ROOT_HALF = 0x3fe6a09e667f3bcdu, ONE = 0x3ff0000000000000u;
  const DoubleBits biased = ((DoubleBits)x + (ONE - ROOT_HALF)) >> 52;  // k + 1023
  const Doubles m = (Doubles)((DoubleBits)x - (biased << 52) + ONE);
  const Doubles k = (Doubles)(biased | 0x4330000000000000u) - (4503599627370496.0 + 1023.0);
  const Doubles s = (m - 1.0) / (m + 1.0), z = s * s;
  Doubles p = z * (1.0 / 19) + 1.0 / 17;
  p = p * z + 1.0 / 15;
  p = p * z + 1.0 / 13;
  p = p * z + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  return k * 0x1.62e42fee00000p-1 + (k * 0x1.a39ef35793c76p-33 + 2.0 * s * (z * p) + 2.0 * s);
}

// exp x for x <= 0: x = k log 2 + r, the Taylor series of exp r, k into the exponent. 0 where the result is no normal number.
CK_INLINE Doubles exp_of(Doubles x) {
  constexpr double MAGIC = 6755399441055744.0;  // 1.5 * 2^52: adding it leaves the rounded number in the low bits
  const Doubles shifted = x * 1.4426950408889634 + MAGIC;
  const Doubles k = shifted - MAGIC;
  const Doubles r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;
  Doubles p = r * (1.0 / 6227020800) + 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const DoubleBits normal = (DoubleBits)(x > -708.0);
  return (Doubles)(((DoubleBits)p + ((DoubleBits)shifted << 52)) & normal);
}

CK_INLINE Doubles magnitude_of(Doubles x) { return (Doubles)((DoubleBits)x & 0x7fffffffffffffffu); }

// Whole vectors: reads and writes up to DOUBLE_LANES - 1 rows past `last`, which are padding.
void row_losses(RowLossJob* job) {
  const double inverse = 1.0 / job->temperature;
  for (int64_t i = job->first; i < job->last; i += DOUBLE_LANES) {
    Doubles shift = double_broadcast(job->shift);
    if (job->own_shift != nullptr) {
      const Doubles own = double_from_floats(job->own_shift + i);
      shift = own < 1e38 ? own : shift;
    }
    const Doubles sum = double_load(job->row_sums + i);
    const Doubles z = double_load(job->positive + i) * inverse;
    const Doubles a = log_of(sum) + shift * 0.6931471805599453 - z;
    const Doubles magnitude = magnitude_of(a);
    const Doubles e = exp_of(-magnitude);
    const Doubles u = e + 1.0;
    const Doubles log1p = log_of(u) + (e - (u - 1.0)) / u;  // the second term is what rounding took from u
    const Doubles loss = (a + magnitude) * 0.5 + log1p;
    const Doubles q = (a > 0.0 ? double_broadcast(1.0) : e) / u;
    double_store(job->loss + i, loss);
    double_store(job->log_sum_exp + i, z + loss);
    double_store(job->probability + i, q);
    floats_from_double(job->weights + i, q / sum);
  }
  for (int64_t i = job->last; i % DOUBLE_LANES != 0; ++i) job->weights[i] = 0.0f;
  job->loss_sum = job->positive_sum = job->largest_probability = 0.0;
  for (int64_t i = job->first; i < job->last; ++i) {
    job->loss_sum += job->loss[i];
    job->positive_sum += job->positive[i];
    if (job->probability[i] > job->largest_probability) job->largest_probability = job->probability[i];
  }
}

}  // namespace CK_ISA
}  // namespace ck
