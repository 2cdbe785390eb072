// VICReg on the CPU: the covariances of each view's columns are a matrix of these columns with themselves, of which one pass over half
// sums the squares and applies the coefficients.
//
//   invariance * mean (a - b)^2
//   + variance / 2 * sum over both views of mean_k max(0, 1 - sqrt(C_kk + epsilon))
//   + covariance * sum over both views of (1/d) sum_{k != l} C_kl^2,       C_kl = a_k . a_l / (N - 1) of centred columns
//
// A view's columns are scaled by one power of two, so that neither covariances nor their squares leave the range of float32.
#include <algorithm>
#include <cmath>
#include <utility>

#include "cpu/columns.hpp"
#include "cpu/losses.hpp"

namespace ck {
namespace {

constexpr double EPSILON = 1e-4;

double multiply_adds(int64_t items, int64_t columns, bool gradients) {
  return static_cast<double>(columns) * static_cast<double>(columns) * static_cast<double>(items) * (gradients ? 3 : 1);
}

struct Buffers {
  Buffers(Arena& arena, const ck_matrix& a_batch, const ck_matrix& b_batch, const Call& call, int threads, bool gradients)
      : a(arena, a_batch, call, gradients),
        b(arena, b_batch, call, gradients),
        scratch(arena, threads),
        job(job_rows(a_batch.cols)),
        jobs(arena.take<PairJob>(Schedule::job_count(a_batch.cols, -1, job))),
        turns(arena.take<std::atomic<uint32_t>>(Schedule::turn_count(a_batch.cols, -1, job))),
        squares(arena.take<double>(a.packed.layout.padded_rows)),
        apart(arena.take<double>(a_batch.cols)),
        partial(arena.take<double>(job_count(a_batch.rows, PACK_ROWS))),
        column_sums(arena.take<double>(Columns::partial_sums(a_batch))),
        rows(gradients ? arena.take<double>(2 * a_batch.rows * threads) : nullptr) {}

  View a, b;
  ScratchSet scratch;
  int64_t job;
  PairJob* jobs;
  std::atomic<uint32_t>* turns;
  double* squares;  // of each column, above the diagonal
  double* apart;
  double* partial;
  double* column_sums;  // of columns.hpp
  double* rows;         // [threads][2][items]
};

class VicReg {
 public:
  VicReg(Call& call, Buffers& buffers, double invariance, double variance, double covariance, int threads)
      : call_(call),
        b_(buffers),
        columns_(call, threads, buffers.a, buffers.b, buffers.column_sums),
        invariance_(invariance),
        variance_(variance),
        covariance_(covariance),
        threads_(threads),
        n_(static_cast<double>(columns_.items())),
        d_(static_cast<double>(columns_.count())) {}

  void run(float* gradient_a, float* gradient_b, ck_result& result) {
    const bool gradients = gradient_a != nullptr || gradient_b != nullptr;
    columns_.measure();
    const int power_a = scale(b_.a), power_b = scale(b_.b);
    columns_.fill(b_.apart);
    double loss = invariance_ * mean_square();
    loss += hinge(b_.a) + off_diagonal(b_.a, power_a) + hinge(b_.b) + off_diagonal(b_.b, power_b);
    if (gradients) {
      columns_.gradients(b_.rows, [&](int64_t k, double* by_a, double* by_b) {
        return std::make_pair(gradient(b_.a, k, power_a, by_a), gradient(b_.b, k, power_b, by_b));
      });
      const double pull = 2.0 * invariance_ / (n_ * d_), weight = call_.options().weight;
      if (gradient_a != nullptr) columns_.check(b_.a, b_.b, weight, pull, 0);
      if (gradient_b != nullptr) columns_.check(b_.b, b_.a, weight, pull, 1);
      if (gradient_a != nullptr) columns_.write(b_.a, b_.b, weight, pull, gradient_a);
      if (gradient_b != nullptr) columns_.write(b_.b, b_.a, weight, pull, gradient_b);
    }
    result.loss = loss;
  }

 private:
  // Brings the largest deviation of a view's columns near 1 by 2^-power. Returns power.
  int scale(View& view) {
    const double largest = *std::max_element(view.variance, view.variance + columns_.count());
    const int power = largest > 0.0 ? std::ilogb(std::sqrt(largest)) : 0;
    std::fill_n(view.factor, columns_.count(), std::ldexp(1.0, -power));
    return power;
  }

  double mean_square() const {
    const int64_t items = columns_.items(), count = columns_.count(), jobs = job_count(items, PACK_ROWS);
    call_.each(threads_, jobs, [&](int64_t job, int) {
      double sum = 0.0;
      for (int64_t i = job * PACK_ROWS * count; i < std::min(items, (job + 1) * PACK_ROWS) * count; ++i) {
        const double difference = static_cast<double>(b_.a.batch.data[i]) - b_.b.batch.data[i];
        sum += difference * difference;
      }
      b_.partial[job] = sum;
    });
    double sum = 0.0;
    for (int64_t job = 0; job < jobs; ++job) sum += b_.partial[job];
    return sum / (n_ * d_);
  }

  double deviation(const View& view, int64_t k) const { return std::sqrt(view.variance[k] * n_ / (n_ - 1.0) + EPSILON); }

  double hinge(const View& view) const {
    double sum = 0.0;
    for (int64_t k = 0; k < columns_.count(); ++k) sum += std::max(0.0, 1.0 - deviation(view, k));
    return variance_ * sum / (2.0 * d_);
  }

  // covariance / d times the sum of the squares off the diagonal, twice those above it; and the sums of the gradient.
  double off_diagonal(View& view, int power) {
    columns_.pack_values(view, 1.0 / std::sqrt(n_ - 1.0));
    std::fill_n(b_.squares, view.packed.layout.padded_rows, 0.0);
    ContrastPass pass = {};
    pass.rows.layout = &view.packed.layout;
    pass.rows.panels = view.packed.panels;
    pass.rows.grouped = view.packed.grouped;
    pass.rows.sums = view.sums;
    pass.rows.totals = b_.squares;
    pass.cols = pass.rows;
    const int64_t count = columns_.count();
    pass.block = static_cast<int32_t>(view.sums != nullptr ? applied_block_rows(count) : block_rows(count));
    Schedule schedule(columns_.count(), -1, b_.job, b_.jobs, b_.turns);
    call_.pairs(threads_, schedule, [&](const BlockPair& pair, int64_t, int slot) {
      call_.kernels().contrast.squared_products(pass, 1.0f, pair, b_.scratch.of(slot));
    });
    double sum = 0.0;
    for (int64_t k = 0; k < columns_.count(); ++k) sum += b_.squares[k];
    return covariance_ * 2.0 * std::ldexp(sum, 4 * power) / d_;
  }

  ColumnGradient gradient(const View& view, int64_t k, int power, double* g) const {
    const double own = deviation(view, k);
    const double slope = own >= 1.0 ? 0.0 : -variance_ / (2.0 * d_ * (n_ - 1.0) * own) * std::ldexp(1.0, power);
    // Three factors of the scaled columns: two in the covariance, one that it is applied to.
    const double scale = 4.0 * covariance_ / d_ * std::ldexp(1.0 / std::sqrt(n_ - 1.0), 3 * power);
    return columns_.gather(view, k, scale, slope, view.values + k * columns_.items(), g);
  }

  Call& call_;
  Buffers& b_;
  Columns columns_;
  double invariance_, variance_, covariance_;
  int threads_;
  double n_, d_;
};

}  // namespace

void vic_reg(const ck_matrix& a, const ck_matrix& b, double invariance, double variance, double covariance, const ck_options& options,
             float* gradient_a, float* gradient_b, ck_result& result) {
  Call call(options);
  const bool gradients = gradient_a != nullptr || gradient_b != nullptr;
  const int threads = call.threads_for(multiply_adds(a.rows, a.cols, gradients));
  Workspace workspace(vic_reg_bytes(a.rows, a.cols, gradients, options));
  Arena arena(workspace.data());
  Buffers buffers(arena, a, b, call, threads, gradients);
  VicReg(call, buffers, invariance, variance, covariance, threads).run(gradient_a, gradient_b, result);
}

int64_t vic_reg_bytes(int64_t items, int64_t columns, bool gradients, const ck_options& options) {
  Call call(options);
  Arena arena(nullptr);
  const ck_matrix batch = {nullptr, items, columns};
  Buffers buffers(arena, batch, batch, call, call.threads_for(multiply_adds(items, columns, gradients)), gradients);
  return Workspace::rounded(arena.used());
}

}  // namespace ck
