// The schedule alone, without kernels: every pair of blocks comes once, strips are runs of jobs with one block in common, and jobs wait
// only for jobs that come before them in the list, so that threads which take strips in order never wait for each other in a circle.
#include "cpu/schedule.hpp"

#include <cstdio>
#include <map>
#include <utility>
#include <vector>

namespace {

int failures = 0;
int64_t checks = 0;

void expect(bool holds, const char* what, int64_t rows, int64_t other, int64_t size, int64_t job) {
  ++checks;
  if (holds || ++failures > 20) return;
  std::printf("FAILED: %s, %lld x %lld rows, blocks of %lld, job %lld\n", what, static_cast<long long>(rows), static_cast<long long>(other),
              static_cast<long long>(size), static_cast<long long>(job));
}

void check(int64_t rows, int64_t other, int64_t size) {
  const bool symmetric = other < 0;
  const int64_t blocks = (rows + size - 1) / size, others = symmetric ? blocks : (other + size - 1) / size;
  std::vector<ck::PairJob> jobs(ck::Schedule::job_count(rows, other, size));
  std::vector<std::atomic<uint32_t>> turns(ck::Schedule::turn_count(rows, other, size));
  ck::Schedule schedule(rows, other, size, jobs.data(), turns.data());
  const int64_t count = schedule.count();
  expect(count == static_cast<int64_t>(jobs.size()), "as many jobs as memory was asked for", rows, other, size, count);
  expect(count == (symmetric ? blocks * (blocks + 1) / 2 : blocks * others), "as many jobs as pairs", rows, other, size, count);

  // One thread: each job in turn, and nothing ever waits.
  std::map<std::pair<int64_t, int64_t>, int> seen;
  std::vector<uint32_t> done(blocks + (symmetric ? 0 : others), 0);
  for (int64_t job = 0; job < count; ++job) {
    const ck::PairJob& j = jobs[job];
    const int64_t a = j.first, b = symmetric ? j.second : blocks + j.second;
    expect(j.first_turn == done[a] && j.second_turn == done[b], "waits only for jobs before it", rows, other, size, job);
    ++done[a];
    if (a != b) ++done[b];
    const ck::BlockPair pair = schedule.pair(job);
    expect(pair.row_first == j.first * size && pair.row_last > pair.row_first && pair.row_last <= rows, "rows", rows, other, size, job);
    expect(pair.col_last > pair.col_first && pair.col_last <= (symmetric ? rows : other), "columns", rows, other, size, job);
    expect(!symmetric || j.first <= j.second, "above the diagonal", rows, other, size, job);
    expect(++seen[{j.first, j.second}] == 1, "once only", rows, other, size, job);
  }

  int64_t next = 0;
  for (int64_t strip = 0; strip < schedule.strips(); ++strip) {
    const int64_t first = schedule.strip_first(strip), last = schedule.strip_first(strip + 1);
    expect(first == next && last > first, "strips follow each other", rows, other, size, first);
    bool common_first = true, common_second = true;
    for (int64_t job = first; job < last; ++job) {
      common_first &= jobs[job].first == jobs[first].first;
      common_second &= jobs[job].second == jobs[first].second;
    }
    expect(common_first || common_second, "a block in common", rows, other, size, first);
    next = last;
  }
  expect(next == count, "strips hold every job", rows, other, size, next);
}

}  // namespace

int main() {
  for (int64_t blocks = 1; blocks <= 50; ++blocks) {
    check(blocks * 96, -1, 96);
    check(blocks * 96 - 95, -1, 96);
    for (int64_t others : {1, 2, 7, 10, 11, 23, 40}) check(blocks * 192 - 1, others * 192, 192);
  }
  std::printf("%lld checks, %d failed\n", static_cast<long long>(checks), failures);
  return failures == 0 ? 0 : 1;
}
