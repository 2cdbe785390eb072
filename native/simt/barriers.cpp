// The models of mbarriers, tensor copies and named barriers: see hopper.hpp. Never compiled with a sanitizer, like engine.cpp.
#include "annotations.hpp"
#include "hopper.hpp"
#include "hopper_state.hpp"

namespace simt {
namespace {

// What an mbarrier's 8 bytes hold.
struct Phase {
  uint16_t expected, pending;  // arrivals of a phase, and those still to come
  int32_t bytes_and_parity;    // 2 * bytes still to come + parity

  int parity() const { return bytes_and_parity & 1; }
  int bytes() const { return bytes_and_parity >> 1; }
  void settle() {
    if (pending || bytes()) return;
    pending = expected;
    bytes_and_parity ^= 1;
  }
};
static_assert(sizeof(Phase) == sizeof(uint64_t));

constexpr uint16_t kUnused = 0xFFFF;  // shared memory starts as 0xFF

Phase& phase_of(uint64_t* barrier) {
  require(is_shared(barrier, sizeof *barrier) && reinterpret_cast<uintptr_t>(barrier) % 8 == 0,
          "an mbarrier that is not 8 aligned bytes of shared memory");
  return *reinterpret_cast<Phase*>(barrier);
}
Phase& used_phase_of(uint64_t* barrier) {
  Phase& phase = phase_of(barrier);
  require(phase.expected != kUnused, "an mbarrier that was not initialised");
  return phase;
}

struct TensorCopy {
  unsigned char* to;
  CUtensorMap map;  // a copy: the thread that issued it may have ended
  int column, row;
  uint64_t* barrier;
};
struct NamedBarrier {
  int expected, arrived;
  unsigned generation;
};

constexpr int kMostCopies = 64, kNamedBarriers = 16;
struct Barriers {
  TensorCopy copies[kMostCopies];  // in flight, oldest first
  int copy_count;
  NamedBarrier named[kNamedBarriers];
  bool initialisation_fenced;
} state;

// Rows of 128 bytes whose chunks of 16 are exclusive-or'ed with the row's number in its group of 8.
void land(const TensorCopy& copy) {
  for (int r = 0; r < int(copy.map.box_rows); ++r) {
    for (int c = 0; c < int(copy.map.box_columns); ++c) {
      const int64_t row = int64_t(copy.row) + r, column = int64_t(copy.column) + c;
      const bool inside = row >= 0 && row < int64_t(copy.map.rows) && column >= 0 && column < int64_t(copy.map.columns);
      const uint16_t value = inside ? copy.map.data[row * copy.map.stride + column] : uint16_t(0);
      const size_t at = swizzle(size_t(copy.to - shared_memory()) + 2 * (size_t(r) * copy.map.box_columns + c));
      std::memcpy(shared_memory() + at, &value, 2);
      std::memcpy(async_view() + at, &value, 2);
    }
  }
}

}  // namespace

void start_barriers() {
  state.copy_count = 0;
  state.initialisation_fenced = true;
  for (NamedBarrier& barrier : state.named) barrier = {};
}

void end_barriers() { require(state.copy_count == 0, "ended with a tensor copy in flight that nobody waited for"); }

void barrier_init(uint64_t* barrier, int arrivals) {
  phase_of(barrier) = {uint16_t(arrivals), uint16_t(arrivals), 0};
  state.initialisation_fenced = false;
}

void barrier_init_fence() { state.initialisation_fenced = true; }

void barrier_arrive(uint64_t* barrier, int bytes) {
  Phase& phase = used_phase_of(barrier);
  require(phase.pending > 0, "more arrivals at an mbarrier than its phase expects");
  release(barrier);
  phase.bytes_and_parity += 2 * bytes;
  --phase.pending;
  phase.settle();
}

void barrier_wait(uint64_t* barrier, int parity) {
  struct Wait {
    const Phase& phase;
    int parity;
  } wait{used_phase_of(barrier), parity};
  wait_until(
      [](const void* argument) {
        const Wait& w = *static_cast<const Wait*>(argument);
        return w.phase.parity() != w.parity;
      },
      &wait);
  acquire(barrier);
}

void copy_box(void* to, const CUtensorMap& map, int column, int row, uint64_t* barrier) {
  const size_t bytes = size_t(map.box_columns) * map.box_rows * 2;
  require(is_shared(to, bytes), "a tensor copy whose box is not inside of shared memory");
  require((static_cast<unsigned char*>(to) - shared_memory()) % 1024 == 0, "a swizzled tensor copy that is not aligned to 1024 bytes");
  require(state.initialisation_fenced, "a tensor copy after mbarrier.init without a fence");
  require(state.copy_count < kMostCopies, "more tensor copies in flight than the emulation has room for");
  used_phase_of(barrier);
  report_write(to, bytes);
  release(barrier);  // what it lands is ordered by the phase that it completes
  poison_bytes(static_cast<unsigned char*>(to), bytes);
  poison_bytes(async_view() + (static_cast<unsigned char*>(to) - shared_memory()), bytes);
  state.copies[state.copy_count++] = {static_cast<unsigned char*>(to), map, column, row, barrier};
}

bool deliver_tensor_copy(bool newest) {
  if (state.copy_count == 0) return false;
  const int index = newest ? state.copy_count - 1 : 0;
  const TensorCopy copy = state.copies[index];
  for (int i = index; i + 1 < state.copy_count; ++i) state.copies[i] = state.copies[i + 1];
  --state.copy_count;
  land(copy);
  Phase& phase = *reinterpret_cast<Phase*>(copy.barrier);
  phase.bytes_and_parity -= 2 * int(copy.map.box_columns * copy.map.box_rows * 2);
  require(phase.bytes() >= 0, "a tensor copy brought more bytes than its mbarrier was told to expect");
  phase.settle();
  return true;
}

void sync_named(int id, int threads) {
  require(id > 0 && id < kNamedBarriers && threads % 32 == 0, "a named barrier outside of 1 .. 15, or for parts of warps");
  struct Wait {
    const NamedBarrier& barrier;
    unsigned generation;
  } wait{state.named[id], state.named[id].generation};
  NamedBarrier& barrier = state.named[id];
  require(barrier.arrived == 0 || barrier.expected == threads, "threads that expect different numbers at one named barrier");
  char* const tag = ordering_tag(2 * id + int(barrier.generation & 1));
  release(tag);
  barrier.expected = threads;
  if (++barrier.arrived == threads) {
    barrier.arrived = 0;
    ++barrier.generation;
  } else {
    wait_until(
        [](const void* argument) {
          const Wait& w = *static_cast<const Wait*>(argument);
          return w.barrier.generation != w.generation;
        },
        &wait);
  }
  acquire(tag);
}

}  // namespace simt
