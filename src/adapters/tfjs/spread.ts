/** NT-Xent, alignment and uniformity as differentiable TensorFlow.js functions. */
import type * as tf from '@tensorflow/tfjs-core';
import * as kernels from '../../index.js';
import { readTfjsOptions, scalarLoss, type TfjsOptions, type TfjsReductionOptions } from './call.js';

export interface TfjsNtXentOptions extends TfjsReductionOptions, Pick<kernels.NtXentOptions, 'pairs'> {
  /** A number (default 0.5), or a scalar tensor or variable, which then gets a gradient as well. */
  readonly temperature?: number | tf.Tensor | undefined;
}

export interface TfjsAlignmentOptions extends TfjsReductionOptions, Pick<kernels.AlignmentOptions, 'alpha'> {}

export interface TfjsUniformityOptions extends TfjsOptions, Pick<kernels.UniformityOptions, 't'> {}

export interface TfjsAlignmentUniformityOptions extends TfjsOptions, Pick<kernels.AlignmentUniformityOptions, 'alpha' | 't' | 'weight'> {}

/**
 * NT-Xent, the loss of SimCLR (Chen et al. 2020, eq. 1).
 *
 * @param z projections [2N, dim], float32; `pairs` 'halves' (default): row i belongs with row N + i, 'interleaved': 2k with 2k + 1.
 * @param options `temperature` may be a tensor: it is then trained with the rest.
 * @returns a scalar tensor.
 * @throws {TypeError | RangeError} for wrong tensors and options; {NonFiniteError} when z holds NaN or infinities;
 * {BackendUnavailableError} when a backend asked for by name is missing.
 */
export function ntXent(z: tf.Tensor, options: TfjsNtXentOptions = {}): tf.Scalar {
  const { temperature, ...rest } = readTfjsOptions(options, 'pairs', 'temperature', 'reduction');
  return scalarLoss({ z }, { temperature }, (rows, scalars, gradients) =>
    kernels.ntXent(rows.z, { ...rest, ...scalars, gradients, stats: false }),
  );
}

/**
 * Alignment: the mean distance of positive pairs, to the power `alpha` (Wang & Isola 2020).
 *
 * @param x rows [pairs, dim], float32.
 * @param y their partners, the same shape.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function alignment(x: tf.Tensor, y: tf.Tensor, options: TfjsAlignmentOptions = {}): tf.Scalar {
  readTfjsOptions(options, 'alpha', 'reduction');
  return scalarLoss({ x, y }, {}, (rows, _, gradients) => kernels.alignment(rows.x, rows.y, { ...options, gradients, stats: false }));
}

/**
 * Uniformity: the logarithm of the mean Gaussian potential over all pairs of rows (Wang & Isola 2020).
 *
 * @param x rows [at least 2, dim], float32.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function uniformity(x: tf.Tensor, options: TfjsUniformityOptions = {}): tf.Scalar {
  readTfjsOptions(options, 't');
  return scalarLoss({ x }, {}, (rows, _, gradients) => kernels.uniformity(rows.x, { ...options, gradients, stats: false }));
}

/**
 * Uniformity across two sets of rows (Wang & Isola 2020, taken over all rows of x and all of y).
 *
 * @param x rows [rows, dim], float32.
 * @param y rows [any, dim].
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function crossUniformity(x: tf.Tensor, y: tf.Tensor, options: TfjsUniformityOptions = {}): tf.Scalar {
  readTfjsOptions(options, 't');
  return scalarLoss({ x, y }, {}, (rows, _, gradients) => kernels.crossUniformity(rows.x, rows.y, { ...options, gradients, stats: false }));
}

/**
 * Alignment plus `weight` times the mean uniformity of both views (Wang & Isola 2020).
 *
 * @param x rows [at least 2, dim], float32.
 * @param y their partners, the same shape.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function alignmentUniformity(x: tf.Tensor, y: tf.Tensor, options: TfjsAlignmentUniformityOptions = {}): tf.Scalar {
  readTfjsOptions(options, 'alpha', 't', 'weight');
  return scalarLoss({ x, y }, {}, (rows, _, gradients) =>
    kernels.alignmentUniformity(rows.x, rows.y, { ...options, gradients, stats: false }),
  );
}
