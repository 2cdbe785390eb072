// The middle of NT-Xent: what one row makes of log N, its negatives' sum, and z_p, its positive's logit, in double.
//
//   loss = -z_p + log(exp(z_p) + N) = softplus(log N - z_p)
//   q    = N / (exp(z_p) + N)       = sigmoid(log N - z_p)      the share of the negatives, and minus the positive's coefficient
//
// 1 - q and p - 1 are never formed: at confident rows both are differences of nearly equal numbers.
#pragma once
#include <cmath>

#include "policies/host_device.hpp"

namespace ck {

struct RowLoss {
  double loss;
  double q;
  double log_sum_exp;  // over the positive and the negatives
};

// log_negatives is -infinity where there is no negative: loss 0, q 0.
CK_HOST_DEVICE RowLoss row_loss(double log_negatives, double positive_logit) {
  const double a = log_negatives - positive_logit;
  RowLoss row;
  if (a > 0) {
    const double e = exp(-a);
    row.loss = a + log1p(e);
    row.q = 1 / (1 + e);
  } else {
    const double e = exp(a);
    row.loss = log1p(e);
    row.q = e / (1 + e);
  }
  row.log_sum_exp = positive_logit + row.loss;
  return row;
}

}  // namespace ck
