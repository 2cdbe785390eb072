// What an instruction-set unit offers: plain structs and a table of functions. No inline code here: this header is compiled
// both with and without wide instructions, and the linker may keep either copy of an inline function.
//
// Packed layouts of a matrix of `rows` x `cols` (u = row scaled, zero rows and columns of padding):
//   panels   [rows / width][cols][width]            the vector operand of dot products, and the broadcast one where KernelTable says so
//   grouped  [rows / GROUP][chunks][GROUP][width]   the broadcast operand otherwise, and the rows that coefficients are applied to
//   sums     like grouped                           accumulated coefficient-weighted rows
// width is the tile width NR of the unit, chunks = ceil(cols / width); a group takes group_stride floats.
#ifndef CK_CPU_KERNELS_HPP
#define CK_CPU_KERNELS_HPP

#include <stdint.h>

#include "cpu/bfloat16_kernels.hpp"
#include "cpu/columns_kernels.hpp"
#include "cpu/contrast_kernels.hpp"
#include "cpu/nearest_kernels.hpp"

namespace ck {

// The similarity of a pair that does not count, and the peak of a row without any that does: 2^EXCLUDED is 0, also by exp2<true>(), which
// takes an exponent from the last bits of the significand.
constexpr float EXCLUDED = -0x1.cp127f;  // -3e38

struct Layout {
  int64_t rows = 0;
  int64_t padded_rows = 0;
  int64_t cols = 0;
  int64_t chunks = 0;
  int64_t group_stride = 0;  // floats from one group to the next
  int64_t panel_stride = 0;  // floats from one panel to the next
  int32_t width = 0;
};

// What packing found in some rows.
struct PackTotals {
  int64_t bad_row;  // first row that is not finite, -1 if none
  int64_t zero_rows;
  double smallest_norm;  // of the rows that are not zero, infinite if there is none
  double largest_norm;
};

struct PackJob {
  const float* data;
  const Layout* layout;
  int64_t first;  // rows [first, last) of the padded matrix, whole PACK_ROWS
  int64_t last;
  double scale;  // multiplies u
  int32_t normalize;
  float* panels;       // NULL: not wanted
  float* grouped;      // NULL: not wanted
  double* norms;       // [padded_rows]: |x|
  float* sums;         // NULL, or laid out like grouped: cleared
  double* column_sum;  // NULL, or [cols]: sum over these rows of u, unscaled
  PackTotals totals;   // out
};

// A pair of blocks: rows [row_first, row_last) of the first matrix against rows [col_first, col_last) of the second.
// Bounds are cut to the matrix; starts are multiples of PACK_ROWS.
struct BlockPair {
  int64_t row_first, row_last;
  int64_t col_first, col_last;
  int32_t triangle;              // 1: rows and columns are the same block, only the pairs above the diagonal count
  int32_t row_fresh, col_fresh;  // 1: no earlier job of the pass touched these rows or columns, so their sums need not be cleared
};

// Working memory of one participant of a parallel region.
struct Scratch {
  float* coefficients;  // [BLOCK_LARGE][BLOCK_STRIDE]
  float* words;         // [BLOCK_LARGE][WORD_STRIDE]: coefficients in bfloat16; NULL in other precisions
  float* row_lanes;     // [BLOCK_LARGE][MAX_LANES]
  float* row_peaks;     // [BLOCK_LARGE][MAX_LANES]
  float* col_lanes;     // [BLOCK_LARGE]
  float* col_peaks;     // [BLOCK_LARGE]
  float* tile;          // [GROUP][MAX_WIDTH]
  uint8_t* guided;      // [BLOCK_LARGE][BLOCK_LARGE]: which pairs of a block a guide leaves; NULL where there is none
};

// Passes of NT-Xent over pairs (i, j) of rows of one matrix; y_ij is the similarity in log2 units.
struct NtXentPass {
  const Layout* layout;
  const float* panels;
  float scale;                // bfloat16: y is the dot product times this
  const float* grouped;       // where tiles read it
  const Layout* sums_layout;  // backward: of the sums and, but for words of several rows, of `applied`
  const float* applied;       // backward: what coefficients are applied to
  float* sums;                // backward
  const int32_t* partner;     // [padded_rows]: index of each row's positive, -1 for padding
  double* row_sums;           // forward: sum over negatives of 2^(y - shift)
  float* row_peaks;           // forward: largest y of the negatives; NULL: not wanted
  float* positive_peaks;      // forward with row_peaks: y of the positive, from the same arithmetic
  const float* weights;       // backward: w_i
  const float* own_shift;     // repair: the shift of each row, huge for rows that need no repair
  const uint8_t* active;      // repair: [padded_rows / GROUP], 1 where a group holds a row to repair
  float shift;
  int32_t block;  // rows of a block
};

struct UniformityPass {
  const Layout* layout;
  const float* panels;
  const float* grouped;  // where tiles read it, and with sums
  float* sums;           // NULL: forward only
  double* row_sums;      // NULL, or [padded_rows]: sum over j of e_ij
  const float* bias;     // NULL, or [padded_rows]: e_ij = 2^(y_ij - shift - bias_i - bias_j)
  float shift;
  int32_t block;
};

struct CosinePass {
  const Layout* x_layout;
  const Layout* y_layout;
  const float* x_panels;
  const float* x_grouped;
  const float* y_panels;
  float* out;      // [x.rows, y.rows]
  int32_t mirror;  // 1: x and y are one matrix, only upper blocks come, both halves are written
  int32_t stream;  // 1: write past the caches
  int32_t block;
};

struct ApplyPass {
  const Layout* x_layout;
  const Layout* y_layout;
  const float* x_grouped;
  const float* y_grouped;
  float* x_sums;  // NULL: not wanted
  float* y_sums;
  const float* upstream;  // [x.rows, y.rows]
  float scale;            // power of two that brings upstream into range
  int32_t block;
};

// Gradient rows out of accumulated sums: g = sums * sums_scale - (probability_i + probability_p) * u_p - self_weight_i * u_i,
// projected on the tangent space when normalised, times scale / |x_i|. Rows that were made units before (`lengths`) are taken as they
// are: u_i is row i of `data`, and |x_i| its length before.
struct FinishJob {
  const float* data;
  const Layout* layout;
  const float* sums;
  const double* norms;
  const double* lengths;      // NULL, or per row
  const int32_t* partner;     // NULL: no positive
  const double* probability;  // with partner
  const double* self_weight;  // NULL, or per row
  double sums_scale;
  double scale;
  int32_t normalize;
  int64_t first, last;
  float* gradient;      // [rows, cols]; NULL: only check
  double alignment;     // out: sum over rows of <g_i, u_i>
  int64_t overflow;     // out: first row whose gradient does not fit float32, -1 if none
  double* scratch_row;  // [cols]
};

// Alignment of the pairs (x_i, y_i), i in [first, last): |u_i - v_i|^alpha and its gradients.
struct AlignmentJob {
  const float* x;
  const float* y;
  const double* x_norms;
  const double* y_norms;
  int64_t cols;
  double alpha;
  double scale;  // multiplies the gradients
  int32_t normalize;
  int64_t first, last;
  float* per_row;     // each of these may be NULL
  float* gradient_x;  // [rows, cols]
  float* gradient_y;
  int32_t check;       // 1: only look for gradients that do not fit
  double* difference;  // [cols], scratch
  double loss;         // out: sum over rows
  double similarity;   // out: sum over rows of <u_i, v_i>
  int64_t overflow_x;  // out: first row whose gradient does not fit float32, -1 if none
  int64_t overflow_y;
  int64_t overflow_loss;
};

// |x_i| of rows [first, last).
struct NormJob {
  const float* data;
  int64_t cols;
  int64_t first, last;
  double* norms;
  int64_t bad_row;  // out: first row that is not finite, -1 if none
};

// The losses of rows [first, last) out of their sums: policies/row_loss.hpp on vectors.
struct RowLossJob {
  int64_t first, last;
  const double* row_sums;  // sum over the negatives of 2^(y - shift)
  const float* own_shift;  // NULL, or per row: the shift of a repaired row, huge for the others
  double shift;
  const double* positive;  // s_ip
  double temperature;
  double* loss;
  double* log_sum_exp;
  double* probability;         // q_i
  float* weights;              // q_i / row_sums_i
  double loss_sum;             // out
  double positive_sum;         // out: of s_ip
  double largest_probability;  // out
};

struct NtXentTable {
  void (*forward)(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*backward)(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*repair_forward)(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*repair_backward)(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch);
};

// Bfloat16 beside the table of an instruction set: what a CPU may have or lack.
struct Bfloat16Table {
  int32_t whole_words;   // words of a row are packed to a multiple of this
  int32_t grouped_rows;  // as in KernelTable
  int32_t pair_rows;     // rows of a group of pairs (bfloat16_kernels.hpp)
  void (*pack)(RoundJob* job);
  NtXentTable nt_xent;
};

struct KernelTable {
  const char* name;
  int32_t width;
  int32_t grouped_rows;  // 1: dot products read their rows in groups, so every pass needs them
  void (*pack)(PackJob* job);
  NtXentTable nt_xent;
  double (*uniformity)(const UniformityPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*half_squares)(const Layout& layout, const float* panels, int64_t first, int64_t last, float* tile, float* out);
  float (*uniformity_peak)(const UniformityPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*cosine_store)(const CosinePass& pass, const BlockPair& pair, const Scratch& scratch);
  float (*cosine_apply)(const ApplyPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*row_losses)(RowLossJob* job);
  void (*finish)(FinishJob* job);
  void (*norms)(NormJob* job);
  void (*alignment)(AlignmentJob* job);
  ContrastTable contrast;
  ColumnsTable columns;
  void (*nearest)(const NearestPass& pass, const BlockPair& pair, const Scratch& scratch);
  // <a, b> in double
  double (*dot)(const float* a, const float* b, int64_t cols);
};

const KernelTable& portable_kernels();
#if defined(__x86_64__) || defined(_M_X64)
const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();
const Bfloat16Table& avx512_bf16_kernels();
const Bfloat16Table& amx_kernels();
const Bfloat16Table& amx_emulated_kernels();  // for tests: built with them only
#endif

}  // namespace ck

#endif
