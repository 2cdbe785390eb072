#include "cpu/dispatch.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ck {
namespace {

struct Choice {
  const char* name;
  bool (*supported)();
  const KernelTable& (*table)();
  const Bfloat16Table* (*bfloat16)();
};

bool always() { return true; }
bool never() { return false; }
const Bfloat16Table* no_bfloat16() { return nullptr; }

#if defined(__x86_64__)
// These ask the operating system, too: it must save the wide registers.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && has_avx2();
}
bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
// The tile registers are off until a process asks for them; what it is granted holds for all of its threads.
bool has_amx() {
#if defined(__linux__)
  unsigned a, b, c, d;
  constexpr unsigned AMX_BF16 = 1u << 22, AMX_TILE = 1u << 24;
  if (!has_avx512_bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & AMX_BF16) || !(d & AMX_TILE)) return false;
  constexpr long ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
  return false;
#endif
}

const Bfloat16Table* amx_bfloat16() { return &amx_kernels(); }
const Bfloat16Table* avx512_bfloat16() { return has_avx512_bf16() ? &avx512_bf16_kernels() : nullptr; }
#if defined(CK_EMULATED_TILES)
const Bfloat16Table* emulated_bfloat16() { return &amx_emulated_kernels(); }
#endif
#endif

// Best first. A NEON unit would stand here; on arm64 the portable unit is compiled to NEON by the vector types it uses.
const Choice CHOICES[] = {
#if defined(__x86_64__)
    {"amx", has_amx, avx512_kernels, amx_bfloat16},
    {"avx512", has_avx512, avx512_kernels, avx512_bfloat16},
    {"avx2", has_avx2, avx2_kernels, no_bfloat16},
#if defined(CK_EMULATED_TILES)
    {"amx-emulated", has_avx512_bf16, avx512_kernels, emulated_bfloat16},
#endif
#else
    {"amx", never, portable_kernels, no_bfloat16},  {"avx512", never, portable_kernels, no_bfloat16},
    {"avx2", never, portable_kernels, no_bfloat16},
#endif
    {"neon", never, portable_kernels, no_bfloat16},
    {"portable", always, portable_kernels, no_bfloat16},
};

Dispatch choose() {
  Dispatch result = {"", nullptr, nullptr, ""};
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  const char* wanted = std::getenv("CONTRASTIVE_KERNELS_ISA");
  const bool any = wanted == nullptr || *wanted == '\0';
  for (const Choice& choice : CHOICES) {
    if (!any && std::strcmp(wanted, choice.name) != 0) continue;
    if (choice.supported()) {
      result.name = choice.name;
      result.kernels = &choice.table();
      result.bfloat16 = choice.bfloat16();
      return result;
    }
    if (!any) {
      std::snprintf(result.reason, sizeof result.reason, "CONTRASTIVE_KERNELS_ISA is '%s', which this library or machine does not have",
                    choice.name);
      return result;
    }
  }
  std::snprintf(result.reason, sizeof result.reason, "CONTRASTIVE_KERNELS_ISA: expected amx, avx512, avx2, neon or portable, got '%.40s'",
                wanted);
  for (char* c = result.reason; *c != '\0'; ++c)
    if (*c == '"' || *c == '\\' || static_cast<unsigned char>(*c) < ' ') *c = '?';  // it becomes part of a JSON text
  return result;
}

}  // namespace

const Dispatch& dispatch() {
  static const Dispatch chosen = choose();
  return chosen;
}

int64_t second_level_bytes() {
  static const int64_t bytes = [] {
    int64_t kib = 0;
#if defined(__x86_64__)
    unsigned a, b, c = 0, d;
    if (__get_cpuid(0x80000006, &a, &b, &c, &d)) kib = c >> 16;  // AMD's leaf, which Intel has, too
#endif
    return (kib > 0 ? kib : 1024) << 10;
  }();
  return bytes;
}

}  // namespace ck
