// The order in which pairs of macro blocks are worked on, so that no two jobs at a time touch the same rows.
//
// A thread takes a strip at a time: one block with some neighbouring ones in turn, so that the first stays in its cache (at 4096 rows of
// 768 dimensions single jobs took 5 % longer). Groups of as many blocks form a round-robin tournament: in every round each group
// appears at most once, and strips that follow each other in the list are of different groups; pairs within a group and of a block
// with itself are last. For two matrices round r pairs group I with group I + r. Every block counts the jobs done on it, and a job
// starts when both its blocks have reached the number noted with it. Each block is thus worked on in one fixed order, by one job at a
// time: sums are added without locks and with the same bits on any number of threads. Jobs wait for jobs before them in the list only,
// and strips are taken in its order, so that there is always one that need not wait.
#ifndef CK_CPU_SCHEDULE_HPP
#define CK_CPU_SCHEDULE_HPP

#include <stdint.h>

#include <atomic>

#include "cpu/kernels.hpp"

namespace ck {

struct PairJob {
  int32_t first, second;             // blocks; for one matrix first <= second
  uint32_t first_turn, second_turn;  // jobs that must be done on each before
  int32_t strip;                     // of entry s: the first job of strip s
};

class Schedule {
 public:
  // Blocks of `size` rows of one matrix (cols_rows < 0) or of two matrices.
  static int64_t job_count(int64_t rows, int64_t other_rows, int64_t size);
  static int64_t turn_count(int64_t rows, int64_t other_rows, int64_t size);

  // jobs: [job_count], turns: [turn_count]; both stay the caller's.
  Schedule(int64_t rows, int64_t other_rows, int64_t size, PairJob* jobs, std::atomic<uint32_t>* turns);

  int64_t count() const { return count_; }
  int64_t strips() const { return strips_; }
  // The jobs of strip s are [strip_first(s), strip_first(s + 1)).
  int64_t strip_first(int64_t strip) const { return strip < strips_ ? jobs_[strip].strip : count_; }
  void reset();  // before each pass
  BlockPair pair(int64_t job) const;
  // Waits until the job's blocks are free; false when `stop` was set meanwhile.
  bool wait(int64_t job, const std::atomic<bool>& stop) const;
  void done(int64_t job);

 private:
  void add(int32_t first, int32_t second);
  void add_strip(int32_t first, int32_t from, int32_t to);
  void add_tournament();
  void add_rounds();

  int64_t rows_, other_rows_, size_;
  int32_t blocks_, other_blocks_;
  bool symmetric_;
  int64_t count_ = 0, strips_ = 0;
  PairJob* jobs_;
  std::atomic<uint32_t>* turns_;
};

}  // namespace ck

#endif
