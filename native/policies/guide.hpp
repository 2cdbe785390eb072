// When a guide model takes a negative for too much like the positive, as every library decides it.
//
//   cosine     c(x, y) = <x, y> / (|x| |y|) in double, 0 where a row is zero; |x| = sqrt(<x, x>)
//   threshold  of a query, from the cosine s of its positive: s - margin, or s (1 - margin)
//   counts     c <= threshold
//
// A product of two float32 numbers is exact in double, so whether a compiler fuses it with the addition does not matter; the order of the
// additions is fixed: GUIDE_LANES sums, element k in sum k mod GUIDE_LANES, then halves added. So all libraries and instruction sets get
// the same bits, and a key that equals the positive ties with it. Tiles compute cosines in float32; they decide where they are further
// than guide_band() from the threshold, and elsewhere c itself does.
#pragma once
#include <stdint.h>

#include "policies/host_device.hpp"

namespace ck {

constexpr int GUIDE_LANES = 8;

// `sums` is used up.
CK_HOST_DEVICE double guide_fold(double* sums) {
  for (int half = GUIDE_LANES / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}

CK_HOST_DEVICE double guide_dot(const float* x, const float* y, int64_t cols) {
  double sums[GUIDE_LANES] = {};
  int64_t k = 0;
  for (; k + GUIDE_LANES <= cols; k += GUIDE_LANES)
    for (int lane = 0; lane < GUIDE_LANES; ++lane) sums[lane] += double(x[k + lane]) * double(y[k + lane]);
  for (int lane = 0; lane < GUIDE_LANES; ++lane)
    if (k + lane < cols) sums[lane] += double(x[k + lane]) * double(y[k + lane]);
  return guide_fold(sums);
}

CK_HOST_DEVICE double guide_cosine(double dot, double x_norm, double y_norm) {
  return x_norm > 0 && y_norm > 0 ? dot / (x_norm * y_norm) : 0;
}

CK_HOST_DEVICE double guide_threshold(double similarity, double margin, bool relative) {
  return relative ? similarity * (1 - margin) : similarity - margin;
}

// How far, at most, a tile's float32 cosine less the rounded threshold is from c less the threshold, for rows of `cols` dimensions summed
// in blocks of `block`. In units of 2^-24: an element goes through as many roundings as its block has dimensions, then through one for
// each block, and a product has one; each is at most that part of sum |u_k v_k| <= 1. Both rows were rounded to float32 (2), so was the
// threshold, which is below 2 wherever it can be near (2). The rest is for second-order terms and the errors of double.
CK_HOST_DEVICE float guide_band(int64_t cols, int64_t block) {
  const int64_t depth = (cols < block ? cols : block) + (cols + block - 1) / block + 1;
  return float(depth + 8) * 6.0e-8f;
}

}  // namespace ck
