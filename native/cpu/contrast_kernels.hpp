// What an instruction-set unit offers to losses that compare rows of two matrices (or of one with itself) by exponentials:
// plain structs and a table of functions, as in kernels.hpp, which includes this.
#ifndef CK_CPU_CONTRAST_KERNELS_HPP
#define CK_CPU_CONTRAST_KERNELS_HPP

#include <stdint.h>

namespace ck {

struct Layout;
struct BlockPair;
struct Scratch;

// One side of the pairs: the rows of S, or its columns. All arrays have an element for each padded row.
struct ContrastSide {
  const Layout* layout;
  const float* panels;
  const float* grouped;    // where tiles read it, and backward
  float* sums;             // backward; NULL: no gradient wanted
  double* totals;          // forward: sum over the pairs of 2^(y - shift); NULL: not a sum of this side
  float* peaks;            // forward: largest y; NULL: not wanted
  const float* weights;    // backward
  const float* own_shift;  // repair: the shift of each row, NO_REPAIR for rows that need none
  const int32_t* labels;   // NULL: none
};

// Dimensions [first, last) outside of which some rows are zero.
struct Span {
  int64_t first, last;
};

// A guide's rows on one side of its cosines: as they are, packed as units, and their norms as policies/guide.hpp has them.
struct GuideSide {
  const Layout* layout;
  const float* data;
  const float* panels;
  const float* grouped;
  const double* norms;
};

// A guide that says which pairs count. Columns from `split` on are compared with the second side. Mutual: rows and columns are the same
// rows, and a pair may count for its row and not for its column.
struct GuidePass {
  GuideSide sides[2];
  const Layout* key_layout;
  const float* key_data;
  const float* key_panels;
  const double* key_norms;
  int64_t split;
  const double* thresholds;  // [rows]
  const float* rounded;      // [padded rows]: the same, infinite for padding
  bool mutual;
  float band;  // float32 decides where a cosine is further than this from the threshold
};

// Passes over the pairs (i, j), y_ij the similarity in log2 units. One matrix with itself: rows and columns are the same arrays.
struct ContrastPass {
  ContrastSide rows, cols;
  const int32_t* partner;  // NULL, or the column that is no pair of each row; -1: none
  bool owned;              // with labels: a column of label L below -1 is a pair with rows of label -2 - L alone
  const uint8_t* mask;     // NULL, or [rows * columns]: 0 where the pair does not count
  const GuidePass* guide;  // NULL, or which pairs count besides
  const Span* spans;       // NULL, or of every PACK_ROWS columns: whole blocks of dimensions, or to the end
  double* similarities;    // forward with labels or a mask: NULL, or per row the sum of y over its pairs
  double* counts;          // with similarities: per row the number of its pairs
  float shift;
  int32_t block;
};

// y of pairs (i, partner_i), i in [first, last), by the arithmetic of the tiles: equal rows give equal bits.
struct PairProductJob {
  const Layout* row_layout;
  const float* row_panels;
  const Layout* col_layout;
  const float* col_panels;
  const int32_t* partner;
  int64_t first, last;
  float* out;
};

// Listed pairs of rows of one matrix with rows of another, whose coefficients are numbers of their own. Entry e has coefficient[e]
// and row other[e] (NULL: e / divide) of the other matrix. Row r has the entries start[r] .. start[r + 1] of `order`, or, where
// start is NULL, the entries r * each .. r * each + each - 1 as far as they are below count.
struct PairList {
  const int32_t* start;
  const int32_t* order;
  int64_t each;
  int64_t count;
  const int32_t* other;
  int64_t divide;
  const double* coefficient;
  const float* data;
  const double* norms;
};

constexpr int MOST_LISTS = 2;

// Gradient rows out of accumulated sums and listed pairs: g = sums * sums_scale + sum over entries of coefficient * u_other,
// projected on the tangent space when normalised, times scale / |x_i|.
struct FinishPairsJob {
  const float* data;
  const Layout* layout;
  const float* sums;  // NULL: none
  const double* norms;
  PairList lists[MOST_LISTS];
  int32_t list_count;
  double sums_scale;
  double scale;
  int32_t normalize;
  int64_t first, last;
  float* gradient;         // [rows, cols]; NULL: not wanted
  float* second_gradient;  // where the rows from second_row on go, as [rows - second_row, cols]
  int64_t second_row;      // 0: all rows are in gradient
  const int32_t* place;    // NULL, or per row the row of gradient that is its
  int32_t check;           // 1: only look for gradients that do not fit
  double alignment;        // out: sum over rows of <g_i, u_i>
  int64_t overflow;        // out: first row whose gradient does not fit float32, -1 if none
  double* scratch_row;     // [cols]
};

// Passes over the pairs of rows of one class (class_passes.hpp); arrays have an element for each padded row.
struct ClassPass {
  const Layout* layout;
  const float* panels;  // of the rows relative to their class
  const float* grouped;
  const int32_t* labels;  // ascending
  const float* bias;
  float sign;                         // peaks
  float* peaks;                       // peaks: out
  const float* reference;             // softmax
  const float *mean, *spread, *pull;  // softmax backward; pull also in pairs backward
  const float *level, *offset;        // pairs
  double* sums;                       // out: of v, or of the losses
  double* slopes;                     // out, pairs: of the sigmoids
  const float* applied;               // backward: the rows themselves, in groups
  float* gradient;                    // backward: their sums
  int32_t block;
};

constexpr float NO_REPAIR = 3e37f;  // no exponential above 0 is left: |y| is at most 1e37

struct ContrastTable {
  void (*forward)(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*backward)(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*repair_forward)(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*repair_backward)(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*pair_products)(const PairProductJob& job);
  void (*finish_pairs)(FinishPairsJob* job);
  void (*class_peaks)(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*class_softmax)(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*class_softmax_backward)(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*class_pairs)(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*class_pairs_backward)(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*cross_uniformity)(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch);
  float (*cross_uniformity_peak)(const ContrastPass& pass, const BlockPair& pair, const Scratch& scratch);
  void (*squared_products)(const ContrastPass& pass, float factor, const BlockPair& pair, const Scratch& scratch);
  double (*guide_dot)(const float* x, const float* y, int64_t cols);  // as policies/guide.hpp, to the bit
  double (*sig_lip)(const ContrastPass& pass, float bias, float raised, const BlockPair& pair, const Scratch& scratch);
};

}  // namespace ck

#endif
