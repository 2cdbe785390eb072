/** The one input type of every kernel: a dense, row-major float32 matrix. */
import { readMatrix } from './validate.js';

/**
 * Row-major float32 rows: `data[i * cols + k]` is column k of row i. `dims` stands for `shape`, so that tensors of
 * onnxruntime and transformers.js go straight in; when both are given they must agree.
 */
export type MatrixLike =
  | { readonly data: Float32Array; readonly shape: readonly number[]; readonly dims?: readonly number[] | undefined }
  | { readonly data: Float32Array; readonly dims: readonly number[]; readonly shape?: readonly number[] | undefined };

/** What `matrix` and the kernels return: the same, with a known rank. */
export interface Matrix {
  readonly data: Float32Array;
  readonly shape: readonly [rows: number, cols: number];
}

/** A checked input: `data` has exactly rows * cols elements, both at least 1. */
export interface Rows {
  readonly data: Float32Array;
  readonly rows: number;
  readonly cols: number;
}

/** The same rows in memory of their own: what an asynchronous call reads after it has returned. */
export function copied({ data, rows, cols }: Rows): Rows {
  return { data: data.slice(), rows, cols };
}

/**
 * Names the shape of an array that is already there; nothing is copied.
 *
 * @param data rows * cols values, row-major.
 * @throws TypeError if `data` is not a Float32Array; RangeError if its length is not rows * cols, or either is below 1.
 */
export function matrix(data: Float32Array, rows: number, cols: number): Matrix {
  readMatrix('matrix', { data, shape: [rows, cols] }, false);
  return { data, shape: [rows, cols] };
}
