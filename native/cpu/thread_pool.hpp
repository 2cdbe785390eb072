// The process-wide pool of worker threads.
//
// run() hands out jobs 0 .. jobs - 1 of one parallel region in order; the calling thread takes part (slot 0), workers join while
// jobs are left (slots 1 .. threads - 1). Nothing waits for a worker to wake up: on a busy machine the caller does the work
// itself. Regions of several calling threads run one after another. Workers spin for a moment between regions, since a call
// is several regions in a row, and then sleep. The pool is never destroyed, so that neither exit() nor the end of a JavaScript
// environment waits for it.
//
// A job may wait for jobs with smaller numbers (see schedule.hpp): they have been handed out before it.
#ifndef CK_CPU_THREAD_POOL_HPP
#define CK_CPU_THREAD_POOL_HPP

#include <stdint.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace ck {

// One step of a busy wait; after some dozens of them the processor is given to others.
class Backoff {
 public:
  void wait();

 private:
  int turns_ = 0;
};

class ThreadPool {
 public:
  using Task = void (*)(void* context, int64_t job, int slot);

  static ThreadPool& instance();

  // Runs task(context, job, slot) for every job on at most `threads` threads and returns when all are done.
  void run(int threads, int64_t jobs, Task task, void* context);

 private:
  ThreadPool() = default;

  void add_workers(int count);
  void work();
  bool enter(uint64_t& seen, int& slot);
  void leave();
  void take_jobs(int slot);

  // Everything a worker must see at once: [generation:32][open:1][seats left:15][workers inside:16].
  std::atomic<uint64_t> gate_{0};
  std::atomic<int64_t> next_{0};
  int64_t jobs_ = 0;
  Task task_ = nullptr;
  void* context_ = nullptr;

  std::mutex region_;  // held by the caller for the length of a region
  int workers_ = 0;

  std::mutex sleep_;
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
  std::condition_variable done_;
  std::atomic<bool> caller_sleeps_{false};
};

// body(job, slot) for every job.
template <class Body>
void parallel_for(int threads, int64_t jobs, Body&& body) {
  if (threads <= 1 || jobs <= 1) {
    for (int64_t job = 0; job < jobs; ++job) body(job, 0);
    return;
  }
  ThreadPool::instance().run(
      threads, jobs, [](void* context, int64_t job, int slot) { (*static_cast<Body*>(context))(job, slot); }, &body);
}

}  // namespace ck

#endif
