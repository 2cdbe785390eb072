/** SigLIP, and the losses without negatives, as differentiable TensorFlow.js functions. */
import type * as tf from '@tensorflow/tfjs-core';
import * as kernels from '../../index.js';
import { checkRows, readTfjsOptions, scalarLoss, type TfjsOptions, type TfjsReductionOptions, toMatrix } from './call.js';

export interface TfjsSigLipOptions extends TfjsReductionOptions {
  /** A number (default 10), or a scalar tensor or variable, which then gets a gradient as well. */
  readonly logitScale?: number | tf.Tensor | undefined;
  /** Likewise; default -10. */
  readonly bias?: number | tf.Tensor | undefined;
}

export interface TfjsNegativeCosineOptions extends TfjsReductionOptions, Pick<kernels.NegativeCosineOptions, 'detachTarget'> {}

export interface TfjsBarlowTwinsOptions extends TfjsOptions, Pick<kernels.BarlowTwinsOptions, 'lambda'> {}

export interface TfjsVicRegOptions extends TfjsOptions, Pick<kernels.VicRegOptions, 'invariance' | 'variance' | 'covariance'> {}

/**
 * SigLIP (Zhai et al. 2023): every pair of a row of x with a row of y judged by itself.
 *
 * @param x rows [rows, dim], float32.
 * @param y their partners, the same shape.
 * @param options `logitScale` and `bias` may be tensors: they are then trained with the rest.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function sigLip(x: tf.Tensor, y: tf.Tensor, options: TfjsSigLipOptions = {}): tf.Scalar {
  const { logitScale, bias, ...rest } = readTfjsOptions(options, 'logitScale', 'bias', 'reduction');
  return scalarLoss({ x, y }, { logitScale, bias }, (rows, scalars, gradients) =>
    kernels.sigLip(rows.x, rows.y, { ...rest, ...scalars, gradients, stats: false }),
  );
}

/**
 * Minus the mean cosine of predictions and targets (SimSiam; BYOL is 2 + 2 of it). No gradient reaches `target` unless
 * `detachTarget` is false.
 *
 * @param p rows [rows, dim], float32.
 * @param target the same shape.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function negativeCosine(p: tf.Tensor, target: tf.Tensor, options: TfjsNegativeCosineOptions = {}): tf.Scalar {
  readTfjsOptions(options, 'detachTarget', 'reduction');
  checkRows('target', target);
  const inputs = options.detachTarget === false ? { p, target } : { p };
  return scalarLoss(inputs as { p: tf.Tensor }, {}, (rows, _, gradients) =>
    kernels.negativeCosine(rows.p, toMatrix(target), { ...options, gradients, stats: false }),
  );
}

/**
 * Barlow Twins (Zbontar et al. 2021): the columns of two views agree, and differ from each other.
 *
 * @param a rows [at least 2, dim], float32.
 * @param b the other view, the same shape.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function barlowTwins(a: tf.Tensor, b: tf.Tensor, options: TfjsBarlowTwinsOptions = {}): tf.Scalar {
  readTfjsOptions(options, 'lambda');
  return scalarLoss({ a, b }, {}, (rows, _, gradients) => kernels.barlowTwins(rows.a, rows.b, { ...options, gradients, stats: false }));
}

/**
 * VICReg (Bardes et al. 2022): invariance between the views, variance of every column, covariance of no two.
 *
 * @param a rows [at least 2, dim], float32.
 * @param b the other view, the same shape.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function vicReg(a: tf.Tensor, b: tf.Tensor, options: TfjsVicRegOptions = {}): tf.Scalar {
  readTfjsOptions(options, 'invariance', 'variance', 'covariance');
  return scalarLoss({ a, b }, {}, (rows, _, gradients) => kernels.vicReg(rows.a, rows.b, { ...options, gradients, stats: false }));
}
