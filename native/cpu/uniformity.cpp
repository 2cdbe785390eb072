// Uniformity on the CPU: log mean_{i<j} exp(-t |u_i - u_j|^2), its normaliser and its coefficients in one pass over half of S.
//
// |u_i - u_j|^2 = 2 - 2 s_ij for unit rows, so e_ij = 2^(y_ij - shift) with y = 2 t log2(e) s. Where rows are not normalised
// their squares enter as a bias: y_ij - bias_i - bias_j. A total that underflows is taken again, relative to its largest term.
//
// Zero rows stay zero when normalised. Their pairs have distance 0 or 1 and no gradient: they are kept out of the pass by a
// large bias and counted apart, so that pairs of zero rows cannot push all others below the range of float32.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/call.hpp"
#include "cpu/losses.hpp"

namespace ck {
namespace {

struct Buffers {
  Buffers(Arena& arena, const ck_matrix& x, bool gradients, const Call& call, int threads)
      : packed(arena, x, call.kernels().width, layouts(call, gradients), false),
        scratch(arena, threads),
        finish(arena, x.rows, x.cols, threads),
        side(job_rows(x.rows)),
        jobs(arena.take<PairJob>(Schedule::job_count(x.rows, -1, side))),
        totals(arena.take<double>(Schedule::job_count(x.rows, -1, side))),
        turns(arena.take<std::atomic<uint32_t>>(Schedule::turn_count(x.rows, -1, side))) {
    sums = gradients ? arena.take<float>(grouped_floats(packed.layout)) : nullptr;
    bias = arena.take<float>(packed.layout.padded_rows);
    row_sums = gradients && !call.normalize() ? arena.take<double>(packed.layout.padded_rows) : nullptr;
  }

  Packed packed;
  ScratchSet scratch;
  Gradient finish;
  int64_t side;  // rows of a job
  PairJob* jobs;
  double* totals;  // one per job, added in order
  std::atomic<uint32_t>* turns;
  float* sums;
  float* bias;
  double* row_sums;  // sum_j e_ij
};

// The bias of a row that takes no part: no exponent stays above the range of float32.
constexpr double ABSENT = 1e38;

double multiply_adds(int64_t rows, int64_t cols, bool gradients) {
  return 0.5 * static_cast<double>(rows) * static_cast<double>(rows) * static_cast<double>(cols) * (gradients ? 3 : 1);
}

}  // namespace

void uniformity(const ck_matrix& x, double t, const ck_options& options, float* gradient, ck_result& result) {
  Call call(options);
  const bool gradients = gradient != nullptr;
  const int threads = call.threads_for(multiply_adds(x.rows, x.cols, gradients));
  Workspace workspace(uniformity_bytes(x.rows, x.cols, gradients, options));
  Arena arena(workspace.data());
  Buffers b(arena, x, gradients, call, threads);
  const double unit = 2.0 * t * LOG2_E;  // y = unit * s
  const double scale = std::sqrt(unit);
  pack(call, threads, b.packed, scale, nullptr, 0);

  const double largest = call.normalize() ? 1.0 : b.packed.largest_norm * b.packed.largest_norm;
  if (!(2.0 * unit * largest <= LARGEST_BOUND))
    throw Failure{CK_OUT_OF_RANGE, 0, -1, -1, "t times squared distances of rows does not fit float32"};
  const int64_t zeros = call.normalize() ? b.packed.zero_rows : 0;
  const bool biased = !call.normalize() || zeros > 0;
  if (!call.normalize()) {
    // From the arithmetic of the tiles, so that equal rows are at distance 0 exactly.
    call.each(threads, job_count(b.packed.layout.padded_rows, PACK_ROWS), [&](int64_t job, int slot) {
      call.kernels().half_squares(b.packed.layout, b.packed.panels, job * PACK_ROWS, (job + 1) * PACK_ROWS, b.scratch.of(slot).tile,
                                  b.bias);
    });
  } else if (zeros > 0) {
    for (int64_t i = 0; i < b.packed.layout.padded_rows; ++i) b.bias[i] = static_cast<float>(b.packed.norms[i] > 0.0 ? 0.5 * unit : ABSENT);
  }

  Schedule schedule(x.rows, -1, b.side, b.jobs, b.turns);
  UniformityPass pass = {};
  pass.layout = &b.packed.layout;
  pass.panels = b.packed.panels;
  pass.grouped = b.packed.grouped;
  pass.sums = b.sums;
  pass.row_sums = b.row_sums;
  pass.bias = biased ? b.bias : nullptr;
  pass.block = static_cast<int32_t>(gradients ? applied_block_rows(x.rows) : block_rows(x.rows));
  const auto total_relative_to = [&](float shift) {
    pass.shift = shift;
    if (b.row_sums != nullptr) std::fill_n(b.row_sums, b.packed.layout.padded_rows, 0.0);
    call.pairs(threads, schedule, [&](const BlockPair& pair, int64_t job, int slot) {
      b.totals[job] = call.kernels().uniformity(pass, pair, b.scratch.of(slot));
    });
    double total = 0.0;
    for (int64_t job = 0; job < schedule.count(); ++job) total += b.totals[job];
    return total;
  };

  // Without a bias the exponent of a pair is y - unit, with one it is y - bias - bias: at most 0 in either case. Where it may go
  // below the normal float32 numbers all terms are raised, because pairs at distance 0 (duplicates) can hold the total up and yet have
  // no gradient: that of the others must keep its digits. Not otherwise, since a larger exponent is a coarser one; and by no more
  // than lets float32 hold the sums of 2^headroom times scaled rows, which are as long as the root of half the range.
  const double range = 2.0 * unit * largest;
  const double most = 100.0 - std::log2(static_cast<double>(x.rows)) - 0.5 * std::log2(std::max(range, 1.0));
  const double headroom = std::max(0.0, std::min(range - 120.0, most));
  // Nor are they lowered to 1 where they are moderate numbers as they are: nothing is rounded then.
  double shift = static_cast<float>((biased || unit <= UNSHIFTED_BOUND ? 0.0 : static_cast<float>(unit)) - headroom);
  double total = total_relative_to(static_cast<float>(shift));
  if (total < std::ldexp(1.0, static_cast<int>(ROW_SUM_FLOOR)) && x.rows - zeros >= 2) {
    call.pairs(threads, schedule, [&](const BlockPair& pair, int64_t job, int slot) {
      b.totals[job] = call.kernels().uniformity_peak(pass, pair, b.scratch.of(slot));
    });
    shift = static_cast<float>(*std::max_element(b.totals, b.totals + schedule.count()) - headroom);
    total = total_relative_to(static_cast<float>(shift));
  }

  // All pairs together, in the logarithmic domain: those of the pass, and those with zero rows.
  const double offset = LN_2 * (biased ? shift : shift - unit);  // of the logarithm of the pass's terms
  double log_total = std::log(total) + offset;
  const auto add = [&](double pairs, double exponent) {
    if (pairs == 0.0) return;
    const double other = std::log(pairs) + exponent, more = std::max(log_total, other), less = std::min(log_total, other);
    log_total = more + std::log1p(std::exp(less - more));
  };
  const double zero_count = static_cast<double>(zeros);
  add(0.5 * zero_count * (zero_count - 1.0), 0.0);
  add(zero_count * static_cast<double>(x.rows - zeros), -t);

  const double rows = static_cast<double>(x.rows);
  if (gradients) {
    FinishJob job = {};
    job.data = x.data;
    job.layout = &b.packed.layout;
    job.sums = b.sums;
    job.norms = b.packed.norms;
    job.self_weight = b.row_sums;
    job.sums_scale = 1.0 / scale;
    job.scale = 2.0 * t * std::exp(offset - log_total);
    job.normalize = options.normalize;
    job.gradient = gradient;
    b.finish.check(call, threads, b.packed, job, 2.0 * total * std::sqrt(largest), 0);  // its coefficients are terms of the total
    b.finish.write(call, threads, b.packed, job);
  }
  result.loss = log_total - std::log(0.5 * rows * (rows - 1.0));
}

int64_t uniformity_bytes(int64_t rows, int64_t cols, bool gradients, const ck_options& options) {
  Call call(options);
  Arena arena(nullptr);
  const ck_matrix x = {nullptr, rows, cols};
  Buffers buffers(arena, x, gradients, call, call.threads_for(multiply_adds(rows, cols, gradients)));
  return Workspace::rounded(arena.used());
}

}  // namespace ck
