// One block of S = X Y^T: walks its register tiles, hands every similarity to a policy, and applies the policy's coefficients
// to the rows of both sides. Included by unit.hpp in the namespace of an instruction set.
//
// A policy has
//   begin(c)               before the tiles of columns [c, c + NR) of the block
//   row(r, i, y0, y1)      similarities of row i (r within the block) with those columns
//   end(c)                 after them
// Pairs that do not count (padding, the diagonal, below it in a triangle, a row's positive) come as EXCLUDED, whose
// exponential is 0: policies need no masks.
#pragma once

#include "cpu/tile.hpp"

namespace ck {
namespace CK_ISA {

constexpr float EXCLUDED = -3e38f;
constexpr int BLOCK_GROUPS = BLOCK_LARGE / GROUP;

struct Block {
  int64_t row_first, row_last;
  int64_t col_first, col_last;
  bool triangle;                 // pairs above the diagonal only
  bool diagonal;                 // rows and columns are the same rows of one matrix
  int32_t groups[BLOCK_GROUPS];  // the groups of rows to work on, relative to row_first
  int count;
};

CK_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

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

// Marks what does not count in tile[MR][NR] of rows from `row` and columns from `col`, after noting the positives.
__attribute__((noinline)) static void exclude(const Block& block, int64_t row, int64_t col, const int32_t* partner, float* positive,
                                              float* tile) {
  for (int i = 0; i < MR; ++i, tile += NR) {
    const int64_t self = row + i;
    int64_t from = 0;
    int64_t to = smaller(block.col_last - col, NR);
    if (self >= block.row_last) to = 0;
    if (block.triangle && self >= col) from = smaller(self + 1 - col, NR);
    if (to > 0 && partner != nullptr) {
      const int64_t p = partner[self] - col;
      if (p >= from && p < to) {
        if (positive != nullptr) {
          positive[self] = tile[p];
          positive[col + p] = tile[p];
        }
        tile[p] = EXCLUDED;
      }
    }
    if (block.diagonal && self >= col && self < col + NR) tile[self - col] = EXCLUDED;
    for (int64_t j = 0; j < from; ++j) tile[j] = EXCLUDED;
    for (int64_t j = to; j < NR; ++j) tile[j] = EXCLUDED;
  }
}

// Walks the tiles of a block. x: left operand with x_layout, y: right operand with panel stride of y_layout.
template <class Policy>
CK_INLINE void walk(const Block& block, const Layout& x_layout, const float* x_left, const Layout& y_layout, const float* y_right,
                    const int32_t* partner, float* positive, float* tile, Policy& policy) {
  const int64_t cols = x_layout.cols;
  if (partner != nullptr && !holds_partners(partner, block)) partner = nullptr;
  for (int64_t col = block.col_first; col < block.col_last; col += NR) {
    const int64_t c = col - block.col_first;
    const float* right = y_right + col / NR * y_layout.panel_stride;
    policy.begin(c);
    for (int g = 0; g < block.count; ++g) {
      const int64_t group_row = block.row_first + block.groups[g] * GROUP;
      if (block.triangle && col + NR <= group_row) break;
      const float* left = x_left + group_row / GROUP * x_layout.group_stride;
#pragma GCC unroll 1
      for (int s = 0; s < GROUP; s += MR) {
        const int64_t row = group_row + s;
        bool plain = row + MR <= block.row_last && col + NR <= block.col_last;
        if (block.diagonal && col < row + MR && (block.triangle || col + NR > row)) plain = false;
        if (plain && partner != nullptr)
          for (int i = 0; i < MR; ++i) plain &= partner[row + i] < col || partner[row + i] >= col + NR;
        const int r = g * GROUP + s;
        if (plain) {
          dot_tile(left + s * NR, right, cols, [&](int i, Floats y0, Floats y1) CK_LAMBDA_INLINE { policy.row(r + i, row + i, y0, y1); });
        } else {
          stored_dot_tile(left + s * NR, right, cols, tile);
          exclude(block, row, col, partner, positive, tile);
          for (int i = 0; i < MR; ++i) policy.row(r + i, row + i, load(tile + i * NR), load(tile + i * NR + LANES));
        }
      }
    }
    policy.end(c);
  }
}

// x_sums += G y and y_sums += G^T x for the coefficients G of a block, [rows of the listed groups][BLOCK_STRIDE].
// Where the tile walk left columns unwritten (past the last tile of an edge block) they are cleared first.
CK_INLINE void apply(const Block& block, const Layout& x_layout, const float* x_left, float* x_sums, const Layout& y_layout,
                     const float* y_left, float* y_sums, float* coefficients) {
  static constexpr int32_t ALL[BLOCK_GROUPS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  static_assert(BLOCK_GROUPS == 16, "ALL lists every group of a block");
  const int width = static_cast<int>(block.col_last - block.col_first);
  const int col_groups = (width + GROUP - 1) / GROUP;
  const int written = (width + NR - 1) / NR * NR;
  if (col_groups * GROUP > written)
    for (int r = 0; r < block.count * GROUP; ++r)
      for (int c = written; c < col_groups * GROUP; ++c) coefficients[r * BLOCK_STRIDE + c] = 0.0f;
  const int64_t x_base = block.row_first / GROUP * x_layout.group_stride;
  const int64_t y_base = block.col_first / GROUP * y_layout.group_stride;
  for (int64_t chunk = 0; chunk < x_layout.chunks; ++chunk) {
    const int64_t at = chunk * GROUP * NR;
    if (x_sums != nullptr) {
      for (int g = 0; g < block.count; ++g) {
        const int skip = block.triangle ? block.groups[g] : 0;  // in a triangle columns before the row do not count
        for (int s = 0; s < GROUP; s += MR)
          apply_tile<BLOCK_STRIDE, 1>(coefficients + (g * GROUP + s) * BLOCK_STRIDE + skip * GROUP, y_left + y_base + at,
                                      y_layout.group_stride, ALL + skip, col_groups - skip,
                                      x_sums + x_base + block.groups[g] * x_layout.group_stride + at + s * NR);
      }
    }
    if (y_sums != nullptr) {
      for (int g = 0; g < col_groups; ++g) {
        const int count = block.triangle ? (g + 1 < block.count ? g + 1 : block.count) : block.count;
        for (int s = 0; s < GROUP; s += MR)
          apply_tile<1, BLOCK_STRIDE>(coefficients + g * GROUP + s, x_left + x_base + at, x_layout.group_stride, block.groups, count,
                                      y_sums + y_base + g * y_layout.group_stride + at + s * NR);
      }
    }
  }
}

}  // namespace CK_ISA
}  // namespace ck
