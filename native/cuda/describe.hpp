// Whether this library can run here, and on what.
#pragma once
#include <cstddef>

namespace ck::cuda {

// Writes why no call can run, in English, or leaves it empty where one can. Needs no driver; throws nothing.
void unavailable_reason(char* reason, size_t size);

}  // namespace ck::cuda
