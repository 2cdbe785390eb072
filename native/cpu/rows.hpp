// Work on single rows, all in double: packing (norms, scaling, both layouts), gradients out of accumulated sums, alignment.
// Included by unit.hpp in the namespace of an instruction set.
#pragma once

#include "cpu/tile.hpp"

namespace ck {
namespace CK_ISA {

CK_INLINE double dot_rows(const float* a, const float* b, int64_t cols) {
  Doubles s0 = double_zero(), s1 = double_zero();
  int64_t k = 0;
  for (; k + 2 * DOUBLE_LANES <= cols; k += 2 * DOUBLE_LANES) {
    s0 = double_fma(double_from_floats(a + k), double_from_floats(b + k), s0);
    s1 = double_fma(double_from_floats(a + k + DOUBLE_LANES), double_from_floats(b + k + DOUBLE_LANES), s1);
  }
  double sum = double_sum_lanes(double_add(s0, s1));
  for (; k < cols; ++k) sum += static_cast<double>(a[k]) * b[k];
  return sum;
}

// Squares of float32 numbers neither overflow nor underflow double, so the norm needs no scaling.
CK_INLINE double norm_of(const float* x, int64_t cols) { return __builtin_sqrt(dot_rows(x, x, cols)); }
CK_INLINE bool is_finite(double norm) { return norm <= 1e300; }  // false for NaN, too

double dot(const float* a, const float* b, int64_t cols) { return dot_rows(a, b, cols); }

// A row's piece of NR dimensions, `count` of them real: times factor, the others zero.
CK_INLINE void scale_piece(const float* x, double factor, int64_t count, float* out) {
  const Doubles f = double_broadcast(factor);
  int64_t k = 0;
  for (; k + DOUBLE_LANES <= count; k += DOUBLE_LANES) floats_from_double(out + k, double_mul(double_from_floats(x + k), f));
  for (; k < count; ++k) out[k] = static_cast<float>(x[k] * factor);
  for (; k < NR; ++k) out[k] = 0.0f;
}

CK_INLINE void add_scaled_row(const float* x, double factor, int64_t cols, double* sum) {
  const Doubles f = double_broadcast(factor);
  int64_t k = 0;
  for (; k + DOUBLE_LANES <= cols; k += DOUBLE_LANES) double_store(sum + k, double_fma(double_from_floats(x + k), f, double_load(sum + k)));
  for (; k < cols; ++k) sum[k] += x[k] * factor;
}

// out[k][r] = pieces[r][k] of NR rows, for k < count: a chunk of a panel.
CK_INLINE void turn_pieces(const float* const* pieces, int64_t count, float* out) {
  for (int64_t k = 0; k < count; k += LANES) {
    const int64_t some = smaller(LANES, count - k);
    for (int half = 0; half < NR; half += LANES) {
      Floats square[LANES];
#pragma GCC unroll 16
      for (int r = 0; r < LANES; ++r) square[r] = load(pieces[half + r] + k);
      transpose(square);
      float* to = out + k * NR + half;
      if (some == LANES) {
#pragma GCC unroll 16
        for (int r = 0; r < LANES; ++r) store(to + r * NR, square[r]);
      } else {
        for (int r = 0; r < some; ++r) store(to + r * NR, square[r]);
      }
    }
  }
}

// NR rows from `first` on, chunk after chunk: piece(row, chunk, spare) puts a row's piece of NR words into `spare`, or where it is wanted
// besides, and returns where; they are turned into the panel's chunk unless `panels` is NULL; then use(chunk, pieces).
template <class Piece, class Use>
CK_INLINE void pack_panel(const Layout& layout, int64_t first, float* panels, Piece&& piece, Use&& use) {
  alignas(64) float spare[NR][NR];
  const float* pieces[NR];
  for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
    const int64_t done = chunk * NR;
    for (int r = 0; r < NR; ++r) pieces[r] = piece(first + r, chunk, spare[r]);
    if (panels != nullptr) turn_pieces(pieces, smaller(NR, layout.cols - done), panels + first / NR * layout.panel_stride + done * NR);
    use(chunk, pieces);
  }
}

// The same of rows times their factors, in the layouts that are wanted.
CK_INLINE void pack_scaled(const PackJob& job, int64_t first, const double* factors) {
  const Layout& layout = *job.layout;
  const auto piece = [&](int64_t row, int64_t chunk, float* spare) {
    float* to = job.grouped == nullptr ? spare : job.grouped + row / GROUP * layout.group_stride + chunk * GROUP * NR + row % GROUP * NR;
    const int64_t done = chunk * NR, count = row < layout.rows ? smaller(NR, layout.cols - done) : 0;
    scale_piece(job.data + row * layout.cols + done, factors[row - first], count, to);
    return to;
  };
  pack_panel(layout, first, job.panels, piece, [](int64_t, const float* const*) {});
}

void pack(PackJob* job) {
  const Layout& layout = *job->layout;
  const int64_t cols = layout.cols;
  job->totals = {-1, 0, __builtin_inf(), 0.0};
  if (job->sums != nullptr) {
    float* sums = job->sums + job->first / GROUP * layout.group_stride;
    for (int64_t k = 0; k < (job->last - job->first) / GROUP * layout.group_stride; k += NR) {
      store(sums + k, zero());
      store(sums + k + LANES, zero());
    }
  }
  if (job->column_sum != nullptr)
    for (int64_t k = 0; k < cols; ++k) job->column_sum[k] = 0.0;
  double factors[NR];
  for (int64_t row = job->first; row < job->last; ++row) {
    double& factor = factors[row % NR];
    if (row >= layout.rows) {
      job->norms[row] = factor = 0.0;
    } else {
      const float* x = job->data + row * cols;
      const double norm = norm_of(x, cols);
      if (!is_finite(norm)) {
        job->totals.bad_row = row;
        return;
      }
      job->norms[row] = norm;
      if (norm == 0.0) {
        ++job->totals.zero_rows;
      } else {
        if (norm < job->totals.smallest_norm) job->totals.smallest_norm = norm;
        if (norm > job->totals.largest_norm) job->totals.largest_norm = norm;
      }
      const double unit = !job->normalize ? 1.0 : norm > 0.0 ? 1.0 / norm : 0.0;
      if (job->column_sum != nullptr) add_scaled_row(x, unit, cols, job->column_sum);
      factor = unit * job->scale;
    }
    if ((row + 1) % NR == 0) pack_scaled(*job, row + 1 - NR, factors);
  }
}

// What does not round to a float32: half a unit beyond the largest one.
constexpr double FLOAT_OVERFLOW = 3.4028235677973366e38;

void finish(FinishJob* job) {
  const Layout& layout = *job->layout;
  const int64_t cols = layout.cols;
  double* g = job->scratch_row;
  job->alignment = 0.0;
  job->overflow = -1;
  const Doubles sums_scale = double_broadcast(job->sums_scale);
  for (int64_t row = job->first; row < job->last; ++row) {
    const float* x = job->data + row * cols;
    const double norm = job->lengths != nullptr ? job->lengths[row] : job->norms[row];
    if (job->normalize && norm == 0.0) {  // the gradient of a zero row is 0
      if (job->gradient != nullptr)
        for (int64_t k = 0; k < cols; ++k) job->gradient[row * cols + k] = 0.0f;
      continue;
    }
    const double inverse = job->normalize ? 1.0 / norm : 1.0;
    const double unit = job->lengths != nullptr ? 1.0 : inverse;
    const float* partner = x;
    double partner_weight = 0.0;
    if (job->partner != nullptr) {
      const int64_t p = job->partner[row];
      partner = job->data + p * cols;
      // Both rows of a pair pull at each other: the coefficient is -(q_i + q_p).
      partner_weight = -(job->probability[row] + job->probability[p]);
      if (job->normalize && job->lengths == nullptr) partner_weight = job->norms[p] > 0.0 ? partner_weight / job->norms[p] : 0.0;
    }
    const double self_weight = job->self_weight != nullptr ? -job->self_weight[row] * unit : 0.0;
    const Doubles vp = double_broadcast(partner_weight), vs = double_broadcast(self_weight);
    const float* sums = job->sums + row / GROUP * layout.group_stride + row % GROUP * NR;
    Doubles along = double_zero();
    double along_tail = 0.0;
    for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
      const float* in = sums + chunk * GROUP * NR;
      const int64_t base = chunk * NR;
      const int64_t count = cols - base < NR ? cols - base : NR;
      int64_t k = 0;
      for (; k + DOUBLE_LANES <= count; k += DOUBLE_LANES) {
        const Doubles xk = double_from_floats(x + base + k);
        Doubles v = double_mul(double_from_floats(in + k), sums_scale);
        v = double_fma(double_from_floats(partner + base + k), vp, v);
        v = double_fma(xk, vs, v);
        double_store(g + base + k, v);
        along = double_fma(v, xk, along);
      }
      for (; k < count; ++k) {
        const double v = in[k] * job->sums_scale + partner[base + k] * partner_weight + x[base + k] * self_weight;
        g[base + k] = v;
        along_tail += v * x[base + k];
      }
    }
    const double projection = (double_sum_lanes(along) + along_tail) * unit;  // <g, u>
    job->alignment += projection;
    const double factor = job->scale * inverse;
    const double back = job->normalize ? -projection * unit * factor : 0.0;
    if (job->gradient == nullptr) {
      for (int64_t k = 0; k < cols; ++k) {
        const double v = g[k] * factor + x[k] * back;
        if (!(v < FLOAT_OVERFLOW && v > -FLOAT_OVERFLOW)) {
          job->overflow = row;
          return;
        }
      }
      continue;
    }
    float* out = job->gradient + row * cols;
    const Doubles vf = double_broadcast(factor), vb = double_broadcast(back);
    int64_t k = 0;
    for (; k + DOUBLE_LANES <= cols; k += DOUBLE_LANES)
      floats_from_double(out + k, double_fma(double_load(g + k), vf, double_mul(double_from_floats(x + k), vb)));
    for (; k < cols; ++k) out[k] = static_cast<float>(g[k] * factor + x[k] * back);
  }
}

void norms(NormJob* job) {
  job->bad_row = -1;
  for (int64_t row = job->first; row < job->last; ++row) {
    const double norm = norm_of(job->data + row * job->cols, job->cols);
    job->norms[row] = norm;
    if (!is_finite(norm)) {
      job->bad_row = row;
      return;
    }
  }
}

// One side of the alignment gradient: c (delta - <delta, u> u) / |x|; with `check` it is only tested.
CK_INLINE bool alignment_gradient(const double* delta, const float* x, int64_t cols, double along, double factor, double unit,
                                  bool normalize, bool check, float* out) {
  const double back = normalize ? -along * unit * unit * factor : 0.0;
  const Doubles vf = double_broadcast(factor), vb = double_broadcast(back);
  int64_t k = 0;
  if (!check)
    for (; k + DOUBLE_LANES <= cols; k += DOUBLE_LANES)
      floats_from_double(out + k, double_fma(double_load(delta + k), vf, double_mul(double_from_floats(x + k), vb)));
  for (; k < cols; ++k) {
    const double v = delta[k] * factor + x[k] * back;
    if (check && !(v < FLOAT_OVERFLOW && v > -FLOAT_OVERFLOW)) return false;
    if (!check) out[k] = static_cast<float>(v);
  }
  return true;
}

void alignment(AlignmentJob* job) {
  const int64_t cols = job->cols;
  const bool normalize = job->normalize != 0;
  job->loss = job->similarity = 0.0;
  job->overflow_x = job->overflow_y = job->overflow_loss = -1;
  for (int64_t row = job->first; row < job->last; ++row) {
    const float* x = job->x + row * cols;
    const float* y = job->y + row * cols;
    const double x_norm = job->x_norms[row], y_norm = job->y_norms[row];
    const double x_unit = !normalize ? 1.0 : x_norm > 0.0 ? 1.0 / x_norm : 0.0;
    const double y_unit = !normalize ? 1.0 : y_norm > 0.0 ? 1.0 / y_norm : 0.0;
    // Quotients, not products with 1 / |x|: parallel rows then have distance 0 where their units are numbers.
    const double x_length = x_unit > 0.0 && normalize ? x_norm : 1.0, y_length = y_unit > 0.0 && normalize ? y_norm : 1.0;
    const Doubles vx = double_broadcast(x_length), vy = double_broadcast(y_length);
    Doubles square = double_zero(), along_x = double_zero(), along_y = double_zero();
    double square_sum = 0.0, x_sum = 0.0, y_sum = 0.0;
    int64_t k = 0;
    for (; k + DOUBLE_LANES <= cols; k += DOUBLE_LANES) {
      const Doubles xk = double_from_floats(x + k), yk = double_from_floats(y + k);
      const Doubles delta = double_sub(double_divide(xk, vx), double_divide(yk, vy));
      double_store(job->difference + k, delta);
      square = double_fma(delta, delta, square);
      along_x = double_fma(delta, xk, along_x);
      along_y = double_fma(delta, yk, along_y);
    }
    for (; k < cols; ++k) {
      const double delta = x[k] / x_length - y[k] / y_length;
      job->difference[k] = delta;
      square_sum += delta * delta;
      x_sum += delta * x[k];
      y_sum += delta * y[k];
    }
    square_sum += double_sum_lanes(square);
    x_sum += double_sum_lanes(along_x);
    y_sum += double_sum_lanes(along_y);
    const double value = job->alpha == 2.0 ? square_sum : __builtin_pow(square_sum, 0.5 * job->alpha);
    job->loss += value;
    if (!(value < FLOAT_OVERFLOW) && job->overflow_loss < 0) job->overflow_loss = row;
    job->similarity += dot_rows(x, y, cols) * x_unit * y_unit;
    if (job->per_row != nullptr && !job->check) job->per_row[row] = static_cast<float>(value);
    // d |delta|^alpha = alpha |delta|^(alpha - 2) delta; where delta is 0 the gradient is 0 by convention.
    const double slope = square_sum > 0.0 ? job->scale * job->alpha * (value / square_sum) : 0.0;
    if (job->gradient_x != nullptr &&
        !alignment_gradient(job->difference, x, cols, x_sum, slope * x_unit, x_unit, normalize, job->check, job->gradient_x + row * cols) &&
        job->overflow_x < 0)
      job->overflow_x = row;
    if (job->gradient_y != nullptr &&
        !alignment_gradient(job->difference, y, cols, y_sum, -slope * y_unit, y_unit, normalize, job->check,
                            job->gradient_y + row * cols) &&
        job->overflow_y < 0)
      job->overflow_y = row;
  }
}

}  // namespace CK_ISA
}  // namespace ck
