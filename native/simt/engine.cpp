// The SIMT emulation's engine: fibers, barriers and warp collectives.
//
// One fiber per CUDA thread, switched by hand on x86-64 and by ucontext elsewhere. This file is never compiled with a sanitizer;
// with SIMT_TSAN or SIMT_ASAN defined it tells that sanitizer about its switches, and TSan about the only orderings a GPU gives:
// launch before threads, __syncthreads, __syncwarp, threads before the end of the launch. It must not allocate while fibers run:
// the sanitizers' allocators would take an engine access for one of the fiber's.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "annotations.hpp"
#include "hopper.hpp"
#include "simt.hpp"

#if !defined(__x86_64__) || defined(SIMT_UCONTEXT)
#undef SIMT_UCONTEXT
#define SIMT_UCONTEXT
#include <ucontext.h>
#endif

#ifndef SIMT_UCONTEXT
// Saves the callee-saved registers and the stack pointer in *save, continues where `load` was saved.
extern "C" void simt_switch(void** save, void* load);
asm(".text\n.globl simt_switch\n.hidden simt_switch\n.type simt_switch,@function\nsimt_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n.size simt_switch,.-simt_switch\n");
#endif

namespace simt {

Thread* current;

namespace {

constexpr size_t kStackBytes = 256 * 1024;
#ifdef SIMT_TSAN
// Blocks take turns with this many sets of fibers: to TSan one fiber's blocks are ordered, so only blocks of different sets can be
// seen to race. Making a fiber takes milliseconds, or every block would have its own.
constexpr int kFiberSets = 3;
#else
constexpr int kFiberSets = 1;
#endif
constexpr int kWarp = 32;
constexpr int kMaxThreads = 1024;

enum class State { ready, at_barrier, in_warp, waiting, done };

struct Fiber : Thread {
  State state;
  Operation operation;
  bool (*holds)(const void*);  // what it waits for, of `awaited`
  const void* awaited;
  unsigned barriers, exchanges;  // how many so far; their parity picks the tag and the slot
  char* stack = nullptr;
#ifdef SIMT_UCONTEXT
  ucontext_t context;
#else
  void* stack_pointer;
#endif
#ifdef SIMT_TSAN
  void* tsan = nullptr;
#endif
#ifdef SIMT_ASAN
  void* fake_stack = nullptr;
#endif
};

// Slots are doubled: a lane may publish for its next exchange while others still read the last one.
struct Warp {
  Words slot[2][kWarp];
  int arrived, ended, size;
};

// What TSan's orderings hang on. Every block of a launch has its own, or a barrier would order it after the block before.
struct Tags {
  char barrier[2], warp[kMaxThreads / kWarp][2], others[kOrderings];
};

struct Engine {
  std::mutex lock;
  Fiber fibers[kFiberSets][kMaxThreads];
  Fiber* threads;  // the set that the block runs on
  Warp warps[kMaxThreads / kWarp];
  int thread_count, warp_count, arrived, ended;
  Tags* tags;
  char launch_tag, end_tag;
  unsigned char* shared;
  size_t shared_bytes;
  void (*body)(const void*);
  const void* closure;
  bool reverse;
#ifdef SIMT_UCONTEXT
  ucontext_t context;
#else
  void* stack_pointer;
#endif
#ifdef SIMT_TSAN
  void* tsan;
#endif
#ifdef SIMT_ASAN
  void* fake_stack;
  const void* stack;
  size_t stack_bytes;
#endif
};

// Never destroyed: calls may still be running when the process exits.
Engine& engine = *new Engine;

Fiber& self() { return *static_cast<Fiber*>(current); }

[[noreturn]] void fail(const char* why) {
  const Fiber& me = self();
  std::fprintf(stderr, "simt: block (%u,%u,%u) thread %u: %s\n", me.block_index.x, me.block_index.y, me.block_index.z, me.thread_index.x,
               why);
  int counts[5] = {};
  for (int i = 0; i < engine.thread_count; ++i) ++counts[int(engine.threads[i].state)];
  std::fprintf(stderr,
               "simt: of %d threads %d can run, %d wait at a barrier, %d in a warp operation, %d for memory or others, %d have ended\n",
               engine.thread_count, counts[0], counts[1], counts[2], counts[3], counts[4]);
  std::abort();
}

// Back to the scheduler. A fiber that ends gives its fake stack back.
void leave([[maybe_unused]] bool ending) {
  Fiber& me = self();
#ifdef SIMT_TSAN
  __tsan_switch_to_fiber(engine.tsan, 1);
#endif
#ifdef SIMT_ASAN
  __sanitizer_start_switch_fiber(ending ? nullptr : &me.fake_stack, engine.stack, engine.stack_bytes);
#endif
#ifdef SIMT_UCONTEXT
  swapcontext(&me.context, &engine.context);
#else
  simt_switch(&me.stack_pointer, engine.stack_pointer);
#endif
#ifdef SIMT_ASAN
  __sanitizer_finish_switch_fiber(me.fake_stack, nullptr, nullptr);
#endif
}

void enter(Fiber& fiber) {
  current = &fiber;
#ifdef SIMT_TSAN
  __tsan_switch_to_fiber(fiber.tsan, 1);
#endif
#ifdef SIMT_ASAN
  __sanitizer_start_switch_fiber(&engine.fake_stack, fiber.stack, kStackBytes);
#endif
#ifdef SIMT_UCONTEXT
  swapcontext(&engine.context, &fiber.context);
#else
  simt_switch(&engine.stack_pointer, fiber.stack_pointer);
#endif
#ifdef SIMT_ASAN
  __sanitizer_finish_switch_fiber(engine.fake_stack, nullptr, nullptr);
#endif
}

void thread_main() {
#ifdef SIMT_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &engine.stack, &engine.stack_bytes);
#endif
  acquire(&engine.launch_tag);
  engine.body(engine.closure);
  release(&engine.end_tag);
  Fiber& me = self();
  if (me.copies.issued != me.copies.delivered) fail("ended with an asynchronous copy that it did not wait for");
  me.state = State::done;
  ++engine.ended;
  ++engine.warps[me.warp].ended;
  if (engine.arrived) fail("ended while other threads wait at a barrier");
  if (engine.warps[me.warp].arrived) fail("ended while lanes of its warp wait in a warp operation");
  if (engine.ended == engine.thread_count) end_hopper_block();
  leave(true);
  std::abort();
}

void make_stack(Fiber& fiber) {
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    std::fprintf(stderr, "simt: no memory for a fiber's stack\n");
    std::abort();
  }
  mprotect(memory, page, PROT_NONE);  // running off the stack faults instead of corrupting its neighbour
  fiber.stack = static_cast<char*>(memory) + page;
#ifdef SIMT_TSAN
  fiber.tsan = __tsan_create_fiber(0);
#endif
}

void restart(Fiber& fiber) {
#ifdef SIMT_UCONTEXT
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, thread_main, 0);
#else
  // As simt_switch leaves a stack: six registers under the address to return to, which is entered with rsp = 8 mod 16.
  void** top = reinterpret_cast<void**>(fiber.stack + kStackBytes) - 1;
  *top = nullptr;
  *--top = reinterpret_cast<void*>(thread_main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
#endif
}

void start_block(uint3 block_index, dim3 grid, dim3 block, unsigned number) {
  const int count = engine.thread_count;
  engine.threads = engine.fibers[number % kFiberSets];
  engine.arrived = engine.ended = 0;
  for (int w = 0; w < engine.warp_count; ++w) {
    Warp& warp = engine.warps[w];
    warp.arrived = warp.ended = 0;
    warp.size = count - w * kWarp < kWarp ? count - w * kWarp : kWarp;
  }
  for (int i = 0; i < count; ++i) {
    Fiber& fiber = engine.threads[i];
    if (!fiber.stack) make_stack(fiber);
    fiber.thread_index = {unsigned(i) % block.x, unsigned(i) / block.x % block.y, unsigned(i) / (block.x * block.y)};
    fiber.block_index = block_index;
    fiber.block_size = block;
    fiber.grid_size = grid;
    fiber.lane = i % kWarp;
    fiber.warp = i / kWarp;
    fiber.state = State::ready;
    fiber.operation = Operation::none;
    fiber.barriers = fiber.exchanges = 0;
    fiber.copies.issued = fiber.copies.delivered = fiber.copies.committed = fiber.copies.waited = 0;
    restart(fiber);
  }
  start_hopper_block(count);
}

bool run_warp(int w) {
  bool progress = false;
  for (bool again = true; again;) {
    again = false;
    for (int k = 0; k < engine.warps[w].size; ++k) {
      Fiber& fiber = engine.threads[kWarp * w + (engine.reverse ? engine.warps[w].size - 1 - k : k)];
      if (fiber.state == State::waiting && fiber.holds(fiber.awaited)) fiber.state = State::ready;
      if (fiber.state != State::ready) continue;
      enter(fiber);
      again = progress = true;
    }
  }
  return progress;
}

void run_block() {
  while (engine.ended < engine.thread_count) {
    bool progress = false;
    for (int k = 0; k < engine.warp_count; ++k) progress |= run_warp(engine.reverse ? engine.warp_count - 1 - k : k);
    if (!progress && !deliver_tensor_copy(engine.reverse)) {
      for (int i = 0; i < engine.thread_count; ++i)
        if (engine.threads[i].state != State::done) current = &engine.threads[i];
      fail("deadlock: no thread of the block can go on");
    }
  }
}

}  // namespace

unsigned char* shared_memory() { return engine.shared; }
size_t shared_memory_bytes() { return engine.shared_bytes; }
char* ordering_tag(int ordering) { return &engine.tags->others[ordering]; }

void require(bool right, const char* why) {
  if (!right) fail(why);
}

bool is_shared(const void* memory, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(memory);
  return at >= engine.shared && at + bytes <= engine.shared + engine.shared_bytes;
}

void sync_block() {
  Fiber& me = self();
  char* tag = &engine.tags->barrier[me.barriers++ & 1];
  release(tag);
  if (engine.ended) fail("waits at a barrier that ended threads will not reach");
  if (++engine.arrived == engine.thread_count) {
    engine.arrived = 0;
    for (int i = 0; i < engine.thread_count; ++i) engine.threads[i].state = State::ready;
  } else {
    me.state = State::at_barrier;
    leave(false);
  }
  acquire(tag);
}

void wait_until(bool (*holds)(const void*), const void* argument) {
  if (holds(argument)) return;
  Fiber& me = self();
  me.holds = holds;
  me.awaited = argument;
  me.state = State::waiting;
  leave(false);
}

const Words* exchange(Operation operation, const Words& mine, void (*leader)(Words* all)) {
  Fiber& me = self();
  Warp& warp = engine.warps[me.warp];
  Words* slot = warp.slot[me.exchanges++ & 1];
  slot[me.lane] = mine;
  me.operation = operation;
  if (leader && warp.size < kWarp) fail("an operation of a full warp in a warp that is not full");
  if (warp.ended) fail("waits in a warp operation that ended lanes will not reach");
  if (++warp.arrived < warp.size) {
    me.state = State::in_warp;
    leave(false);
    return slot;
  }
  warp.arrived = 0;
  for (int i = 0; i < warp.size; ++i) {
    Fiber& lane = engine.threads[kWarp * me.warp + i];
    if (lane.operation != operation) fail("lanes of one warp met in different operations");
    lane.state = State::ready;
  }
  if (leader) leader(slot);
  return slot;
}

void sync_warp() {
  char* tag = &engine.tags->warp[self().warp][self().exchanges & 1];
  release(tag);
  exchange(Operation::sync_warp, Words{});
  acquire(tag);
}

unsigned ballot(bool predicate) {
  Words mine{};
  mine.word[0] = predicate;
  const Words* all = exchange(Operation::vote, mine);
  unsigned bits = 0;
  for (int i = 0; i < engine.warps[self().warp].size; ++i) bits |= all[i].word[0] << i;
  return bits;
}

void run(dim3 grid, dim3 block, size_t shared_bytes, void (*body)(const void*), const void* closure) {
  std::lock_guard<std::mutex> guard(engine.lock);
  const char* reverse = std::getenv("SIMT_REVERSE");
  engine.reverse = reverse && *reverse == '1';
  engine.thread_count = int(block.x * block.y * block.z);
  engine.warp_count = (engine.thread_count + kWarp - 1) / kWarp;
  engine.body = body;
  engine.closure = closure;
  engine.shared_bytes = shared_bytes;
#ifdef SIMT_TSAN
  engine.tsan = __tsan_get_current_fiber();
  constexpr bool kFreshMemory = true;  // to TSan, memory used again would be a race between blocks
#else
  constexpr bool kFreshMemory = false;
#endif
  std::vector<void*> memories;
  unsigned number = 0;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        if (kFreshMemory || memories.empty()) {
          // Two allocations, so that the end of shared memory is the end of one.
          for (size_t bytes : {shared_bytes ? shared_bytes : 1, sizeof(Tags)}) {
            void* memory = nullptr;
            if (posix_memalign(&memory, 1024, bytes)) std::abort();
            memories.push_back(memory);
          }
          engine.shared = static_cast<unsigned char*>(memories.end()[-2]);
          engine.tags = static_cast<Tags*>(memories.back());
        }
        std::memset(engine.shared, 0xFF, shared_bytes);
        release(&engine.launch_tag);
        start_block({x, y, z}, grid, block, number++);
        run_block();
      }
  acquire(&engine.end_tag);
  current = nullptr;
  for (void* memory : memories) std::free(memory);
}

}  // namespace simt
