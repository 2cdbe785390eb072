// Supervised contrastive learning over the pairs of rows of one class. Included by unit.hpp in the namespace of an instruction set.
//
// Rows are sorted by class, and those of a class are taken relative to their mean m: with r = u - m the similarity of i and p is
// |m|^2 + <m, r_i> + <m, r_p> + <r_i, r_p>. The tiles hold the last term, so that where the rows of a class lie close together the
// differences between its positives keep their digits. For row i only t_ip = bias_p + y_ip differs from positive to positive, with
// bias_p = <m, r_p> and y_ip = <r_i, r_p> in log2 units.
//
//   class_peaks       the largest sign * t of each row
//   class_softmax     v = 2^(t - reference) - 1, summed over a row's positives
//   class_pairs       softplus and sigmoid of a = level - t, summed likewise; where every a of a row is far below 0 both are
//                     2^a to the last digit, and 2^(a - offset) is what float32 can hold
//   *_backward        the coefficients of a pair from both of its rows, applied to both
#pragma once

#include "cpu/sig_lip_passes.hpp"

namespace ck {
namespace CK_ISA {

// 2^x - 1 to full relative accuracy.
CK_INLINE Floats exp2_minus_one(Floats x) {
  Floats p = broadcast(1.32154868e-06f);  // ln(2)^n / n!
  p = fma(p, x, broadcast(1.52527338e-05f));
  p = fma(p, x, broadcast(1.54035304e-04f));
  p = fma(p, x, broadcast(1.33335581e-03f));
  p = fma(p, x, broadcast(9.61812911e-03f));
  p = fma(p, x, broadcast(5.55041087e-02f));
  p = fma(p, x, broadcast(2.40226507e-01f));
  p = fma(p, x, broadcast(6.93147181e-01f));
  const Ints small = (Ints)(maximum(x, sub(zero(), x)) < broadcast(0.5f));
  return select(small, mul(p, x), sub(exp2(x), broadcast(1.0f)));
}

// Pairs of one class in a tile. Labels are sorted.
struct SameClass {
  const int32_t* labels;
  int64_t first_col;
  Ints l0, l1;

  CK_INLINE void begin(int64_t c) {
    l0 = load_ints(labels + first_col + c);
    l1 = load_ints(labels + first_col + c + LANES);
  }
  // Pairs of other classes, and those that the walk excluded, are left out.
  CK_INLINE void find(int64_t i, Floats y0, Floats y1, Ints& in0, Ints& in1) const {
    const Ints l = broadcast_int(labels[i]);
    const Floats least = broadcast(0.5f * EXCLUDED);
    in0 = (l == l0) & (Ints)(y0 > least);
    in1 = (l == l1) & (Ints)(y1 > least);
  }
  CK_INLINE bool any(int64_t i, int64_t col) const { return labels[i] <= labels[col + NR - 1] && labels[i + MR - 1] >= labels[col]; }
};

// A policy of the pairs of one class.
struct ClassPolicy : SparsePolicy {
  SameClass same;

  CK_INLINE bool counts(int64_t i, int64_t col) const { return same.any(i, col); }
  CK_INLINE void pass_over(int) {}
};

// One that stores coefficients.
struct ClassBackwardPolicy : ClassPolicy {
  float* coefficients;

  CK_INLINE void pass_over(int r) {
    for (int i = 0; i < MR; ++i) {
      store(coefficients + (r + i) * BLOCK_STRIDE, zero());
      store(coefficients + (r + i) * BLOCK_STRIDE + LANES, zero());
    }
  }
};

// Two vectors of one array, at the columns of a tile.
struct ColumnPair {
  Floats v0, v1;
  CK_INLINE void read(const float* array, int64_t col) {
    v0 = load(array + col);
    v1 = load(array + col + LANES);
  }
};

// Calls visit(block) for the blocks that can hold a pair of one class, with the groups that can: labels are sorted.
template <class Visit>
CK_INLINE void for_class_blocks(const ClassPass& pass, const BlockPair& pair, Visit&& visit) {
  for_blocks(pair, pass.block, [&](const Block& found) {
    const int32_t first = pass.labels[found.col_first], last = pass.labels[found.col_last - 1];
    Block block = found;
    if (!block.triangle) {
      int kept = 0;
      for (int g = 0; g < block.count; ++g) {
        const int64_t row = block.row_first + g * GROUP;
        if (pass.labels[row] <= last && pass.labels[smaller(row + GROUP, block.row_last) - 1] >= first) block.groups[kept++] = g;
      }
      block.count = kept;
    }
    if (block.count > 0) visit(block);
  });
}

template <class Policy>
CK_INLINE void walk_class(const ClassPass& pass, const Block& block, const Scratch& scratch, Policy& policy) {
  const Side side = {*pass.layout, pass.panels, pass.grouped};
  walk<true>(block, side, side, nullptr, nullptr, scratch, policy);
}

struct ClassPeaks : ClassPolicy {
  LanePeaks peaks;
  const float* bias;
  ColumnPair b;
  Floats sign;

  CK_INLINE void begin(int64_t c) {
    same.begin(c);
    peaks.begin(c);
    b.read(bias, same.first_col + c);
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    Ints in0, in1;
    same.find(i, y0, y1, in0, in1);
    const Floats none = broadcast(EXCLUDED), own = broadcast(bias[i]);
    const auto value = [&](Floats y, Floats other, Ints in) CK_LAMBDA_INLINE { return select(in, mul(add(y, other), sign), none); };
    peaks.c0 = maximum(peaks.c0, value(y0, own, in0));
    peaks.c1 = maximum(peaks.c1, value(y1, own, in1));
    float* lanes = peaks.rows + r * LANES;
    store(lanes, maximum(load(lanes), maximum(value(y0, b.v0, in0), value(y1, b.v1, in1))));
  }
  CK_INLINE void end(int64_t c) { peaks.end(c); }
};

void class_peaks(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_class_blocks(pass, pair, [&](const Block& block) {
    ClassPeaks policy;
    policy.same = {pass.labels, block.col_first, Ints{}, Ints{}};
    policy.bias = pass.bias;
    policy.sign = broadcast(pass.sign);
    policy.peaks.rows = scratch.row_peaks;
    policy.peaks.cols = scratch.col_peaks;
    policy.peaks.clear(block.count, BLOCK_LARGE);
    walk_class(pass, block, scratch, policy);
    policy.peaks.flush(block, pass.peaks);
  });
}

struct ClassSoftmax : ClassPolicy {
  LaneSums sums;
  const float* bias;
  const float* reference;
  ColumnPair b, ref;

  CK_INLINE void begin(int64_t c) {
    same.begin(c);
    sums.begin(c);
    b.read(bias, same.first_col + c);
    ref.read(reference, same.first_col + c);
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    Ints in0, in1;
    same.find(i, y0, y1, in0, in1);
    const Floats own = broadcast(bias[i]), own_ref = broadcast(reference[i]);
    const auto value = [&](Floats y, Floats other, Floats from, Ints in)
                           CK_LAMBDA_INLINE { return select(in, exp2_minus_one(sub(add(y, other), from)), zero()); };
    sums.c0 = add(sums.c0, value(y0, own, ref.v0, in0));
    sums.c1 = add(sums.c1, value(y1, own, ref.v1, in1));
    float* lanes = sums.rows + r * LANES;
    store(lanes, add(load(lanes), add(value(y0, b.v0, own_ref, in0), value(y1, b.v1, own_ref, in1))));
  }
  CK_INLINE void end(int64_t c) { sums.end(c); }
};

void class_softmax(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_class_blocks(pass, pair, [&](const Block& block) {
    ClassSoftmax policy;
    policy.same = {pass.labels, block.col_first, Ints{}, Ints{}};
    policy.bias = pass.bias;
    policy.reference = pass.reference;
    policy.sums.rows = scratch.row_lanes;
    policy.sums.cols = scratch.col_lanes;
    policy.sums.clear(block.count, BLOCK_LARGE);
    walk_class(pass, block, scratch, policy);
    policy.sums.flush_rows(block, pass.sums);
    policy.sums.flush_cols(block, pass.sums);
  });
}

// f_i(t) = spread_i (v - mean_i) - pull_i (1 + v)
struct ClassSoftmaxBackward : ClassBackwardPolicy {
  ClassPass pass;
  ColumnPair b, ref, mean, spread, pull;

  CK_INLINE void begin(int64_t c) {
    const int64_t col = same.first_col + c;
    same.begin(c);
    b.read(pass.bias, col);
    ref.read(pass.reference, col);
    mean.read(pass.mean, col);
    spread.read(pass.spread, col);
    pull.read(pass.pull, col);
  }
  static CK_INLINE Floats side(Floats t, Floats ref, Floats mean, Floats spread, Floats pull) {
    const Floats v = exp2_minus_one(sub(t, ref));
    return sub(mul(spread, sub(v, mean)), mul(pull, add(broadcast(1.0f), v)));
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    Ints in0, in1;
    same.find(i, y0, y1, in0, in1);
    const Floats own = broadcast(pass.bias[i]), own_ref = broadcast(pass.reference[i]), own_mean = broadcast(pass.mean[i]),
                 own_spread = broadcast(pass.spread[i]), own_pull = broadcast(pass.pull[i]);
    const auto both = [&](Floats y, Ints in, Floats bias, Floats ref, Floats mean, Floats spread, Floats pull) CK_LAMBDA_INLINE {
      const Floats of_row = side(add(y, bias), own_ref, own_mean, own_spread, own_pull);
      return select(in, add(of_row, side(add(y, own), ref, mean, spread, pull)), zero());
    };
    float* out = coefficients + r * BLOCK_STRIDE;
    store(out, both(y0, in0, b.v0, ref.v0, mean.v0, spread.v0, pull.v0));
    store(out + LANES, both(y1, in1, b.v1, ref.v1, mean.v1, spread.v1, pull.v1));
  }
  CK_INLINE void end(int64_t) { coefficients += NR; }
};

// softplus and sigmoid of a, or 2^(a - offset) for both.
CK_INLINE void raised_logistic(Floats a, Floats offset, Floats& softplus, Floats& sigmoid) {
  const Ints raised = (Ints)(offset < zero());
  Floats plain_loss, plain_slope;
  logistic(a, plain_loss, plain_slope);
  const Floats e = exp2(sub(a, offset));
  softplus = select(raised, e, plain_loss);
  sigmoid = select(raised, e, plain_slope);
}

struct ClassPairs : ClassPolicy {
  LaneSums losses, slopes;
  ClassPass pass;
  ColumnPair b, level, offset;

  CK_INLINE void begin(int64_t c) {
    const int64_t col = same.first_col + c;
    same.begin(c);
    losses.begin(c);
    slopes.begin(c);
    b.read(pass.bias, col);
    level.read(pass.level, col);
    offset.read(pass.offset, col);
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    Ints in0, in1;
    same.find(i, y0, y1, in0, in1);
    const Floats own = broadcast(pass.bias[i]), own_level = broadcast(pass.level[i]), own_offset = broadcast(pass.offset[i]);
    Floats loss0, loss1, slope0, slope1;
    raised_logistic(sub(level.v0, add(y0, own)), offset.v0, loss0, slope0);
    raised_logistic(sub(level.v1, add(y1, own)), offset.v1, loss1, slope1);
    losses.c0 = add(losses.c0, select(in0, loss0, zero()));
    losses.c1 = add(losses.c1, select(in1, loss1, zero()));
    slopes.c0 = add(slopes.c0, select(in0, slope0, zero()));
    slopes.c1 = add(slopes.c1, select(in1, slope1, zero()));
    raised_logistic(sub(own_level, add(y0, b.v0)), own_offset, loss0, slope0);
    raised_logistic(sub(own_level, add(y1, b.v1)), own_offset, loss1, slope1);
    float* l = losses.rows + r * LANES;
    float* s = slopes.rows + r * LANES;
    store(l, add(load(l), add(select(in0, loss0, zero()), select(in1, loss1, zero()))));
    store(s, add(load(s), add(select(in0, slope0, zero()), select(in1, slope1, zero()))));
  }
  CK_INLINE void end(int64_t c) {
    losses.end(c);
    slopes.end(c);
  }
};

void class_pairs(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_class_blocks(pass, pair, [&](const Block& block) {
    ClassPairs policy;
    policy.same = {pass.labels, block.col_first, Ints{}, Ints{}};
    policy.pass = pass;
    policy.losses.rows = scratch.row_lanes;
    policy.losses.cols = scratch.col_lanes;
    policy.slopes.rows = scratch.row_peaks;
    policy.slopes.cols = scratch.col_peaks;
    policy.losses.clear(block.count, BLOCK_LARGE);
    policy.slopes.clear(block.count, BLOCK_LARGE);
    walk_class(pass, block, scratch, policy);
    policy.losses.flush_rows(block, pass.sums);
    policy.losses.flush_cols(block, pass.sums);
    policy.slopes.flush_rows(block, pass.slopes);
    policy.slopes.flush_cols(block, pass.slopes);
  });
}

// f_i(t) = -pull_i sigmoid(level_i - t)
struct ClassPairsBackward : ClassBackwardPolicy {
  ClassPass pass;
  ColumnPair b, level, offset, pull;

  CK_INLINE void begin(int64_t c) {
    const int64_t col = same.first_col + c;
    same.begin(c);
    b.read(pass.bias, col);
    level.read(pass.level, col);
    offset.read(pass.offset, col);
    pull.read(pass.pull, col);
  }
  CK_INLINE void row(int r, int64_t i, Floats y0, Floats y1) {
    Ints in0, in1;
    same.find(i, y0, y1, in0, in1);
    const Floats own = broadcast(pass.bias[i]), own_level = broadcast(pass.level[i]), own_offset = broadcast(pass.offset[i]),
                 own_pull = broadcast(pass.pull[i]);
    const auto both = [&](Floats y, Ints in, Floats bias, Floats level, Floats offset, Floats pull) CK_LAMBDA_INLINE {
      Floats loss, of_row, of_col;
      raised_logistic(sub(own_level, add(y, bias)), own_offset, loss, of_row);
      raised_logistic(sub(level, add(y, own)), offset, loss, of_col);
      return select(in, sub(zero(), fma(of_row, own_pull, mul(of_col, pull))), zero());
    };
    float* out = coefficients + r * BLOCK_STRIDE;
    store(out, both(y0, in0, b.v0, level.v0, offset.v0, pull.v0));
    store(out + LANES, both(y1, in1, b.v1, level.v1, offset.v1, pull.v1));
  }
  CK_INLINE void end(int64_t) { coefficients += NR; }
};

template <class Policy>
CK_INLINE void class_backward_blocks(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch) {
  for_class_blocks(pass, pair, [&](const Block& block) {
    Policy policy;
    policy.same = {pass.labels, block.col_first, Ints{}, Ints{}};
    policy.pass = pass;
    policy.coefficients = scratch.coefficients;
    walk_class(pass, block, scratch, policy);
    apply(block, *pass.layout, pass.applied, pass.gradient, *pass.layout, pass.applied, pass.gradient, scratch.coefficients);
  });
}

void class_softmax_backward(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch) {
  class_backward_blocks<ClassSoftmaxBackward>(pass, pair, scratch);
}
void class_pairs_backward(const ClassPass& pass, const BlockPair& pair, const Scratch& scratch) {
  class_backward_blocks<ClassPairsBackward>(pass, pair, scratch);
}

}  // namespace CK_ISA
}  // namespace ck
