// The engine compiled for avx512; its flags are its library target's.
#define CK_ISA isa_avx512
#include "cpu/simd_avx512.hpp"

#include "cpu/unit.hpp"

namespace ck {

const KernelTable& avx512_kernels() {
  static constexpr KernelTable table = CK_ISA::make_table("avx512");
  return table;
}

}  // namespace ck
