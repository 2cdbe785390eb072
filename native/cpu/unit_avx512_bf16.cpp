// NT-Xent in bfloat16, compiled for avx512 with AVX512_BF16; its flags are its library target's.
#define CK_ISA isa_avx512_bf16
#include "cpu/simd_avx512.hpp"

#include "cpu/bfloat16.hpp"
#include "cpu/nt_xent_passes.hpp"

namespace ck {

const Bfloat16Table& avx512_bf16_kernels() {
  static constexpr Bfloat16Table table = {1, 0, GROUP, CK_ISA::pack_rounded, CK_ISA::nt_xent_table<CK_ISA::Bfloat16Products>()};
  return table;
}

}  // namespace ck
