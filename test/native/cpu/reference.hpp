// The kernels in float64, straight from their formulas: what the CPU library is compared with. Rows x rows loops, no tricks.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace reference {

using Row = std::vector<double>;

struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<float> data;
  const float* row(int64_t i) const { return data.data() + i * cols; }
};

struct Unit {
  std::vector<Row> u;
  Row norm;
  bool normalize;
  int64_t rows() const { return static_cast<int64_t>(u.size()); }
  int64_t cols() const { return static_cast<int64_t>(u[0].size()); }
};

inline Unit unit_rows(const Matrix& x, bool normalize) {
  Unit result;
  result.normalize = normalize;
  for (int64_t i = 0; i < x.rows; ++i) {
    double square = 0;
    for (int64_t k = 0; k < x.cols; ++k) square += static_cast<double>(x.row(i)[k]) * x.row(i)[k];
    const double norm = std::sqrt(square);
    Row u(x.cols);
    for (int64_t k = 0; k < x.cols; ++k) u[k] = normalize ? (norm > 0 ? x.row(i)[k] / norm : 0) : x.row(i)[k];
    result.u.push_back(u);
    result.norm.push_back(norm);
  }
  return result;
}

// The loops below every formula. Sanitizers do not watch them: that would take 95 % of a test's time, and what a sanitizer build looks
// at is the library, not its yardstick.
#define NOT_SANITIZED __attribute__((no_sanitize("address", "thread", "undefined")))

NOT_SANITIZED inline double dot(const double* a, const double* b, size_t count) {
  double sum = 0;
  for (size_t k = 0; k < count; ++k) sum += a[k] * b[k];
  return sum;
}
NOT_SANITIZED inline double squared_distance(const double* a, const double* b, size_t count) {
  double sum = 0;
  for (size_t k = 0; k < count; ++k) sum += (a[k] - b[k]) * (a[k] - b[k]);
  return sum;
}
NOT_SANITIZED inline void add_scaled(double* sum, double c, const double* a, size_t count) {
  for (size_t k = 0; k < count; ++k) sum[k] += c * a[k];
}
NOT_SANITIZED inline void add_scaled_difference(double* sum, double c, const double* a, const double* b, size_t count) {
  for (size_t k = 0; k < count; ++k) sum[k] += c * (a[k] - b[k]);
}

inline double dot(const Row& a, const Row& b) { return dot(a.data(), b.data(), a.size()); }
inline double squared_distance(const Row& a, const Row& b) { return squared_distance(a.data(), b.data(), a.size()); }
inline void add_scaled(Row& sum, double c, const Row& a) { add_scaled(sum.data(), c, a.data(), a.size()); }
inline void add_scaled_difference(Row& sum, double c, const Row& a, const Row& b) {
  add_scaled_difference(sum.data(), c, a.data(), b.data(), a.size());
}

// The gradient by x from the one by u, flat; and the magnitude A: coefficients that could cancel, over the norm of their row.
struct Gradient {
  Row values;
  double magnitude = 0;
  double norm() const { return std::sqrt(dot(values, values)); }
};

inline Gradient by_input(const Unit& x, const std::vector<Row>& by_u, const Row& coefficients, double factor) {
  Gradient result;
  double square = 0;
  for (size_t i = 0; i < x.u.size(); ++i) {
    const double inverse = !x.normalize ? 1 : x.norm[i] > 0 ? 1 / x.norm[i] : 0;
    const double along = x.normalize ? dot(by_u[i], x.u[i]) : 0;
    for (size_t k = 0; k < x.u[i].size(); ++k) result.values.push_back((by_u[i][k] - along * x.u[i][k]) * inverse * factor);
    const double a = coefficients[i] * inverse * factor;
    square += a * a;
  }
  result.magnitude = std::sqrt(square);
  return result;
}

struct NtXent {
  double loss = 0, temperature_gradient = 0, temperature_magnitude = 0;
  double positive = 0, negative = 0, accuracy = 0;
  Row per_row, log_sum_exp;
  Gradient gradient;
};

inline NtXent nt_xent(const Unit& x, bool interleaved, double temperature, double weight) {
  const int64_t rows = x.rows();
  NtXent result;
  std::vector<Row> by_u(rows, Row(x.cols(), 0.0));
  Row coefficients(rows, 0.0);
  double sum = 0;
  const auto add = [&](int64_t i, int64_t j, double c) {
    add_scaled(by_u[i], c, x.u[j]);
    const double length = x.normalize ? (x.norm[j] > 0 ? 1 : 0) : x.norm[j];
    coefficients[i] += std::fabs(c) * length;
  };
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t p = interleaved ? i ^ 1 : (i + rows / 2) % rows;
    Row s(rows);
    double peak = -INFINITY;
    for (int64_t j = 0; j < rows; ++j) {
      s[j] = dot(x.u[i], x.u[j]);
      if (j != i && j != p) peak = std::max(peak, s[j]);
    }
    result.positive += s[p] / rows;
    result.accuracy += (s[p] > peak ? 1.0 : 0.0) / rows;
    double total = 0;
    for (int64_t j = 0; j < rows; ++j) {
      if (j == i || j == p) continue;
      total += std::exp((s[j] - peak) / temperature);
      result.negative += s[j] / (static_cast<double>(rows) * (rows - 2));
    }
    const double a = (peak - s[p]) / temperature + std::log(total);
    const double loss = a > 0 ? a + std::log1p(std::exp(-a)) : std::log1p(std::exp(a));
    const double q = a > 0 ? 1 / (1 + std::exp(-a)) : std::exp(a) / (1 + std::exp(a));
    result.loss += loss;
    result.per_row.push_back(loss);
    result.log_sum_exp.push_back(s[p] / temperature + loss);
    for (int64_t j = 0; j < rows; ++j) {
      if (j == i || j == p) continue;
      const double probability = q * std::exp((s[j] - peak) / temperature) / total;
      sum += probability * (s[j] - s[p]);
      result.temperature_magnitude += probability * std::max(std::fabs(s[j]), std::fabs(s[p]));
      add(i, j, probability);
      add(j, i, probability);
    }
    add(i, p, -q);
    add(p, i, -q);
  }
  result.temperature_gradient = -weight * sum / (temperature * temperature);
  result.temperature_magnitude *= weight / (temperature * temperature);
  result.gradient = by_input(x, by_u, coefficients, weight / temperature);
  return result;
}
inline NtXent nt_xent(const Matrix& z, bool interleaved, double temperature, bool normalize, double weight) {
  return nt_xent(unit_rows(z, normalize), interleaved, temperature, weight);
}

struct Uniformity {
  double loss = 0;
  Gradient gradient;
};

inline Uniformity uniformity(const Unit& x, double t) {
  const auto exponent = [&](int64_t i, int64_t j) { return -t * squared_distance(x.u[i], x.u[j]); };
  double peak = -INFINITY, total = 0;
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t j = i + 1; j < x.rows(); ++j) peak = std::max(peak, exponent(i, j));
  std::vector<Row> by_u(x.rows(), Row(x.cols(), 0.0));
  Row coefficients(x.rows(), 0.0);
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t j = i + 1; j < x.rows(); ++j) {
      const double e = std::exp(exponent(i, j) - peak);
      total += e;
      add_scaled_difference(by_u[i], e, x.u[j], x.u[i]);
      add_scaled_difference(by_u[j], e, x.u[i], x.u[j]);
      const double length_i = x.normalize ? 1 : x.norm[i], length_j = x.normalize ? 1 : x.norm[j];
      coefficients[i] += e * length_j;
      coefficients[j] += e * length_i;
    }
  Uniformity result;
  result.loss = std::log(total / (0.5 * x.rows() * (x.rows() - 1.0))) + peak;
  result.gradient = by_input(x, by_u, coefficients, 2 * t / total);
  return result;
}
inline Uniformity uniformity(const Matrix& m, double t, bool normalize) { return uniformity(unit_rows(m, normalize), t); }

struct Alignment {
  double loss = 0, similarity = 0;
  Row per_row;
  Gradient x, y;
};

inline Alignment alignment(const Unit& x, const Unit& y, double alpha, double weight) {
  Alignment result;
  std::vector<Row> by_x(x.rows(), Row(x.cols(), 0.0)), by_y = by_x;
  Row coefficients(x.rows(), 0.0);
  for (int64_t i = 0; i < x.rows(); ++i) {
    const double distance = std::sqrt(squared_distance(x.u[i], y.u[i]));
    const double slope = distance > 0 ? alpha * std::pow(distance, alpha - 1) / distance : 0;
    for (int64_t k = 0; k < x.cols(); ++k) {
      by_x[i][k] = slope * (x.u[i][k] - y.u[i][k]);
      by_y[i][k] = -by_x[i][k];
    }
    result.per_row.push_back(std::pow(distance, alpha));
    result.loss += result.per_row.back();
    result.similarity += dot(x.u[i], y.u[i]) / x.rows();
    coefficients[i] = slope * distance;
  }
  result.x = by_input(x, by_x, coefficients, weight);
  result.y = by_input(y, by_y, coefficients, weight);
  return result;
}
inline Alignment alignment(const Matrix& a, const Matrix& b, double alpha, bool normalize, double weight) {
  return alignment(unit_rows(a, normalize), unit_rows(b, normalize), alpha, weight);
}

inline Row cosine(const Unit& x, const Unit& y) {
  Row result;
  for (const Row& u : x.u)
    for (const Row& v : y.u) result.push_back(dot(u, v));
  return result;
}
inline Row cosine(const Matrix& a, const Matrix& b, bool normalize) { return cosine(unit_rows(a, normalize), unit_rows(b, normalize)); }

struct CosineBackward {
  Gradient x, y;
};

inline CosineBackward cosine_backward(const Unit& x, const Unit& y, const Matrix& upstream, double weight) {
  std::vector<Row> by_x(x.rows(), Row(x.cols(), 0.0)), by_y(y.rows(), Row(y.cols(), 0.0));
  Row of_x(x.rows(), 0.0), of_y(y.rows(), 0.0);
  for (int64_t i = 0; i < x.rows(); ++i)
    for (int64_t j = 0; j < y.rows(); ++j) {
      const double c = upstream.row(i)[j];
      add_scaled(by_x[i], c, y.u[j]);
      add_scaled(by_y[j], c, x.u[i]);
      of_x[i] += std::fabs(c) * (x.normalize ? 1 : y.norm[j]);
      of_y[j] += std::fabs(c) * (x.normalize ? 1 : x.norm[i]);
    }
  return {by_input(x, by_x, of_x, weight), by_input(y, by_y, of_y, weight)};
}
inline CosineBackward cosine_backward(const Matrix& a, const Matrix& b, const Matrix& upstream, bool normalize, double weight) {
  return cosine_backward(unit_rows(a, normalize), unit_rows(b, normalize), upstream, weight);
}

}  // namespace reference
