// The engine for one instruction set. A unit defines CK_ISA (its namespace), includes its simd header and then this file once.
// Nothing here includes the standard library: its inline functions would be compiled with the unit's flags, and the linker
// might hand that copy to code that runs on any machine.
#ifndef CK_ISA
#error "define CK_ISA and include a simd header first"
#endif

#include "cpu/class_passes.hpp"
#include "cpu/columns_passes.hpp"
#include "cpu/contrast_passes.hpp"
#include "cpu/contrast_repair.hpp"
#include "cpu/cosine_passes.hpp"
#include "cpu/cross_uniformity_passes.hpp"
#include "cpu/finish_pairs.hpp"
#include "cpu/nearest_passes.hpp"
#include "cpu/nt_xent_passes.hpp"
#include "cpu/row_losses.hpp"
#include "cpu/rows.hpp"
#include "cpu/sig_lip_passes.hpp"
#include "cpu/uniformity_passes.hpp"

namespace ck {
namespace CK_ISA {

constexpr KernelTable make_table(const char* name) {
  return {name,
          NR,
          PANEL_ROWS ? 0 : 1,
          pack,
          nt_xent_table<Float32Products>(),
          uniformity,
          half_squares,
          uniformity_peak,
          cosine_store,
          cosine_apply,
          row_losses,
          finish,
          norms,
          alignment,
          {contrast_forward, contrast_backward, contrast_repair_forward, contrast_repair_backward, pair_products, finish_pairs, class_peaks,
           class_softmax, class_softmax_backward, class_pairs, class_pairs_backward, cross_uniformity, cross_uniformity_peak,
           squared_products, guide_lanes, sig_lip},
          {column_sums, column_fill, column_gather, column_keep, column_write},
          nearest,
          dot};
}

}  // namespace CK_ISA
}  // namespace ck
