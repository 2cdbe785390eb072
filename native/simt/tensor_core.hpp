// Models of the instructions that move and multiply tiles: asynchronous copies, ldmatrix and mma.sync (test only).
//
// They are harder on a kernel than a GPU is. An asynchronous copy poisons its destination when it is issued and delivers at the
// wait that covers it, the latest moment the GPU allows: a read before the wait, a missing commit and a refill of memory still in
// use all show as NaN. What a model reads and writes in memory happens here, in the thread that asked for it, so that the sanitizers
// see it; addresses and their alignment are checked, and ldmatrix and mma.sync need all 32 lanes.
#pragma once
#include "simt.hpp"

namespace simt {

inline bool is_aligned(const void* memory, size_t bytes) { return reinterpret_cast<uintptr_t>(memory) % bytes == 0; }

// 16 bytes from global to shared memory; zeros where `from` is null.
inline void copy_async(void* to, const void* from) {
  require(is_aligned(to, 16) && is_aligned(from, 16), "an asynchronous copy that is not aligned to 16 bytes");
  require(is_shared(to, 16), "an asynchronous copy to memory that is not shared memory");
  AsyncCopies& copies = current->copies;
  require(copies.issued - copies.delivered < AsyncCopies::kMost, "more asynchronous copies in flight than the emulation has room for");
  auto* words = static_cast<uint32_t*>(to);
  for (int i = 0; i < 4; ++i) words[i] = 0xFFFFFFFFu;
  copies.copy[copies.issued++ % AsyncCopies::kMost] = {to, from};
}

inline void copy_async_commit() {
  AsyncCopies& copies = current->copies;
  require(copies.committed - copies.waited < AsyncCopies::kMostGroups,
          "more groups of asynchronous copies than the emulation has room for");
  copies.group_end[copies.committed++ % AsyncCopies::kMostGroups] = copies.issued;
}

// Until at most `pending` of the thread's groups are in flight.
inline void copy_async_wait(unsigned pending) {
  AsyncCopies& copies = current->copies;
  for (; copies.committed - copies.waited > pending; ++copies.waited) {
    for (const unsigned end = copies.group_end[copies.waited % AsyncCopies::kMostGroups]; copies.delivered != end; ++copies.delivered) {
      const AsyncCopies::Copy& copy = copies.copy[copies.delivered % AsyncCopies::kMost];
      auto* to = static_cast<uint32_t*>(copy.to);
      const auto* from = static_cast<const uint32_t*>(copy.from);
      for (int i = 0; i < 4; ++i) to[i] = from ? from[i] : 0u;
    }
  }
}

// ldmatrix x4: lane 8m + r gives the address of row r of matrix m, eight 16-bit elements. Register m of lane l gets elements 2 (l % 4)
// and the next of row l / 4 of matrix m; transposed, of column l / 4.
inline void load_matrix(uint32_t (&registers)[4], const void* row, bool transposed) {
  require(is_aligned(row, 16), "ldmatrix of a row that is not aligned to 16 bytes");
  require(is_shared(row, 16), "ldmatrix of memory that is not shared memory");
  Words mine{};
  std::memcpy(&mine, &row, sizeof row);
  const Words* all = exchange(Operation::load_matrix, mine, [](Words*) {});
  auto row_of = [all](int lane) {
    const uint16_t* address;
    std::memcpy(&address, &all[lane], sizeof address);
    return address;
  };
  const int major = current->lane / 4, minor = current->lane % 4 * 2;
  for (int m = 0; m < 4; ++m) {
    const uint16_t low = transposed ? row_of(8 * m + minor)[major] : row_of(8 * m + major)[minor];
    const uint16_t high = transposed ? row_of(8 * m + minor + 1)[major] : row_of(8 * m + major)[minor + 1];
    registers[m] = low | uint32_t(high) << 16;
  }
}

// A bfloat16's value.
double widen(uint16_t half);

// To float32 as tensor cores do it: towards zero.
float cut(double value);

// mma.sync m16n8k16, bfloat16 operands: c += A B. Products and their sum with c are exact, then cut to float32: tensor cores do not
// round to nearest, so long sums drift towards zero here as there.
void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

}  // namespace simt
