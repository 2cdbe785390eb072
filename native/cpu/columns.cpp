// See columns.hpp.
#include "cpu/columns.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace ck {
namespace {

constexpr int64_t ITEMS_PER_STEP = 16;  // one cache line of a column

struct Range {
  Range(int64_t job, int64_t per_job, int64_t count) : first(job * per_job), last(std::min(count, first + per_job)) {}
  int64_t first, last;
};

}  // namespace

View::View(Arena& arena, const ck_matrix& given, const Call& call, bool left, bool right, bool gradients)
    : batch(given),
      values(arena.take<float>(given.rows * given.cols)),
      packed(arena, {values, given.cols, given.rows}, call.kernels().width, left, right, false),
      sums(gradients ? arena.take<float>(left_floats(packed.layout)) : nullptr),
      mean(arena.take<double>(given.cols)),
      variance(arena.take<double>(given.cols)),
      factor(arena.take<double>(given.cols)),
      largest(arena.take<double>(job_count(given.cols, COLUMNS_PER_JOB))) {}

void Columns::measure() {
  int32_t argument = 0;
  for (const View* view : {&a_, &b_}) {
    const ck_matrix& x = view->batch;
    std::atomic<bool> finite{true};
    call_.each(threads_, job_count(x.rows, PACK_ROWS), [&](int64_t job, int) {
      const Range rows(job, PACK_ROWS, x.rows);
      for (int64_t i = rows.first * x.cols; i < rows.last * x.cols; ++i)
        if (!std::isfinite(x.data[i])) return finite.store(false, std::memory_order_relaxed);
    });
    for (int64_t n = 0; n < x.rows && !finite; ++n)
      for (int64_t k = 0; k < x.cols; ++k)
        if (!std::isfinite(x.data[n * x.cols + k])) fail_non_finite(x.data, x.cols, n, argument);
    ++argument;
    call_.each(threads_, job_count(x.cols, COLUMNS_PER_JOB), [&](int64_t job, int) {
      const Range columns(job, COLUMNS_PER_JOB, x.cols);
      double* mean = view->mean;
      double* variance = view->variance;
      for (int64_t k = columns.first; k < columns.last; ++k) mean[k] = variance[k] = 0.0;
      for (int64_t n = 1; n < x.rows; ++n)
        for (int64_t k = columns.first; k < columns.last; ++k) mean[k] += static_cast<double>(x.data[n * x.cols + k]) - x.data[k];
      for (int64_t k = columns.first; k < columns.last; ++k) mean[k] /= static_cast<double>(x.rows);
      for (int64_t n = 0; n < x.rows; ++n)
        for (int64_t k = columns.first; k < columns.last; ++k) {
          const double centred = (static_cast<double>(x.data[n * x.cols + k]) - x.data[k]) - mean[k];
          variance[k] += centred * centred;
        }
      for (int64_t k = columns.first; k < columns.last; ++k) variance[k] /= static_cast<double>(x.rows);
    });
  }
}

void Columns::fill(double* apart) {
  call_.each(threads_, job_count(count(), COLUMNS_PER_JOB), [&](int64_t job, int) {
    const Range columns(job, COLUMNS_PER_JOB, count());
    const auto value = [&](const View& view, int64_t n, int64_t k) {
      const float* x = view.batch.data;
      return ((static_cast<double>(x[n * count() + k]) - x[k]) - view.mean[k]) * view.factor[k];
    };
    for (int64_t k = columns.first; k < columns.last; ++k) apart[k] = 0.0;
    for (int64_t first = 0; first < items(); first += ITEMS_PER_STEP)
      for (int64_t k = columns.first; k < columns.last; ++k) {
        double sum = 0.0;
        for (int64_t n = first; n < std::min(items(), first + ITEMS_PER_STEP); ++n) {
          const double a = value(a_, n, k), b = value(b_, n, k);
          a_.values[k * items() + n] = static_cast<float>(a);
          b_.values[k * items() + n] = static_cast<float>(b);
          sum += (a - b) * (a - b);
        }
        apart[k] += sum;
      }
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
    job.left = view.packed.left;
    job.right = view.packed.right;
    job.norms = view.packed.norms;
    job.sums = view.sums;
    call_.kernels().pack(&job);
  });
}

void Columns::read_sums(const View& view, int64_t k, double scale, double* row) {
  const Layout& layout = view.packed.layout;
  const float* sums = view.sums + k / GROUP * layout.group_stride + k % GROUP * layout.width;
  for (int64_t first = 0; first < layout.cols; first += layout.width, sums += GROUP * layout.width)
    for (int64_t n = 0; n < std::min<int64_t>(layout.width, layout.cols - first); ++n) row[first + n] = sums[n] * scale;
}

void Columns::keep(View& view, int64_t k, const double* row, double& largest) {
  const int64_t items = view.batch.rows;
  float* out = view.values + k * items;
  for (int64_t n = 0; n < items; ++n) {
    largest = std::max(largest, std::fabs(row[n]));
    out[n] = static_cast<float>(row[n]);
  }
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
  parallel_for(threads_, job_count(items(), ITEMS_PER_STEP), [&](int64_t job, int) {
    const Range rows(job, ITEMS_PER_STEP, items());
    for (int64_t first = 0; first < count(); first += COLUMNS_PER_JOB)
      for (int64_t n = rows.first; n < rows.last; ++n)
        for (int64_t k = first; k < std::min(count(), first + COLUMNS_PER_JOB); ++k) {
          const int64_t i = n * count() + k;
          double value = own.values[k * items() + n];
          if (pull != 0.0) value += pull * (static_cast<double>(own.batch.data[i]) - other.batch.data[i]);
          gradient[i] = static_cast<float>(weight * value);
        }
  });
}

}  // namespace ck
