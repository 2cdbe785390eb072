#include "cpu/thread_pool.hpp"

#include <system_error>
#include <thread>

#if defined(__linux__) || defined(__APPLE__)
#include <dlfcn.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ck {
namespace {

constexpr uint64_t OPEN = uint64_t{1} << 31;
constexpr uint64_t SEAT = uint64_t{1} << 16;
constexpr uint64_t SEATS = 0x7fff * SEAT;
constexpr uint64_t INSIDE = 0xffff;
constexpr int MAX_THREADS = 1024;

// Some 20 microseconds: longer than the gaps between the regions of a call, much shorter than a scheduler's time slice.
constexpr int SPINS = 400;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Keeps the library mapped: a runtime may close an addon when the environment that loaded it ends, and workers must not lose
// their code.
void pin_library() {
#if defined(__linux__) || defined(__APPLE__)
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&pin_library), &info) != 0 && info.dli_fname != nullptr)
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
#endif
}

}  // namespace

void Backoff::wait() {
  if (++turns_ < 64)
    pause();
  else
    std::this_thread::yield();
}

ThreadPool& ThreadPool::instance() {
  static ThreadPool* pool = new ThreadPool();  // leaked on purpose
  return *pool;
}

void ThreadPool::add_workers(int count) {
  if (workers_ == 0) pin_library();
  while (workers_ < count) {
    try {
      std::thread([this] { work(); }).detach();
    } catch (const std::system_error&) {
      return;  // fewer workers: the caller does more
    }
    ++workers_;
  }
}

void ThreadPool::take_jobs(int slot) {
  for (;;) {
    const int64_t job = next_.fetch_add(1, std::memory_order_relaxed);
    if (job >= jobs_) return;
    task_(context_, job, slot);
  }
}

// Joins the open region, at most once each. The count of workers inside is in the same word as the open bit, so the caller
// cannot close the region and go on while a worker is on its way in.
bool ThreadPool::enter(uint64_t& seen, int& slot) {
  uint64_t gate = gate_.load(std::memory_order_acquire);
  while ((gate & OPEN) != 0 && (gate & SEATS) != 0 && gate >> 32 != seen) {
    if (gate_.compare_exchange_weak(gate, gate - SEAT + 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
      seen = gate >> 32;
      slot = static_cast<int>((gate & SEATS) / SEAT);  // seats are numbered threads - 1 ... 1
      return true;
    }
  }
  return false;
}

void ThreadPool::leave() {
  const uint64_t gate = gate_.fetch_sub(1, std::memory_order_seq_cst) - 1;
  if ((gate & INSIDE) == 0 && caller_sleeps_.load(std::memory_order_seq_cst)) {
    std::lock_guard<std::mutex> lock(sleep_);
    done_.notify_one();
  }
}

void ThreadPool::work() {
  uint64_t seen = 0;
  int slot = 0;
  for (;;) {
    bool entered = false;
    for (int spin = 0; spin < SPINS && !entered; ++spin) {
      entered = enter(seen, slot);
      if (!entered) pause();
    }
    if (!entered) {
      std::unique_lock<std::mutex> lock(sleep_);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] { return entered = enter(seen, slot); });
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    }
    take_jobs(slot);
    leave();
  }
}

void ThreadPool::run(int threads, int64_t jobs, Task task, void* context) {
  if (threads > jobs) threads = static_cast<int>(jobs);
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  std::lock_guard<std::mutex> region(region_);
  add_workers(threads - 1);
  jobs_ = jobs;
  task_ = task;
  context_ = context;
  next_.store(0, std::memory_order_relaxed);
  const uint64_t generation = (gate_.load(std::memory_order_relaxed) >> 32) + 1;
  gate_.store((generation << 32) | OPEN | static_cast<uint64_t>(threads - 1) * SEAT, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    std::lock_guard<std::mutex> lock(sleep_);
    if (threads > 2)
      wake_.notify_all();
    else
      wake_.notify_one();
  }
  take_jobs(0);
  // Closed: nobody enters any more. Wait for those inside.
  uint64_t gate = gate_.fetch_and(~OPEN, std::memory_order_seq_cst);
  for (int spin = 0; (gate & INSIDE) != 0 && spin < SPINS; ++spin) {
    pause();
    gate = gate_.load(std::memory_order_acquire);
  }
  if ((gate & INSIDE) != 0) {
    std::unique_lock<std::mutex> lock(sleep_);
    caller_sleeps_.store(true, std::memory_order_seq_cst);
    done_.wait(lock, [&] { return (gate_.load(std::memory_order_seq_cst) & INSIDE) == 0; });
    caller_sleeps_.store(false, std::memory_order_relaxed);
  }
}

}  // namespace ck
