// The engine compiled for avx2; its flags are its library target's.
#define CK_ISA isa_avx2
#include "cpu/simd_avx2.hpp"

#include "cpu/unit.hpp"

namespace ck {

const KernelTable& avx2_kernels() {
  static constexpr KernelTable table = CK_ISA::make_table("avx2");
  return table;
}

}  // namespace ck
