// The order in which pairs of macro blocks are worked on, so that no two jobs at a time touch the same rows.
//
// All pairs {I, J} of the blocks of one matrix form a round-robin tournament: in every round each block appears at most once;
// pairs of a block with itself are the last round. For two matrices round r pairs block I with block I + r. Every block counts
// the jobs done on it, and a job starts when both its blocks have reached the number noted with it. Each block is thus worked
// on in one fixed order, by one job at a time: sums are added without locks and with the same bits on any number of threads.
#ifndef CK_CPU_SCHEDULE_HPP
#define CK_CPU_SCHEDULE_HPP

#include <stdint.h>

#include <atomic>

#include "cpu/kernels.hpp"

namespace ck {

struct PairJob {
  int32_t first, second;             // blocks; for one matrix first <= second
  uint32_t first_turn, second_turn;  // jobs that must be done on each before
};

class Schedule {
 public:
  // Blocks of `size` rows of one matrix (cols_rows < 0) or of two matrices.
  static int64_t job_count(int64_t rows, int64_t other_rows, int64_t size);
  static int64_t turn_count(int64_t rows, int64_t other_rows, int64_t size);

  // jobs: [job_count], turns: [turn_count]; both stay the caller's.
  Schedule(int64_t rows, int64_t other_rows, int64_t size, PairJob* jobs, std::atomic<uint32_t>* turns);

  int64_t count() const { return count_; }
  void reset();  // before each pass
  BlockPair pair(int64_t job) const;
  // Waits until the job's blocks are free; false when `stop` was set meanwhile.
  bool wait(int64_t job, const std::atomic<bool>& stop) const;
  void done(int64_t job);

 private:
  int64_t rows_, other_rows_, size_;
  int32_t blocks_, other_blocks_;
  bool symmetric_;
  int64_t count_ = 0;
  PairJob* jobs_;
  std::atomic<uint32_t>* turns_;
};

}  // namespace ck

#endif
