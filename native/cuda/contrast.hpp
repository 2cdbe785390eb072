// What losses made of sums of exponentials over negatives share (InfoNCE, DCL): which pairs are negatives (and whether a tile has others,
// `meets`), their sums as a policy of row_sums.hpp, their coefficients as one of side.hpp, and a sum of exponentials kept as its logarithm.
#pragma once
#include "cuda/launchers.hpp"
#include "cuda/normaliser.hpp"
#include "cuda/row_sums.hpp"
#include "cuda/side.hpp"

namespace ck::cuda {

// Every pair of different numbers (of different items).
struct OtherPairs {
  static constexpr bool kOnTensorCores = true;
  __device__ __forceinline__ bool negative(int i, int j) const { return i != j; }
  template <int kSide>
  __device__ __forceinline__ bool meets(int row0, int col0) const {
    return on_diagonal<kSide>(row0, col0);
  }
};

template <class Pairs>
struct Exchanged {
  static constexpr bool kOnTensorCores = Pairs::kOnTensorCores;
  Pairs pairs;
  __device__ __forceinline__ bool negative(int i, int j) const { return pairs.negative(j, i); }
  template <int kSide>
  __device__ __forceinline__ bool meets(int row0, int col0) const {
    return pairs.template meets<kSide>(col0, row0);
  }
};

// Sums over a row's negatives of exp2(k s).
template <class Pairs>
struct ContrastSums : ExponentialTerms {
  static constexpr int kGroups = 1;
  static constexpr bool kStatistics = true, kCounted = true, kOnTensorCores = Pairs::kOnTensorCores;
  Pairs pairs;
  CK_HOST_DEVICE ContrastSums(double k, const Pairs& pairs_) : ExponentialTerms(k), pairs(pairs_) {}

  __device__ __forceinline__ int group(int i, int j) const { return pairs.negative(i, j) ? 0 : -1; }
  __device__ __forceinline__ float score(float s, int, int) const { return s; }
  template <int kSide>
  __device__ __forceinline__ bool meets(int row0, int col0) const {
    return pairs.template meets<kSide>(row0, col0);
  }
};

// exp2(k s - l_i), and exp2(k s - l_j) where columns have a loss, too.
template <class Pairs>
struct ContrastCoefficients {
  Pairs pairs;
  float k;
  const Normaliser* rows;
  const Normaliser* columns;  // null: none
  const int* lift = nullptr;  // null: 0
  static constexpr bool kOnTensorCores = Pairs::kOnTensorCores;

  template <int kSide>
  __device__ __forceinline__ bool meets(int row0, int col0) const {
    return pairs.template meets<kSide>(row0, col0);
  }
  // Where not careful every pair is a negative.
  template <bool kFast = false>
  __device__ __forceinline__ float coefficient(float s, int i, int j, bool careful = true) const {
    if (careful && !pairs.negative(i, j)) return 0.0f;
    const int up = lift ? *lift : 0;
    const float of_row = rows[i].template coefficient<kFast>(k, s, up);
    return columns ? of_row + columns[j].template coefficient<kFast>(k, s, up) : of_row;
  }
};

// log of a sum of exp(x), one x after another.
struct LogSum {
  double largest = -kInfinity, sum = 0;
  static constexpr double kInfinity = __builtin_huge_val();

  __device__ void add(double x) {
    if (!(x > -kInfinity)) return;
    if (x > largest) {
      sum = sum * exp(largest - x) + 1;
      largest = x;
    } else {
      sum += exp(x - largest);
    }
  }
  // -infinity of no x.
  __device__ double value() const { return sum > 0 ? largest + log(sum) : -kInfinity; }
};

// The power of two that makes the largest share about 1.
__device__ __forceinline__ double exponent_of(double largest) { return largest > 0 ? fmin(-floor(log2(largest)), kMostExponent) : 0; }

constexpr int kLossThreads = 256;

// Reports a row whose loss does not fit float32, and stores what is wanted of it.
__device__ __forceinline__ void store_row(int row, double loss, double log_sum_exp, float* per_row, float* row_log_sum_exp,
                                          ck_cuda_report* report) {
  const float value = float(loss), log_sum = float(log_sum_exp);
  if (!(fabsf(value) <= kLargestFloat && !(fabsf(log_sum) > kLargestFloat && row_log_sum_exp)))
    keep_minimum(&report->out_of_range, uint64_t(row));
  if (per_row) per_row[row] = value;
  if (row_log_sum_exp) row_log_sum_exp[row] = log_sum;
}

}  // namespace ck::cuda
