// What the machine offers. Which instruction set this process runs: the best the machine and its operating system offer, or the one that
// CONTRASTIVE_KERNELS_ISA (amx | avx512 | avx2 | neon | portable) names. Chosen once. "amx" is avx512 with bfloat16 on AMX.
#ifndef CK_CPU_DISPATCH_HPP
#define CK_CPU_DISPATCH_HPP

#include "cpu/kernels.hpp"

namespace ck {

struct Dispatch {
  const char* name;               // of the instruction set
  const KernelTable* kernels;     // NULL: the named instruction set cannot run here
  const Bfloat16Table* bfloat16;  // NULL: the instruction set in use or this CPU has no products of bfloat16
  char reason[160];               // why, when kernels is NULL
};

const Dispatch& dispatch();

// Bytes of a core's second-level cache; 1 MiB where the processor does not say.
int64_t second_level_bytes();

}  // namespace ck

#endif
