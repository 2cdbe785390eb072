// Inputs of every family, and the comparison that the numerics contract asks for.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>

#include "contrastive_kernels.h"
#include "reference.hpp"

namespace support {

using reference::Matrix;

inline int& failures() {
  static int count = 0;
  return count;
}
inline int& checks() {
  static int count = 0;
  return count;
}

inline void expect(bool condition, const std::string& what) {
  ++checks();
  if (condition) return;
  if (++failures() <= 40) std::printf("FAILED %s\n", what.c_str());
}

inline std::string text(double value) {
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, "%.9g", value);
  return buffer;
}

// Largest share of its tolerance that each kind of figure used; printed at the end.
struct Worst {
  double share = 0;
  std::string where;
};
inline Worst& worst(int kind) {
  static Worst all[4];
  return all[kind];
}
enum Kind { LOSS, GRADIENT, TEMPERATURE, COSINE };

inline void expect_within(double error, double bound, Kind kind, const std::string& what) {
  const double share = bound > 0 ? error / bound : error > 0 ? INFINITY : 0;
  if (share > worst(kind).share) worst(kind) = {share, what};
  expect(error <= bound, what + ": error " + text(error) + ", allowed " + text(bound));
}

inline double tolerance(double temperature) { return std::max(1e-6, 2e-7 / temperature); }

// A loss that is a sum of positive terms: relative at any size.
inline void expect_loss(double got, double want, double tol, const std::string& what) {
  expect_within(std::fabs(got - want), tol * std::fabs(want), LOSS, what + " loss " + text(got) + " for " + text(want));
}

// `lost`: coefficients below the range of float32 relative to the largest, which only losses with one common sum can have.
inline void expect_gradient(const std::vector<float>& got, const reference::Gradient& want, double tol, const std::string& what,
                            double lost = 0) {
  double square = 0, largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    square += (got[i] - want.values[i]) * (got[i] - want.values[i]);
    largest = std::max(largest, std::fabs(want.values[i]));
  }
  const double size = std::max(want.norm(), want.magnitude);
  if (size < 1e-30) {  // near the end of float32: one step of the denormal numbers an element
    double steps = 0;
    for (size_t i = 0; i < got.size(); ++i)
      steps = std::max(steps, std::fabs(got[i] - static_cast<double>(static_cast<float>(want.values[i]))) - tol * size);
    expect_within(steps, 1.5e-45 + lost, GRADIENT, what + " gradient of " + text(largest));
    return;
  }
  expect_within(std::sqrt(square), tol * size, GRADIENT, what + " gradient");
}

inline Matrix random_matrix(int64_t rows, int64_t cols, std::mt19937& random, double scale = 1) {
  std::normal_distribution<float> normal;
  Matrix m{rows, cols, std::vector<float>(static_cast<size_t>(rows * cols))};
  for (float& value : m.data) value = static_cast<float>(normal(random) * scale);
  return m;
}

struct Family {
  const char* name;
  std::function<Matrix(int64_t rows, int64_t cols, bool interleaved, std::mt19937& random)> make;
};

inline int64_t positive_of(int64_t i, int64_t rows, bool interleaved) { return interleaved ? i ^ 1 : (i + rows / 2) % rows; }

inline std::vector<Family> families() {
  const auto base = [](int64_t rows, int64_t cols, bool, std::mt19937& random) { return random_matrix(rows, cols, random); };
  const auto correlated = [base](double noise) {
    return [base, noise](int64_t rows, int64_t cols, bool interleaved, std::mt19937& random) {
      Matrix m = base(rows, cols, interleaved, random);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t p = positive_of(i, rows, interleaved);
        if (p < i)
          for (int64_t k = 0; k < cols; ++k) m.data[i * cols + k] = static_cast<float>(m.row(p)[k] + noise * m.row(i)[k]);
      }
      return m;
    };
  };
  return {
      {"random", base},
      {"correlated", correlated(0.5)},
      {"confident", correlated(0.02)},
      {"clustered",
       [base](int64_t rows, int64_t cols, bool interleaved, std::mt19937& random) {
         Matrix m = base(rows, cols, interleaved, random);
         for (int64_t i = 3; i < rows; ++i)
           for (int64_t k = 0; k < cols; ++k) m.data[i * cols + k] = static_cast<float>(m.row(i % 3)[k] + 1e-3 * m.row(i)[k]);
         return m;
       }},
      {"duplicated",
       [base](int64_t rows, int64_t cols, bool interleaved, std::mt19937& random) {
         Matrix m = base(rows, cols, interleaved, random);
         for (int64_t i = 0; i < rows; ++i)
           for (int64_t k = 0; k < cols; ++k) m.data[i * cols + k] = m.row(i % 5 % rows)[k];
         return m;
       }},
      {"equal",
       [base](int64_t rows, int64_t cols, bool interleaved, std::mt19937& random) {
         Matrix m = base(rows, cols, interleaved, random);
         for (int64_t i = 1; i < rows; ++i)
           for (int64_t k = 0; k < cols; ++k) m.data[i * cols + k] = m.row(0)[k];
         return m;
       }},
      {"antipodal",
       [base](int64_t rows, int64_t cols, bool interleaved, std::mt19937& random) {
         Matrix m = base(rows, cols, interleaved, random);
         for (int64_t i = 0; i < rows; ++i) {
           const int64_t p = positive_of(i, rows, interleaved);
           if (p < i)
             for (int64_t k = 0; k < cols; ++k) m.data[i * cols + k] = -m.row(p)[k];
         }
         return m;
       }},
      {"two poles",
       [base](int64_t rows, int64_t cols, bool interleaved, std::mt19937& random) {
         Matrix m = base(rows, cols, interleaved, random);
         for (int64_t i = 0; i < rows; ++i) {
           const int64_t pair = std::min(i, positive_of(i, rows, interleaved));
           for (int64_t k = 0; k < cols; ++k)
             m.data[i * cols + k] = static_cast<float>((pair % 2 ? -1 : 1) * (k + 1.0) + 1e-3 * m.row(i)[k]);
         }
         return m;
       }},
      {"with zero rows",
       [base](int64_t rows, int64_t cols, bool interleaved, std::mt19937& random) {
         Matrix m = base(rows, cols, interleaved, random);
         for (int64_t i = 0; i < rows; i += 5) std::fill_n(m.data.begin() + i * cols, cols, 0.0f);
         return m;
       }},
      {"huge and tiny rows",
       [base](int64_t rows, int64_t cols, bool interleaved, std::mt19937& random) {
         Matrix m = base(rows, cols, interleaved, random);
         const double scales[4] = {1e30, 1e-6, 1, 1e12};
         for (int64_t i = 0; i < rows; ++i)
           for (int64_t k = 0; k < cols; ++k) m.data[i * cols + k] = static_cast<float>(m.row(i)[k] * scales[i % 4]);
         return m;
       }},
  };
}

inline ck_options options(double temperature, int threads, bool normalize = true, double weight = 1) {
  ck_options o = {};
  o.temperature = temperature;
  o.weight = weight;
  o.normalize = normalize;
  o.stats = 1;
  o.threads = threads;
  o.precision = CK_FLOAT32;
  o.cancel = nullptr;
  return o;
}

inline ck_matrix view(const Matrix& m) { return {m.data.data(), m.rows, m.cols}; }

inline double largest_square(const Matrix& m) {
  double largest = 0;
  for (int64_t i = 0; i < m.rows; ++i) {
    double square = 0;
    for (int64_t k = 0; k < m.cols; ++k) square += static_cast<double>(m.row(i)[k]) * m.row(i)[k];
    largest = std::max(largest, square);
  }
  return largest;
}

}  // namespace support
