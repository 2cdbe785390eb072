// Working memory of a call: one block, cut into arrays, kept for the next call.
//
// A struct of buffers takes an Arena in its constructor and takes its arrays from it; with an Arena on nothing the same code
// measures, so that the size asked for and the size told to users are one figure.
#ifndef CK_CPU_WORKSPACE_HPP
#define CK_CPU_WORKSPACE_HPP

#include <stddef.h>
#include <stdint.h>

namespace ck {

class Arena {
 public:
  explicit Arena(char* base) : base_(base) {}

  // An array of `count` values, aligned to a cache line; NULL while measuring.
  template <class T>
  T* take(int64_t count) {
    used_ = (used_ + 63) / 64 * 64;
    T* array = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += count * static_cast<int64_t>(sizeof(T));
    return array;
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

// Memory for one call, from the process-wide cache or new; given back when it goes. Throws std::bad_alloc.
class Workspace {
 public:
  explicit Workspace(int64_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  char* data() const { return data_; }

  // What a request of so many bytes holds: whole pages, from 2 MiB on whole huge pages.
  static int64_t rounded(int64_t bytes);

 private:
  char* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace ck

#endif
