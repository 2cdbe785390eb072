// See hopper.hpp. Tensor maps are encoded by the driver, which is asked for its function here: the library does not link with it.
#include "cuda/hopper.hpp"

#include <cstdlib>
#include <cstring>

#include "cuda/hopper_tile.hpp"

namespace ck::cuda {
namespace {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// Null where the driver has none.
EncodeTiled find_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  constexpr unsigned kSince = 12000;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSince, cudaEnableDefault, &result) != cudaSuccess) {
    cudaGetLastError();  // dealt with here
    return nullptr;
  }
  return result == cudaDriverEntryPointSuccess ? reinterpret_cast<EncodeTiled>(function) : nullptr;
}

EncodeTiled encoder() {
  static const EncodeTiled found = find_encoder();
  return found;
}

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) == cudaSuccess && cudaDeviceGetAttribute(&value, which, device) == cudaSuccess) return value;
  cudaGetLastError();
  return 0;
}

// Half the products of a diagonal tile with itself; a block for each tile.
template <bool kSplit>
__global__ void __launch_bounds__(HopperTile::kThreads, 1) hopper_products(const __grid_constant__ CUtensorMap map, Rows u, float* half) {
#ifdef CK_HOPPER
  CK_SHARED_MEMORY(shared);
  TileRing ring(shared);
  const int row0 = int(blockIdx.x) * HopperTile::kSide, slabs = u.packed_slabs;
  const auto produce = [&] {
    for (int s = 0; s < slabs; ++s) ring.load(map, row0, row0, s);
  };
  const auto consume = [&](int t, int group) {
    const WarpTile at = {16 * (t / kWarp), 0, t % kWarp};
    HopperFragments tile;
    hopper_multiply<kSplit>(tile, ring, u, group);
    CK_UNROLL
    for (int j = 0; j < HopperTile::kColumnFragments; ++j) {
      CK_UNROLL
      for (int e = 0; e < 4; ++e) {
        if (at.row(0, e) == at.column(j, e)) half[row0 + at.row(0, e)] = 0.5f * tile[0][j][e];
      }
    }
  };
  run_warpgroups(produce, consume);
#endif
}

}  // namespace

bool hopper_chosen() {
  if (attribute(cudaDevAttrComputeCapabilityMajor) != 9 || attribute(cudaDevAttrComputeCapabilityMinor) != 0) return false;
  const char* const wish = std::getenv("CONTRASTIVE_KERNELS_HOPPER");
  if (wish && std::strcmp(wish, "0") == 0) return false;
  return encoder() && built_for_hopper(hopper_products<true>);
}

unsigned persistent_blocks(int most) {
  const int processors = attribute(cudaDevAttrMultiProcessorCount);
  return unsigned(processors > 0 && processors < most ? processors : most);
}

cudaError_t encode_slabs(CUtensorMap* map, const Rows& rows, int box_rows) {
  const cuuint64_t sizes[2] = {rows.packed_stride(), cuuint64_t(rows.padded_rows)}, strides[1] = {rows.packed_stride() * sizeof(uint16_t)};
  const cuuint32_t box[2] = {kSlabHalves, cuuint32_t(box_rows)}, element_strides[2] = {1, 1};
  const CUresult result =
      encoder()(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, rows.packed, sizes, strides, box, element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE,
                CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

void hopper_half_squares(Run& run, const Rows& rows, float* half) {
  CUtensorMap map;
  run.check(encode_slabs(&map, rows));
  run.launch(rows.split() ? hopper_products<true> : hopper_products<false>, rows.padded_rows / HopperTile::kSide, HopperTile::kThreads,
             HopperTile::kSharedBytes, map, rows, half);
}

}  // namespace ck::cuda
