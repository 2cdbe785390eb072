#include "cpu/workspace.hpp"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ck {
namespace {

constexpr int64_t PAGE = 4096;
constexpr int64_t HUGE_PAGE = int64_t{2} << 20;

// Blocks that no call is using, the one used last at the end. Two are enough for alternating shapes; more would be memory that nobody asked
// to hold.
constexpr int CACHED = 2;
struct Block {
  char* data;
  int64_t bytes;
};
struct Cache {
  std::mutex mutex;
  Block blocks[CACHED] = {};
};

Cache& cache() {
  static Cache* instance = new Cache();  // leaked: calls may still run while the process exits
  return *instance;
}

char* allocate(int64_t bytes) {
  const size_t alignment = static_cast<size_t>(bytes >= HUGE_PAGE ? HUGE_PAGE : PAGE);
#if defined(_WIN32)
  void* data = _aligned_malloc(static_cast<size_t>(bytes), alignment);
#else
  void* data = nullptr;
  if (posix_memalign(&data, alignment, static_cast<size_t>(bytes)) != 0) data = nullptr;
#endif
  if (data == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (bytes >= HUGE_PAGE) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
  return static_cast<char*>(data);
}

void release(char* data) {
#if defined(_WIN32)
  _aligned_free(data);
#else
  std::free(data);
#endif
}

// Under the address sanitizer working memory starts as NaN everywhere, so that a read of what no one wrote fails a test.
void poison(char* data, int64_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  std::memset(data, 0xff, static_cast<size_t>(bytes));
#else
  static_cast<void>(data);
  static_cast<void>(bytes);
#endif
}

}  // namespace

int64_t Workspace::rounded(int64_t bytes) {
  const int64_t unit = bytes >= HUGE_PAGE ? HUGE_PAGE : PAGE;
  return (bytes + unit - 1) / unit * unit;
}

Workspace::Workspace(int64_t bytes) {
  bytes = rounded(bytes);
  {
    std::lock_guard<std::mutex> lock(cache().mutex);
    Block* best = nullptr;
    for (Block& block : cache().blocks) {
      // A block of up to twice the size serves; a larger one would make the call hold what it does not need.
      if (block.data != nullptr && block.bytes >= bytes && block.bytes <= 2 * bytes && (best == nullptr || block.bytes < best->bytes))
        best = &block;
    }
    if (best != nullptr) {
      data_ = best->data;
      bytes_ = best->bytes;
      for (Block* next = best + 1; next < cache().blocks + CACHED; ++next) next[-1] = *next;
      cache().blocks[CACHED - 1] = {};
      poison(data_, bytes_);
      return;
    }
  }
  data_ = allocate(bytes);
  bytes_ = bytes;
  poison(data_, bytes_);
}

Workspace::~Workspace() {
  char* surplus = data_;
  {
    std::lock_guard<std::mutex> lock(cache().mutex);
    for (Block& block : cache().blocks) {
      if (block.data != nullptr) continue;
      block = {data_, bytes_};
      surplus = nullptr;
      break;
    }
    if (surplus != nullptr) {  // the one unused for longest makes room, so that the cache follows the shapes in use
      surplus = cache().blocks[0].data;
      for (int i = 1; i < CACHED; ++i) cache().blocks[i - 1] = cache().blocks[i];
      cache().blocks[CACHED - 1] = {data_, bytes_};
    }
  }
  if (surplus != nullptr) release(surplus);
}

}  // namespace ck
