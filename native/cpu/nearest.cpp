// The k most similar rows of y for each row of x, without a matrix of similarities. A job owns some rows of x and a range of rows of y;
// every row keeps up to 2 k candidates above a threshold, which is the k-th best so far: when they are full the best k stay.
// Few rows of x are compared with ranges of y at a time, and the ranges' candidates put together.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/call.hpp"
#include "cpu/losses.hpp"

namespace ck {
namespace {

constexpr float NOTHING = -2.9e38f;  // above what stands for excluded pairs, below every similarity
constexpr double LARGEST_SIMILARITY = 2.8e38;
constexpr int64_t RANGES = 8;  // of y, at most, where x alone gives fewer jobs
constexpr int64_t LEAST_RANGE = 1536;

bool comes_before(const NearestCandidate& a, const NearestCandidate& b) {
  return a.similarity != b.similarity ? a.similarity > b.similarity : a.row < b.row;
}

void compact(const NearestPass& pass, int64_t r) {
  NearestCandidate* candidates = pass.candidates + r * pass.capacity;
  std::nth_element(candidates, candidates + pass.k - 1, candidates + pass.counts[r], comes_before);
  pass.counts[r] = static_cast<int32_t>(pass.k);
  pass.thresholds[r] = candidates[pass.k - 1].similarity;
}

// How the work is cut: by shape alone, so that the result does not depend on the number of threads.
struct Cut {
  Cut(int64_t rows, int64_t others, int64_t k) : block(block_rows(std::max(rows, others))), capacity(2 * k) {
    row_jobs = job_count(rows, block);
    ranges = std::max<int64_t>(1, std::min(std::min(RANGES / row_jobs, RANGES), others / LEAST_RANGE));
    range = job_count(job_count(others, ranges), PACK_ROWS) * PACK_ROWS;
    ranges = job_count(others, range);
  }
  int64_t block, capacity, row_jobs, ranges, range;
};

double multiply_adds(int64_t rows, int64_t others, int64_t cols) {
  return static_cast<double>(rows) * static_cast<double>(others) * static_cast<double>(cols);
}

struct Buffers {
  Buffers(Arena& arena, const ck_matrix& x_matrix, const ck_matrix& y_matrix, const Call& call, int threads, const Cut& cut, int64_t k)
      : x(arena, x_matrix, call.kernels().width, layouts(call, false), false),
        y(arena, y_matrix, call.kernels().width, COLUMNS, false),
        scratch(arena, threads),
        partner(arena.take<int32_t>(x.layout.padded_rows)),
        candidates(arena.take<NearestCandidate>(threads * cut.block * cut.capacity)),
        thresholds(arena.take<float>(threads * cut.block)),
        counts(arena.take<int32_t>(threads * cut.block)),
        best(arena.take<NearestCandidate>(cut.ranges * x_matrix.rows * k)),
        best_counts(arena.take<int32_t>(cut.ranges * x_matrix.rows)) {}

  Packed x, y;
  ScratchSet scratch;
  int32_t* partner;
  NearestCandidate* candidates;  // [threads][block][capacity]
  float* thresholds;
  int32_t* counts;
  NearestCandidate* best;  // [rows][ranges][k]
  int32_t* best_counts;    // [rows][ranges]
};

}  // namespace

void nearest(const ck_matrix& x, const ck_matrix& y, int64_t k, bool exclude_same_index, const ck_options& options, int32_t* indices,
             float* similarities) {
  Call call(options);
  const Cut cut(x.rows, y.rows, k);
  const int threads = call.threads_for(multiply_adds(x.rows, y.rows, x.cols));
  Arena measure(nullptr);
  Buffers measured(measure, x, y, call, threads, cut, k);
  Workspace workspace(measure.used());
  Arena arena(workspace.data());
  Buffers b(arena, x, y, call, threads, cut, k);
  pack(call, threads, b.x, 1.0, nullptr, 0);
  pack(call, threads, b.y, 1.0, nullptr, 1);
  if (!call.normalize() && !(b.x.largest_norm * b.y.largest_norm < LARGEST_SIMILARITY))
    throw Failure{CK_OUT_OF_RANGE, 0, -1, -1, "products of rows may not fit float32"};
  for (int64_t i = 0; i < b.x.layout.padded_rows; ++i) b.partner[i] = i < x.rows ? static_cast<int32_t>(i) : -1;

  call.each(threads, cut.row_jobs * cut.ranges, [&](int64_t job, int slot) {
    const int64_t range = job % cut.ranges;
    BlockPair pair = {};
    pair.row_first = job / cut.ranges * cut.block;
    pair.row_last = std::min(x.rows, pair.row_first + cut.block);
    pair.col_first = range * cut.range;
    pair.col_last = std::min(y.rows, pair.col_first + cut.range);
    NearestPass pass = {};
    pass.x_layout = &b.x.layout;
    pass.y_layout = &b.y.layout;
    pass.x_panels = b.x.panels;
    pass.x_grouped = b.x.grouped;
    pass.y_panels = b.y.panels;
    pass.partner = exclude_same_index ? b.partner : nullptr;
    pass.k = k;
    pass.capacity = cut.capacity;
    pass.candidates = b.candidates + slot * cut.block * cut.capacity;
    pass.thresholds = b.thresholds + slot * cut.block;
    pass.counts = b.counts + slot * cut.block;
    pass.compact = compact;
    pass.block = static_cast<int32_t>(cut.block);
    std::fill_n(pass.thresholds, cut.block, NOTHING);
    std::fill_n(pass.counts, cut.block, 0);
    call.kernels().nearest(pass, pair, b.scratch.of(slot));
    for (int64_t i = pair.row_first; i < pair.row_last; ++i) {
      const int64_t r = i - pair.row_first, place = i * cut.ranges + range;
      if (pass.counts[r] > k) compact(pass, r);
      b.best_counts[place] = pass.counts[r];
      std::copy_n(pass.candidates + r * cut.capacity, pass.counts[r], b.best + place * k);
    }
  });

  // Outputs are being written: from here on the call is not given up.
  parallel_for(threads, job_count(x.rows, PACK_ROWS), [&](int64_t job, int) {
    for (int64_t i = job * PACK_ROWS; i < std::min(x.rows, (job + 1) * PACK_ROWS); ++i) {
      NearestCandidate* first = b.best + i * cut.ranges * k;
      NearestCandidate* end = first;
      for (int64_t range = 0; range < cut.ranges; ++range) {
        const NearestCandidate* from = first + range * k;
        const int64_t count = b.best_counts[i * cut.ranges + range];
        end = from == end ? end + count : std::copy(from, from + count, end);
      }
      std::partial_sort(first, first + k, end, comes_before);
      for (int64_t place = 0; place < k; ++place) {
        indices[i * k + place] = first[place].row;
        similarities[i * k + place] = first[place].similarity;
      }
    }
  });
}

int64_t nearest_bytes(int64_t rows, int64_t others, int64_t cols, int64_t k, const ck_options& options) {
  Call call(options);
  const ck_matrix x = {nullptr, rows, cols}, y = {nullptr, others, cols};
  Arena arena(nullptr);
  Buffers buffers(arena, x, y, call, call.threads_for(multiply_adds(rows, others, cols)), Cut(rows, others, k), k);
  return Workspace::rounded(arena.used());
}

}  // namespace ck
