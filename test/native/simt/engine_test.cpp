// The emulation must see bugs: every case plants one in a kernel. tensor_core_test.cpp does the same for tensor-core instructions.
#include "child.hpp"

#include <vector>

using namespace planted;

namespace {

float* shared_floats() {
  CK_SHARED_MEMORY(bytes);
  return reinterpret_cast<float*>(bytes);
}

// ---- Kernels: the first of each pair is right ------------------------------------------------------------------------------------

// out[t] = the neighbour's number, through shared memory.
template <bool kBarrier, int kStep>
__global__ void neighbour(float* out) {
  float* shared = shared_floats();
  const int t = int(threadIdx.x);
  shared[t] = float(t);
  if (kBarrier) __syncthreads();
  out[t] = shared[(t + kStep) % kThreads];
}

// Two rounds through one buffer: the second round's writes must wait for the first round's reads.
template <bool kBarrier>
__global__ void refill(float* out) {
  float* shared = shared_floats();
  const int t = int(threadIdx.x);
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    shared[t] = float(100 * round + t);
    __syncthreads();
    sum += shared[kThreads - 1 - t];
    if (kBarrier) __syncthreads();
  }
  out[t] = sum;
}

template <bool kSync>
__global__ void within_warp(float* out) {
  float* shared = shared_floats();
  const int t = int(threadIdx.x);
  shared[t] = float(t);
  if (kSync) __syncwarp();
  out[t] = shared[t ^ 1];
}

template <bool kInside>
__global__ void shared_bounds(float* out) {
  float* shared = shared_floats();
  const int t = int(threadIdx.x);
  shared[t] = 1.0f;
  __syncthreads();
  out[t] = shared[t + (kInside || t + 1 < kThreads ? 0 : 1)];
}

template <bool kInside>
__global__ void global_bounds(float* out) {
  const int t = int(threadIdx.x);
  out[t + (kInside || t + 1 < kThreads ? 0 : 1)] = float(t);
}

template <bool kInitialised>
__global__ void uninitialised_shared(float* out) {
  float* shared = shared_floats();
  const int t = int(threadIdx.x);
  if (kInitialised || t != 5) shared[t] = 1.0f;
  __syncthreads();
  out[t] = shared[t];
}

__global__ void uninitialised_global(float* out) { out[threadIdx.x] += 1.0f; }

// Every block writes its own cells, or all of them the same; a barrier orders only the threads of one block.
template <bool kOwn, bool kBarrier>
__global__ void blocks(float* out) {
  const int t = int(threadIdx.x);
  if (kBarrier) __syncthreads();
  out[(kOwn ? int(blockIdx.x) * kThreads : 0) + t] = float(t);
  if (kBarrier) __syncthreads();
}

__global__ void diverged_barrier(float* out) {
  const int t = int(threadIdx.x);
  if (t % 2)
    __syncthreads();
  else
    out[t] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
}

__global__ void diverged_operations(float* out) {
  const int t = int(threadIdx.x);
  if (t % 2)
    out[t] = float(__ballot_sync(0xFFFFFFFFu, 1));
  else
    out[t] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
}

__global__ void ended_before_barrier(float* out) {
  const int t = int(threadIdx.x);
  if (t >= 32) return;
  __syncthreads();
  out[t] = 0;
}

__global__ void ended_before_shuffle(float* out) {
  const int t = int(threadIdx.x);
  if (t % 32 == 31) return;
  out[t] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
}

// Warp 0 waits for a barrier that warp 1 reaches only after a shuffle that its lane 0 never joins.
__global__ void deadlock(float* out) {
  const int t = int(threadIdx.x);
  if (t > 32) out[t] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
  __syncthreads();
}

// ---- Running them ----------------------------------------------------------------------------------------------------------------

float next(int t) { return float((t + 1) % kThreads); }
float previous(int t) { return float((t + kThreads - 1) % kThreads); }
float mirrored(int t) { return float(100 + 2 * (kThreads - 1 - t)); }
float partner(int t) { return float(t ^ 1); }
float one(int) { return 1.0f; }

void test_right_kernels() {
  auto right = [](const char* what, Kernel kernel, int count, float (*expected)(int)) {
    const Outcome o = in_child([&] { return run(kernel, count, expected); });
    expect(succeeded(o), what, o);
  };
  right("right: neighbour", neighbour<true, 1>, 1, next);
  right("right: refill", refill<true>, 1, mirrored);
  right("right: within a warp", within_warp<true>, 1, partner);
  right("right: shared bounds", shared_bounds<true>, 1, one);
  right("right: global bounds", global_bounds<true>, 1, nullptr);
  right("right: initialised", uninitialised_shared<true>, 1, one);
  right("right: blocks with cells of their own", blocks<true, true>, 5, nullptr);
}

void test_races() {
  const bool reverse = std::getenv("SIMT_REVERSE") != nullptr;
  Outcome o = in_child([] { return run(neighbour<false, 1>, 1, next); });
  expect(race(o, !reverse), "missing barrier, read of a later thread", o);
  o = in_child([] { return run(neighbour<false, kThreads - 1>, 1, previous); });
  expect(race(o, true), "missing barrier, read of an earlier thread", o);
  o = in_child([] { return run(refill<false>, 1, mirrored); });
  expect(race(o, true), "buffer refilled too early", o);
  o = in_child([] { return run(within_warp<false>, 1, partner); });
  expect(race(o, true), "missing __syncwarp", o);
  o = in_child([] { return run(blocks<false, false>, 2, nullptr); });
  expect(race(o, false), "two blocks write one cell", o);
  o = in_child([] { return run(blocks<false, true>, 2, nullptr); });
  expect(race(o, false), "two blocks write one cell, each between barriers", o);
}

void test_memory() {
  Outcome o = in_child([] { return run(shared_bounds<false>, 1, one); });
  expect(!kAsan || reported(o, "heap-buffer-overflow"), "out of the bounds of shared memory", o);
  o = in_child([] { return run(global_bounds<false>, 1, nullptr); });
  expect(!kAsan || reported(o, "heap-buffer-overflow"), "out of the bounds of global memory", o);
  o = in_child([] { return run(uninitialised_shared<false>, 1, one); });
  expect(wrong_numbers(o), "uninitialised shared memory", o);
  o = in_child([] { return run(uninitialised_global, 1, one); });
  expect(wrong_numbers(o), "uninitialised global memory", o);
  o = in_child([] {
    Buffer gone(64);
    float* data = gone.data;
    cudaFree(gone.data);
    gone.data = nullptr;
    return ck::cuda::launch(uninitialised_global, 1, kThreads, 0, nullptr, data);
  });
  expect(!kAsan || reported(o, "heap-use-after-free"), "freed global memory", o);
}

void test_control_flow() {
  Outcome o = in_child([] { return run(diverged_barrier, 1, nullptr); });
  expect(reported(o, "simt: block (0,0,0)") && reported(o, "deadlock"), "half a warp at a barrier, half in a shuffle", o);
  o = in_child([] { return run(diverged_operations, 1, nullptr); });
  expect(reported(o, "lanes of one warp met in different operations"), "lanes in different operations", o);
  o = in_child([] { return run(ended_before_barrier, 1, nullptr); });
  expect(reported(o, "ended"), "a barrier that ended threads do not reach", o);
  o = in_child([] { return run(ended_before_shuffle, 1, nullptr); });
  expect(reported(o, "ended"), "a shuffle that an ended lane does not reach", o);
  o = in_child([] { return run(deadlock, 1, nullptr); });
  expect(reported(o, "deadlock") && reported(o, "thread"), "deadlock", o);
}

// What the runtime refuses.
void test_launches() {
  auto refused = [](dim3 grid, dim3 block, size_t shared) {
    Buffer out(kThreads);
    return ck::cuda::launch(global_bounds<true>, grid, block, shared, nullptr, out.data) == cudaErrorInvalidValue;
  };
  expect(refused(0, kThreads, 0), "no blocks", {});
  expect(refused(dim3(1, 65536), kThreads, 0), "too many blocks in y", {});
  expect(refused(1, 2048, 0), "too many threads", {});
  expect(refused(1, kThreads, 256 * 1024), "too much shared memory", {});
  Buffer small(16);
  std::vector<float> host(32);
  expect(cudaMemcpyAsync(host.data(), small.data, 32 * 4, cudaMemcpyDeviceToHost, nullptr) == cudaErrorInvalidValue, "copy past the end",
         {});
  expect(cudaMemcpyAsync(small.data, host.data(), 16 * 4, cudaMemcpyDeviceToHost, nullptr) == cudaErrorInvalidValue, "copy the wrong way",
         {});
  expect(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess, "the last error is told once", {});
}

}  // namespace

int main() {
  test_right_kernels();
  test_races();
  test_memory();
  test_control_flow();
  test_launches();
  std::printf("%d failed\n", failures);
  return failures ? 1 : 0;
}
