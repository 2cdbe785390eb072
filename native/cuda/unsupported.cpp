// Which kernels of the C ABI this library has, and the answer of those that it does not have yet.
#include <cstdio>

#include "contrastive_kernels.h"

namespace {

int unavailable(const char* kernel, ck_error* error) {
  if (error != nullptr) {
    *error = {-1, -1, -1, ""};
    std::snprintf(error->message, sizeof error->message, "the CUDA library has no kernel %s: use the cpu backend", kernel);
  }
  return CK_UNAVAILABLE;
}

}  // namespace

int32_t ck_supports(int32_t kernel) {
  switch (kernel) {
    case CK_BARLOW_TWINS:
    case CK_VIC_REG:
    case CK_NEAREST:
      return 0;
    default:
      return kernel >= CK_COSINE_SIMILARITY && kernel <= CK_NEAREST;
  }
}

int ck_barlow_twins(const ck_matrix*, const ck_matrix*, double, const ck_options*, float*, float*, ck_result*, ck_error* error) {
  return unavailable("barlowTwins", error);
}

int ck_vic_reg(const ck_matrix*, const ck_matrix*, double, double, double, const ck_options*, float*, float*, ck_result*, ck_error* error) {
  return unavailable("vicReg", error);
}

int ck_nearest(const ck_matrix*, const ck_matrix*, int64_t, int32_t, const ck_options*, int32_t*, float*, ck_error* error) {
  return unavailable("nearest", error);
}
