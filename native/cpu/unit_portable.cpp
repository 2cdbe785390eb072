// The engine compiled for portable; its flags are its library target's.
#define CK_ISA isa_portable
#include "cpu/simd_portable.hpp"

#include "cpu/unit.hpp"

namespace ck {

const KernelTable& portable_kernels() {
  static constexpr KernelTable table = CK_ISA::make_table("portable");
  return table;
}

}  // namespace ck
