// What a guide leaves of InfoNCE's pairs, as policies/guide.hpp decides it: made once for a call, a bit for each pair, before anything
// that asks for it. Included by info_nce.cpp and guide.cpp.
#pragma once
#include "cuda/rows.hpp"
#include "policies/guide.hpp"

namespace ck::cuda {

// Rows of a guide: packed as units for tiles, as they are, and their norms as the definition has them.
struct GuideRows {
  Rows units;
  double* norms;  // [rows]

  GuideRows(Arena& arena, const ck_matrix* matrix)
      : units(arena, matrix ? matrix->data : nullptr, matrix ? matrix->rows : 0, matrix ? matrix->cols : 1, true, true),
        norms(arena.take<double>(units.rows)) {}
};

struct Guide {
  GuideRows query, key, second;
  int split;  // keys from here on are compared with `second`
  double margin;
  bool relative;
  int words;           // of a row of bits
  double* thresholds;  // [N]
  uint32_t* bits;      // [N, words]: bit j % 32 of word j / 32 is 1 where key j counts

  // Takes next to nothing where `pairs` have no guide.
  Guide(Arena& arena, const ck_info_nce_pairs& pairs)
      : query(arena, pairs.guide_query),
        key(arena, pairs.guide_key),
        second(arena, pairs.guide_second_query),
        split(pairs.guide_second_query ? int(pairs.guide_split) : key.units.rows),
        margin(pairs.guide_margin),
        relative(pairs.guide_relative != 0),
        words((key.units.rows + 31) / 32),
        thresholds(arena.take<double>(query.units.rows)),
        bits(arena.take<uint32_t>(size_t(query.units.rows) * words)) {}

  CK_HOST_DEVICE bool present() const { return query.units.rows > 0; }
};

// Fills the bits. positives: [N] or null, row i. Non-finite elements are reported as of inputs 3, 4 and 5.
void decide(Run& run, const Guide& guide, const int32_t* positives, ck_cuda_report* report);

}  // namespace ck::cuda
