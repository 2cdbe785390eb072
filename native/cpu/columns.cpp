// See columns.hpp.
#include "cpu/columns.hpp"

#include <algorithm>
#include <cmath>

namespace ck {
namespace {

constexpr int64_t WRITTEN_PER_JOB = 16;  // items: whole lines of a column

}  // namespace

View::View(Arena& arena, const ck_matrix& given, const Call& call, bool gradients)
    : batch(given),
      values(arena.take<float>(given.rows * given.cols)),
      packed(arena, {values, given.cols, given.rows}, call.kernels().width, layouts(call, gradients), false),
      sums(gradients ? arena.take<float>(grouped_floats(packed.layout)) : nullptr),
      mean(arena.take<double>(given.cols)),
      variance(arena.take<double>(given.cols)),
      factor(arena.take<double>(given.cols)),
      largest(arena.take<double>(job_count(given.cols, COLUMNS_PER_JOB))) {}

template <class Add>
void Columns::sum_items(double* totals, Add&& add) {
  const int64_t per_job = items_per_job(items()), jobs = job_count(items(), per_job);
  call_.each(threads_, jobs, [&](int64_t job, int) {
    double* sums = partial_ + job * count();
    std::fill_n(sums, count(), 0.0);
    add(job * per_job, std::min(items(), (job + 1) * per_job), sums);
  });
  for (int64_t k = 0; k < count(); ++k) {
    totals[k] = 0.0;
    for (int64_t job = 0; job < jobs; ++job) totals[k] += partial_[job * count() + k];
  }
}

void Columns::measure() {
  int32_t argument = 0;
  for (const View* view : {&a_, &b_}) {
    const float* x = view->batch.data;
    const auto average = [&](const double* mean, double* totals) {
      sum_items(totals, [&](int64_t first, int64_t last, double* sums) {
        call_.kernels().columns.sums({x, count(), mean, first, last, sums});
      });
      for (int64_t k = 0; k < count(); ++k) totals[k] /= static_cast<double>(items());
    };
    average(nullptr, view->mean);
    // Sums of float32 numbers do not overflow double: one that is not finite holds a value that is not.
    if (!std::all_of(view->mean, view->mean + count(), [](double mean) { return std::isfinite(mean); }))
      for (int64_t n = 0; n < items(); ++n)
        for (int64_t k = 0; k < count(); ++k)
          if (!std::isfinite(x[n * count() + k])) fail_non_finite(x, count(), n, argument);
    ++argument;
    average(view->mean, view->variance);
  }
}

void Columns::fill(double* apart) {
  const auto view = [](const View& of) -> ColumnView { return {of.batch.data, of.mean, of.factor, of.values}; };
  sum_items(apart, [&](int64_t first, int64_t last, double* sums) {
    call_.kernels().columns.fill({view(a_), view(b_), items(), count(), first, last, sums});
  });
}

void Columns::pack_values(View& view, double scale) {
  call_.each(threads_, job_count(view.packed.layout.padded_rows, PACK_ROWS), [&](int64_t index, int) {
    PackJob job = {};
    job.data = view.values;
    job.layout = &view.packed.layout;
    job.first = index * PACK_ROWS;
    job.last = job.first + PACK_ROWS;
    job.scale = scale;
    job.panels = view.packed.panels;
    job.grouped = view.packed.grouped;
    job.norms = view.packed.norms;
    job.sums = view.sums;
    call_.kernels().pack(&job);
  });
}

ColumnGradient Columns::gather(const View& view, int64_t k, double scale, double factor, const float* y, double* g) const {
  const Layout& layout = view.packed.layout;
  ColumnGatherJob job = {};
  job.sums = view.sums + k / GROUP * layout.group_stride + k % GROUP * layout.width;
  job.step = GROUP * layout.width;
  job.width = layout.width;
  job.items = items();
  job.scale = scale;
  job.factor = factor;
  job.y = y;
  job.u = view.values + k * items();
  job.g = g;
  call_.kernels().columns.gather(job);
  return {g, 0.0, 0.0, 1.0, job.total, job.along};
}

float Columns::keep(View& view, int64_t k, const ColumnGradient& gradient, float largest) const {
  float* values = view.values + k * items();
  ColumnKeepJob job = {gradient.g, values, items(), gradient.mean, gradient.along, gradient.factor, values, largest};
  call_.kernels().columns.keep(job);
  return job.largest;
}

void Columns::check(const View& own, const View& other, double weight, double pull, int32_t argument) const {
  double largest = 0.0, apart = 0.0;
  for (int64_t job = 0; job < job_count(count(), COLUMNS_PER_JOB); ++job) largest = std::max(largest, own.largest[job]);
  for (int64_t i = 0; pull != 0.0 && i < items() * count(); ++i)
    apart = std::max(apart, std::fabs(static_cast<double>(own.batch.data[i]) - other.batch.data[i]));
  if (std::fabs(weight) * (largest + std::fabs(pull) * apart) < LARGEST_FLOAT) return;
  for (int64_t n = 0; n < items(); ++n)
    for (int64_t k = 0; k < count(); ++k) {
      const int64_t i = n * count() + k;
      const double value = own.values[k * items() + n] + pull * (static_cast<double>(own.batch.data[i]) - other.batch.data[i]);
      if (!(std::fabs(weight * value) <= LARGEST_FLOAT)) throw Failure{CK_GRADIENT_OVERFLOW, argument, n, -1, ""};
    }
}

void Columns::write(const View& own, const View& other, double weight, double pull, float* gradient) const {
  parallel_for(threads_, job_count(items(), WRITTEN_PER_JOB), [&](int64_t job, int) {
    const int64_t first = job * WRITTEN_PER_JOB, last = std::min(items(), first + WRITTEN_PER_JOB);
    call_.kernels().columns.write({own.values, own.batch.data, other.batch.data, items(), count(), first, last, weight, pull, gradient});
  });
}

}  // namespace ck
