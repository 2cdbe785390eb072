// See columns.hpp.
#include "cpu/columns.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace ck {
namespace {

// Batches are transposed in squares: a line of a column is 16 items, and columns lie a power of two apart as often as not, so that
// each line must be read or written once and whole.
constexpr int64_t SQUARE = 16;

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

template <class Add>
void Columns::sum_items(double* totals, Add&& add) {
  const int64_t per_job = items_per_job(items()), jobs = job_count(items(), per_job);
  call_.each(threads_, jobs, [&](int64_t job, int) {
    const Range rows(job, per_job, items());
    double* sums = partial_ + job * count();
    std::fill_n(sums, count(), 0.0);
    add(rows.first, rows.last, sums);
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
    const int64_t cols = count();
    std::atomic<bool> finite{true};
    sum_items(view->mean, [&](int64_t first, int64_t last, double* sums) {
      int bad = 0;
      for (int64_t n = first; n < last; ++n)
        for (int64_t k = 0; k < cols; ++k) {
          const float value = x[n * cols + k];
          bad |= !(std::fabs(value) <= 3.4028234663852886e38f);
          sums[k] += static_cast<double>(value) - x[k];
        }
      if (bad) finite.store(false, std::memory_order_relaxed);
    });
    for (int64_t n = 0; n < items() && !finite; ++n)
      for (int64_t k = 0; k < cols; ++k)
        if (!std::isfinite(x[n * cols + k])) fail_non_finite(x, cols, n, argument);
    ++argument;
    for (int64_t k = 0; k < cols; ++k) view->mean[k] /= static_cast<double>(items());
    sum_items(view->variance, [&](int64_t first, int64_t last, double* sums) {
      for (int64_t n = first; n < last; ++n)
        for (int64_t k = 0; k < cols; ++k) {
          const double centred = (static_cast<double>(x[n * cols + k]) - x[k]) - view->mean[k];
          sums[k] += centred * centred;
        }
    });
    for (int64_t k = 0; k < cols; ++k) view->variance[k] /= static_cast<double>(items());
  }
}

void Columns::fill(double* apart) {
  const int64_t cols = count();
  const auto value = [cols](const View& view, int64_t n, int64_t k) {
    const float* x = view.batch.data;
    return ((static_cast<double>(x[n * cols + k]) - x[k]) - view.mean[k]) * view.factor[k];
  };
  sum_items(apart, [&](int64_t first, int64_t last, double* sums) {
    float of_a[SQUARE][SQUARE], of_b[SQUARE][SQUARE];
    for (int64_t row = first; row < last; row += SQUARE)
      for (int64_t col = 0; col < cols; col += SQUARE) {
        const int64_t height = std::min(SQUARE, last - row), width = std::min(SQUARE, cols - col);
        for (int64_t n = 0; n < height; ++n)
          for (int64_t k = 0; k < width; ++k) {
            const double a = value(a_, row + n, col + k), b = value(b_, row + n, col + k);
            of_a[n][k] = static_cast<float>(a);
            of_b[n][k] = static_cast<float>(b);
            sums[col + k] += (a - b) * (a - b);
          }
        for (int64_t k = 0; k < width; ++k)
          for (int64_t n = 0; n < height; ++n) {
            a_.values[(col + k) * items() + row + n] = of_a[n][k];
            b_.values[(col + k) * items() + row + n] = of_b[n][k];
          }
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
  const int64_t cols = count();
  parallel_for(threads_, job_count(items(), SQUARE), [&](int64_t job, int) {
    const Range rows(job, SQUARE, items());
    float square[SQUARE][SQUARE];
    for (int64_t col = 0; col < cols; col += SQUARE) {
      const int64_t height = rows.last - rows.first, width = std::min(SQUARE, cols - col);
      for (int64_t k = 0; k < width; ++k)
        for (int64_t n = 0; n < height; ++n) square[n][k] = own.values[(col + k) * items() + rows.first + n];
      for (int64_t n = 0; n < height; ++n)
        for (int64_t k = 0; k < width; ++k) {
          const int64_t i = (rows.first + n) * cols + col + k;
          const double apart = pull == 0.0 ? 0.0 : pull * (static_cast<double>(own.batch.data[i]) - other.batch.data[i]);
          gradient[i] = static_cast<float>(weight * (square[n][k] + apart));
        }
    }
  });
}

}  // namespace ck
