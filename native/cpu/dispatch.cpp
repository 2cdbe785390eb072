#include "cpu/dispatch.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ck {
namespace {

struct Choice {
  const char* name;
  bool (*supported)();
  const KernelTable& (*table)();
};

bool always() { return true; }
bool never() { return false; }

#if defined(__x86_64__)
// These ask the operating system, too: it must save the wide registers.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && has_avx2();
}
#endif

// Best first. A NEON unit would stand here; on arm64 the portable unit is compiled to NEON by the vector types it uses.
const Choice CHOICES[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, avx512_kernels},
    {"avx2", has_avx2, avx2_kernels},
#else
    {"avx512", never, portable_kernels},
    {"avx2", never, portable_kernels},
#endif
    {"neon", never, portable_kernels},
    {"portable", always, portable_kernels},
};

Dispatch choose() {
  Dispatch result = {nullptr, nullptr, ""};
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  const char* wanted = std::getenv("CONTRASTIVE_KERNELS_ISA");
  const bool any = wanted == nullptr || *wanted == '\0';
  for (const Choice& choice : CHOICES) {
    if (!any && std::strcmp(wanted, choice.name) != 0) continue;
    if (choice.supported()) {
      result.kernels = &choice.table();
#if defined(__x86_64__)
      if (choice.supported == has_avx512 && __builtin_cpu_supports("avx512bf16")) result.bfloat16 = &avx512_bf16_kernels();
#endif
      return result;
    }
    if (!any) {
      std::snprintf(result.reason, sizeof result.reason, "CONTRASTIVE_KERNELS_ISA is '%s', which this library or machine does not have",
                    choice.name);
      return result;
    }
  }
  std::snprintf(result.reason, sizeof result.reason, "CONTRASTIVE_KERNELS_ISA: expected avx512, avx2, neon or portable, got '%.40s'",
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

}  // namespace ck
