// See guide.hpp.
#include "cpu/guide.hpp"

#include <algorithm>
#include <cmath>

#include "policies/guide.hpp"

namespace ck {
namespace {

constexpr ck_matrix NO_ROWS = {nullptr, 0, 1};
const ck_matrix& rows_or_none(const ck_matrix* matrix) { return matrix == nullptr ? NO_ROWS : *matrix; }

}  // namespace

Guide::Guide(Arena& arena, const ck_info_nce_pairs& pairs, const Call& call)
    : present_(pairs.guide_query != nullptr),
      query_(arena, rows_or_none(pairs.guide_query), call.kernels().width, present_ ? layouts(call, false) : NO_LAYOUTS, false),
      key_(arena, rows_or_none(pairs.guide_key), call.kernels().width,
           !present_         ? NO_LAYOUTS
           : pairs.also != 0 ? layouts(call, false)
                             : COLUMNS,
           false),
      second_(arena, rows_or_none(pairs.guide_second_query), call.kernels().width, present_ ? layouts(call, false) : NO_LAYOUTS, false),
      norms_(arena.take<double>(query_.layout.rows)),
      key_norms_(arena.take<double>(key_.layout.rows)),
      second_norms_(arena.take<double>(second_.layout.rows)),
      thresholds_(arena.take<double>(query_.layout.rows)),
      rounded_(arena.take<float>(query_.layout.padded_rows)) {
  if (!present_) return;
  const auto side = [](const Packed& packed, const double* norms) {
    return GuideSide{&packed.layout, packed.matrix.data, packed.panels, packed.grouped, norms};
  };
  pass_.sides[0] = side(query_, norms_);
  pass_.sides[1] = side(second_, second_norms_);
  pass_.key_layout = &key_.layout;
  pass_.key_data = key_.matrix.data;
  pass_.key_panels = key_.panels;
  pass_.key_norms = key_norms_;
  pass_.split = pairs.guide_second_query != nullptr ? pairs.guide_split : key_.layout.rows;
  pass_.thresholds = thresholds_;
  pass_.rounded = rounded_;
  pass_.band = guide_band(key_.layout.cols, dot_block(key_.layout.cols));
  const auto among = [this](const GuideSide& rows) {
    GuidePass pass = pass_;
    pass.sides[0] = rows;
    pass.key_layout = rows.layout;
    pass.key_data = rows.data;
    pass.key_panels = rows.panels;
    pass.key_norms = rows.norms;
    pass.split = rows.layout->rows;
    pass.mutual = true;
    return pass;
  };
  if (pairs.also == 0) return;
  among_queries_ = among(pass_.sides[0]);
  among_keys_ = among(side(key_, key_norms_));
}

void Guide::read(Call& call, int threads, Packed& packed, double* norms, int32_t argument) const {
  call.each(threads, job_count(packed.layout.padded_rows, PACK_ROWS), [&](int64_t index, int) {
    pack_job(call, packed, 1.0, nullptr, index, true);
    const int64_t cols = packed.layout.cols;
    for (int64_t i = index * PACK_ROWS; i < std::min(packed.layout.rows, (index + 1) * PACK_ROWS); ++i) {
      const float* row = packed.matrix.data + i * cols;
      norms[i] = std::sqrt(call.kernels().contrast.guide_dot(row, row, cols));
    }
  });
  finish_packing(packed, argument);
}

void Guide::read(Call& call, int threads, const ck_info_nce_pairs& pairs, const int32_t* partner) {
  if (!present_) return;
  read(call, threads, query_, norms_, 3);
  read(call, threads, key_, key_norms_, 4);
  if (second_.layout.rows > 0) read(call, threads, second_, second_norms_, 5);
  std::fill_n(rounded_, query_.layout.padded_rows, INFINITY);
  for (int64_t i = 0; i < query_.layout.rows; ++i) {
    const int64_t p = partner[i], cols = key_.layout.cols;
    const GuideSide& side = pass_.sides[p < pass_.split ? 0 : 1];
    const double dot = call.kernels().contrast.guide_dot(side.data + i * cols, pass_.key_data + p * cols, cols);
    const double similarity = guide_cosine(dot, side.norms[i], key_norms_[p]);
    thresholds_[i] = guide_threshold(similarity, pairs.guide_margin, pairs.guide_relative != 0);
    rounded_[i] = static_cast<float>(thresholds_[i]);
  }
}

}  // namespace ck
