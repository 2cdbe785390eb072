// The models of wgmma, of the fence of the asynchronous proxy and of setmaxnreg: see hopper.hpp. Never compiled with a sanitizer, like
// engine.cpp.
//
// Every warp has a queue of the products that it has issued; its quarter of them is worked off at the wait that covers them. That
// the four warps of a group issued the same is checked when the block ends.
#include <initializer_list>

#include "annotations.hpp"
#include "hopper.hpp"
#include "hopper_state.hpp"
#include "tensor_core.hpp"

namespace simt {
namespace {

constexpr int kWarp = 32, kWarps = 32, kMostFloats = 64, kMostAccumulators = 4, kMostProducts = 64, kMostGroups = 16;
constexpr char kTouched[] = "an accumulator of wgmma was written before the wait for it";
constexpr int kRegisters = 64 * 1024, kMostAtStart = 168;

// d of one warp while products that change it are in flight.
struct Accumulator {
  float* of_lane[kWarp];
  float value[kWarp][kMostFloats];
  int count;
  int products;  // in flight; 0: free
};
// A is a matrix in shared memory, or registers: then `a` is 0, and B's rows run over k instead of its columns.
struct Product {
  uint64_t a, b;
  Accumulator* to;
  bool accumulate, from_registers;
  const uint32_t* registers[kWarp];
  uint32_t value[kWarp][4];  // of the registers at the issue
};
struct WarpState {
  Accumulator accumulators[kMostAccumulators];
  Product products[kMostProducts];
  unsigned group_end[kMostGroups];
  unsigned issued, done, committed, waited;  // they only grow, as in AsyncCopies
  bool fenced;
  uint64_t history;  // of the products issued
  int registers;
};
struct Groups {
  WarpState warps[kWarps];
  int warp_count;
  int pool;  // registers of the block
  alignas(16) unsigned char view[kMostSharedBytes];
  bool view_valid;
} state;

WarpState& own() { return state.warps[current->warp]; }

struct Argument {
  float* d;
  uint64_t a, b;  // a: the descriptor or the address of the registers
  uint16_t count;
  uint8_t accumulate, from_registers;
};

// `chunks` times 8 bfloat16 of a row of the matrix, from the descriptor's first column on.
void read_row(double* to, uint64_t descriptor, int row, int chunks) {
  const size_t start = size_t(descriptor & 0x3FFF) << 4, group = size_t(descriptor >> 32 & 0x3FFF) << 4;
  require(start % 1024 < 128, "a matrix of wgmma that does not start in the first row of its swizzle pattern");
  require(start % 128 + 16 * chunks <= 128, "a matrix of wgmma that ends outside of the 128 bytes of a swizzled row");
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const size_t at = swizzle(start + row / 8 * group + row % 8 * 128 + 16 * chunk);
    unsigned char* const memory = shared_memory() + at;
    require(is_shared(memory, 16), "wgmma of memory that is not shared memory");
    report_read(memory, 16);
    require(std::memcmp(memory, async_view() + at, 16) == 0,
            "wgmma of shared memory that ordinary stores wrote without a fence of the asynchronous proxy");
    uint16_t halves[8];
    std::memcpy(halves, memory, sizeof halves);
    for (int i = 0; i < 8; ++i) to[8 * chunk + i] = widen(halves[i]);
  }
}

// The warp's 16 rows of A, as a fragment of mma.sync, whose registers must still hold what they held at the issue.
void read_registers(double (*a)[16], const Product& product) {
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int r = 0; r < 4; ++r) {
      const uint32_t word = product.value[lane][r];
      require(product.registers[lane][r] == word, "a register of wgmma's left operand was written before the wait for it");
      double* const to = &a[lane / 4 + r % 2 * 8][lane % 4 * 2 + r / 2 * 8];
      to[0] = widen(uint16_t(word));
      to[1] = widen(uint16_t(word >> 16));
    }
  }
}

// The warp's 16 rows of one product.
void multiply(const Product& product, int warp) {
  Accumulator& to = *product.to;
  const int columns = 2 * to.count;
  double a[16][16], b[16][2 * kMostFloats], sum[2 * kMostFloats];
  if (product.from_registers) {
    read_registers(a, product);
    require((product.b << 4) % 1024 == 0, "rows of wgmma's right operand that do not start with a swizzle pattern");
    for (int k = 0; k < 16; ++k) read_row(b[k], product.b, k, columns / 8);
  } else {
    for (int i = 0; i < 16; ++i) read_row(a[i], product.a, 16 * (warp % 4) + i, 2);
    for (int n = 0; n < columns; ++n) {
      double row[16];
      read_row(row, product.b, n, 2);
      for (int k = 0; k < 16; ++k) b[k][n] = row[k];
    }
  }
  for (int i = 0; i < 16; ++i) {
    for (int n = 0; n < columns; n += 8) {  // whole eights, in registers: tests spend much of their time here
      double part[8] = {};
      for (int k = 0; k < 16; ++k) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) part[j] += a[i][k] * b[k][n + j];
      }
      std::memcpy(sum + n, part, sizeof part);
    }
    for (int n = 0; n < columns; ++n) {
      float& element = to.value[i % 8 * 4 + n % 8 / 2][n / 8 * 4 + i / 8 * 2 + n % 2];
      element = cut((product.accumulate ? double(element) : 0.0) + sum[n]);
    }
  }
}

void issue_for_warp(Words* all) {
  WarpState& warp = own();
  Argument first;
  std::memcpy(&first, &all[0], sizeof first);
  Accumulator* to = nullptr;
  for (Accumulator& accumulator : warp.accumulators) {
    if (accumulator.products > 0 && accumulator.of_lane[0] == first.d) to = &accumulator;
  }
  const bool fresh = !to;
  for (Accumulator& accumulator : warp.accumulators) {
    if (!to && accumulator.products == 0) to = &accumulator;
  }
  require(to && warp.issued - warp.done < kMostProducts, "more wgmma in flight than the emulation has room for");
  require(warp.fenced || (!fresh && !first.from_registers), "wgmma of registers that no wgmma.fence came before");
  Product& product = warp.products[warp.issued++ % kMostProducts];
  product.a = first.from_registers ? 0 : first.a;
  product.b = first.b;
  product.to = to;
  product.accumulate = first.accumulate != 0;
  product.from_registers = first.from_registers != 0;
  to->count = first.count;
  for (int lane = 0; lane < kWarp; ++lane) {
    Argument own;
    std::memcpy(&own, &all[lane], sizeof own);
    require((first.from_registers || own.a == first.a) && own.b == first.b && own.accumulate == first.accumulate,
            "lanes of one warp give wgmma different operands");
    if (first.from_registers) {
      product.registers[lane] = reinterpret_cast<const uint32_t*>(own.a);
      for (int r = 0; r < 4; ++r) product.value[lane][r] = product.registers[lane][r];
    }
    if (!fresh) {
      for (int i = 0; i < first.count; ++i) require(own.d[i] != own.d[i], kTouched);
      continue;
    }
    to->of_lane[lane] = own.d;
    for (int i = 0; i < first.count; ++i) to->value[lane][i] = own.d[i];
    poison_bytes(reinterpret_cast<unsigned char*>(own.d), first.count * sizeof(float));
  }
  ++to->products;
  for (uint64_t word : {product.a, product.b, uint64_t(first.count), uint64_t(first.accumulate), uint64_t(first.from_registers)})
    warp.history = (warp.history ^ word) * 0x9E3779B97F4A7C15u;
}

void finish_groups(Words* all) {
  WarpState& warp = own();
  for (; warp.committed - warp.waited > all[0].word[0]; ++warp.waited) {
    for (const unsigned end = warp.group_end[warp.waited % kMostGroups]; warp.done != end; ++warp.done) {
      const Product& product = warp.products[warp.done % kMostProducts];
      multiply(product, current->warp);
      Accumulator& to = *product.to;
      if (--to.products > 0) continue;
      for (int lane = 0; lane < kWarp; ++lane) {
        float* const d = to.of_lane[lane];
        for (int i = 0; i < to.count; ++i) {
          require(d[i] != d[i], kTouched);
          d[i] = to.value[lane][i];
        }
      }
      warp.fenced = false;  // the registers may be used again, and a fence must follow
    }
  }
  release(ordering_tag(32 + current->warp));
}

void issue(float* d, int count, uint64_t a, uint64_t b, bool accumulate, bool from_registers) {
  require(count <= kMostFloats, "a wgmma with more columns than the emulation has room for");
  const Argument mine = {d, a, b, uint16_t(count), accumulate, from_registers};
  Words words{};
  static_assert(sizeof mine <= sizeof words);
  std::memcpy(&words, &mine, sizeof mine);
  exchange(from_registers ? Operation::group_multiply_rows : Operation::group_multiply, words, issue_for_warp);
}

}  // namespace

unsigned char* async_view() {
  if (!state.view_valid) poison_bytes(state.view, shared_memory_bytes());
  state.view_valid = true;
  return state.view;
}

void start_hopper_block(int threads) {
  state.view_valid = false;
  state.warp_count = (threads + kWarp - 1) / kWarp;
  const int share = kRegisters / threads / 8 * 8, at_start = share < kMostAtStart ? share : kMostAtStart;
  state.pool = at_start * kWarp * state.warp_count;
  for (int w = 0; w < state.warp_count; ++w) {
    WarpState& warp = state.warps[w];
    warp.issued = warp.done = warp.committed = warp.waited = 0;
    warp.fenced = false;
    warp.history = 0;
    warp.registers = at_start;
    for (Accumulator& accumulator : warp.accumulators) accumulator.products = 0;
  }
  start_barriers();
}

void end_hopper_block() {
  end_barriers();
  for (int w = 0; w < state.warp_count; ++w) {
    require(state.warps[w].issued == state.warps[w].done, "ended with a wgmma in flight that nobody waited for");
    const WarpState& first = state.warps[w / 4 * 4];
    require(state.warps[w].issued == first.issued && state.warps[w].history == first.history,
            "warps of one warpgroup issued different wgmma");
  }
}

uint64_t matrix_descriptor(const void* memory) {
  const size_t at = size_t(static_cast<const unsigned char*>(memory) - shared_memory());
  require(at % 1024 == 0, "a matrix of wgmma that is not aligned to 1024 bytes");
  return uint64_t(at >> 4) | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}

void group_multiply(float* d, int count, uint64_t a, uint64_t b, bool accumulate) { issue(d, count, a, b, accumulate, false); }
void group_multiply_rows(float* d, const uint32_t (&a)[4], uint64_t b) { issue(d, 32, reinterpret_cast<uint64_t>(&a[0]), b, true, true); }

void group_fence() {
  exchange(Operation::group_fence, Words{}, [](Words*) { own().fenced = true; });
}

void group_commit() {
  exchange(Operation::group_commit, Words{}, [](Words*) {
    WarpState& warp = own();
    require(warp.committed - warp.waited < kMostGroups, "more groups of wgmma than the emulation has room for");
    warp.group_end[warp.committed++ % kMostGroups] = warp.issued;
  });
}

void group_wait(int pending) {
  Words words{};
  words.word[0] = uint32_t(pending);
  exchange(Operation::group_wait, words, finish_groups);
  acquire(ordering_tag(32 + current->warp));
}

void fence_proxy_async() { copy_bytes(async_view(), shared_memory(), shared_memory_bytes()); }

void set_registers(int count, bool up) {
  require(count >= 24 && count <= 256 && count % 8 == 0, "setmaxnreg of other than 24 .. 256 registers, a multiple of 8");
  Words words{};
  words.word[0] = uint32_t(count);
  exchange(Operation::set_registers, words, [](Words*) {});
  WarpState& warp = own();
  require(warp.registers == count || up == (count > warp.registers), "setmaxnreg.inc to fewer registers, or .dec to more");
  struct Wait {
    WarpState& warp;
    int count;
  } wait{warp, count};
  wait_until(
      [](const void* argument) {
        const Wait& w = *static_cast<const Wait*>(argument);
        int total = (w.count - w.warp.registers) * kWarp;
        for (int i = 0; i < state.warp_count; ++i) total += state.warps[i].registers * kWarp;
        return total <= state.pool;
      },
      &wait);
  warp.registers = count;
}

}  // namespace simt
