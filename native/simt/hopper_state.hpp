// What barriers.cpp and warpgroups.cpp, the two halves of hopper.hpp, share.
#pragma once
#include <cstddef>

namespace simt {

// Shared memory as tensor copies and wgmma see it: what the former wrote, and what ordinary stores wrote before a fence of the proxy.
unsigned char* async_view();

// The 128-byte swizzle: where byte `at` of a window aligned to 1024 lies.
inline size_t swizzle(size_t at) { return at ^ (at >> 7 & 7) << 4; }

// memcpy and memset would be seen by ThreadSanitizer's interceptors, as accesses of the running thread.
inline void copy_bytes(unsigned char* to, const unsigned char* from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) to[i] = from[i];
}
inline void poison_bytes(unsigned char* to, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) to[i] = 0xFF;
}

void start_barriers();
void end_barriers();

}  // namespace simt
