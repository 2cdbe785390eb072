// CK_HOST_DEVICE marks a function that both engines compile: for the host, and by nvcc also for the device.
#pragma once

#ifdef __CUDACC__
#define CK_HOST_DEVICE __host__ __device__ inline
#else
#define CK_HOST_DEVICE inline
#endif
