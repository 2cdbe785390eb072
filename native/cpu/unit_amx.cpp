// NT-Xent in bfloat16 on AMX, whose instructions need no flag (amx_tiles.hpp); those of the vectors around them are its library target's.
// CK_EMULATED_TILES: on arrays instead, for tests.
#ifdef CK_EMULATED_TILES
#define CK_ISA isa_amx_emulated
#define CK_TABLE amx_emulated_kernels
#else
#define CK_ISA isa_amx
#define CK_TABLE amx_kernels
#endif
#include "cpu/simd_avx512.hpp"

#include "cpu/amx.hpp"
#include "cpu/nt_xent_passes.hpp"

namespace ck {
namespace CK_ISA {

template <void (*PASS)(const NtXentPass&, const BlockPair&, const Scratch&)>
void with_tiles(const NtXentPass& pass, const BlockPair& pair, const Scratch& scratch) {
  const Tiles tiles;
  PASS(pass, pair, scratch);
}

}  // namespace CK_ISA

const Bfloat16Table& CK_TABLE() {
  using namespace CK_ISA;
  static constexpr NtXentTable passes = nt_xent_table<TileProducts>();
  static constexpr Bfloat16Table table = {
      TILE_WORDS,
      1,
      PACK_ROWS,
      pack_rounded,
      {with_tiles<passes.forward>, with_tiles<passes.backward>, with_tiles<passes.repair_forward>, with_tiles<passes.repair_backward>}};
  return table;
}

}  // namespace ck
