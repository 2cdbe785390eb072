// What a guide, as policies/guide.hpp decides it, and the caller's mask leave of InfoNCE's pairs: made once for a call, a bit for each
// pair, before anything that asks for it. One array for both: kernels of tensor cores have no registers for two. Included by info_nce.cpp
// and guide.cpp.
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
  GuideRows query, key, second;  // no rows: there is no guide
  int split;                     // keys from here on are compared with `second`
  double margin;
  bool relative;
  const uint8_t* mask;  // [N, K] or null
  int rows, keys;       // N and K; N is 0 where there is neither a guide nor a mask
  int words;            // of a row of bits
  double* thresholds;   // [N]
  uint32_t* bits;       // [N, words]: bit j % 32 of word j / 32 is 1 where key j counts

  // Takes next to nothing where `pairs` have no guide and no mask.
  Guide(Arena& arena, const ck_info_nce_pairs& pairs, int64_t queries, int64_t key_count)
      : query(arena, pairs.guide_query),
        key(arena, pairs.guide_key),
        second(arena, pairs.guide_second_query),
        split(int(pairs.guide_second_query ? pairs.guide_split : key_count)),
        margin(pairs.guide_margin),
        relative(pairs.guide_relative != 0),
        mask(pairs.mask),
        rows(pairs.guide_query || mask ? int(queries) : 0),
        keys(int(key_count)),
        words((keys + 31) / 32),
        thresholds(arena.take<double>(query.units.rows)),
        bits(arena.take<uint32_t>(size_t(rows) * words)) {}

  CK_HOST_DEVICE bool decides() const { return rows > 0; }
  CK_HOST_DEVICE bool guided() const { return query.units.rows > 0; }
};

// Fills the bits. positives: [N] or null, row i. Non-finite elements are reported as of inputs 3, 4 and 5.
void decide(Run& run, const Guide& guide, const int32_t* positives, ck_cuda_report* report);

}  // namespace ck::cuda
