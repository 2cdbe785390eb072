// Coefficients of a backward: exp2(k score - l + exponent), l a row's log2 normaliser, exponent a power of two that is common to all
// rows and that closing a gradient takes out again in double.
#pragma once
#include "cuda/tensor_core.hpp"
#include "policies/host_device.hpp"

namespace ck::cuda {

// k (score - at) + rest = k score - (l - exponent). `at` is the score whose coefficient is 1: near it nothing is lost to
// rounding, even where k score is in the hundreds.
struct Normaliser {
  float at, rest;
  __device__ __forceinline__ float exponent(float k, float score) const {
    const float exponent = multiply_add(k, score - at, rest);
    return exponent < kLargest ? exponent : kLargest;
  }
  // Times 2^lift (0 where fast), for coefficients that may be float32's smallest numbers otherwise. A lift that is part of the exponent
  // from the start would be rounded with it.
  template <bool kFast = false>
  __device__ __forceinline__ float coefficient(float k, float score, int lift = 0) const {
    const float x = exponent(k, score);
    return kFast ? exp2_fast(x) : exp2_accurate(fminf(x, kLargest - float(lift)), lift);
  }
  // Only coefficients of pairs with a zero row can be far above 1; they multiply that row's zeros, and must be finite for it.
  static constexpr float kLargest = 126.0f;
};

__device__ __forceinline__ Normaliser make_normaliser(double k, double log2_normaliser) {
  constexpr double kFar = 1e30;  // keeps a float32 in range where k is tiny; every choice of `at` is right
  const double quotient = log2_normaliser / k;
  const float at = float(quotient > kFar ? kFar : quotient < -kFar ? -kFar : quotient);
  return {at, float(k * at - log2_normaliser)};
}

// Of a row whose coefficients are all 0.
__device__ __forceinline__ Normaliser no_normaliser() { return {0.0f, __int_as_float(int(0xFF800000))}; }

}  // namespace ck::cuda
