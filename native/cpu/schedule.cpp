#include "cpu/schedule.hpp"

#include <new>
#include <utility>

#include "cpu/thread_pool.hpp"

namespace ck {
namespace {

int64_t blocks_of(int64_t rows, int64_t size) { return (rows + size - 1) / size; }

// Jobs of a strip: few where few blocks are to be shared by many threads.
int32_t strip_length(int32_t blocks) {
  const int32_t length = blocks / 5;
  return length < 1 ? 1 : length > 4 ? 4 : length;
}

}  // namespace

int64_t Schedule::job_count(int64_t rows, int64_t other_rows, int64_t size) {
  const int64_t n = blocks_of(rows, size);
  return other_rows < 0 ? n * (n + 1) / 2 : n * blocks_of(other_rows, size);
}

int64_t Schedule::turn_count(int64_t rows, int64_t other_rows, int64_t size) {
  return blocks_of(rows, size) + (other_rows < 0 ? 0 : blocks_of(other_rows, size));
}

Schedule::Schedule(int64_t rows, int64_t other_rows, int64_t size, PairJob* jobs, std::atomic<uint32_t>* turns)
    : rows_(rows), other_rows_(other_rows), size_(size), symmetric_(other_rows < 0), jobs_(jobs), turns_(turns) {
  blocks_ = static_cast<int32_t>(blocks_of(rows, size));
  other_blocks_ = symmetric_ ? 0 : static_cast<int32_t>(blocks_of(other_rows, size));
  for (int32_t i = 0; i < blocks_ + other_blocks_; ++i) new (&turns_[i]) std::atomic<uint32_t>(0);
  if (symmetric_)
    add_tournament();
  else
    add_rounds();
}

void Schedule::add(int32_t first, int32_t second) {
  const int32_t a = first, b = symmetric_ ? second : blocks_ + second;
  const uint32_t first_turn = turns_[a].load(std::memory_order_relaxed), second_turn = turns_[b].load(std::memory_order_relaxed);
  PairJob& job = jobs_[count_++];
  job.first = first;
  job.second = second;
  job.first_turn = first_turn;
  job.second_turn = second_turn;
  turns_[a].store(first_turn + 1, std::memory_order_relaxed);
  if (a != b) turns_[b].store(second_turn + 1, std::memory_order_relaxed);
}

// Jobs of the block `first` with each of [from, to), as one strip.
void Schedule::add_strip(int32_t first, int32_t from, int32_t to) {
  if (from >= to) return;
  jobs_[strips_++].strip = static_cast<int32_t>(count_);
  for (int32_t second = from; second < to; ++second) add(first, second);
}

// Circle method: the last of an even number of players, here groups of blocks, stands still, the others move around; with an odd number
// of groups it is nobody.
void Schedule::add_tournament() {
  const int32_t side = strip_length(blocks_), groups = (blocks_ + side - 1) / side, players = groups + (groups & 1);
  const auto end = [&](int32_t group) { return (group + 1) * side < blocks_ ? (group + 1) * side : blocks_; };
  for (int32_t round = 0; round + 1 < players; ++round)
    for (int32_t i = 0; i < side; ++i)
      for (int32_t k = 0; k < players / 2; ++k) {
        int32_t a = k == 0 ? players - 1 : (round + k) % (players - 1);
        int32_t b = (round - k + players - 1) % (players - 1);
        if (a >= groups || b >= groups) continue;
        if (a > b) std::swap(a, b);  // the last group may be shorter: strips run along it
        if (a * side + i < end(a)) add_strip(a * side + i, b * side, end(b));
      }
  // Within the groups; the blocks with themselves, half as much work, come last and alone so that threads end together.
  for (int32_t i = 0; i + 1 < side; ++i)
    for (int32_t a = 0; a < groups; ++a) add_strip(a * side + i, a * side + i + 1, end(a));
  for (int32_t i = 0; i < blocks_; ++i) add_strip(i, i, i + 1);
}

void Schedule::add_rounds() {
  const int32_t side = strip_length(blocks_ < other_blocks_ ? blocks_ : other_blocks_);
  const int32_t groups = (blocks_ + side - 1) / side, other_groups = (other_blocks_ + side - 1) / side;
  const bool wide = other_groups >= groups;
  const int32_t small = wide ? groups : other_groups, large = wide ? other_groups : groups;
  const auto cut = [](int32_t value, int32_t limit) { return value < limit ? value : limit; };
  for (int32_t round = 0; round < large; ++round)
    for (int32_t i = 0; i < side; ++i)
      for (int32_t k = 0; k < small; ++k) {
        const int32_t moved = (k + round) % large;
        const int32_t a = wide ? k : moved, b = wide ? moved : k;
        if (a * side + i < blocks_) add_strip(a * side + i, b * side, cut((b + 1) * side, other_blocks_));
      }
}

void Schedule::reset() {
  for (int32_t i = 0; i < blocks_ + other_blocks_; ++i) turns_[i].store(0, std::memory_order_relaxed);
}

BlockPair Schedule::pair(int64_t job) const {
  const PairJob& j = jobs_[job];
  const int64_t limit = symmetric_ ? rows_ : other_rows_;
  const auto cut = [](int64_t value, int64_t limit) { return value < limit ? value : limit; };
  BlockPair pair;
  pair.row_first = j.first * size_;
  pair.row_last = cut((j.first + 1) * size_, rows_);
  pair.col_first = j.second * size_;
  pair.col_last = cut((j.second + 1) * size_, limit);
  pair.triangle = symmetric_ && j.first == j.second;
  pair.row_fresh = j.first_turn == 0;
  pair.col_fresh = j.second_turn == 0;
  return pair;
}

bool Schedule::wait(int64_t job, const std::atomic<bool>& stop) const {
  const PairJob& j = jobs_[job];
  const std::atomic<uint32_t>& first = turns_[j.first];
  const std::atomic<uint32_t>& second = turns_[symmetric_ ? j.second : blocks_ + j.second];
  Backoff backoff;
  while (first.load(std::memory_order_acquire) != j.first_turn || second.load(std::memory_order_acquire) != j.second_turn) {
    if (stop.load(std::memory_order_relaxed)) return false;
    backoff.wait();
  }
  return !stop.load(std::memory_order_relaxed);
}

void Schedule::done(int64_t job) {
  const PairJob& j = jobs_[job];
  const int32_t second = symmetric_ ? j.second : blocks_ + j.second;
  turns_[j.first].store(j.first_turn + 1, std::memory_order_release);
  if (second != j.first) turns_[second].store(j.second_turn + 1, std::memory_order_release);
}

}  // namespace ck
