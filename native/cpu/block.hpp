// One block of S = X Y^T: walks its register tiles, hands every similarity to a policy, and applies the policy's coefficients
// to the rows of both sides. Included by unit.hpp in the namespace of an instruction set.
//
// A policy has
//   begin(c)               before the tiles of columns [c, c + NR) of the block
//   row(r, i, y0, y1)      similarities of row i (r within the block) with those columns
//   end(c)                 after them
// Pairs that do not count (padding, the diagonal, below it in a triangle, a row's positive) come as EXCLUDED, whose
// exponential is 0: policies need no masks.
//
// A policy derived from SparsePolicy has, too,
//   counts(i, col)         whether the tile of rows from i and columns from col of the matrix holds a pair that counts
//   pass_over(r)           instead of row() for the rows of a tile that does not
#pragma once

#include "cpu/tile.hpp"

namespace ck {
namespace CK_ISA {

constexpr int BLOCK_GROUPS = BLOCK_LARGE / GROUP;

struct SparsePolicy {};

struct Block {
  int64_t row_first, row_last;
  int64_t col_first, col_last;
  bool triangle;                 // pairs above the diagonal only
  bool diagonal;                 // rows and columns are the same rows of one matrix
  int32_t groups[BLOCK_GROUPS];  // the groups of rows to work on, relative to row_first
  int count;
  bool row_fresh, col_fresh;  // the sums of these rows or columns were not added to before in this pass
  bool first;                 // of its job: nothing of it is in the cache yet
  int64_t dim_first = 0;  // all columns have zeros outside [dim_first, dim_last), which are whole chunks and whole blocks of dimensions,
  int64_t dim_last = INT64_MAX;  // cut to the matrix: products leave these out, and nobody wants their gradient
  int64_t next_row, next_col;    // the block after it in its job, -1 if there is none
};

// Calls visit(block) for every block of a pair of macro blocks.
template <class Visit>
CK_INLINE void for_blocks(const BlockPair& pair, int64_t size, Visit&& visit) {
  for (int64_t row = pair.row_first; row < pair.row_last; row += size) {
    for (int64_t col = pair.triangle ? row : pair.col_first; col < pair.col_last; col += size) {
      Block block;
      block.row_first = row;
      block.row_last = smaller(row + size, pair.row_last);
      block.col_first = col;
      block.col_last = smaller(col + size, pair.col_last);
      block.triangle = pair.triangle && row == col;
      block.diagonal = block.triangle;
      block.count = static_cast<int>((block.row_last - row + GROUP - 1) / GROUP);
      for (int g = 0; g < block.count; ++g) block.groups[g] = g;
      block.first = row == pair.row_first && col == (pair.triangle ? row : pair.col_first);
      block.row_fresh = pair.row_fresh && (pair.triangle ? block.first : col == pair.col_first);
      block.col_fresh = pair.col_fresh && row == pair.row_first && !block.triangle;
      block.next_row = row;
      block.next_col = col + size;
      if (block.next_col >= pair.col_last) {
        block.next_row = row + size;
        block.next_col = pair.triangle ? row + size : pair.col_first;
        if (block.next_row >= pair.row_last) block.next_row = block.next_col = -1;
      }
      visit(block);
    }
  }
}

CK_INLINE bool holds_partners(const int32_t* partner, const Block& block) {
  bool found = false;
  for (int64_t row = block.row_first; row < block.row_last; ++row)
    found |= partner[row] >= block.col_first && partner[row] < block.col_last;
  return found;
}

// The indices of a tile's columns, as floats.
alignas(64) static constexpr float COLUMNS[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                                  16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

// Marks what does not count in tile[MR][NR] of rows from `row` and columns from `col`, after noting the positives.
__attribute__((noinline)) static void exclude(const Block& block, int64_t row, int64_t col, const int32_t* partner, float* positive,
                                              float* tile) {
  const int64_t columns = smaller(block.col_last - col, NR);
  const Floats excluded = broadcast(EXCLUDED), c0 = load(COLUMNS), c1 = load(COLUMNS + LANES);
  for (int i = 0; i < MR; ++i, tile += NR) {
    const int64_t self = row + i;
    const int64_t to = self >= block.row_last ? 0 : columns;
    const int64_t from = block.triangle && self >= col ? smaller(self + 1 - col, NR) : 0;
    int64_t p = -1;  // columns to leave out within [from, to): the positive, and the row itself
    if (to > 0 && partner != nullptr) {
      p = partner[self] - col;
      if (p < from || p >= to) p = -1;
      if (p >= 0 && positive != nullptr) {
        positive[self] = tile[p];
        positive[col + p] = tile[p];
      }
    }
    const int64_t same = block.diagonal && self >= col && self < col + NR ? self - col : -1;
    const Floats f = broadcast(static_cast<float>(from)), t = broadcast(static_cast<float>(to));
    const Floats out1 = broadcast(static_cast<float>(p)), out2 = broadcast(static_cast<float>(same));
    const auto keep = [&](Floats c, float* y)
                          CK_LAMBDA_INLINE { store(y, ((c >= f) & (c < t) & (c != out1) & (c != out2)) ? load(y) : excluded); };
    keep(c0, tile);
    keep(c1, tile + LANES);
  }
}

// Whether every pair of the tile at (row, col) counts.
CK_INLINE bool is_plain(const Block& block, int64_t row, int64_t col, const int32_t* partner) {
  bool plain = row + MR <= block.row_last && col + NR <= block.col_last;
  if (block.diagonal && col < row + MR && (block.triangle || col + NR > row)) plain = false;
  if (plain && partner != nullptr)
    for (int i = 0; i < MR; ++i) plain &= partner[row + i] < col || partner[row + i] >= col + NR;
  return plain;
}

// A matrix as one side of a block's tiles: rows are read in one layout or the other, columns in panels.
struct Side {
  const Layout& layout;
  const float* panels;
  const float* grouped;
};

// Asks for what is read after the panel of columns at `col` in the slice of dimensions at `first`: the next panel, and rows that are new.
template <class Rows>
CK_INLINE void ask_ahead(const Block& block, const Layout& x_layout, const float* x, const Side& y, int64_t col, int64_t first,
                         int64_t slice, Ahead& ahead) {
  const int64_t cols = smaller(x_layout.cols, block.dim_last);
  const auto ask = [&](int64_t c, int64_t k)
                       CK_LAMBDA_INLINE { ahead.add(panel_at(y.layout, y.panels, c) + k * NR, smaller(slice, cols - k) * NR); };
  const auto ask_rows = [&](int64_t row, int64_t k) CK_LAMBDA_INLINE {
    Rows::ask(x_layout, x, row, smaller(row + BLOCK_LARGE, x_layout.rows), k, smaller(slice, cols - k), ahead);
  };
  ahead.rest();
  ahead.clear();
  if (col + NR < block.col_last) return ask(col + NR, first);
  if (first + slice < cols) {
    ask(block.col_first, first + slice);
    ask_rows(block.row_first, first + slice);
  } else if (block.next_row >= 0) {
    ask(block.next_col, block.dim_first);
    if (block.next_row != block.row_first || slice < cols - block.dim_first) ask_rows(block.next_row, block.dim_first);
  }
}

// Walks the tiles of a block. The columns of the layouts are words of the products. STORED, for policies that are long or rarely run:
// every tile goes through memory, and the policy is compiled once for a row instead of once for each row of a tile. APPLIES: the pass
// applies coefficients to the rows.
template <bool STORED = false, bool APPLIES = false, class Policy, class Products = Float32Products>
CK_INLINE void walk(const Block& block, const Side& x_side, const Side& y, const int32_t* partner, float* positive, const Scratch& scratch,
                    Policy& policy, const Products& products = Products()) {
  using Rows = std::conditional_t<PANEL_ROWS && !APPLIES, PanelRows, GroupRows>;
  constexpr bool SPARSE = std::is_base_of<SparsePolicy, Policy>::value;
  const Layout& x_layout = x_side.layout;
  const float* x = PANEL_ROWS && !APPLIES ? x_side.panels : x_side.grouped;
  const int64_t begin = block.dim_first, cols = smaller(x_layout.cols, block.dim_last), dots = dot_block(x_layout.cols);
  const int64_t slice = !PANEL_ROWS && cols - begin >= LONG_ROW && scratch.coefficients != nullptr ? SLICE : cols - begin;
  if (partner != nullptr && !holds_partners(partner, block)) partner = nullptr;
  const bool asks = !PANEL_ROWS || cols - begin < LONG_ROW;  // the caches' own prefetchers read long panels as well or better (up to 3 %)
  Ahead ahead;
  if (asks && block.first) {
    ahead.add(panel_at(y.layout, y.panels, block.col_first) + begin * NR, slice * NR);
    Rows::ask(x_layout, x, block.row_first, block.row_last, begin, slice, ahead);
  }
  // All but the last slice: sums of the tiles that the last will visit.
  int64_t first = begin;
  for (; first + slice < cols; first += slice) {
    for (int64_t col = block.col_first; col < block.col_last; col += NR) {
      const float* right = panel_at(y.layout, y.panels, col) + first * NR;
      ask_ahead<Rows>(block, x_layout, x, y, col, first, slice, ahead);
      for (int g = 0; g < block.count; ++g) {
        const int64_t group_row = block.row_first + block.groups[g] * GROUP;
        if (block.triangle && col + NR <= group_row) break;
        for (int s = 0; s < GROUP; s += MR) {
          if constexpr (SPARSE)
            if (!policy.counts(group_row + s, col)) continue;
          const Rows rows = Rows::of(x_layout, x, group_row + s).from(first);
          float* sums = scratch.coefficients + (g * GROUP + s) * BLOCK_STRIDE + (col - block.col_first);
          stored_dot_tile<BLOCK_STRIDE, false>(products, rows, right, slice, dots, first == begin ? nullptr : sums, ahead, sums);
        }
      }
    }
  }
  for (int64_t col = block.col_first; col < block.col_last; col += NR) {
    const int64_t c = col - block.col_first;
    const float* right = panel_at(y.layout, y.panels, col) + first * NR;
    if (asks) ask_ahead<Rows>(block, x_layout, x, y, col, first, slice, ahead);
    policy.begin(c);
    for (int g = 0; g < block.count; ++g) {
      const int64_t group_row = block.row_first + block.groups[g] * GROUP;
      if (block.triangle && col + NR <= group_row) break;
#pragma GCC unroll 1
      for (int s = 0; s < GROUP; s += MR) {
        const int64_t row = group_row + s;
        const int r = g * GROUP + s;
        if constexpr (SPARSE) {
          if (!policy.counts(row, col)) {
            policy.pass_over(r);
            continue;
          }
        }
        const bool plain = is_plain(block, row, col, partner);
        const Rows rows = Rows::of(x_layout, x, row).from(first);
        const float* sums = first == begin ? nullptr : scratch.coefficients + r * BLOCK_STRIDE + c;
        if (plain && !STORED) {
          dot_tile(products, rows, right, cols - first, dots, sums, ahead, [&](int i, Floats y0, Floats y1) CK_LAMBDA_INLINE {
            policy.row(r + i, row + i, products.similarity(y0), products.similarity(y1));
          });
        } else {
          stored_dot_tile<NR, true>(products, rows, right, cols - first, dots, sums, ahead, scratch.tile);
          if (!plain) exclude(block, row, col, partner, positive, scratch.tile);
#pragma GCC unroll 1
          for (int i = 0; i < MR; ++i) policy.row(r + i, row + i, load(scratch.tile + i * NR), load(scratch.tile + i * NR + LANES));
        }
      }
    }
    policy.end(c);
  }
}

// x_sums += G y and y_sums += G^T x for the coefficients G of a block, [rows of the listed groups][BLOCK_STRIDE]. With `set`, for
// passes whose sums nobody cleared, sums that are fresh are written instead. The layouts are those of the sums; x_grouped and y_grouped
// hold PER_WORD rows a word, so a group of them takes the PER_WORD-th part; `spare` is memory for the coefficients a second time. Where the
// tile walk left columns unwritten (past the last tile of an edge block) they are cleared first. Not inlined: all passes share one copy,
// which a block's work pays for many times over, and which takes seconds to compile.
template <class Products = Float32Products>
__attribute__((noinline)) static void apply(const Block& block, const Layout& x_layout, const float* x_grouped, float* x_sums,
                                            const Layout& y_layout, const float* y_grouped, float* y_sums, float* coefficients,
                                            bool set = false, const Products& products = Products(), float* spare = nullptr) {
  static constexpr int32_t ALL[BLOCK_GROUPS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  static_assert(BLOCK_GROUPS == 16, "ALL lists every group of a block");
  constexpr int PIECE = GROUP * NR;  // of a group in a chunk
  constexpr int PER_WORD = Products::PER_WORD, ROW = Products::ROW, STEP = GROUP / PER_WORD;
  const int width = static_cast<int>(block.col_last - block.col_first);
  const int col_groups = (width + GROUP - 1) / GROUP;
  const int written = (width + NR - 1) / NR * NR;
  if (col_groups * GROUP > written)
    for (int r = 0; r < block.count * GROUP; ++r)
      for (int c = written / PER_WORD; c < col_groups * STEP; ++c) coefficients[r * ROW + c] = 0.0f;
  const float* by_rows = Products::by_rows(coefficients, block.count * GROUP, col_groups * GROUP, spare);
  const int64_t x_base = block.row_first / GROUP * x_layout.group_stride;
  const int64_t y_base = block.col_first / GROUP * y_layout.group_stride;
  Ahead ahead;
  // Of chunk c, group g of the columns: rows, and sums of the block's rows.
  const auto ask_columns = [&](int64_t chunk, int g) CK_LAMBDA_INLINE {
    if (chunk < y_layout.chunks) ahead.add(y_grouped + (y_base + chunk * PIECE + g * y_layout.group_stride) / PER_WORD, PIECE / PER_WORD);
  };
  const auto ask_sums = [&](const Layout& layout, const float* sums, int64_t base, int64_t chunk, int g) CK_LAMBDA_INLINE {
    if (sums != nullptr && chunk < layout.chunks) ahead.add(sums + base + chunk * PIECE + g * layout.group_stride, PIECE);
  };
  const int64_t first_chunk = block.dim_first / NR, last_chunk = smaller(x_layout.chunks, block.dim_last / NR);
  for (int g = 0; g < col_groups; ++g) {
    ask_columns(first_chunk, g);
    ahead.rest();
    ahead.clear();
  }
  for (int64_t chunk = first_chunk; chunk < last_chunk; ++chunk) {
    const int64_t at = chunk * PIECE;
    if (x_sums != nullptr) {
      for (int g = 0; g < block.count; ++g) {
        const int skip = block.triangle ? block.groups[g] : 0;  // in a triangle columns before the row do not count
        ahead.clear();
        ask_sums(y_layout, y_sums, y_base, chunk, g);
        ask_sums(x_layout, x_sums, x_base, chunk, g);
        for (int s = 0; s < GROUP; s += MR)
          apply_tile<ROW, 1>(products, coefficients + (g * GROUP + s) * ROW + skip * STEP, y_grouped + (y_base + at) / PER_WORD,
                             y_layout.group_stride / PER_WORD, ALL + skip, col_groups - skip, set && block.row_fresh,
                             x_sums + x_base + block.groups[g] * x_layout.group_stride + at + s * NR, ahead);
      }
    }
    if (y_sums != nullptr) {
      for (int g = 0; g < col_groups; ++g) {
        const int count = block.triangle ? (g + 1 < block.count ? g + 1 : block.count) : block.count;
        ahead.clear();
        ask_columns(chunk + 1, g);
        for (int s = 0; s < GROUP; s += MR)
          apply_tile<1, BLOCK_STRIDE>(products, by_rows + g * GROUP + s, x_grouped + (x_base + at) / PER_WORD,
                                      x_layout.group_stride / PER_WORD, block.groups, count, set && block.col_fresh,
                                      y_sums + y_base + g * y_layout.group_stride + at + s * NR, ahead);
      }
    }
  }
}

// What apply() with `set` leaves when all coefficients of a block are 0.
CK_INLINE void clear_fresh(const Block& block, const Layout& layout, float* sums) {
  const auto clear_rows = [&](int64_t first, int64_t last) {
    float* from = sums + first / GROUP * layout.group_stride;
    const int64_t groups = (last - first + GROUP - 1) / GROUP;
    for (int64_t k = 0; k < groups * layout.group_stride; k += LANES) store(from + k, zero());
  };
  if (block.row_fresh) clear_rows(block.row_first, block.row_last);
  if (block.col_fresh) clear_rows(block.col_first, block.col_last);
}

}  // namespace CK_ISA
}  // namespace ck
