// Whether the kernels for compute capability 9.0 run, what they take from the host, and the one that is no template of a policy.
#pragma once
#include <cuda.h>

#include "cuda/rows.hpp"

namespace ck::cuda {

// The device has compute capability 9.0, this build has machine code for sm_90a, the driver encodes tensor maps, and the environment
// does not say CONTRASTIVE_KERNELS_HOPPER=0. Asked for every call: the device may change between two.
bool hopper_chosen();

// Blocks that fill the device once.
unsigned persistent_blocks(int most);

// The map of the packed rows, whose box is a slab of `box_rows` rows.
cudaError_t encode_slabs(CUtensorMap* map, const Rows& rows, int box_rows = kTensorRows);

// half[i] = u_i . u_i / 2 by exactly the arithmetic of a tile's element.
void hopper_half_squares(Run& run, const Rows& rows, float* half);

}  // namespace ck::cuda
