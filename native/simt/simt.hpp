// What a kernel sees of the SIMT emulation (test only): who the running thread is, barriers, warp collectives, shared memory.
//
// Every CUDA thread of a block is a fiber; blocks run one after another on the calling OS thread, under one process-wide lock.
// A warp runs as far as it can before the next one starts, which is the order in which a missing barrier hurts most;
// SIMT_REVERSE=1 reverses the order of warps and lanes. A block that cannot go on, lanes of one warp that meet in different
// operations, and a misuse that tensor_core.hpp finds end the process with the block, the thread and the reason on stderr.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace simt {

// Asynchronous copies that a thread has issued and not yet waited for, in order; tensor_core.hpp fills and empties it. Counters only
// grow; what they count lies at the counter modulo the length. Plain arrays: nothing may be allocated while fibers run.
struct AsyncCopies {
  static constexpr unsigned kMost = 256, kMostGroups = 32;
  struct Copy {
    void* to;
    const void* from;  // null: zeros
  };
  Copy copy[kMost];
  unsigned group_end[kMostGroups];  // number of copies issued when the group was committed
  unsigned issued, delivered, committed, waited;
};

struct Thread {
  uint3 thread_index;
  uint3 block_index;
  dim3 block_size;
  dim3 grid_size;
  int warp, lane;
  AsyncCopies copies;
};

// The running CUDA thread; null outside kernels.
extern Thread* current;

// The block's dynamic shared memory; its bytes are 0xFF (NaN as floats) when the block starts.
constexpr size_t kMostSharedBytes = 227 * 1024;
unsigned char* shared_memory();
size_t shared_memory_bytes();

// Ends the process, saying why and where, unless `right`.
void require(bool right, const char* why);

// Whether [memory, memory + bytes) is dynamic shared memory of the block.
bool is_shared(const void* memory, size_t bytes);

enum class Operation : int {
  none,
  sync_warp,
  shuffle,
  vote,
  load_matrix,
  multiply,
  group_multiply,
  group_multiply_rows,
  group_fence,
  group_commit,
  group_wait,
  set_registers
};

void sync_block();
void sync_warp();

// Lets others run until holds(argument), which must be a matter of the emulation's own state.
void wait_until(bool (*holds)(const void*), const void* argument);

// What the orderings of hopper.hpp hang on for TSan; every block has its own.
constexpr int kOrderings = 64;
char* ordering_tag(int ordering);

// What one lane publishes to its warp.
struct alignas(8) Words {
  uint32_t word[8];
};

// Publishes `mine`, waits for the whole warp and returns all 32 lanes' words; they stay valid until the lane's next but one exchange.
// `leader` runs once over the words before anyone goes on, and needs a full warp. As on the GPU, an exchange orders no memory.
const Words* exchange(Operation operation, const Words& mine, void (*leader)(Words* all) = nullptr);

template <class T>
T shuffle(T value, int source) {
  static_assert(sizeof(T) <= sizeof(Words));
  Words mine{};
  std::memcpy(&mine, &value, sizeof(T));
  const Words* all = exchange(Operation::shuffle, mine);
  std::memcpy(&value, &all[source & 31], sizeof(T));
  return value;
}

unsigned ballot(bool predicate);

// Runs body(closure) once for every thread of every block.
void run(dim3 grid, dim3 block, size_t shared_bytes, void (*body)(const void*), const void* closure);

}  // namespace simt
