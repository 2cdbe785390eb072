#include "cpu/rounded_rows.hpp"

namespace ck {

RoundedRows::RoundedRows(Arena& arena, const Layout& layout, bool gradients, const Bfloat16Table* kernels) {
  if (kernels == nullptr) return;
  const int64_t count = (layout.cols + 1) / 2, whole = kernels->whole_words;
  words = make_layout(layout.rows, (count + whole - 1) / whole * whole, layout.width);
  rows = arena.take<float>(layout.rows * layout.cols);
  panels = arena.take<float>(panel_floats(words));
  if (kernels->grouped_rows) grouped = arena.take<float>(grouped_floats(words));
  if (gradients) pairs = arena.take<float>(grouped_floats(layout) / 2);
  lengths = arena.take<double>(layout.padded_rows);
}

void round_job(const Call& call, Packed& packed, const RoundedRows& rounded, int64_t index) {
  RoundJob job = {};
  job.data = packed.matrix.data;
  job.layout = &packed.layout;
  job.words = &rounded.words;
  job.first = index * PACK_ROWS;
  job.last = job.first + PACK_ROWS;
  job.normalize = call.options().normalize;
  job.rounded = rounded.rows;
  job.panels = rounded.panels;
  job.grouped = rounded.grouped;
  job.pairs = rounded.pairs;
  job.pair_rows = call.bfloat16()->pair_rows;
  job.lengths = rounded.lengths;
  job.norms = packed.norms;
  job.column_sum = packed.column_sums == nullptr ? nullptr : packed.column_sums + index * packed.layout.cols;
  job.totals = &packed.totals[index];
  call.bfloat16()->pack(&job);
}

}  // namespace ck
