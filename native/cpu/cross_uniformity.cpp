// Uniformity across two sets on the CPU: log mean over all (i, j) of exp(-t |u_i - v_j|^2), its normaliser and its coefficients in one
// pass. As in uniformity.cpp the exponent is y - bias - bias with y = 2 t log2(e) s and the squares as biases where rows are not
// normalised; zero rows, which stay zero, are kept out of the pass by a large bias and counted apart.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/contrast.hpp"
#include "cpu/losses.hpp"

namespace ck {
namespace {

// The bias of a row that takes no part: no exponent stays above the range of float32, and two of them stay inside it.
constexpr float ABSENT = 3e37f;

double multiply_adds(int64_t rows, int64_t others, int64_t cols, bool gradients) {
  return static_cast<double>(rows) * static_cast<double>(others) * static_cast<double>(cols) * (gradients ? 3 : 1);
}

struct Side {
  Side(Arena& arena, const ck_matrix& matrix, const Call& call, int threads, bool gradients)
      : packed(arena, matrix, call.kernels().width, layouts(call, gradients), false),
        finish(arena, matrix.rows, matrix.cols, threads),
        sums(gradients ? arena.take<float>(grouped_floats(packed.layout)) : nullptr),
        bias(arena.take<float>(packed.layout.padded_rows)),
        totals(arena.take<double>(packed.layout.padded_rows)),
        pull(arena.take<double>(matrix.rows)) {}

  int64_t rows() const { return packed.layout.rows; }

  Packed packed;
  PairGradient finish;
  float* sums;
  float* bias;
  double* totals;  // sum of the coefficients of each row
  double* pull;    // minus that: what pulls a row to itself
};

struct Buffers {
  Buffers(Arena& arena, const ck_matrix& x_matrix, const ck_matrix& y_matrix, const Call& call, int threads, bool gradients)
      : x(arena, x_matrix, call, threads, gradients),
        y(arena, y_matrix, call, threads, gradients),
        scratch(arena, threads),
        job(job_rows(std::max(x_matrix.rows, y_matrix.rows))),
        jobs(arena.take<PairJob>(Schedule::job_count(x_matrix.rows, y_matrix.rows, job))),
        peaks(arena.take<float>(Schedule::job_count(x_matrix.rows, y_matrix.rows, job))),
        turns(arena.take<std::atomic<uint32_t>>(Schedule::turn_count(x_matrix.rows, y_matrix.rows, job))) {}

  Side x, y;
  ScratchSet scratch;
  int64_t job;
  PairJob* jobs;
  float* peaks;
  std::atomic<uint32_t>* turns;
};

class CrossUniformity {
 public:
  CrossUniformity(Call& call, Buffers& buffers, double t, int threads, bool gradients)
      : call_(call),
        b_(buffers),
        t_(t),
        unit_(2.0 * t * LOG2_E),
        threads_(threads),
        gradients_(gradients),
        schedule_(buffers.x.rows(), buffers.y.rows(), buffers.job, buffers.jobs, buffers.turns) {}

  void run(float* gradient_x, float* gradient_y, ck_result& result) {
    pack(call_, threads_, b_.x.packed, std::sqrt(unit_), nullptr, 0);
    pack(call_, threads_, b_.y.packed, std::sqrt(unit_), nullptr, 1);
    const double distance = call_.normalize() ? 2.0 : b_.x.packed.largest_norm + b_.y.packed.largest_norm;
    const double range = 0.5 * unit_ * distance * distance;  // of the exponents
    if (!(range <= LARGEST_BOUND)) throw Failure{CK_OUT_OF_RANGE, 0, -1, -1, "t times squared distances of rows does not fit float32"};
    const double zeros_x = call_.normalize() ? static_cast<double>(b_.x.packed.zero_rows) : 0.0;
    const double zeros_y = call_.normalize() ? static_cast<double>(b_.y.packed.zero_rows) : 0.0;
    const double rows_x = static_cast<double>(b_.x.rows()), rows_y = static_cast<double>(b_.y.rows());
    const bool biased = !call_.normalize() || zeros_x + zeros_y > 0.0;
    take_bias(b_.x, biased);
    take_bias(b_.y, biased);

    // See uniformity.cpp: raised where pairs at distance 0 would push the others below the normal float32 numbers.
    const double most = 100.0 - std::log2(std::max(rows_x, rows_y)) - 0.5 * std::log2(std::max(range, 1.0));
    const double headroom = std::max(0.0, std::min(range - 120.0, most));
    const double pairs = (rows_x - zeros_x) * (rows_y - zeros_y);
    float shift = static_cast<float>((biased ? 0.0 : static_cast<float>(unit_)) - headroom);
    double total = total_relative_to(shift);
    if (total < std::ldexp(1.0, static_cast<int>(ROW_SUM_FLOOR)) && pairs > 0.0) {
      shift = static_cast<float>(peak() - headroom);
      total = total_relative_to(shift);
    }
    const double offset = LN_2 * (biased ? shift : shift - unit_);
    double log_total = std::log(total) + offset;
    const auto add = [&](double count, double exponent) {
      if (count == 0.0) return;
      const double other = std::log(count) + exponent, more = std::max(log_total, other), less = std::min(log_total, other);
      log_total = more + std::log1p(std::exp(less - more));
    };
    add(zeros_x * zeros_y, 0.0);
    add(zeros_x * (rows_y - zeros_y) + zeros_y * (rows_x - zeros_x), -t_);
    if (gradients_) {
      const double scale = 2.0 * t_ * std::exp(offset - log_total);
      const FinishPairsJob of_x = job(b_.x, scale, gradient_x), of_y = job(b_.y, scale, gradient_y);
      const double largest = 2.0 * total * distance;  // the coefficients are terms of the total
      if (gradient_x != nullptr) b_.x.finish.check(call_, threads_, b_.x.packed, of_x, largest, 0);
      if (gradient_y != nullptr) b_.y.finish.check(call_, threads_, b_.y.packed, of_y, largest, 1);
      if (gradient_x != nullptr) b_.x.finish.write(call_, threads_, b_.x.packed, of_x);
      if (gradient_y != nullptr) b_.y.finish.write(call_, threads_, b_.y.packed, of_y);
    }
    result.loss = log_total - std::log(rows_x * rows_y);
  }

 private:
  void take_bias(Side& side, bool biased) {
    const int64_t padded = side.packed.layout.padded_rows;
    if (!call_.normalize()) {
      // From the arithmetic of the tiles, so that equal rows are at distance 0 exactly.
      call_.each(threads_, job_count(padded, PACK_ROWS), [&](int64_t job, int slot) {
        call_.kernels().half_squares(side.packed.layout, side.packed.panels, job * PACK_ROWS, (job + 1) * PACK_ROWS,
                                     b_.scratch.of(slot).tile, side.bias);
      });
      return;
    }
    for (int64_t i = 0; i < padded; ++i)
      side.bias[i] = i >= side.rows() || !biased ? 0.0f : side.packed.norms[i] > 0.0 ? static_cast<float>(0.5 * unit_) : ABSENT;
  }

  ContrastPass pass() const {
    const auto of = [](const Side& side) {
      ContrastSide result = {};
      result.layout = &side.packed.layout;
      result.panels = side.packed.panels;
      result.grouped = side.packed.grouped;
      result.sums = side.sums;
      result.totals = side.totals;
      result.weights = side.bias;
      return result;
    };
    ContrastPass pass = {};
    pass.rows = of(b_.x);
    pass.cols = of(b_.y);
    const int64_t rows = std::max(b_.x.rows(), b_.y.rows());
    pass.block = static_cast<int32_t>(gradients_ ? applied_block_rows(rows) : block_rows(rows));
    return pass;
  }

  double total_relative_to(float shift) {
    for (const Side* side : {&b_.x, &b_.y}) {
      std::fill_n(side->totals, side->packed.layout.padded_rows, 0.0);
      if (gradients_) std::memset(side->sums, 0, sizeof(float) * static_cast<size_t>(grouped_floats(side->packed.layout)));
    }
    ContrastPass pass = this->pass();
    pass.shift = shift;
    call_.pairs(threads_, schedule_, [&](const BlockPair& pair, int64_t, int slot) {
      call_.kernels().contrast.cross_uniformity(pass, pair, b_.scratch.of(slot));
    });
    double total = 0.0;
    for (int64_t i = 0; i < b_.x.rows(); ++i) total += b_.x.totals[i];
    return total;
  }

  double peak() {
    const ContrastPass pass = this->pass();
    call_.pairs(threads_, schedule_, [&](const BlockPair& pair, int64_t job, int slot) {
      b_.peaks[job] = call_.kernels().contrast.cross_uniformity_peak(pass, pair, b_.scratch.of(slot));
    });
    return *std::max_element(b_.peaks, b_.peaks + schedule_.count());
  }

  FinishPairsJob job(Side& side, double scale, float* gradient) const {
    FinishPairsJob job = side.finish.job(side.packed, side.sums);
    job.sums_scale = 1.0 / std::sqrt(unit_);
    job.scale = scale;
    job.normalize = call_.options().normalize;
    job.gradient = gradient;
    if (call_.normalize()) return job;  // what pulls a row to itself has no part along the sphere
    for (int64_t i = 0; i < side.rows(); ++i) side.pull[i] = -side.totals[i];
    PairList& self = job.lists[job.list_count++];
    self.each = self.divide = 1;
    self.count = side.rows();
    self.coefficient = side.pull;
    self.data = side.packed.matrix.data;
    self.norms = side.packed.norms;
    return job;
  }

  Call& call_;
  Buffers& b_;
  double t_;
  double unit_;  // y = unit * s
  int threads_;
  bool gradients_;
  Schedule schedule_;
};

}  // namespace

void cross_uniformity(const ck_matrix& x, const ck_matrix& y, double t, const ck_options& options, float* gradient_x, float* gradient_y,
                      ck_result& result) {
  Call call(options);
  const bool gradients = gradient_x != nullptr || gradient_y != nullptr;
  const int threads = call.threads_for(multiply_adds(x.rows, y.rows, x.cols, gradients));
  Workspace workspace(cross_uniformity_bytes(x.rows, y.rows, x.cols, gradients, options));
  Arena arena(workspace.data());
  Buffers buffers(arena, x, y, call, threads, gradients);
  CrossUniformity(call, buffers, t, threads, gradients).run(gradient_x, gradient_y, result);
}

int64_t cross_uniformity_bytes(int64_t rows, int64_t others, int64_t cols, bool gradients, const ck_options& options) {
  Call call(options);
  Arena arena(nullptr);
  const ck_matrix x = {nullptr, rows, cols}, y = {nullptr, others, cols};
  Buffers buffers(arena, x, y, call, call.threads_for(multiply_adds(rows, others, cols, gradients)), gradients);
  return Workspace::rounded(arena.used());
}

}  // namespace ck
