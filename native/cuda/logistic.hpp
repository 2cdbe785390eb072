// Terms of losses that ask of every pair a question of its own: softplus and sigmoid of t = k score + level, in log2 units.
//
// With e = 2^-|t| nothing is subtracted from 1: softplus(t) = max(t, 0) ln 2 + log1p(e), sigmoid(t) = (t > 0 ? 1 : e) / (1 + e). Far below
// 0 both are 2^t to the last digit; a row whose every t is there has its sums relative to its largest, which float32 can hold.
#pragma once
#include "cuda/launchers.hpp"
#include "cuda/normaliser.hpp"
#include "cuda/row_sums.hpp"

namespace ck::cuda {

constexpr float kFarBelow = -30.0f;  // 2^t and log1p(2^t) differ by less than float32 can tell apart

template <bool kFast>
__device__ __forceinline__ float sigmoid(float t) {
  const float e = exp2_either<kFast>(-fabsf(t));
  return (t > 0 ? 1.0f : e) / (1.0f + e);
}

// t, and t + exponent without its rounding, of a row.
struct Level {
  Normaliser plain, scaled;

  __device__ __forceinline__ float t(float k, float score) const { return multiply_add(k, score - plain.at, plain.rest); }
  // sigmoid(t) 2^exponent; what is far above 1 belongs to a zero row, as with Normaliser.
  template <bool kFast = false>
  __device__ __forceinline__ float coefficient(float k, float score, float up) const {
    const float own = t(k, score);
    if (own > kFarBelow) return fminf(sigmoid<kFast>(own) * up, exp2_accurate(Normaliser::kLargest));
    return scaled.coefficient<kFast>(k, score);
  }
};

__device__ __forceinline__ Level make_level(double k, double level, double exponent) {
  return {make_normaliser(k, -level), make_normaliser(k, -level - exponent)};
}

// The two sums. `levels`, and `at` made of them, have an element for each row, or one for all.
struct LogisticTerms {
  static constexpr int kTerms = 2;
  double exact_k;
  float k;
  const double* levels;
  const Normaliser* at;
  bool by_row;
  CK_HOST_DEVICE LogisticTerms(double k_, const double* levels_, const Normaliser* at_, bool by_row_)
      : exact_k(k_), k(float(k_)), levels(levels_), at(at_), by_row(by_row_) {}

  __device__ __forceinline__ double level(int row) const { return levels[by_row ? row : 0]; }
  __device__ __forceinline__ double reference(float largest, int row) const {
    const double t = exact_k * largest + level(row);
    return t <= kFarBelow ? t : 0;
  }
  template <bool kFast>
  struct Relative {
    float k, largest;
    Normaliser at;
    bool far;  // every t is far below 0
    __device__ __forceinline__ void operator()(float score, float (&out)[2]) const {
      const float t = far ? k * (score - largest) : multiply_add(k, score - at.at, at.rest);
      const float e = exp2_either<kFast>(far ? t : -fabsf(t));
      out[0] = far ? e : (t > 0 ? t * float(kLn2) : 0.0f) + log1pf(e);
      out[1] = far ? e : (t > 0 ? 1.0f : e) / (1.0f + e);
    }
  };
  template <bool kFast = false>
  __device__ __forceinline__ Relative<kFast> relative_to(float largest, int row) const {
    return {k, largest, at[by_row ? row : 0], reference(largest, row) < 0};
  }
  __device__ __forceinline__ void move(double (&sums)[2], double, float before, float largest, int row) const {
    const double factor = exp2(reference(before, row) - reference(largest, row));
    sums[0] *= factor;
    sums[1] *= factor;
  }
  __device__ __forceinline__ void move_fast(float (&sums)[2], float before, float largest, int row) const {
    const float factor = exp2_fast(float(reference(before, row) - reference(largest, row)));
    sums[0] *= factor;
    sums[1] *= factor;
  }
  // A sum as it is.
  template <class Total>
  __device__ __forceinline__ double sum(const Total& total, int row, int n) const {
    return total.sums[n] > 0 ? total.sums[n] * exp2(reference(total.largest, row)) : 0;
  }
};

// log(1 + exp(x)) and 1 / (1 + exp(-x)) in double.
__device__ __forceinline__ double softplus_of(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }
__device__ __forceinline__ double sigmoid_of(double x) {
  const double e = exp(-fabs(x));
  return (x > 0 ? 1 : e) / (1 + e);
}

}  // namespace ck::cuda
