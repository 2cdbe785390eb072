// The losses of two or more matrices in float64, straight from their formulas: rows x rows loops, no tricks.
#pragma once
#include <functional>

#include "reference.hpp"

namespace reference {

// Coefficients of pairs of rows of two matrices, collected into the gradients of both by u. One matrix with itself: both are one.
struct Pairs {
  Unit x, y;
  std::vector<Row> by_x, by_y;
  Row size_x, size_y;
  double temperature_sum = 0, temperature_size = 0;

  Pairs(const Matrix& a, const Matrix& b, bool normalize)
      : x(unit_rows(a, normalize)),
        y(unit_rows(b, normalize)),
        by_x(a.rows, Row(a.cols, 0.0)),
        by_y(b.rows, Row(b.cols, 0.0)),
        size_x(a.rows, 0.0),
        size_y(b.rows, 0.0) {}

  double s(int64_t i, int64_t j) const { return dot(x.u[i], y.u[j]); }
  void add(int64_t i, int64_t j, double c) {
    add_scaled(by_x[i], c, y.u[j]);
    add_scaled(by_y[j], c, x.u[i]);
    const auto length = [](const Unit& unit, int64_t row) { return unit.normalize ? (unit.norm[row] > 0 ? 1 : 0) : unit.norm[row]; };
    size_x[i] += std::fabs(c) * length(y, j);
    size_y[j] += std::fabs(c) * length(x, i);
    const double similarity = s(i, j);
    temperature_sum += c * similarity;
    temperature_size += std::fabs(c * similarity);
  }
  Gradient of_x(double factor) const { return by_input(x, by_x, size_x, factor); }
  Gradient of_y(double factor) const { return by_input(y, by_y, size_y, factor); }
  Gradient of_both(double factor) const {
    std::vector<Row> by = by_x;
    Row size = size_x;
    for (size_t i = 0; i < by.size(); ++i) {
      size[i] += size_y[i];
      for (size_t k = 0; k < by[i].size(); ++k) by[i][k] += by_y[i][k];
    }
    return by_input(x, by, size, factor);
  }
};

inline double softplus(double a) { return a > 0 ? a + std::log1p(std::exp(-a)) : std::log1p(std::exp(a)); }
inline double sigmoid(double a) { return a > 0 ? 1 / (1 + std::exp(-a)) : std::exp(a) / (1 + std::exp(a)); }
inline double log_sum_exp(const Row& z) {
  double largest = -INFINITY, sum = 0;
  for (double value : z) largest = std::max(largest, value);
  for (double value : z) sum += std::exp(value - largest);
  return z.empty() ? -INFINITY : largest + std::log(sum);
}

// A candidate of a row: a pair of one of the matrices compared.
struct Candidate {
  Pairs* pairs;
  int64_t i, j;
  bool turned = false;  // the row is a row of the second matrix
};

// One positive against negatives; coefficients times weight. Returns the loss.
inline double one_positive(const Candidate& positive, const std::vector<Candidate>& negatives, double temperature, double weight) {
  if (negatives.empty()) return 0;
  Row z;
  for (const Candidate& c : negatives) z.push_back(c.pairs->s(c.i, c.j) / temperature);
  const double log_negatives = log_sum_exp(z), own = positive.pairs->s(positive.i, positive.j) / temperature;
  const double q = sigmoid(log_negatives - own);
  for (size_t n = 0; n < negatives.size(); ++n)
    negatives[n].pairs->add(negatives[n].i, negatives[n].j, weight * q * std::exp(z[n] - log_negatives));
  positive.pairs->add(positive.i, positive.j, -weight * q);
  return softplus(log_negatives - own);
}

// Rows of one class; variant 0 out, 1 in, 2 pair. Returns the loss of row i.
inline double sup_con_row(Pairs& pairs, int64_t i, const std::vector<int32_t>& labels, int variant, double temperature) {
  std::vector<int64_t> positives, negatives;
  for (int64_t j = 0; j < static_cast<int64_t>(labels.size()); ++j)
    if (j != i) (labels[j] == labels[i] ? positives : negatives).push_back(j);
  if (positives.empty() || (negatives.empty() && (variant == 2 || positives.size() == 1))) return 0;
  Row zp, zn;
  for (int64_t p : positives) zp.push_back(pairs.s(i, p) / temperature);
  for (int64_t n : negatives) zn.push_back(pairs.s(i, n) / temperature);
  const double log_n = log_sum_exp(zn), log_p = log_sum_exp(zp), count = static_cast<double>(positives.size());
  double loss = 0, weight = 0;
  if (variant == 2) {
    for (size_t p = 0; p < zp.size(); ++p) {
      loss += softplus(log_n - zp[p]);
      weight += sigmoid(log_n - zp[p]);
      pairs.add(i, positives[p], -sigmoid(log_n - zp[p]));
    }
  } else {
    double mean = 0;
    for (double z : zp) mean += z / count;
    weight = sigmoid(log_n - log_p);
    loss = (variant == 0 ? log_p - mean : std::log(count)) + softplus(log_n - log_p);
    for (size_t p = 0; p < zp.size(); ++p) {
      const double share = std::exp(zp[p] - log_p);
      pairs.add(i, positives[p], (variant == 0 ? share - 1 / count : 0) - weight * share);
    }
  }
  for (size_t n = 0; n < zn.size(); ++n) pairs.add(i, negatives[n], weight * std::exp(zn[n] - log_n));
  return loss;
}

}  // namespace reference
