// What an instruction-set unit offers to losses that compare columns with columns: plain structs and a table of functions, as in
// kernels.hpp, which includes this. Batches are [items, columns], what belongs to a column is [columns, items]. A value of column k is
// taken relative to the batch's first row: (x[n, k] - x[0, k] - mean[k]) * factor[k], in double.
#ifndef CK_CPU_COLUMNS_KERNELS_HPP
#define CK_CPU_COLUMNS_KERNELS_HPP

#include <stdint.h>

namespace ck {

// Of items [first, last).
struct ColumnSumJob {
  const float* x;
  int64_t columns;
  const double* mean;  // NULL: the sum of x relative to the first row; else that of the squares of the centred values
  int64_t first, last;
  double* sums;  // [columns]: added to
};

struct ColumnView {
  const float* x;
  const double* mean;
  const double* factor;
  float* values;  // [columns, items]
};

struct ColumnFillJob {
  ColumnView a, b;
  int64_t items, columns;
  int64_t first, last;
  double* apart;  // [columns]: the squared difference of the two views' values is added
};

// gradient[n, k] = weight * (by_column[k, n] + pull * (own[n, k] - other[n, k]))
struct ColumnWriteJob {
  const float* by_column;
  const float* own;
  const float* other;
  int64_t items, columns;
  int64_t first, last;
  double weight, pull;
  float* gradient;
};

// g[n] = scale * sums[n] + factor * y[n], in double, for one column: its sums stand in chunks of `width`, `step` floats apart.
struct ColumnGatherJob {
  const float* sums;
  int64_t step, width;
  int64_t items;
  double scale, factor;
  const float* y;  // [items]
  const float* u;  // [items]
  double* g;       // [items]
  double total;    // out: sum of g
  double along;    // out: sum of g u
};

// out[n] = (g[n] - mean - along * u[n]) * factor, which may be u itself.
struct ColumnKeepJob {
  const double* g;
  const float* u;
  int64_t items;
  double mean, along, factor;
  float* out;
  float largest;  // in and out: the largest magnitude
};

struct ColumnsTable {
  void (*sums)(const ColumnSumJob& job);
  void (*fill)(const ColumnFillJob& job);
  void (*gather)(ColumnGatherJob& job);
  void (*keep)(ColumnKeepJob& job);
  void (*write)(const ColumnWriteJob& job);
};

}  // namespace ck

#endif
