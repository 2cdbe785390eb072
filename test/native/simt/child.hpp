// Runs kernels with planted bugs: each in a child process, whose end and stderr are what a test looks at. What must be seen depends
// on the build: the engine's own checks and the poisoned memory work in all, races are ThreadSanitizer's, bounds AddressSanitizer's.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cuda/device.hpp"

namespace planted {

constexpr int kThreads = 64;

#if defined(SIMT_TSAN)
constexpr bool kTsan = true, kAsan = false;
#elif defined(SIMT_ASAN)
constexpr bool kTsan = false, kAsan = true;
#else
constexpr bool kTsan = false, kAsan = false;
#endif

using Kernel = void (*)(float*);

struct Buffer {
  float* data = nullptr;
  explicit Buffer(size_t count) { cudaMalloc(reinterpret_cast<void**>(&data), count * sizeof(float)); }
  ~Buffer() { cudaFree(data); }
};

// Runs the kernel on `blocks` blocks; leaves with 0 where out is expected(t), else with 3.
inline int run(Kernel kernel, int blocks, float (*expected)(int), size_t shared_bytes = kThreads * sizeof(float)) {
  Buffer out(size_t(blocks) * kThreads);
  if (ck::cuda::launch(kernel, blocks, kThreads, shared_bytes, nullptr, out.data) != cudaSuccess) return 4;
  for (int t = 0; t < kThreads; ++t) {
    if (expected && out.data[t] != expected(t)) return 3;
  }
  return 0;
}

struct Outcome {
  int status;  // of wait()
  std::string text;
};

template <class Body>
Outcome in_child(const Body& body) {
  int ends[2];
  if (pipe(ends)) std::abort();
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    close(ends[0]);
    close(ends[1]);
    std::exit(body());
  }
  close(ends[1]);
  Outcome outcome;
  char piece[4096];
  for (ssize_t n; (n = read(ends[0], piece, sizeof piece)) > 0;) outcome.text.append(piece, size_t(n));
  close(ends[0]);
  waitpid(child, &outcome.status, 0);
  return outcome;
}

inline int failures = 0;
inline void expect(bool condition, const char* what, const Outcome& outcome) {
  std::printf("%s %s\n", condition ? "ok    " : "FAILED", what);
  if (condition) return;
  ++failures;
  std::printf("       status %d, output:\n%.2000s\n", outcome.status, outcome.text.c_str());
}

inline bool succeeded(const Outcome& outcome) {
  return WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 0 && outcome.text.empty();
}
inline bool wrong_numbers(const Outcome& outcome) { return WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 3; }
inline bool reported(const Outcome& outcome, const char* text) {
  return !(WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 0) && outcome.text.find(text) != std::string::npos;
}
// A race: ThreadSanitizer names it; without, the numbers are wrong in at least one order of warps.
inline bool race(const Outcome& outcome, bool numbers) {
  return kTsan ? reported(outcome, "data race") : !numbers || wrong_numbers(outcome);
}

}  // namespace planted
