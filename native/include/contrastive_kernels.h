/*
 * The C ABI of contrastive-kernels: the one contract between the kernels and everyone who calls them
 * (the Node addon, the C++ tests, Python on a GPU host).
 *
 * Two libraries implement it, ck_supports says how much of it: native/cpu (SIMD, threads) and native/cuda (one CUDA device; under
 * native/simt the same sources run on the CPU). Here every pointer is host memory; the CUDA library moves the data itself.
 *
 * Conventions
 *   - Matrices are row-major float32, dense. u_i = x_i / |x_i|; a row that is exactly zero has u = 0 and gradient 0.
 *   - s_ij = u_i . u_j, or x_i . x_j when options->normalize is 0; z_ij = s_ij / temperature.
 *   - A row's loss is multiplied by options->weight in every gradient (1/rows for a mean, 1 for a sum); ck_result.loss is the
 *     plain sum over rows, so the caller applies the weight to it. Uniformity has no rows: its loss and gradient are final.
 *   - Output pointers may be NULL: not wanted. Outputs are written only when the call returns CK_OK.
 *   - Every input is checked for finite values while it is read, before any output is written.
 *   - Same input, library, instruction set and thread count: same bits. Calls may come from several threads at once.
 *   - No function throws, keeps a pointer it was given, or prints.
 */
#ifndef CONTRASTIVE_KERNELS_H
#define CONTRASTIVE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ck_status {
  CK_OK = 0,
  CK_NON_FINITE = 1,        /* an input holds NaN or an infinity: error->argument, row, column */
  CK_GRADIENT_OVERFLOW = 2, /* a gradient does not fit float32: error->argument and row */
  CK_OUT_OF_RANGE = 3,      /* products of unnormalised rows, or a size, past what the library can hold: error->message */
  CK_OUT_OF_MEMORY = 4,     /* host or device */
  CK_UNAVAILABLE = 5,       /* no device, or a precision or kernel that the library lacks: error->message */
  CK_CANCELLED = 6,         /* options->cancel became non-zero */
  CK_DEVICE_FAILURE = 7     /* the CUDA runtime reported an error: error->message */
} ck_status;

typedef enum ck_precision { CK_FLOAT32 = 0, CK_BFLOAT16X3 = 1, CK_BFLOAT16 = 2 } ck_precision;

/* How the rows of NT-Xent pair up: i with i + rows/2, or 2k with 2k + 1. */
typedef enum ck_pairs { CK_PAIRS_HALVES = 0, CK_PAIRS_INTERLEAVED = 1 } ck_pairs;

typedef enum ck_kernel {
  CK_COSINE_SIMILARITY = 0,
  CK_COSINE_SIMILARITY_BACKWARD = 1,
  CK_NT_XENT = 2,
  CK_UNIFORMITY = 3,
  CK_ALIGNMENT = 4,
  CK_INFO_NCE = 5,
  CK_SUP_CON = 6,
  CK_DCL = 7,
  CK_SIG_LIP = 8,
  CK_BARLOW_TWINS = 9,
  CK_VIC_REG = 10,
  CK_CROSS_UNIFORMITY = 11,
  CK_NEAREST = 12
} ck_kernel;

/* Whose negatives the rows of `negatives` are: everybody's; rows i*m .. i*m+m-1 query i's; or query i's by index. */
typedef enum ck_negatives { CK_NEGATIVES_SHARED = 0, CK_NEGATIVES_PAIRED = 1, CK_NEGATIVES_INDEXED = 2 } ck_negatives;

/* Where the sum over positives stands in supervised contrastive learning. */
typedef enum ck_sup_con_variant { CK_SUP_CON_OUT = 0, CK_SUP_CON_IN = 1, CK_SUP_CON_PAIR = 2 } ck_sup_con_variant;

typedef struct ck_matrix {
  const float* data; /* [rows, cols], row-major */
  int64_t rows;
  int64_t cols;
} ck_matrix;

typedef struct ck_options {
  double temperature;             /* > 0; divides the similarities (NT-Xent) */
  double weight;                  /* multiplies each row's loss in the gradients */
  int32_t normalize;              /* 1: cosine; 0: dot product */
  int32_t stats;                  /* 1: fill the statistics of ck_result */
  int32_t threads;                /* 0: ck_default_threads() */
  int32_t precision;              /* ck_precision */
  const volatile int32_t* cancel; /* NULL, or a flag that another thread sets to give the call up between tiles */
} ck_options;

typedef struct ck_result {
  double loss;                 /* sum over rows (uniformity: the loss itself) */
  double temperature_gradient; /* d(weight * loss)/d temperature; set when a gradient is asked for */
  /* Statistics; NaN where they have no meaning for the kernel or nothing counts. Similarities are s, before temperature. */
  double positive_similarity; /* mean over counted rows of s_ip */
  double negative_similarity; /* mean over (row, negative) of s_ij */
  double accuracy;            /* share of counted rows whose positive exceeds every other candidate; a tie is a miss */
  int64_t skipped_rows;       /* rows with no candidate but their own positive */
  double bias_gradient;       /* d(weight * loss)/d bias, as temperature_gradient; NaN for a loss without bias */
} ck_result;

typedef struct ck_error {
  int32_t argument; /* index among the inputs, in the order of the parameters; -1: none */
  int64_t row;
  int64_t column;
  char message[256]; /* for a person, in English; empty when status says it all */
} ck_error;

/* out[i * y->rows + j] = s_ij. y NULL: x with itself. */
int ck_cosine_similarity(const ck_matrix* x, const ck_matrix* y, const ck_options* options, float* out, ck_error* error);

/* Gradients of sum_ij upstream_ij s_ij. upstream: [x.rows, y.rows]; argument numbers 0 x, 1 y, 2 upstream. */
int ck_cosine_similarity_backward(const ck_matrix* x, const ck_matrix* y, const ck_matrix* upstream, const ck_options* options,
                                  float* gradient_x, float* gradient_y, ck_error* error);

/*
 * NT-Xent (SimCLR; Chen et al. 2020): loss_i = -z_ip + log sum_{k != i} exp(z_ik), over all rows (an even number).
 * per_row[i] = loss_i, row_log_sum_exp[i] = log sum_{k != i} exp(z_ik); both [rows].
 * Two rows have nothing to compare: loss 0, gradient 0, skipped_rows 2.
 */
int ck_nt_xent(const ck_matrix* z, int32_t pairs, const ck_options* options, float* per_row, float* row_log_sum_exp, float* gradient_z,
               ck_result* result, ck_error* error);

/* Uniformity (Wang & Isola 2020): log mean_{i<j} exp(-t |u_i - u_j|^2), at least two rows. */
int ck_uniformity(const ck_matrix* x, double t, const ck_options* options, float* gradient_x, ck_result* result, ck_error* error);

/* Alignment (Wang & Isola 2020): per_row[i] = |u_i - v_i|^alpha; where u_i = v_i the gradient is 0. */
int ck_alignment(const ck_matrix* x, const ck_matrix* y, double alpha, const ck_options* options, float* per_row, float* gradient_x,
                 float* gradient_y, ck_result* result, ck_error* error);

/* Candidates of query i beside those of ck_info_nce_pairs, bits. With the positive p_i of the query: */
typedef enum ck_also {
  CK_ALSO_QUERIES = 1,          /* query i with the other queries */
  CK_ALSO_QUERIES_OF_KEY = 2,   /* key p_i with every query; the own one, which is the positive again, once more in the sum */
  CK_ALSO_OTHER_KEYS_OF_KEY = 4 /* key p_i with the other keys */
} ck_also;

/* What a call of ck_info_nce compares with what; pointers may be NULL. */
typedef struct ck_info_nce_pairs {
  const int32_t* positives;        /* [N]: key row of each query; NULL: row i. Distinct where symmetric */
  const int32_t* negative_indices; /* [N * per_query]: rows of negatives, with CK_NEGATIVES_INDEXED; one that comes twice counts twice */
  const int32_t* query_labels;     /* [N] and [K], both or neither: a key of the query's label is no negative of it */
  const int32_t* key_labels;
  const uint8_t* mask;       /* [N * K]: 0 where the pair does not count. Never removes a positive */
  int32_t in_batch;          /* 1: the other rows of key are negatives */
  int32_t symmetric;         /* 1: half the row loss and half the column loss; needs in_batch */
  int32_t negative_mode;     /* ck_negatives */
  int32_t owned_keys;        /* 1: a key of label L below -1 is a negative of the queries of label -2 - L alone */
  int64_t per_query;         /* m, with CK_NEGATIVES_PAIRED and _INDEXED */
  double own_negative_logit; /* added to the logit of shared negative i for query i; 0: nothing */
  /*
   * A guide, [N, g] and [K, g], both or neither: key j does not count for query i where cos(guide_query_i, guide_key_j) > threshold_i,
   * decided as policies/guide.hpp says, on every library alike. The threshold comes from the cosine s of the query and its positive:
   * s - guide_margin, or s * (1 - guide_margin) where guide_relative is 1. Never removes a positive. Beside labels and mask: what any of
   * them leaves out is out. Keys from row guide_split on are compared with guide_second_query [N, g] instead (NULL: there are none).
   * Argument numbers 3, 4 and 5. Nothing of a guide is differentiated.
   */
  const ck_matrix* guide_query;
  const ck_matrix* guide_key;
  const ck_matrix* guide_second_query;
  int64_t guide_split;
  double guide_margin;
  int32_t guide_relative;
  /*
   * 1: zeros at both ends of the keys are there for their places alone. A library may leave them out of its products, and the gradient of
   * key where it does is undefined.
   */
  int32_t sparse_keys;
  /*
   * Bits of ck_also, on the CPU alone. With in_batch, as many keys as queries, at least 2, positives NULL, neither negatives nor
   * symmetric, labels or mask. A guide compares them by its own rows: query j does not count for query i where
   * cos(guide_query_i, guide_query_j) > threshold_i, and key j where cos(guide_key_i, guide_key_j) is; then without CK_ALSO_QUERIES_OF_KEY
   * and guide_second_query.
   */
  int32_t also;
} ck_info_nce_pairs;

/*
 * InfoNCE (van den Oord et al. 2018): loss_i = -z_ip + log(exp(z_ip) + sum over negatives of exp(z)). query [N, d], key [K, d],
 * negatives [any, d] or NULL. Symmetric: column i has positive query i, key row p_i, and all queries as candidates; per_row is half
 * of both. row_log_sum_exp is of row i's candidates. A row, or column, without negatives has loss 0; skipped_rows counts those rows.
 * per_row, row_log_sum_exp: [N].
 */
int ck_info_nce(const ck_matrix* query, const ck_matrix* key, const ck_matrix* negatives, const ck_info_nce_pairs* pairs,
                const ck_options* options, float* per_row, float* row_log_sum_exp, float* gradient_query, float* gradient_key,
                float* gradient_negatives, ck_result* result, ck_error* error);

/*
 * Supervised contrastive loss (Khosla et al. 2020); P(i) are the other rows of label i's class. out: -mean_p log softmax_{k != i}(p);
 * in: -log mean_p softmax; pair: for each ordered pair (i, p) log(1 + sum over other classes exp(z) / exp(z_ip)), loss and per_row the
 * sum over pairs. Rows without positives (pair: also without negatives) are skipped: loss 0.
 */
int ck_sup_con(const ck_matrix* z, const int32_t* labels, int32_t variant, const ck_options* options, float* per_row,
               float* row_log_sum_exp, float* gradient_z, ck_result* result, ck_error* error);

/*
 * Decoupled contrastive loss (Yeh et al. 2022) over the 2N rows of x and y: -w_i z_ip + log sum over k neither i nor p of exp(z_ik).
 * weight_sigma 0: w = 1; else w_i = 2 - N softmax_i(<u_i, v_i> / weight_sigma), without gradient. per_row, row_log_sum_exp: [2N].
 */
int ck_dcl(const ck_matrix* x, const ck_matrix* y, double weight_sigma, const ck_options* options, float* per_row, float* row_log_sum_exp,
           float* gradient_x, float* gradient_y, ck_result* result, ck_error* error);

/* SigLIP (Zhai et al. 2023): per_row[i] = -sum_j log sigmoid(y_ij (z_ij + bias)), y_ij 1 where i = j, else -1; z = s / temperature. */
int ck_sig_lip(const ck_matrix* x, const ck_matrix* y, double bias, const ck_options* options, float* per_row, float* gradient_x,
               float* gradient_y, ck_result* result, ck_error* error);

/*
 * Barlow Twins (Zbontar et al. 2021): columns standardised by mean and sqrt(biased variance + 1e-5), c = a^T b / rows,
 * sum_k (1 - c_kk)^2 + lambda sum_{k != l} c_kl^2.
 */
int ck_barlow_twins(const ck_matrix* a, const ck_matrix* b, double lambda, const ck_options* options, float* gradient_a, float* gradient_b,
                    ck_result* result, ck_error* error);

/*
 * VICReg (Bardes et al. 2022): invariance * mean (a - b)^2 + variance * mean over both of mean_k max(0, 1 - sqrt(var_k + 1e-4)) +
 * covariance * sum over both of sum_{k != l} cov_kl^2 / cols, with unbiased variances and covariances.
 */
int ck_vic_reg(const ck_matrix* a, const ck_matrix* b, double invariance, double variance, double covariance, const ck_options* options,
               float* gradient_a, float* gradient_b, ck_result* result, ck_error* error);

/* Cross uniformity: log mean over all (i, j) of exp(-t |u_i - v_j|^2). */
int ck_cross_uniformity(const ck_matrix* x, const ck_matrix* y, double t, const ck_options* options, float* gradient_x, float* gradient_y,
                        ck_result* result, ck_error* error);

/*
 * The k rows of y most similar to each row of x, the most similar first, of equals the lower row. exclude_same_index 1: row i of y is
 * no neighbour of row i of x. indices, similarities: [x.rows * k].
 */
int ck_nearest(const ck_matrix* x, const ck_matrix* y, int64_t k, int32_t exclude_same_index, const ck_options* options, int32_t* indices,
               float* similarities, ck_error* error);

/* 1 if the library has this ck_kernel; calls of one it lacks return CK_UNAVAILABLE. */
int32_t ck_supports(int32_t kernel);

/* Bytes of working memory a call will hold beyond its inputs and outputs; cols is the row length, rows_y is used by kernels of two
 * matrices. InfoNCE: symmetric, without explicit negatives or guide; nearest: of 10 neighbours. 0 for a kernel that the library lacks. */
int64_t ck_workspace_bytes(int32_t kernel, int64_t rows_x, int64_t rows_y, int64_t cols, int32_t gradients, const ck_options* options);
/* The same for any call of ck_info_nce. Of the matrices only the sizes are looked at, of the pairs' arrays whether they are given. */
int64_t ck_info_nce_workspace_bytes(const ck_matrix* query, const ck_matrix* key, const ck_matrix* negatives,
                                    const ck_info_nce_pairs* pairs, int32_t gradients, const ck_options* options);
/* The same for a call of ck_nearest with k neighbours. */
int64_t ck_nearest_workspace_bytes(int64_t rows_x, int64_t rows_y, int64_t cols, int64_t k, const ck_options* options);

/* Threads a call with options->threads = 0 may use (CONTRASTIVE_KERNELS_THREADS, else the parallelism available to the process). */
int32_t ck_default_threads(void);

/*
 * FLOP/s of multiply-adds in registers that `threads` threads reach with the instruction set in use, measured now (tens of
 * milliseconds): what shares of peak are taken of. 0 where it is not known (CUDA).
 */
double ck_measure_peak(int32_t threads);

/*
 * Writes what this library is and whether it can run here as one JSON object, NUL-terminated, cut to size:
 * { "available": true, "instructionSet": "avx512", "threads": 2 }, { "available": true, "device": "...", "computeCapability": "9.0",
 *   "memoryBytes": 1, "driverVersion": "13.0", "runtimeVersion": "13.0" } or { "available": false, "reason": "..." }.
 * Returns the length the whole text needs.
 */
size_t ck_describe(char* buffer, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* CONTRASTIVE_KERNELS_H */
