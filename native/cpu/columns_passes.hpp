// Moments of columns, and batches turned into columns and back, in double (columns_kernels.hpp).
//
// A turn goes by tiles of LINE items and LANES columns: a line of a column is LINE items, and columns lie a power of two apart as often
// as not, so that each line must be read or written once and whole.
// Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/rows.hpp"

namespace ck {
namespace CK_ISA {

constexpr int64_t LINE = CACHE_LINE;
static_assert(LINE % LANES == 0 && LANES % DOUBLE_LANES == 0, "a line of a column is whole squares, a row of a tile whole vectors");

void column_sums(const ColumnSumJob& job) {
  for (int64_t n = job.first; n < job.last; ++n) {
    const float* x = job.x + n * job.columns;
    int64_t k = 0;
    for (; k + DOUBLE_LANES <= job.columns; k += DOUBLE_LANES) {
      Doubles value = double_sub(double_from_floats(x + k), double_from_floats(job.x + k));
      Doubles sum = double_load(job.sums + k);
      if (job.mean == nullptr) {
        sum = double_add(sum, value);
      } else {
        value = double_sub(value, double_load(job.mean + k));
        sum = double_fma(value, value, sum);
      }
      double_store(job.sums + k, sum);
    }
    for (; k < job.columns; ++k) {
      const double value = static_cast<double>(x[k]) - job.x[k];
      const double centred = job.mean == nullptr ? 0.0 : value - job.mean[k];
      job.sums[k] += job.mean == nullptr ? value : centred * centred;
    }
  }
}

CK_INLINE Floats load_some(const float* p, int64_t count) {
  if (count >= LANES) return load(p);
  alignas(64) float some[LANES] = {};
  for (int64_t i = 0; i < count; ++i) some[i] = p[i];
  return load(some);
}
CK_INLINE void store_some(float* p, Floats x, int64_t count) {
  if (count >= LANES) return store(p, x);
  alignas(64) float some[LANES];
  store(some, x);
  for (int64_t i = 0; i < count; ++i) p[i] = some[i];
}

// columns[k][n], rows `items` apart, = tile[n][k] for n < height.
CK_INLINE void tile_to_columns(const float (*tile)[LANES], int64_t height, int64_t items, float* columns) {
  for (int64_t n = 0; n < height; n += LANES) {
    Floats square[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i) square[i] = load(tile[n + i]);
    transpose(square);
    for (int k = 0; k < LANES; ++k) store_some(columns + k * items + n, square[k], height - n);
  }
}
// The other way.
CK_INLINE void columns_to_tile(const float* columns, int64_t items, int64_t height, float (*tile)[LANES]) {
  for (int64_t n = 0; n < height; n += LANES) {
    Floats square[LANES];
    for (int k = 0; k < LANES; ++k) square[k] = load_some(columns + k * items + n, height - n);
    transpose(square);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i) store(tile[n + i], square[i]);
  }
}

// Values of some columns of a view, of one item after another.
struct ColumnValues {
  Doubles start, mean, factor;

  CK_INLINE void set(const ColumnView& view, int64_t k) {
    start = double_from_floats(view.x + k);
    mean = double_load(view.mean + k);
    factor = double_load(view.factor + k);
  }
  CK_INLINE Doubles of(const float* x) const { return double_mul(double_sub(double_sub(double_from_floats(x), start), mean), factor); }
};
CK_INLINE double column_value(const ColumnView& view, const float* x, int64_t k) {
  return ((static_cast<double>(*x) - view.x[k]) - view.mean[k]) * view.factor[k];
}

void column_fill(const ColumnFillJob& job) {
  const ColumnView &a = job.a, &b = job.b;
  alignas(64) float of_a[LINE][LANES] = {}, of_b[LINE][LANES] = {};
  for (int64_t row = job.first; row < job.last; row += LINE) {
    const int64_t height = smaller(LINE, job.last - row);
    int64_t k = 0;
    for (; k + LANES <= job.columns; k += LANES) {
      for (int lane = 0; lane < LANES; lane += DOUBLE_LANES) {
        ColumnValues values_a, values_b;
        values_a.set(a, k + lane);
        values_b.set(b, k + lane);
        Doubles apart = double_load(job.apart + k + lane);
        for (int64_t n = 0; n < height; ++n) {
          const int64_t at = (row + n) * job.columns + k + lane;
          const Doubles x = values_a.of(a.x + at), y = values_b.of(b.x + at), difference = double_sub(x, y);
          floats_from_double(&of_a[n][lane], x);
          floats_from_double(&of_b[n][lane], y);
          apart = double_fma(difference, difference, apart);
        }
        double_store(job.apart + k + lane, apart);
      }
      tile_to_columns(of_a, height, job.items, a.values + k * job.items + row);
      tile_to_columns(of_b, height, job.items, b.values + k * job.items + row);
    }
    for (; k < job.columns; ++k)
      for (int64_t n = row; n < row + height; ++n) {
        const double x = column_value(a, a.x + n * job.columns + k, k), y = column_value(b, b.x + n * job.columns + k, k);
        a.values[k * job.items + n] = static_cast<float>(x);
        b.values[k * job.items + n] = static_cast<float>(y);
        job.apart[k] += (x - y) * (x - y);
      }
  }
}

void column_gather(ColumnGatherJob& job) {
  const Doubles scale = double_broadcast(job.scale), factor = double_broadcast(job.factor);
  // Two chains of additions, so that they overlap.
  Doubles total[2] = {double_zero(), double_zero()}, along[2] = {double_zero(), double_zero()};
  double total_rest = 0.0, along_rest = 0.0;
  const float* sums = job.sums;
  for (int64_t first = 0; first < job.items; first += job.width, sums += job.step) {
    const int64_t count = smaller(job.width, job.items - first);
    int64_t n = 0;
    for (; n + 2 * DOUBLE_LANES <= count; n += 2 * DOUBLE_LANES)
      for (int half = 0; half < 2; ++half) {
        const int64_t m = n + half * DOUBLE_LANES, at = first + m;
        const Doubles g = double_fma(factor, double_from_floats(job.y + at), double_mul(scale, double_from_floats(sums + m)));
        double_store(job.g + at, g);
        total[half] = double_add(total[half], g);
        along[half] = double_fma(g, double_from_floats(job.u + at), along[half]);
      }
    for (; n < count; ++n) {
      const int64_t at = first + n;
      const double g = job.scale * sums[n] + job.factor * job.y[at];
      job.g[at] = g;
      total_rest += g;
      along_rest += g * job.u[at];
    }
  }
  job.total = double_sum_lanes(double_add(total[0], total[1])) + total_rest;
  job.along = double_sum_lanes(double_add(along[0], along[1])) + along_rest;
}

void column_keep(ColumnKeepJob& job) {
  const Doubles mean = double_broadcast(job.mean), along = double_broadcast(-job.along), factor = double_broadcast(job.factor);
  Floats largest = broadcast(job.largest);
  int64_t n = 0;
  for (; n + LANES <= job.items; n += LANES) {
    for (int lane = 0; lane < LANES; lane += DOUBLE_LANES) {
      const int64_t at = n + lane;
      const Doubles g = double_sub(double_load(job.g + at), mean);
      floats_from_double(job.out + at, double_mul(double_fma(along, double_from_floats(job.u + at), g), factor));
    }
    const Floats kept = load(job.out + n);
    largest = maximum(largest, maximum(kept, sub(zero(), kept)));
  }
  job.largest = max_lanes(largest);
  for (; n < job.items; ++n) {
    job.out[n] = static_cast<float>((job.g[n] - job.mean - job.along * job.u[n]) * job.factor);
    const float size = job.out[n] < 0.0f ? -job.out[n] : job.out[n];
    if (size > job.largest) job.largest = size;
  }
}

void column_write(const ColumnWriteJob& job) {
  const Doubles weight = double_broadcast(job.weight), pull = double_broadcast(job.pull);
  alignas(64) float tile[LINE][LANES];
  for (int64_t row = job.first; row < job.last; row += LINE) {
    const int64_t height = smaller(LINE, job.last - row);
    int64_t k = 0;
    for (; k + LANES <= job.columns; k += LANES) {
      columns_to_tile(job.by_column + k * job.items + row, job.items, height, tile);
      for (int64_t n = 0; n < height; ++n)
        for (int lane = 0; lane < LANES; lane += DOUBLE_LANES) {
          const int64_t at = (row + n) * job.columns + k + lane;
          Doubles sum = double_from_floats(&tile[n][lane]);
          if (job.pull != 0.0)
            sum = double_fma(pull, double_sub(double_from_floats(job.own + at), double_from_floats(job.other + at)), sum);
          floats_from_double(job.gradient + at, double_mul(weight, sum));
        }
    }
    for (; k < job.columns; ++k)
      for (int64_t n = row; n < row + height; ++n) {
        const int64_t at = n * job.columns + k;
        const double apart = job.pull == 0.0 ? 0.0 : job.pull * (static_cast<double>(job.own[at]) - job.other[at]);
        job.gradient[at] = static_cast<float>(job.weight * (job.by_column[k * job.items + n] + apart));
      }
  }
}

}  // namespace CK_ISA
}  // namespace ck
