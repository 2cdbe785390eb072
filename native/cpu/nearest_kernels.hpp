// What an instruction-set unit is told to find nearest rows: plain structs, as in kernels.hpp, which includes this.
#ifndef CK_CPU_NEAREST_KERNELS_HPP
#define CK_CPU_NEAREST_KERNELS_HPP

#include <stdint.h>

namespace ck {

struct Layout;

struct NearestCandidate {
  float similarity;
  int32_t row;  // of y
};

// Rows of x against rows of y; candidates, counts and thresholds are those of the job's rows, from its first on.
struct NearestPass {
  const Layout* x_layout;
  const Layout* y_layout;
  const float* x_panels;
  const float* x_grouped;
  const float* y_panels;
  const int32_t* partner;  // NULL, or the row of y that is no neighbour of each row of x
  int64_t k, capacity;
  NearestCandidate* candidates;  // [rows][capacity]
  float* thresholds;             // only what is above is noted
  int32_t* counts;
  void (*compact)(const NearestPass& pass, int64_t row);  // called when a row's candidates are full
  int32_t block;
};

}  // namespace ck

#endif
