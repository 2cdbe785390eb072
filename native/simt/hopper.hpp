// Models of the instructions of compute capability 9.0a: mbarriers, tensor copies, wgmma, setmaxnreg and named barriers (test only).
//
// They are as hard on a kernel as those of tensor_core.hpp. A tensor copy poisons its box when it is issued and lands when no thread
// can go on otherwise, the latest moment a GPU allows. wgmma's accumulators are NaN from issue to the wait that covers it, and its
// operands are read only then, so that memory filled again too early shows; operands in registers must still be what they were. What
// ordinary stores wrote to shared memory is seen by neither unless a fence of the asynchronous proxy followed; wgmma finds the difference
// and says so.
#pragma once
#include "cuda.h"
#include "simt.hpp"

namespace simt {

// ---- mbarriers: 8 bytes of shared memory each ---------------------------------------------------------------------------------

void barrier_init(uint64_t* barrier, int arrivals);
void barrier_init_fence();
// Arrives, after announcing that this phase will see `bytes` of tensor copies.
void barrier_arrive(uint64_t* barrier, int bytes = 0);
// Until the phase of this parity has completed.
void barrier_wait(uint64_t* barrier, int parity);

// ---- Tensor copies ----------------------------------------------------------------------------------------------------------------

// The map's box whose first element is (column, row) to shared memory; what lies outside of the tensor is zero.
void copy_box(void* to, const CUtensorMap& map, int column, int row, uint64_t* barrier);

// ---- wgmma --------------------------------------------------------------------------------------------------------------------------

// Where `memory` lies as a matrix descriptor's address: 128-byte swizzle, groups of 8 rows 1024 bytes apart.
uint64_t matrix_descriptor(const void* memory);

// m64nNk16 of bfloat16: the four warps of a warpgroup add A B' to d, `count` = N / 2 floats of each thread, or set it.
void group_multiply(float* d, int count, uint64_t a, uint64_t b, bool accumulate);
// m64n64k16: d += A B, A from registers as mma.sync takes it, B a slab of 64 columns with k down its rows.
void group_multiply_rows(float* d, const uint32_t (&a)[4], uint64_t b);
void group_fence();
void group_commit();
void group_wait(int pending);

// Makes ordinary stores to shared memory visible to tensor copies and wgmma.
void fence_proxy_async();

// ---- Registers and barriers of a part of the block --------------------------------------------------------------------------------

void set_registers(int count, bool up);
void sync_named(int id, int threads);

// ---- For the engine ---------------------------------------------------------------------------------------------------------------

void start_hopper_block(int threads);
// In the last thread of a block: everything issued has been waited for.
void end_hopper_block();
// Lands the oldest tensor copy in flight (the newest where `newest`); false where there is none.
bool deliver_tensor_copy(bool newest);

}  // namespace simt
