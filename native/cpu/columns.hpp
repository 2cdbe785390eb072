// The columns of two views of a batch as rows, for the losses that compare columns with columns (Barlow Twins, VICReg): their moments
// in double, their standardised values transposed and packed, and gradients by columns brought back to the layout of the batch.
//
// Values are taken relative to the first row before they are averaged, so that a constant column is exactly 0.
#ifndef CK_CPU_COLUMNS_HPP
#define CK_CPU_COLUMNS_HPP

#include "cpu/contrast.hpp"

namespace ck {

constexpr int64_t COLUMNS_PER_JOB = 32;

// The gradient by a column of values u: (g - mean - along u) * factor; as it is gathered, g itself.
struct ColumnGradient {
  const double* g;  // [items]
  double mean, along, factor;
  double sum, sum_along;  // of g, and of g u

  // That by the values, where g is the one by the values standardised.
  void through_standardising(double items, double inverse_deviation) {
    mean = sum / items;
    along = sum_along / items;
    factor = inverse_deviation;
  }
};

// One view: a batch [items, columns].
struct View {
  View(Arena& arena, const ck_matrix& batch, const Call& call, bool gradients);

  ck_matrix batch;
  float* values;  // [columns, items]: centred, times factor; then the gradient by the columns
  Packed packed;
  float* sums;
  double* mean;      // relative to the first row
  double* variance;  // biased
  double* factor;    // the caller's: what centred values are multiplied with
  double* largest;   // of the jobs: the largest magnitude of a gradient
};

class Columns {
 public:
  // partial: [partial_sums(batch)]
  Columns(Call& call, int threads, View& a, View& b, double* partial) : call_(call), threads_(threads), a_(a), b_(b), partial_(partial) {}

  static int64_t partial_sums(const ck_matrix& batch) { return job_count(batch.rows, items_per_job(batch.rows)) * batch.cols; }

  int64_t items() const { return a_.batch.rows; }
  int64_t count() const { return a_.batch.cols; }

  // Checks the values and takes the moments of both views.
  void measure();
  // Fills the values from the factors, and apart[k] = sum over items of the squared difference of the two views' values.
  void fill(double* apart);
  // Packs a view's values times scale, and clears its sums.
  void pack_values(View& view, double scale);

  // gather_both(k, row_a, row_b) gathers the gradients by column k of both views in two rows of scratch, [items] each; they take the place
  // of the values. scratch: [threads][2][items].
  template <class Gather>
  void gradients(double* scratch, Gather&& gather_both) {
    call_.each(threads_, job_count(count(), COLUMNS_PER_JOB), [&](int64_t job, int slot) {
      double* row = scratch + 2 * items() * slot;
      float largest_a = 0.0f, largest_b = 0.0f;
      for (int64_t k = job * COLUMNS_PER_JOB; k < smaller_of((job + 1) * COLUMNS_PER_JOB, count()); ++k) {
        const auto [by_a, by_b] = gather_both(k, row, row + items());
        largest_a = keep(a_, k, by_a, largest_a);
        largest_b = keep(b_, k, by_b, largest_b);
      }
      a_.largest[job] = largest_a;
      b_.largest[job] = largest_b;
    });
  }

  // scale * sums[k] of a view + factor * y, in g.
  ColumnGradient gather(const View& view, int64_t k, double scale, double factor, const float* y, double* g) const;

  // gradient[n, k] = weight * (gradient by columns + pull * (own - other)), own and other the batches' values. Throws
  // CK_GRADIENT_OVERFLOW before anything is written.
  void check(const View& own, const View& other, double weight, double pull, int32_t argument) const;
  void write(const View& own, const View& other, double weight, double pull, float* gradient) const;

 private:
  // At most 64 jobs, whose sums are added in order.
  static int64_t items_per_job(int64_t items) { return job_count(job_count(items, 64), 16) * 16; }
  // totals[k] = sum over items; add(first, last, sums) adds those of some items to sums [columns].
  template <class Add>
  void sum_items(double* totals, Add&& add);
  static int64_t smaller_of(int64_t a, int64_t b) { return a < b ? a : b; }
  // Instead of the view's values; returns the largest magnitude, or `largest`.
  float keep(View& view, int64_t k, const ColumnGradient& gradient, float largest) const;

  Call& call_;
  int threads_;
  View& a_;
  View& b_;
  double* partial_;
};

}  // namespace ck

#endif
