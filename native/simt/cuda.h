// Stands in for the toolkit's <cuda.h> (test only): what native/cuda asks the driver for, tensor maps, on the part that it uses.
#pragma once
#include <cstddef>
#include <cstdint>

using CUresult = int;
using cuuint32_t = uint32_t;
using cuuint64_t = uint64_t;
enum : int { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
enum CUtensorMapDataType { CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9 };
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE = 0 };
enum CUtensorMapSwizzle { CU_TENSOR_MAP_SWIZZLE_128B = 3 };
enum CUtensorMapL2promotion { CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3 };
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0 };

// Opaque to native/cuda: a matrix of 16-bit elements in device memory and the box that is copied at a time.
struct CUtensorMap {
  const uint16_t* data;
  uint64_t columns, rows, stride;  // in elements
  uint32_t box_columns, box_rows;
  uint64_t reserved[11];
};

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data, const cuuint64_t* sizes,
                                const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* element_strides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                                CUtensorMapFloatOOBfill fill);
