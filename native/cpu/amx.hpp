// Dot products and the second product of bfloat16 rows on AMX's tile registers (amx_tiles.hpp), in place of those of tile.hpp and
// block.hpp. Included by unit_amx.cpp in the namespace of its instruction set.
#pragma once

#include "cpu/amx_tiles.hpp"
#include "cpu/bfloat16.hpp"
#include "cpu/block.hpp"

namespace ck {
namespace CK_ISA {

struct TileProducts : Bfloat16Products {
  static TileProducts of(float scale) { return {Bfloat16Products::of(scale)}; }
};

// Two groups of a block's rows against a panel's NR columns: where their products are put, and what is left to do with them.
struct TilePair {
  alignas(64) float products[2 * GROUP * NR];
  int64_t rows[2];  // the first of each group
  int r;            // the same within the block
  int done, count;  // rows used, and rows there are
  Floats scale;     // from products to similarities

  template <class Policy>
  CK_INLINE void use(Policy& policy, int until) {
    until = until < count ? until : count;
#pragma GCC unroll 2
    for (; done < until; ++done) {
      const float* from = products + done * NR;
      policy.row(r + done, done < GROUP ? rows[0] + done : rows[1] + done - GROUP, mul(load(from), scale), mul(load(from + LANES), scale));
    }
  }
};

// pair.products = products of two groups with a panel, rows packed to whole TILE_WORDS; between the steps the policy gets the rows of
// `before`. Exponentials take the vector units while the products take those of the registers, but only when they are close to each other
// in the program: a processor that runs two threads a core looks ahead some 250 instructions, half of a pair's exponentials. Twice two
// registers of sums: a product's result is there only 52 cycles later, the time of four products of 12 rows.
template <class Policy>
CK_INLINE void dot_pair(const float* first, const float* second, const float* right, int64_t words, TilePair& pair, TilePair& before,
                        Policy& policy) {
  static_assert(TILE_ROWS == GROUP && NR == 32, "a group is one register of rows, a panel two of columns");
  const int share = static_cast<int>((2 * GROUP * TILE_WORDS + words - 1) / words);
  int until = before.done;
  const auto step = [&](int64_t k, const float* columns) CK_LAMBDA_INLINE {
    tile_load<A0>(first + k, LINE_OF_WORDS);
    tile_load<B0>(columns, LINE_OF_WORDS);
    tile_multiply_add<C00, A0, B0>();
    tile_load<B1>(columns + LANES, LINE_OF_WORDS);
    tile_multiply_add<C01, A0, B1>();
    tile_load<A1>(second + k, LINE_OF_WORDS);
    tile_multiply_add<C10, A1, B0>();
    tile_multiply_add<C11, A1, B1>();
    before.use(policy, until += share);
  };
  tile_clear<C00>();
  tile_clear<C01>();
  tile_clear<C10>();
  tile_clear<C11>();
  for (; words >= NR; words -= NR, first += GROUP * NR, second += GROUP * NR, right += NR * NR) {
    step(0, right);
    step(TILE_WORDS, right + TILE_WORDS * NR);
  }
  if (words > 0) step(0, right);
  tile_store<C00>(pair.products, LINE_OF_WORDS);
  tile_store<C01>(pair.products + LANES, LINE_OF_WORDS);
  tile_store<C10>(pair.products + GROUP * NR, LINE_OF_WORDS);
  tile_store<C11>(pair.products + GROUP * NR + LANES, LINE_OF_WORDS);
}

// As walk() of block.hpp, two groups at a time, whose rows the policy gets while the products of the next two are made.
template <bool STORED = false, bool APPLIES = false, class Policy>
CK_INLINE void walk(const Block& block, const Side& x_side, const Side& y, const int32_t* partner, float* positive, const Scratch&,
                    Policy& policy, const TileProducts& products) {
  const Layout& layout = x_side.layout;
  const int64_t words = layout.cols;
  if (partner != nullptr && !holds_partners(partner, block)) partner = nullptr;
  TilePair pairs[2];
  for (int64_t col = block.col_first; col < block.col_last; col += NR) {
    policy.begin(col - block.col_first);
    pairs[1].done = pairs[1].count = 0;
    int turn = 0;
    for (int g = 0; g < block.count; g += 2, turn ^= 1) {
      const int64_t row = block.row_first + block.groups[g] * GROUP;
      if (block.triangle && col + NR <= row) break;
      const int64_t next = g + 1 < block.count ? block.row_first + block.groups[g + 1] * GROUP : row;
      const bool two = next > row && !(block.triangle && col + NR <= next);
      TilePair& pair = pairs[turn];
      dot_pair(GroupRows::of(layout, x_side.grouped, row).first, GroupRows::of(layout, x_side.grouped, next).first,
               panel_at(y.layout, y.panels, col), words, pair, pairs[turn ^ 1], policy);
      pair.rows[0] = row;
      pair.rows[1] = next;
      pair.r = g * GROUP;
      pair.done = 0;
      pair.count = two ? 2 * GROUP : GROUP;
      pair.scale = products.scale;
      if (is_plain(block, row, col, partner) && (!two || is_plain(block, next, col, partner))) continue;
      for (int i = 0; i < 2 * GROUP * NR; i += LANES) store(pair.products + i, products.similarity(load(pair.products + i)));
      pair.scale = broadcast(1.0f);
      exclude(block, row, col, partner, positive, pair.products);
      if (two) exclude(block, next, col, partner, positive, pair.products + GROUP * NR);
    }
    pairs[turn ^ 1].use(policy, 2 * GROUP);
    policy.end(col - block.col_first);
  }
}

// What every step of a second product covers: columns of the coefficients, rows that they are applied to.
constexpr int STEP_ROWS = 2 * TILE_WORDS;

// The coefficients of a block's words turned: rows of columns, words of two rows. Both have rows of Products::ROW words.
static void turn_coefficients(const float* coefficients, int rows, int cols, float* out) {
  constexpr int ROW = TileProducts::ROW;
  for (int r = 0; r < rows; r += STEP_ROWS)
    for (int c = 0; c < cols; c += STEP_ROWS) {
      Floats first[LANES], second[LANES];
#pragma GCC unroll 16
      for (int i = 0; i < LANES; ++i) {
        alignas(64) float words[NR];
        const float* from = coefficients + (r + 2 * i) * ROW + c / 2;
        interleave(load_words(from), load_words(from + ROW), words);
        first[i] = load(words);
        second[i] = load(words + LANES);
      }
      transpose(first);
      transpose(second);
      float* to = out + c * ROW + r / 2;
#pragma GCC unroll 16
      for (int i = 0; i < LANES; ++i) {
        store(to + i * ROW, first[i]);
        store(to + (i + LANES) * ROW, second[i]);
      }
    }
}

// Where the walk wrote no coefficients they become 0: in a triangle the tiles under the diagonal, groups that are not listed (their
// coefficients move to the place of their rows), and rows up to a whole step.
static void complete_coefficients(const Block& block, int groups, int cols, float* coefficients) {
  constexpr int ROW = TileProducts::ROW;
  const auto clear_words = [&](int first, int last, int words) {
    for (int r = first; r < last; ++r)
      for (int k = 0; k < words; k += LANES) store(coefficients + r * ROW + k, zero());
  };
  int listed = block.count - 1;
  if (block.count < groups)
    for (int g = groups - 1; g >= 0; --g) {
      float* to = coefficients + g * GROUP * ROW;
      if (listed < 0 || block.groups[listed] != g)
        clear_words(g * GROUP, (g + 1) * GROUP, cols / 2);
      else
        __builtin_memmove(to, coefficients + listed-- * GROUP * ROW, sizeof(float) * GROUP * ROW);
    }
  if (block.triangle)
    for (int g = 0; g < groups; ++g) clear_words(g * GROUP, (g + 1) * GROUP, g * GROUP / STEP_ROWS * TILE_WORDS);
  const int rows = groups * GROUP;
  clear_words(rows, (rows + STEP_ROWS - 1) / STEP_ROWS * STEP_ROWS, cols / 2);
}

// Rows as words of two (bfloat16_kernels.hpp), `at` a multiple of STEP_ROWS: the words of a chunk's dimensions.
CK_INLINE const float* pairs_at(const Layout& layout, const float* pairs, int64_t at, int64_t chunk) {
  return pairs + at / PACK_ROWS * (PACK_ROWS / GROUP / 2) * layout.group_stride + (chunk * PACK_ROWS + at % PACK_ROWS) / 2 * NR;
}

// Sums of a chunk for one or two groups, += coefficients (GROUP rows for each of them) * rows [from, to) of `pairs`, or = for fresh sums.
template <int GROUPS>
CK_INLINE void apply_groups(const float* coefficients, const Layout& layout, const float* pairs, int64_t base, int64_t chunk, int from,
                            int to, bool fresh, float* const* sums) {
  constexpr int ROW = TileProducts::ROW;
  constexpr int64_t LINE_OF_COEFFICIENTS = ROW * sizeof(float);
  if (fresh) {
    tile_clear<C00>();
    tile_clear<C01>();
    if (GROUPS > 1) tile_clear<C10>();
    if (GROUPS > 1) tile_clear<C11>();
  } else {
    tile_load<C00>(sums[0], LINE_OF_WORDS);
    tile_load<C01>(sums[0] + LANES, LINE_OF_WORDS);
    if (GROUPS > 1) tile_load<C10>(sums[1], LINE_OF_WORDS);
    if (GROUPS > 1) tile_load<C11>(sums[1] + LANES, LINE_OF_WORDS);
  }
  for (int k = from; k < to; k += STEP_ROWS) {
    const float* right = pairs_at(layout, pairs, base + k, chunk);
    tile_load<A0>(coefficients + k / 2, LINE_OF_COEFFICIENTS);
    tile_load<B0>(right, LINE_OF_WORDS);
    tile_multiply_add<C00, A0, B0>();
    tile_load<B1>(right + LANES, LINE_OF_WORDS);
    tile_multiply_add<C01, A0, B1>();
    if (GROUPS > 1) {
      tile_load<A1>(coefficients + GROUP * ROW + k / 2, LINE_OF_COEFFICIENTS);
      tile_multiply_add<C10, A1, B0>();
      tile_multiply_add<C11, A1, B1>();
    }
  }
  tile_store<C00>(sums[0], LINE_OF_WORDS);
  tile_store<C01>(sums[0] + LANES, LINE_OF_WORDS);
  if (GROUPS > 1) tile_store<C10>(sums[1], LINE_OF_WORDS);
  if (GROUPS > 1) tile_store<C11>(sums[1] + LANES, LINE_OF_WORDS);
}

// As apply() of block.hpp, for coefficients in words and rows in pairs.
__attribute__((noinline)) static void apply(const Block& block, const Layout& x_layout, const float* x_pairs, float* x_sums,
                                            const Layout& y_layout, const float* y_pairs, float* y_sums, float* coefficients, bool set,
                                            const TileProducts&, float* turned) {
  constexpr int ROW = TileProducts::ROW, PIECE = GROUP * NR;
  const auto steps = [](int64_t count) { return static_cast<int>((count + STEP_ROWS - 1) / STEP_ROWS * STEP_ROWS); };
  const auto groups_of = [](int64_t count) { return static_cast<int>((count + GROUP - 1) / GROUP); };
  const int row_groups = groups_of(block.row_last - block.row_first), col_groups = groups_of(block.col_last - block.col_first);
  const int rows = steps(row_groups * GROUP), cols = steps(block.col_last - block.col_first);
  complete_coefficients(block, row_groups, cols, coefficients);
  if (y_sums != nullptr) {
    turn_coefficients(coefficients, rows, cols, turned);
    for (int c = cols; c < col_groups * GROUP; ++c)
      for (int k = 0; k < rows / 2; k += LANES) store(turned + c * ROW + k, zero());
  }
  const auto side = [&](const float* of, const Layout& layout, float* sums, int64_t first, int groups, bool fresh,
                        const Layout& other_layout, const float* pairs, int64_t base, int64_t chunk, auto&& range) CK_LAMBDA_INLINE {
    for (int g = 0; g < groups; g += 2) {
      float* to = sums + (first / GROUP + g) * layout.group_stride + chunk * PIECE;
      float* const both[2] = {to, to + layout.group_stride};
      const auto [from, until] = range(g);
      if (g + 1 < groups)
        apply_groups<2>(of + g * GROUP * ROW, other_layout, pairs, base, chunk, from, until, fresh, both);
      else
        apply_groups<1>(of + g * GROUP * ROW, other_layout, pairs, base, chunk, from, until, fresh, both);
    }
  };
  struct Range {
    int from, to;
  };
  for (int64_t chunk = 0; chunk < x_layout.chunks; ++chunk) {
    if (x_sums != nullptr)
      side(coefficients, x_layout, x_sums, block.row_first, row_groups, set && block.row_fresh, y_layout, y_pairs, block.col_first, chunk,
           [&](int g) CK_LAMBDA_INLINE {
             return Range{block.triangle ? g * GROUP / STEP_ROWS * STEP_ROWS : 0, cols};
           });
    if (y_sums != nullptr)
      side(turned, y_layout, y_sums, block.col_first, col_groups, set && block.col_fresh, x_layout, x_pairs, block.row_first, chunk,
           [&](int g) CK_LAMBDA_INLINE {
             return Range{0, block.triangle ? static_cast<int>(smaller(steps((g + 2) * GROUP), rows)) : rows};
           });
  }
}

}  // namespace CK_ISA
}  // namespace ck
