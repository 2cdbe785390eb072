// Sums of exponentials over the pairs of two matrices, or of one with itself, and the gradient of a loss made of them: what
// InfoNCE and DCL share. A loss runs one Contrast for each pair of matrices that it compares.
//
//   forward    N_i = sum over the pairs of row i of exp(z_ij), and the same for columns; z_ij = y_ij ln 2
//   weigh      the loss says of each row what exp(z_ij) is multiplied with: its coefficient in the gradient
//   backward   the coefficients, applied to the rows of both sides
//
// As in nt_xent.cpp every pass takes 2^(y - shift) with one fixed shift; rows and columns whose sum falls under the floor
// (tile_sizes.hpp) are taken again relative to their own largest term, and have their own backward pass.
#ifndef CK_CPU_CONTRAST_HPP
#define CK_CPU_CONTRAST_HPP

#include "cpu/call.hpp"

namespace ck {

// Working arrays of the rows or of the columns.
struct ContrastArrays {
  ContrastArrays(Arena& arena, int64_t padded);
  void clear(int64_t padded) const;

  double* totals;
  float* peaks;
  float* weights;         // of rows that need no repair, the others have 0
  float* repair_weights;  // of rows that do
  float* own_shift;
};

// The pairs to compare. One matrix with itself: cols is the same object as rows.
struct ContrastPairs {
  const Packed& rows;
  const Packed& cols;
  bool column_sums;                     // columns have sums, too; always so for one matrix
  const int32_t* partner = nullptr;     // NULL, or [padded rows]: the column that is no pair of each row, -1: none
  const int32_t* row_labels = nullptr;  // NULL, or [padded rows] and [padded columns]: equal labels are no pair
  const int32_t* col_labels = nullptr;
  bool owned = false;                // with labels: a column of label L below -1 is a pair with rows of label -2 - L alone
  const uint8_t* mask = nullptr;     // NULL, or [rows * columns]: 0: no pair
  const GuidePass* guide = nullptr;  // NULL, or what leaves pairs out besides; the scratch then has `guided`
  const Span* spans = nullptr;       // NULL, or of every PACK_ROWS columns: gradients outside of them are not wanted

  bool itself() const { return &rows == &cols; }
  bool masked() const { return mask != nullptr || guide != nullptr || row_labels != nullptr; }
};

struct ContrastBuffers {
  ContrastBuffers(Arena& arena, const Packed& row_matrix, const Packed& col_matrix, bool tally);

  int64_t block, job;  // rows of a block, and of a side of a job
  ContrastArrays rows, cols;
  PairJob* jobs;
  std::atomic<uint32_t>* turns;
  double* similarities;  // NULL, or per row of the sums that statistics under a mask need
  double* counts;
};

class Contrast {
 public:
  Contrast(Call& call, int threads, const ScratchSet& scratch, const ContrastBuffers& buffers, const ContrastPairs& pairs);

  // bound: of |y|. peaks: the largest y of each row is wanted.
  void forward(double bound, bool peaks);

  // log N; -infinity without pairs.
  double log_row_sum(int64_t i) const { return log_sum(b_.rows, i); }
  double log_col_sum(int64_t j) const { return log_sum(cols(), j); }
  // After forward() with peaks: EXCLUDED without pairs.
  float row_peak(int64_t i) const { return b_.rows.peaks[i]; }

  // The coefficient of a pair is factor * exp(z - log_total), added over its row and its column.
  void weigh_row(int64_t i, double factor, double log_total) const { weigh(b_.rows, i, factor, log_total); }
  void weigh_col(int64_t j, double factor, double log_total) const { weigh(cols(), j, factor, log_total); }

  // Adds coefficient * packed row of the other side to the sums (laid out like the groups); NULL: not wanted.
  void backward(float* row_sums, float* col_sums);

 private:
  const ContrastArrays& cols() const { return pairs_.itself() ? b_.rows : b_.cols; }
  double log_sum(const ContrastArrays& side, int64_t i) const;
  void weigh(const ContrastArrays& side, int64_t i, double factor, double log_total) const;
  bool flag(const ContrastArrays& side, int64_t rows) const;
  ContrastPass pass() const;
  template <class Kernel>
  void run(const ContrastPass& pass, Kernel kernel);

  Call& call_;
  int threads_;
  const ScratchSet& scratch_;
  const ContrastBuffers& b_;
  ContrastPairs pairs_;
  Schedule schedule_;
  float shift_ = 0.0f;
  bool peaks_ = false;
  bool repairs_ = false;
};

// Finishes gradients that have listed pairs, row by row, as Gradient does those of NT-Xent.
struct PairGradient {
  PairGradient(Arena& arena, int64_t rows, int64_t cols, int threads);

  // A job with everything that is common to the rows of a matrix.
  FinishPairsJob job(const Packed& packed, const float* sums) const;
  // `largest` bounds |g_i|. Throws CK_GRADIENT_OVERFLOW before anything is written.
  void check(Call& call, int threads, const Packed& packed, FinishPairsJob job, double largest, int32_t argument) const;
  // Returns sum_i <g_i, u_i>.
  double write(Call& call, int threads, const Packed& packed, const FinishPairsJob& job) const;

 private:
  int64_t jobs_;
  int64_t cols_;
  double* rows_;      // [threads][cols]
  double* partials_;  // [jobs]
  int64_t* overflow_;
};

// Entries sorted by target, each target's in their order: start[targets + 1], order[entries]. A PairList of every target row.
void group_entries(const int32_t* target, int64_t entries, int64_t targets, int32_t* start, int32_t* order);

// Sum over all pairs of <u_i, v_j>, from the column sums that packing gathered.
double all_similarities(const Packed& x, const Packed& y);

}  // namespace ck

#endif
