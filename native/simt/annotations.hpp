// What the emulation tells the sanitizers, whose instrumentation its own files do without: switches between fibers, the orderings
// that a GPU gives, and accesses of models to memory of kernels.
#pragma once
#include <cstddef>

#ifdef SIMT_TSAN
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_read_range(void* address, unsigned long size);
void __tsan_write_range(void* address, unsigned long size);
}
#endif
#ifdef SIMT_ASAN
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, size_t* size);
}
#endif

namespace simt {

// What happened before a release of the tag happens before what follows an acquire of it.
inline void acquire([[maybe_unused]] void* tag) {
#ifdef SIMT_TSAN
  __tsan_acquire(tag);
#endif
}
inline void release([[maybe_unused]] void* tag) {
#ifdef SIMT_TSAN
  __tsan_release(tag);
#endif
}

inline void report_read([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#ifdef SIMT_TSAN
  __tsan_read_range(memory, bytes);
#endif
}
inline void report_write([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#ifdef SIMT_TSAN
  __tsan_write_range(memory, bytes);
#endif
}

}  // namespace simt
