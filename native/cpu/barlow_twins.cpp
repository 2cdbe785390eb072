// Barlow Twins on the CPU: columns of the two views, standardised, as rows of two matrices, and one pass over their correlations that
// sums the squares of those off the diagonal and applies their coefficients to both sides.
//
//   c_kl = a_k . b_l / N,   loss = sum_k (1 - c_kk)^2 + lambda sum_{k != l} c_kl^2
//
// The diagonal is taken in double and without the subtraction, which would lose the digits of matching columns:
//   1 - c_kk = ( mean (a_k - b_k)^2 + epsilon / sigma_a^2 + epsilon / sigma_b^2 ) / 2
#include <algorithm>
#include <cmath>
#include <utility>

#include "cpu/columns.hpp"
#include "cpu/losses.hpp"

namespace ck {
namespace {

constexpr double EPSILON = 1e-5;

double multiply_adds(int64_t items, int64_t columns, bool gradients) {
  return static_cast<double>(columns) * static_cast<double>(columns) * static_cast<double>(items) * (gradients ? 3 : 1);
}

struct Buffers {
  Buffers(Arena& arena, const ck_matrix& a_batch, const ck_matrix& b_batch, const Call& call, int threads, bool gradients)
      : a(arena, a_batch, call, gradients),
        b(arena, b_batch, call, gradients),
        scratch(arena, threads),
        job(job_rows(a_batch.cols)),
        jobs(arena.take<PairJob>(Schedule::job_count(a_batch.cols, a_batch.cols, job))),
        turns(arena.take<std::atomic<uint32_t>>(Schedule::turn_count(a_batch.cols, a_batch.cols, job))),
        partner(arena.take<int32_t>(a.packed.layout.padded_rows)),
        squares(arena.take<double>(a.packed.layout.padded_rows)),
        missing(arena.take<double>(a_batch.cols)),
        partial(arena.take<double>(Columns::partial_sums(a_batch))),
        rows(gradients ? arena.take<double>(2 * a_batch.rows * threads) : nullptr) {}

  View a, b;
  ScratchSet scratch;
  int64_t job;
  PairJob* jobs;
  std::atomic<uint32_t>* turns;
  int32_t* partner;  // the diagonal
  double* squares;   // of each column of a, off the diagonal
  double* missing;   // 1 - c_kk
  double* partial;   // of columns.hpp
  double* rows;      // [threads][2][items]
};

}  // namespace

void barlow_twins(const ck_matrix& a, const ck_matrix& b, double lambda, const ck_options& options, float* gradient_a, float* gradient_b,
                  ck_result& result) {
  Call call(options);
  const bool gradients = gradient_a != nullptr || gradient_b != nullptr;
  const int threads = call.threads_for(multiply_adds(a.rows, a.cols, gradients));
  Workspace workspace(barlow_twins_bytes(a.rows, a.cols, gradients, options));
  Arena arena(workspace.data());
  Buffers buffers(arena, a, b, call, threads, gradients);
  View &va = buffers.a, &vb = buffers.b;
  Columns columns(call, threads, va, vb, buffers.partial);
  const int64_t items = columns.items(), count = columns.count();
  const double n = static_cast<double>(items);

  columns.measure();
  for (View* view : {&va, &vb})
    for (int64_t k = 0; k < count; ++k) view->factor[k] = 1.0 / std::sqrt(view->variance[k] + EPSILON);
  columns.fill(buffers.missing);
  for (int64_t k = 0; k < count; ++k)
    buffers.missing[k] = 0.5 * (buffers.missing[k] / n + EPSILON * va.factor[k] * va.factor[k] + EPSILON * vb.factor[k] * vb.factor[k]);
  const double scale = 1.0 / std::sqrt(n);
  columns.pack_values(va, scale);
  columns.pack_values(vb, scale);

  ContrastPass pass = {};
  pass.rows.layout = &va.packed.layout;
  pass.rows.panels = va.packed.panels;
  pass.rows.grouped = va.packed.grouped;
  pass.rows.sums = va.sums;
  pass.rows.totals = buffers.squares;
  pass.cols.layout = &vb.packed.layout;
  pass.cols.panels = vb.packed.panels;
  pass.cols.grouped = vb.packed.grouped;
  pass.cols.sums = vb.sums;
  pass.partner = buffers.partner;
  pass.block = static_cast<int32_t>(gradients ? applied_block_rows(count) : block_rows(count));
  for (int64_t k = 0; k < va.packed.layout.padded_rows; ++k) {
    buffers.partner[k] = k < count ? static_cast<int32_t>(k) : -1;
    buffers.squares[k] = 0.0;
  }
  Schedule schedule(count, count, buffers.job, buffers.jobs, buffers.turns);
  call.pairs(threads, schedule, [&](const BlockPair& pair, int64_t, int slot) {
    call.kernels().contrast.squared_products(pass, static_cast<float>(2.0 * lambda), pair, buffers.scratch.of(slot));
  });

  double diagonal = 0.0, others = 0.0;
  for (int64_t k = 0; k < count; ++k) {
    diagonal += buffers.missing[k] * buffers.missing[k];
    others += buffers.squares[k];
  }
  if (gradients) {
    columns.gradients(buffers.rows, [&](int64_t k, double* by_a, double* by_b) {
      const double own = -2.0 * buffers.missing[k] / n;
      ColumnGradient a_gradient = columns.gather(va, k, scale, own, vb.values + k * items, by_a);
      ColumnGradient b_gradient = columns.gather(vb, k, scale, own, va.values + k * items, by_b);
      a_gradient.through_standardising(n, va.factor[k]);
      b_gradient.through_standardising(n, vb.factor[k]);
      return std::make_pair(a_gradient, b_gradient);
    });
    if (gradient_a != nullptr) columns.check(va, vb, options.weight, 0.0, 0);
    if (gradient_b != nullptr) columns.check(vb, va, options.weight, 0.0, 1);
    if (gradient_a != nullptr) columns.write(va, vb, options.weight, 0.0, gradient_a);
    if (gradient_b != nullptr) columns.write(vb, va, options.weight, 0.0, gradient_b);
  }
  result.loss = diagonal + lambda * others;
}

int64_t barlow_twins_bytes(int64_t items, int64_t columns, bool gradients, const ck_options& options) {
  Call call(options);
  Arena arena(nullptr);
  const ck_matrix batch = {nullptr, items, columns};
  Buffers buffers(arena, batch, batch, call, call.threads_for(multiply_adds(items, columns, gradients)), gradients);
  return Workspace::rounded(arena.used());
}

}  // namespace ck
