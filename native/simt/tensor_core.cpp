// The model of mma.sync: the last lane to arrive multiplies for its warp. Never compiled with a sanitizer, like engine.cpp, whose
// memory it works in.
#include "tensor_core.hpp"

#include <cmath>

namespace simt {

static float as_float(uint32_t word) {
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

double widen(uint16_t half) { return double(as_float(uint32_t(half) << 16)); }

float cut(double value) {
  float result = float(value);
  if (std::isinf(result) || !(std::fabs(double(result)) > std::fabs(value))) return result;
  uint32_t bits;
  std::memcpy(&bits, &result, sizeof bits);
  --bits;  // one step towards zero
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

namespace {

// The lower and the upper half of a register.
float low(uint32_t word) { return as_float(word << 16); }
float high(uint32_t word) { return as_float(word & 0xFFFF0000u); }

// In: a lane's four registers of A and two of B. Out: its four elements of A B as doubles. Tests spend most of their time here, so a row
// of the product is summed in registers, which compilers see in vector types only.
void multiply(Words* all) {
  typedef double Pair __attribute__((vector_size(16), may_alias));
  float a[16][16];
  alignas(16) double b[16][8], product[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, quad = lane % 4;
    for (int r = 0; r < 4; ++r) {
      float* const to = &a[group + r % 2 * 8][2 * quad + r / 2 * 8];
      to[0] = low(all[lane].word[r]);
      to[1] = high(all[lane].word[r]);
    }
    for (int r = 0; r < 2; ++r) {
      b[2 * quad + 8 * r][group] = double(low(all[lane].word[4 + r]));
      b[2 * quad + 8 * r + 1][group] = double(high(all[lane].word[4 + r]));
    }
  }
  for (int i = 0; i < 16; ++i) {
    Pair sum[4] = {};
    for (int k = 0; k < 16; ++k) {
      const Pair x = {double(a[i][k]), double(a[i][k])};
      const Pair* const row = reinterpret_cast<const Pair*>(b[k]);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) sum[j] += x * row[j];
    }
    std::memcpy(product[i], sum, sizeof sum);
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, quad = lane % 4;
    double own[4];
    for (int r = 0; r < 4; ++r) own[r] = product[group + r / 2 * 8][2 * quad + r % 2];
    static_assert(sizeof own == sizeof(Words));
    std::memcpy(&all[lane], own, sizeof own);
  }
}

}  // namespace

void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const Words* all = exchange(Operation::multiply, {{a[0], a[1], a[2], a[3], b0, b1, 0, 0}}, multiply);
  double own[4];
  std::memcpy(own, &all[current->lane], sizeof own);
  for (int i = 0; i < 4; ++i) c[i] = cut(c[i] + own[i]);
}

}  // namespace simt
