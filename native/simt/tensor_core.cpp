// The model of mma.sync: the last lane to arrive multiplies for its warp. Never compiled with a sanitizer, like engine.cpp, whose
// memory it works in.
#include "tensor_core.hpp"

#include <cmath>

namespace simt {

double widen(uint16_t half) {
  const uint32_t word = uint32_t(half) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

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
double low(uint32_t word) { return widen(uint16_t(word)); }
double high(uint32_t word) { return widen(uint16_t(word >> 16)); }

// In: a lane's four registers of A and two of B. Out: its four elements of A B as doubles.
void multiply(Words* all) {
  double a[16][16], b[16][8], product[16][8] = {};
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, quad = lane % 4;
    for (int r = 0; r < 4; ++r) {
      double* const to = &a[group + r % 2 * 8][2 * quad + r / 2 * 8];
      to[0] = low(all[lane].word[r]);
      to[1] = high(all[lane].word[r]);
    }
    for (int r = 0; r < 2; ++r) {
      b[2 * quad + 8 * r][group] = low(all[lane].word[4 + r]);
      b[2 * quad + 8 * r + 1][group] = high(all[lane].word[4 + r]);
    }
  }
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 16; ++k)
      for (int j = 0; j < 8; ++j) product[i][j] += a[i][k] * b[k][j];
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
