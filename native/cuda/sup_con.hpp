// The pairs of supervised contrastive learning, and its buffers. Included by sup_con.cpp alone.
#pragma once
#include "cuda/class_rows.hpp"
#include "cuda/contrast.hpp"
#include "cuda/logistic.hpp"

namespace ck::cuda {
namespace {

struct OtherClasses {
  static constexpr bool kOnTensorCores = false;
  const int32_t* labels;
  __device__ __forceinline__ bool negative(int i, int j) const { return labels[i] != labels[j]; }
};

// Negatives, and for the statistics positives, by the plain similarities.
struct LabelSums : ExponentialTerms {
  static constexpr int kGroups = 2;
  static constexpr bool kStatistics = true, kOnTensorCores = false;
  const int32_t* labels;
  CK_HOST_DEVICE LabelSums(double k, const int32_t* labels_) : ExponentialTerms(k), labels(labels_) {}
  __device__ __forceinline__ int group(int i, int j) const { return labels[i] != labels[j] ? 0 : i != j ? 1 : -1; }
  __device__ __forceinline__ float score(float s, int, int) const { return s; }
};

// 2^x - 1, of small x to all digits.
__device__ __forceinline__ float exp2_minus_one(float x) {
  if (fabsf(x) >= 0.5f) return exp2_accurate(x) - 1.0f;
  float p = 1.32154868e-06f;  // ln(2)^n / n!
  p = multiply_add(p, x, 1.52527338e-05f);
  p = multiply_add(p, x, 1.54035304e-04f);
  p = multiply_add(p, x, 1.33335581e-03f);
  p = multiply_add(p, x, 9.61812911e-03f);
  p = multiply_add(p, x, 5.55041087e-02f);
  p = multiply_add(p, x, 2.40226507e-01f);
  p = multiply_add(p, x, 6.93147181e-01f);
  return p * x;
}

// The positives, by t = bias_j + <r_i, r_j>: the sum of v = 2^(k (t - largest)) - 1, which keeps how unlike they are.
struct PositiveSums {
  static constexpr int kGroups = 1, kTerms = 1;
  static constexpr bool kStatistics = true, kOnTensorCores = false;
  double exact_k;
  float k;
  const int32_t* labels;
  const float* bias;

  __device__ __forceinline__ int group(int i, int j) const { return labels[i] == labels[j] && i != j ? 0 : -1; }
  __device__ __forceinline__ float score(float s, int, int j) const { return bias[j] + s; }
  struct Relative {
    float k, largest;
    __device__ __forceinline__ void operator()(float score, float (&out)[1]) const { out[0] = exp2_minus_one(k * (score - largest)); }
  };
  __device__ __forceinline__ Relative relative_to(float largest, int) const { return {k, largest}; }
  __device__ __forceinline__ void move(double (&sums)[1], double count, float before, float largest, int) const {
    const double x = exact_k * (double(before) - largest);
    sums[0] = exp2(x) * sums[0] + expm1(x * kLn2) * count;
  }
};

// Variant 'pair': softplus and sigmoid of log N_i - z_ip; rows that have nothing to compare have no pair.
struct PositivePairSums : LogisticTerms {
  static constexpr int kGroups = 1;
  static constexpr bool kStatistics = false, kOnTensorCores = false;
  const int32_t* labels;
  const float* bias;
  const unsigned char* counted;
  CK_HOST_DEVICE PositivePairSums(double k, const double* levels, const Normaliser* at, const ClassRows& classes,
                                  const unsigned char* counted_)
      : LogisticTerms(k, levels, at, true), labels(classes.labels), bias(classes.bias), counted(counted_) {}
  __device__ __forceinline__ int group(int i, int j) const { return counted[i] && labels[i] == labels[j] && i != j ? 0 : -1; }
  __device__ __forceinline__ float score(float s, int, int j) const { return -(bias[j] + s); }
};

// A row's coefficients of its positives: spread (v - mean) - pull (1 + v), or -sigmoid ('pair'), times 2^exponent.
struct PositiveWeights {
  float largest, mean, spread, pull;
  Level level;
};

struct PositiveCoefficients {
  static constexpr bool kOnTensorCores = false;
  float k;
  bool pairs;
  const int32_t* labels;
  const float* bias;
  const PositiveWeights* weights;
  const double* exponent;

  __device__ __forceinline__ float of(const PositiveWeights& w, float t) const {
    if (pairs) return -w.level.coefficient(k, -t, exp2_accurate(fminf(float(*exponent), Normaliser::kLargest)));
    const float v = exp2_minus_one(k * (t - w.largest));
    return w.spread * (v - w.mean) - w.pull * (1.0f + v);
  }
  __device__ __forceinline__ float coefficient(float s, int i, int j) const {
    if (labels[i] != labels[j] || i == j) return 0.0f;
    return of(weights[i], bias[j] + s) + of(weights[j], bias[i] + s);
  }
};

struct SupCon {
  double temperature, weight;
  bool in, pairs, stats;
  Rows z;
  ClassRows classes;
  RowSums by_label, by_class, by_pair;
  double* loss;                       // [rows]
  double* log_sum_exp;                // [rows]
  double* log_negatives;              // [rows] log N
  double* q;                          // [rows] the negatives' share; 'pair': the sum of the q_p
  double* level;                      // [padded rows] 'pair': log2 N - k base
  Normaliser* at;                     // [padded rows] of the level; read, and not used, beyond rows
  PositiveWeights* positive_weights;  // [rows]
  Normaliser* normaliser;             // [rows] of the negatives
  double* along;                      // [rows]
  double* exponent;                   // one number
  unsigned char* counted;             // [rows]
  Side side;

  SupCon(Arena& arena, const ck_matrix& z_, const int32_t* labels, int32_t variant, const ck_options& options, bool gradients)
      : temperature(options.temperature),
        weight(options.weight),
        in(variant == CK_SUP_CON_IN),
        pairs(variant == CK_SUP_CON_PAIR),
        stats(options.stats != 0),
        z(arena, z_.data, z_.rows, z_.cols, options.normalize != 0, true),
        classes(arena, z, labels),
        by_label(RowSums::make<LabelSums>(arena, z, z)),
        by_class(RowSums::make<PositiveSums>(arena, classes.r, classes.r)),
        by_pair(RowSums::make<PositivePairSums>(arena, classes.r, classes.r, pairs)),
        loss(arena.take<double>(z.rows)),
        log_sum_exp(arena.take<double>(z.rows)),
        log_negatives(arena.take<double>(z.rows)),
        q(arena.take<double>(z.rows)),
        level(arena.take<double>(z.padded_rows)),
        at(arena.take<Normaliser>(z.padded_rows)),
        positive_weights(arena.take<PositiveWeights>(z.rows)),
        normaliser(arena.take<Normaliser>(z.rows)),
        along(arena.take<double>(z.rows)),
        exponent(arena.take<double>(1)),
        counted(arena.take<unsigned char>(z.rows)),
        side(arena, z, gradients, z.padded_rows, z.padded_rows) {}

  CK_HOST_DEVICE double k() const { return kLog2e / temperature; }
  CK_HOST_DEVICE LabelSums label_sums() const { return {k(), classes.labels}; }
  CK_HOST_DEVICE PositiveSums positive_sums() const { return {k(), float(k()), classes.labels, classes.bias}; }
  CK_HOST_DEVICE PositivePairSums pair_sums() const { return {k(), level, at, classes, counted}; }
};

}  // namespace
}  // namespace ck::cuda
