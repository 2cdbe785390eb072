// What a pairwise loss says about one element of the matrix of similarities; the CUDA tile engine is generic in it.
//
//   score(s, i, j)     the exponent of the pair (i, j) in units of s: the term is exp2(k * score), k chosen by the caller
//   excluded(i, j)     the pair is not a term
//   meets(row, col)    the tile of kTile x kTile pairs at (row, col) may hold excluded pairs off its diagonal
//   kCompared          the positive is compared with the largest other score (the accuracy statistic)
//   kTwoSided          the gradient's coefficient is exp2(k score - l_i) + exp2(k score - l_j); otherwise l_i is one number for
//                      all rows and the coefficient is the one exponential
#pragma once
#include <cstdint>

#include "policies/host_device.hpp"

namespace ck {

// Which row is a row's positive. kSelf: the row itself, for losses without positives.
struct PairLayout {
  enum Kind : int32_t { kHalves = 0, kInterleaved = 1, kSelf = 2 };
  int rows;
  int kind;

  CK_HOST_DEVICE int positive(int i) const {
    if (kind == kSelf) return i;
    if (kind == kInterleaved) return i ^ 1;
    const int half = rows / 2;
    return i < half ? i + half : i - half;
  }
};

// NT-Xent: every other row but the positive, which is kept out of the sums and added in double.
struct NtXentPairs {
  static constexpr bool kCompared = true;
  static constexpr bool kTwoSided = true;
  PairLayout layout;

  CK_HOST_DEVICE float score(float s, int, int) const { return s; }
  CK_HOST_DEVICE bool excluded(int i, int j) const { return i == j || j == layout.positive(i); }
  template <int kTile>
  CK_HOST_DEVICE bool meets(int row, int col) const {
    if (layout.kind == PairLayout::kInterleaved) return false;  // 2k and 2k + 1 share a tile of the diagonal
    const int gap = col > row ? col - row : row - col;
    const int half = layout.rows / 2;
    return gap - kTile < half && half < gap + kTile;
  }
};

// Uniformity: -|u_i - u_j|^2 / 2 = s - |u_i|^2 / 2 - |u_j|^2 / 2, which also holds for zero rows.
struct UniformityPairs {
  static constexpr bool kCompared = false;
  static constexpr bool kTwoSided = false;
  const float* half_squares;  // [padded rows]

  CK_HOST_DEVICE float score(float s, int i, int j) const { return s - half_squares[i] - half_squares[j]; }
  CK_HOST_DEVICE bool excluded(int i, int j) const { return i == j; }
  template <int kTile>
  CK_HOST_DEVICE bool meets(int, int) const {
    return false;
  }
};

}  // namespace ck
