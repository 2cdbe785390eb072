// The models of the instructions of compute capability 9.0 against plain loops, and planted bugs around them, each of which must be
// reported: a product of two matrices that one thread loads and a warpgroup multiplies, as hopper_tile.hpp does it, and one whose left
// operand lies in registers, as in hopper_backward.hpp.
#include <cmath>
#include <vector>

#include "child.hpp"
#include "cuda/hopper.hpp"
#include "cuda/hopper_core.hpp"

using namespace planted;

namespace {

constexpr int kSide = 64, kRows = 2 * kSide - 5, kColumns = 7 * 64 - 24;  // the last rows and columns of the boxes are outside
constexpr int kStages = 3, kSteps = 7, kOperandBytes = kSide * 128, kStageBytes = 2 * kOperandBytes;
constexpr int kGroup = 128, kBlock = 2 * kGroup;
constexpr size_t kSharedBytes = kStages * kStageBytes + 2 * kStages * 8;

unsigned char* shared_bytes() {
  CK_SHARED_MEMORY(bytes);
  return bytes;
}

// A small number that bfloat16 holds exactly.
float element(int row, int column) { return float((7 * row + 3 * column + row * column % 5) % 23 - 11) / 8; }
float inside(int row, int column) { return row < kRows && column < kColumns ? element(row, column) : 0.0f; }

enum class Bug {
  none,
  no_expect,
  no_full_wait,
  wrong_parity,
  no_empty_wait,
  no_group_fence,
  no_group_wait,
  no_commit,
  early_use,
  over_arrival,
  two_arrivals,
  misaligned,
  box_outside,
  no_init_fence,
  not_initialised,
  warp_left_out,
  touched,
  second_row,
  second_chunk,
  too_many_registers,
  few_registers,
};

// out [64][64] = the first 64 rows times the next 64.
template <Bug kBug>
__global__ void product(const __grid_constant__ CUtensorMap map, float* out) {
  using namespace ck::cuda;
  unsigned char* const shared = shared_bytes();
  auto* const full = reinterpret_cast<uint64_t*>(shared + kStages * kStageBytes);
  uint64_t* const empty = full + kStages;
  const int t = int(threadIdx.x), lane = t % 32, warp = t / 32;
  if (t == 0) {
    for (int s = 0; s < kStages; ++s) {
      barrier_init(full + s, 1);
      if (kBug != Bug::not_initialised) barrier_init(empty + s, 4);
    }
    if (kBug != Bug::no_init_fence) barrier_init_fence();
  }
  __syncthreads();
  if (warp < 4) {
    if (kBug != Bug::too_many_registers) registers_down<40>();
    for (int step = 0; t == 0 && step < kSteps; ++step) {
      const int slot = step % kStages, parity = step / kStages % 2;
      if (kBug != Bug::no_empty_wait) barrier_wait(empty + slot, parity ^ 1);
      if (kBug == Bug::no_expect)
        barrier_arrive(full + slot);
      else
        barrier_expect(full + slot, kStageBytes);
      if (kBug == Bug::over_arrival) barrier_arrive(full + slot);
      unsigned char* stage = shared + slot * kStageBytes;
      if (kBug == Bug::misaligned) stage += 512;
      if (kBug == Bug::box_outside) stage += (kStages - 1) * kStageBytes;
      copy_box(stage, map, 64 * step, 0, full + slot);
      copy_box(stage + kOperandBytes, map, 64 * step, kSide, full + slot);
    }
    return;
  }
  registers_up<kBug == Bug::too_many_registers ? 256 : kBug == Bug::few_registers ? 128 : 232>();
  float d[8][4];
  for (int step = 0; step < kSteps; ++step) {
    const int slot = step % kStages, parity = step / kStages % 2;
    if (kBug != Bug::no_full_wait) barrier_wait(full + slot, kBug == Bug::wrong_parity ? parity ^ 1 : parity);
    const unsigned char* const stage = shared + slot * kStageBytes;
    const uint64_t a = matrix_descriptor(stage), b = matrix_descriptor(stage + kOperandBytes);
    if (kBug != Bug::no_group_fence) group_fence();
    for (int k = 0; k < 4; ++k) {
      if (kBug == Bug::warp_left_out && warp == 7 && step == 2 && k == 3) continue;
      const int off = kBug == Bug::second_row ? 8 : kBug == Bug::second_chunk ? 1 : 0;
      group_multiply(d, a + 2 * k, b + 2 * k + off, step + k > 0);
      if (kBug == Bug::touched && k == 1) d[0][0] = 1;
    }
    if (kBug != Bug::no_commit) group_commit();
    if (kBug == Bug::early_use)
      group_wait<1>();
    else if (kBug != Bug::no_group_wait)
      group_wait<0>();
    if (lane == 0 || (kBug == Bug::two_arrivals && lane == 1)) barrier_arrive(empty + slot);
  }
  if (kBug == Bug::early_use) group_commit();
  for (int j = 0; j < 8; ++j)
    for (int e = 0; e < 4; ++e) out[(16 * (warp % 4) + lane / 4 + e / 2 * 8) * kSide + 8 * j + lane % 4 * 2 + e % 2] = d[j][e];
  if (kBug == Bug::early_use) group_wait<0>();
}

struct Operands {
  Buffer memory{size_t(kRows) * kColumns / 2};
  Buffer out{kSide * kSide};
  CUtensorMap map;
  CUresult result;

  explicit Operands(uint32_t box_columns = 64, int rows = kRows) {
    auto* const halves = reinterpret_cast<uint16_t*>(memory.data);
    for (int i = 0; i < kRows * kColumns; ++i) halves[i] = uint16_t(ck::cuda::to_bf16(element(i / kColumns, i % kColumns)));
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
    const cuuint64_t sizes[2] = {kColumns, cuuint64_t(rows)}, strides[1] = {2 * kColumns};
    const cuuint32_t box[2] = {box_columns, kSide}, steps[2] = {1, 1};
    result = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function)(
        &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, memory.data, sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
        CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  }
};

template <Bug kBug>
Outcome run_product() {
  return in_child([] {
    Operands operands;
    if (operands.result != CUDA_SUCCESS) return 4;
    if (ck::cuda::launch(product<kBug>, 1, kBlock, kSharedBytes, nullptr, operands.map, operands.out.data) != cudaSuccess) return 4;
    for (int i = 0; i < kSide * kSide; ++i) {
      double want = 0;
      for (int k = 0; k < kSteps * 64; ++k) want += double(inside(i / kSide, k)) * inside(kSide + i % kSide, k);
      if (operands.out.data[i] != float(want)) return 3;
    }
    return 0;
  });
}

enum class RowsBug {
  none,
  no_fence,
  operand_written,
  accumulator_written,
  no_wait,
  second_row,
  second_chunk,
  outside,
  filled_again,
  stored,
  warp_left_out,
};

// A coefficient that changes with the step.
float left(int step, int row, int k) { return element(row + 17 * step, k + 5); }

// out [64][64] = the sum over kSteps slabs of left(step) times the first 64 rows of the slab, k down the rows.
template <RowsBug kBug>
__global__ void product_of_rows(const __grid_constant__ CUtensorMap map, float* out) {
  using namespace ck::cuda;
  unsigned char* const shared = shared_bytes();
  auto* const full = reinterpret_cast<uint64_t*>(shared + 2 * kOperandBytes);
  const int t = int(threadIdx.x), lane = t % 32, warp = t / 32;
  if (t == 0) {
    barrier_init(full, 1);
    barrier_init_fence();
  }
  float d[8][4] = {};
  uint32_t a[4][4];
  for (int step = 0; step < kSteps; ++step) {
    __syncthreads();
    if (t == 0) {
      barrier_expect(full, kOperandBytes);
      copy_box(shared, map, 64 * step, 0, full);
    }
    barrier_wait(full, step % 2);
    if (kBug == RowsBug::stored) std::memset(shared + 4 * t, 0, 4);
    for (int k = 0; k < 4; ++k)
      for (int r = 0; r < 4; ++r) {
        const int row = 16 * warp + lane / 4 + r % 2 * 8, column = 16 * k + lane % 4 * 2 + r / 2 * 8;
        a[k][r] = pack(to_bf16(left(step, row, column)), to_bf16(left(step, row, column + 1)));
      }
    if (kBug != RowsBug::no_fence) group_fence();
    for (int k = 0; k < 4; ++k) {
      if (kBug == RowsBug::warp_left_out && warp == 2 && step == 3 && k == 1) continue;
      uint64_t b = matrix_descriptor(shared) + k * kNextRows;
      if (kBug == RowsBug::second_row) b += 128 >> 4;
      if (kBug == RowsBug::second_chunk) b += 16 >> 4;
      if (kBug == RowsBug::outside) b += uint64_t(kSharedBytes) >> 10 << 6;
      group_multiply_rows(d, a[k], b);
    }
    group_commit();
    if (kBug == RowsBug::operand_written) a[2][1] += 1;
    if (kBug == RowsBug::accumulator_written) d[0][0] = 0;
    if (kBug == RowsBug::filled_again && t == 0) {
      barrier_expect(full, kOperandBytes);
      copy_box(shared, map, 64 * step + 64, 0, full);
    }
    if (kBug != RowsBug::no_wait || step + 1 < kSteps) group_wait<0>();
  }
  for (int j = 0; j < 8; ++j)
    for (int e = 0; e < 4; ++e) out[(16 * warp + lane / 4 + e / 2 * 8) * kSide + 8 * j + lane % 4 * 2 + e % 2] = d[j][e];
  if (kBug == RowsBug::no_wait) group_wait<0>();
}

template <RowsBug kBug>
Outcome run_rows() {
  return in_child([] {
    Operands operands;
    if (ck::cuda::launch(product_of_rows<kBug>, 1, kGroup, kSharedBytes, nullptr, operands.map, operands.out.data) != cudaSuccess) return 4;
    for (int i = 0; i < kSide * kSide; ++i) {
      double want = 0;
      for (int step = 0; step < kSteps; ++step)
        for (int k = 0; k < kSide; ++k) want += double(left(step, i / kSide, k)) * inside(k, 64 * step + i % kSide);
      if (operands.out.data[i] != float(want)) return 3;
    }
    return 0;
  });
}

// Operands that ordinary stores have written.
template <bool kFence>
__global__ void stored_operands(float* out) {
  using namespace ck::cuda;
  unsigned char* const shared = shared_bytes();
  const int t = int(threadIdx.x);
  const uint16_t one = uint16_t(to_bf16(1.0f));
  for (int i = t; i < kOperandBytes / 2; i += kGroup) std::memcpy(shared + 2 * i, &one, 2);
  if (kFence) fence_proxy_async();
  __syncthreads();
  float d[8][4];
  group_fence();
  group_multiply(d, matrix_descriptor(shared), matrix_descriptor(shared), false);
  group_commit();
  group_wait<0>();
  if (t < kThreads) out[t] = d[t % 8][t % 4];
}

// Every thread of the second and third warps reads what the other wrote.
template <bool kBarrier>
__global__ void part_of_block(float* out) {
  auto* const numbers = reinterpret_cast<float*>(shared_bytes());
  const int t = int(threadIdx.x) - 32;
  if (t < 0 || t >= 64) return;
  numbers[t] = float(t);
  if (kBarrier) ck::cuda::sync_named(3, 64);
  out[t] = numbers[63 - t];
}

template <class Kernel>
Outcome run_small(Kernel kernel, float (*expected)(int)) {
  return in_child([=] {
    Buffer out(kThreads);
    if (ck::cuda::launch(kernel, 1, kGroup, kOperandBytes, nullptr, out.data) != cudaSuccess) return 4;
    for (int t = 0; t < kThreads; ++t)
      if (out.data[t] != expected(t)) return 3;
    return 0;
  });
}
float sixteen(int) { return 16; }
float mirrored(int t) { return float(63 - t); }

void test_choice() {
  const auto chosen = [](const char* capability, const char* wish) {
    return in_child([=] {
      setenv("SIMT_COMPUTE_CAPABILITY", capability, 1);
      if (wish) setenv("CONTRASTIVE_KERNELS_HOPPER", wish, 1);
      return ck::cuda::hopper_chosen() ? 0 : 3;
    });
  };
  Outcome o = chosen("90", nullptr);
  expect(succeeded(o), "compute capability 9.0 gets its own kernels", o);
  for (const char* other : {"80", "89", "100", "120"}) {
    o = chosen(other, nullptr);
    expect(wrong_numbers(o), "another does not", o);
  }
  o = chosen("90", "0");
  expect(wrong_numbers(o), "CONTRASTIVE_KERNELS_HOPPER=0", o);
}

void test_right() {
  Outcome o = run_product<Bug::none>();
  expect(succeeded(o), "right: tensor copies into a ring, multiplied by a warpgroup", o);
  o = run_rows<RowsBug::none>();
  expect(succeeded(o), "right: coefficients in registers times rows in shared memory", o);
  o = run_small(stored_operands<true>, sixteen);
  expect(succeeded(o), "right: stored operands, after a fence of the proxy", o);
  o = run_small(part_of_block<true>, mirrored);
  expect(succeeded(o), "right: a barrier of two warps", o);
  o = in_child([] { return Operands(32).result == CUDA_ERROR_INVALID_VALUE && Operands(64, kRows + 1).result != CUDA_SUCCESS ? 0 : 3; });
  expect(succeeded(o), "tensor maps of an odd box and of memory beyond the device's are refused", o);
}

void expect_bug(const Outcome& o, const char* text, const char* what) {
  expect(text ? reported(o, text) : wrong_numbers(o) || (!succeeded(o) && !o.text.empty()), what, o);
}
template <Bug kBug>
void must_report(const char* text, const char* what) {
  expect_bug(run_product<kBug>(), text, what);
}
template <RowsBug kBug>
void must_report(const char* text, const char* what) {
  expect_bug(run_rows<kBug>(), text, what);
}

void test_planted() {
  must_report<Bug::no_expect>(nullptr, "no expect_tx");
  must_report<Bug::no_full_wait>(nullptr, "no wait for the copies");
  must_report<Bug::wrong_parity>(nullptr, "a wait for the wrong parity");
  must_report<Bug::no_empty_wait>(nullptr, "a stage filled again before it was given back");
  must_report<Bug::no_group_fence>("no wgmma.fence", "no wgmma.fence");
  must_report<Bug::no_group_wait>(nullptr, "no wait for wgmma");
  must_report<Bug::no_commit>(nullptr, "wgmma never committed");
  must_report<Bug::early_use>(nullptr, "accumulators used, and stages given back, a group too early");
  must_report<Bug::over_arrival>("more arrivals", "more arrivals than the phase expects");
  must_report<Bug::two_arrivals>(nullptr, "two arrivals of a warp");
  must_report<Bug::misaligned>("not aligned to 1024", "a box that is not aligned");
  must_report<Bug::box_outside>("not inside of shared memory", "a box that ends outside of shared memory");
  must_report<Bug::no_init_fence>("without a fence", "no fence after mbarrier.init");
  must_report<Bug::not_initialised>("not initialised", "an mbarrier that was not initialised");
  must_report<Bug::warp_left_out>("different wgmma", "a warp that leaves a wgmma out");
  must_report<Bug::touched>("written before the wait", "an accumulator written in flight");
  must_report<Bug::second_row>("first row of its swizzle pattern", "a matrix that starts in a second row");
  must_report<Bug::second_chunk>("128 bytes of a swizzled row", "a matrix that ends beyond its rows");
  must_report<Bug::too_many_registers>("deadlock", "more registers than there are");
  must_report<Bug::few_registers>("setmaxnreg.inc to fewer", "setmaxnreg.inc that lowers");
  must_report<RowsBug::no_fence>("no wgmma.fence", "registers times rows: no wgmma.fence");
  must_report<RowsBug::operand_written>("left operand was written", "registers times rows: the registers written in flight");
  must_report<RowsBug::accumulator_written>("accumulator of wgmma was written", "registers times rows: an accumulator written in flight");
  must_report<RowsBug::no_wait>(nullptr, "registers times rows: no wait");
  must_report<RowsBug::second_row>("do not start with a swizzle pattern", "registers times rows: rows that start in a pattern");
  must_report<RowsBug::second_chunk>("do not start with a swizzle pattern", "registers times rows: columns that start in a pattern");
  must_report<RowsBug::outside>("not shared memory", "registers times rows: rows outside of shared memory");
  must_report<RowsBug::filled_again>(nullptr, "registers times rows: a slab filled again in flight");
  must_report<RowsBug::stored>("without a fence of the asynchronous proxy",
                               "registers times rows: stored rows without a fence of the proxy");
  must_report<RowsBug::warp_left_out>("different wgmma", "registers times rows: a warp that leaves one out");
  Outcome o = run_small(stored_operands<false>, sixteen);
  expect(reported(o, "without a fence of the asynchronous proxy"), "stored operands without a fence of the proxy", o);
  o = run_small(part_of_block<false>, mirrored);
  expect(race(o, true), "no barrier between two warps", o);
}

}  // namespace

int main() {
  test_choice();
  test_right();
  test_planted();
  std::printf("%d failed\n", failures);
  return failures ? 1 : 0;
}
