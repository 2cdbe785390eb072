/*
 * The CUDA library on device pointers: what contrastive_kernels.h does for host memory, for callers who own the memory and the
 * stream (Python on a GPU host, data that stays on the device).
 *
 * Conventions, beyond those of contrastive_kernels.h
 *   - Matrices, outputs, the report and the workspace are device memory; stream is a cudaStream_t (NULL: the default stream).
 *   - A call only launches kernels: no allocation, no synchronisation, no copy from the host, so it can be captured in a graph. The
 *     exception is options->cancel: where it is given the stream is synchronised now and then, and such a call cannot be captured.
 *   - Outputs and report hold their values when the stream has come that far. Values are checked on the device: look at the report
 *     (non_finite, out_of_range, overflow) before you use the outputs, which are written whatever it says.
 *   - workspace: 256-byte aligned, at least as large as the function of the same name with _workspace says; it may be used again by
 *     the next call on the same stream.
 *   - Launched kernels and their shapes depend on the arguments only: same input, same device, same bits.
 */
#ifndef CONTRASTIVE_KERNELS_CUDA_H
#define CONTRASTIVE_KERNELS_CUDA_H

#include "contrastive_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CK_CUDA_NONE UINT64_MAX

/* What a call found and computed, in device memory; the call initialises it. */
typedef struct ck_cuda_report {
  uint64_t non_finite[6];  /* per input: row * cols + column of the first NaN or infinity, or CK_CUDA_NONE */
  uint64_t overflow[3];    /* per gradient: the first row that does not fit float32, or CK_CUDA_NONE */
  uint64_t out_of_range;   /* the first row with a loss, or a product, that does not fit float32, or CK_CUDA_NONE */
  double largest_upstream; /* the largest magnitude in upstream */
  ck_result result;
} ck_cuda_report;

int ck_cuda_cosine_similarity(const ck_matrix* x, const ck_matrix* y, const ck_options* options, float* out, ck_cuda_report* report,
                              void* workspace, size_t workspace_bytes, void* stream, ck_error* error);

int ck_cuda_cosine_similarity_backward(const ck_matrix* x, const ck_matrix* y, const ck_matrix* upstream, const ck_options* options,
                                       float* gradient_x, float* gradient_y, ck_cuda_report* report, void* workspace,
                                       size_t workspace_bytes, void* stream, ck_error* error);

int ck_cuda_nt_xent(const ck_matrix* z, int32_t pairs, const ck_options* options, float* per_row, float* row_log_sum_exp, float* gradient_z,
                    ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream, ck_error* error);

int ck_cuda_uniformity(const ck_matrix* x, double t, const ck_options* options, float* gradient_x, ck_cuda_report* report, void* workspace,
                       size_t workspace_bytes, void* stream, ck_error* error);

int ck_cuda_alignment(const ck_matrix* x, const ck_matrix* y, double alpha, const ck_options* options, float* per_row, float* gradient_x,
                      float* gradient_y, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream, ck_error* error);

/* The pointers in pairs are device memory, too; of a guide the data of its matrices. What guide and mask decide is kept in the workspace, a
 * bit for each query and key. */
int ck_cuda_info_nce(const ck_matrix* query, const ck_matrix* key, const ck_matrix* negatives, const ck_info_nce_pairs* pairs,
                     const ck_options* options, float* per_row, float* row_log_sum_exp, float* gradient_query, float* gradient_key,
                     float* gradient_negatives, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream,
                     ck_error* error);

/* labels: device memory. */
int ck_cuda_sup_con(const ck_matrix* z, const int32_t* labels, int32_t variant, const ck_options* options, float* per_row,
                    float* row_log_sum_exp, float* gradient_z, ck_cuda_report* report, void* workspace, size_t workspace_bytes,
                    void* stream, ck_error* error);

int ck_cuda_dcl(const ck_matrix* x, const ck_matrix* y, double weight_sigma, const ck_options* options, float* per_row,
                float* row_log_sum_exp, float* gradient_x, float* gradient_y, ck_cuda_report* report, void* workspace,
                size_t workspace_bytes, void* stream, ck_error* error);

int ck_cuda_sig_lip(const ck_matrix* x, const ck_matrix* y, double bias, const ck_options* options, float* per_row, float* gradient_x,
                    float* gradient_y, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream, ck_error* error);

int ck_cuda_barlow_twins(const ck_matrix* a, const ck_matrix* b, double lambda, const ck_options* options, float* gradient_a,
                         float* gradient_b, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream, ck_error* error);

int ck_cuda_vic_reg(const ck_matrix* a, const ck_matrix* b, double invariance, double variance, double covariance,
                    const ck_options* options, float* gradient_a, float* gradient_b, ck_cuda_report* report, void* workspace,
                    size_t workspace_bytes, void* stream, ck_error* error);

int ck_cuda_nearest(const ck_matrix* x, const ck_matrix* y, int64_t k, int32_t exclude_same_index, const ck_options* options,
                    int32_t* indices, float* similarities, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream,
                    ck_error* error);

int ck_cuda_cross_uniformity(const ck_matrix* x, const ck_matrix* y, double t, const ck_options* options, float* gradient_x,
                             float* gradient_y, ck_cuda_report* report, void* workspace, size_t workspace_bytes, void* stream,
                             ck_error* error);

/*
 * Data that stays on the device. The functions of contrastive_kernels.h take device memory for any matrix and any float output as
 * well: such an input is read, and such an output written, where it is. An output in device memory is written whatever the call
 * returns; what it holds counts only after CK_OK. Device memory from elsewhere must be 16-byte aligned, and idle.
 *
 * ck_cuda_allocate: 256-byte aligned memory of the current device; CK_OUT_OF_MEMORY where it has no room, after everything that is kept
 * for later calls has been freed. ck_cuda_release: gives it back, once no call uses it any more. Both copies are complete on return.
 */
int ck_cuda_allocate(size_t bytes, void** memory, ck_error* error);
void ck_cuda_release(void* memory);
int ck_cuda_upload(void* to, const void* from, size_t bytes, ck_error* error);
int ck_cuda_download(void* to, const void* from, size_t bytes, ck_error* error);

/* Waits for a stream that calls on device pointers were given, for callers who have no CUDA runtime of their own. The copies above wait for
 * none. */
int ck_cuda_synchronize(void* stream, ck_error* error);

/*
 * The functions of contrastive_kernels.h keep device memory and streams between calls, so that a repeated call allocates nothing: up to
 * CONTRASTIVE_KERNELS_CUDA_KEEP_BYTES bytes (default 1 GiB). ck_cuda_trim frees what no call is using; ck_cuda_kept_bytes is how much
 * that is.
 */
void ck_cuda_trim(void);
size_t ck_cuda_kept_bytes(void);

/* Bytes of workspace for a call of kernel; rows_y is used by kernels of two matrices. InfoNCE: without explicit negatives. */
size_t ck_cuda_workspace_bytes(int32_t kernel, int64_t rows_x, int64_t rows_y, int64_t cols, int32_t gradients, const ck_options* options);
/* The same for any call of ck_cuda_info_nce; of the matrices only the sizes are looked at. */
size_t ck_cuda_info_nce_workspace_bytes(const ck_matrix* query, const ck_matrix* key, const ck_matrix* negatives,
                                        const ck_info_nce_pairs* pairs, int32_t gradients, const ck_options* options);

#ifdef __cplusplus
}
#endif

#endif /* CONTRASTIVE_KERNELS_CUDA_H */
