// What a guide, as policies/guide.hpp decides it, and the caller's mask leave of InfoNCE's pairs: a bit for each pair, made before anything
// asks for it. One array for both: kernels of tensor cores have no registers for two. It has at most half the bytes of queries and keys, or
// those of one panel. Where they suffice it holds all pairs, decided once for a call; else it is a window, as many queries or keys as fit,
// which moves on with the passes that read it, each of which decides again. Included by info_nce.cpp and guide.cpp.
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

// The pairs of some queries with some keys; no bits: all pairs count.
struct DecidedPairs {
  uint32_t* bits = nullptr;  // [queries, words]: bit j % 32 of word j / 32 of a row is 1 where key j counts
  int words = 0;
  int first_query = 0, queries = 0, first_key = 0, keys = 0;  // first_key is a multiple of 32
  size_t origin = 0;                                          // of query 0 and key 0, in words before `bits`

  DecidedPairs() = default;
  DecidedPairs(uint32_t* bits_, int first_query_, int queries_, int first_key_, int keys_)
      : bits(bits_),
        words(words_of(keys_)),
        first_query(first_query_),
        queries(queries_),
        first_key(first_key_),
        keys(keys_),
        origin(size_t(first_query) * words + first_key / 32) {}

  static constexpr int words_of(int keys) { return (keys + 31) / 32; }
  __device__ __forceinline__ bool counts(int i, int j) const {
    return !bits || (bits[size_t(i) * words + j / 32 - origin] >> j % 32 & 1) != 0;
  }
};

struct Guide {
  GuideRows query, key, second;  // no rows: there is no guide
  int split;                     // keys from here on are compared with `second`
  double margin;
  bool relative;
  const uint8_t* mask;  // [N, K] or null
  int rows, keys;       // N and K; N is 0 where there is neither a guide nor a mask
  int query_window;     // queries that are decided at once, with all keys: N, or a multiple of query_panel
  int key_window;       // the same of keys with all queries
  double* thresholds;   // [N]
  uint32_t* bits;       // of a window

  // Takes next to nothing where `pairs` have no guide and no mask. Windows are whole panels of the passes, whose rows are multiples of a
  // tile's; `bytes` is what bits may take, unless one panel takes more.
  Guide(Arena& arena, const ck_info_nce_pairs& pairs, int64_t queries, int64_t key_count, int query_panel, int key_panel, size_t bytes)
      : query(arena, pairs.guide_query),
        key(arena, pairs.guide_key),
        second(arena, pairs.guide_second_query),
        split(int(pairs.guide_second_query ? pairs.guide_split : key_count)),
        margin(pairs.guide_margin),
        relative(pairs.guide_relative != 0),
        mask(pairs.mask),
        rows(pairs.guide_query || mask ? int(queries) : 0),
        keys(int(key_count)),
        query_window(window(rows, query_panel, bytes / sizeof(uint32_t) / DecidedPairs::words_of(keys))),
        key_window(window(keys, key_panel, rows > 0 ? bytes / sizeof(uint32_t) / rows * 32 : 0)),
        thresholds(arena.take<double>(query.units.rows)),
        bits(arena.take<uint32_t>(most_words())) {}

  bool decides() const { return rows > 0; }
  bool at_once() const { return query_window == rows; }
  CK_HOST_DEVICE bool guided() const { return query.units.rows > 0; }

  // work(decided, first, count) for one window of queries, with all keys, after another, or of keys with all queries: all of them where
  // there is nothing to decide, or where it was at once.
  template <class Work>
  void by_queries(Run& run, int queries, const Work& work) const {
    const int window = decides() ? query_window : queries;
    for (int first = 0; first < queries; first += window) work(of_queries(run, first), first, smaller_of(window, queries - first));
  }
  template <class Work>
  void by_keys(Run& run, int key_count, const Work& work) const {
    const int window = at_once() ? key_count : key_window;
    for (int first = 0; first < key_count; first += window) work(of_keys(run, first), first, smaller_of(window, key_count - first));
  }
  // The window of queries, or keys, from `first` on: decided here, unless all were at once.
  DecidedPairs of_queries(Run& run, int first) const;
  DecidedPairs of_keys(Run& run, int first) const;

 private:
  // As many rows as there are, or as may be decided at once, in whole panels.
  static int window(int count, int panel, size_t most) {
    if (most >= size_t(count)) return count;
    const int panels = int(most) / panel;
    return smaller_of(count, panels > 1 ? panels * panel : panel);
  }
  size_t most_words() const {
    const size_t by_queries = size_t(query_window) * DecidedPairs::words_of(keys);
    const size_t by_keys = at_once() ? 0 : size_t(rows) * DecidedPairs::words_of(key_window);
    return by_queries > by_keys ? by_queries : by_keys;
  }
  static int smaller_of(int a, int b) { return a < b ? a : b; }
};

// Norms and thresholds, and where they fit all decisions. positives: [N] or null, row i. Non-finite elements are reported as of inputs 3,
// 4 and 5.
void prepare(Run& run, const Guide& guide, const int32_t* positives, ck_cuda_report* report);

}  // namespace ck::cuda
