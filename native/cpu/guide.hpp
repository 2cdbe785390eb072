// The rows of a guide of InfoNCE: checked, packed for tiles, with the norms and thresholds that policies/guide.hpp defines.
#ifndef CK_CPU_GUIDE_HPP
#define CK_CPU_GUIDE_HPP

#include "cpu/call.hpp"

namespace ck {

class Guide {
 public:
  // Takes nothing where `pairs` have none.
  Guide(Arena& arena, const ck_info_nce_pairs& pairs, const Call& call);

  // partner: [rows], the key of each query's positive.
  void read(Call& call, int threads, const ck_info_nce_pairs& pairs, const int32_t* partner);
  // NULL where there is no guide.
  const GuidePass* pass() const { return present_ ? &pass_ : nullptr; }
  // Of the queries, or of the keys, among themselves, by the thresholds of their pairs.
  const GuidePass* among_queries() const { return present_ ? &among_queries_ : nullptr; }
  const GuidePass* among_keys() const { return present_ ? &among_keys_ : nullptr; }

 private:
  void read(Call& call, int threads, Packed& packed, double* norms, int32_t argument) const;

  bool present_;
  Packed query_, key_, second_;
  double *norms_, *key_norms_, *second_norms_;
  double* thresholds_;
  float* rounded_;
  GuidePass pass_ = {}, among_queries_ = {}, among_keys_ = {};
};

// How many multiply-adds the guide's part of one pass takes for each pair.
inline double guide_multiply_adds(const ck_info_nce_pairs& pairs) {
  return pairs.guide_query == nullptr ? 0.0 : static_cast<double>(pairs.guide_query->cols);
}

}  // namespace ck

#endif
