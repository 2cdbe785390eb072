/**
 * The losses as differentiable TensorFlow.js functions: tensors in, a tensor out, gradients through `tf.grad`, `tf.variableGrads`
 * and `optimizer.minimize`. The loss and its gradient come from one fused call of the kernel (tf.customGrad); TensorFlow.js only
 * moves the rows in and out. Gradients are computed only when a tape is recording. Nothing but '@tensorflow/tfjs-core' is imported,
 * so the functions work with every TensorFlow.js backend whose tensors can be read synchronously.
 *
 * Second derivatives are not supported: asking for one throws.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as kernels from '../index.js';
import type { Matrix } from '../matrix.js';
import { describe, readChoice, readOptions } from '../validate.js';

const FORWARDED_NAMES = ['backend', 'precision', 'normalize', 'threads', 'fallbackWarning'] as const;
type Forwarded = (typeof FORWARDED_NAMES)[number];

const FORWARDED: ReadonlySet<string> = new Set(FORWARDED_NAMES);
const NT_XENT_OPTIONS: ReadonlySet<string> = new Set([...FORWARDED_NAMES, 'pairs', 'temperature', 'reduction']);
const ALIGNMENT_OPTIONS: ReadonlySet<string> = new Set([...FORWARDED_NAMES, 'alpha', 'reduction']);
const UNIFORMITY_OPTIONS: ReadonlySet<string> = new Set([...FORWARDED_NAMES, 't']);
/** One number comes out, so 'none' has no meaning here. */
const REDUCTIONS = ['mean', 'sum'] as const;

/** Where and how the kernel runs; passed on as they are. */
export type TfjsOptions = Pick<kernels.NtXentOptions, Forwarded>;

export interface TfjsNtXentOptions extends TfjsOptions, Pick<kernels.NtXentOptions, 'pairs'> {
  /** A number (default 0.5), or a scalar tensor or variable, which then gets a gradient as well. */
  readonly temperature?: number | tf.Tensor | undefined;
  /** 'mean' (default) over the rows, or 'sum'. */
  readonly reduction?: 'mean' | 'sum' | undefined;
}

export interface TfjsAlignmentOptions extends TfjsOptions, Pick<kernels.AlignmentOptions, 'alpha'> {
  /** 'mean' (default) over the pairs, or 'sum'. */
  readonly reduction?: 'mean' | 'sum' | undefined;
}

export interface TfjsUniformityOptions extends TfjsOptions, Pick<kernels.UniformityOptions, 't'> {}

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
  checkRows('z', z);
  const { temperature, ...rest } = readOptions(options, NT_XENT_OPTIONS);
  readChoice('reduction', options.reduction, REDUCTIONS, 'mean');
  if (!(temperature instanceof tf.Tensor)) {
    return scalarLoss([z], (gradients) => {
      const result = kernels.ntXent(toMatrix(z), { ...rest, temperature, gradients, stats: false });
      return { loss: result.loss, gradients: [result.gradients?.z] };
    });
  }
  if (temperature.size !== 1)
    throw new RangeError(`temperature: expected a number or a scalar tensor, got shape [${temperature.shape.join(', ')}]`);
  return scalarLoss([z, temperature], (gradients) => {
    const value = temperature.dataSync()[0];
    const result = kernels.ntXent(toMatrix(z), { ...rest, temperature: value, gradients, stats: false });
    return { loss: result.loss, gradients: [result.gradients?.z, result.gradients?.temperature] };
  });
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
  checkRows('x', x);
  checkRows('y', y);
  readOptions(options, ALIGNMENT_OPTIONS);
  readChoice('reduction', options.reduction, REDUCTIONS, 'mean');
  return scalarLoss([x, y], (gradients) => {
    const result = kernels.alignment(toMatrix(x), toMatrix(y), { ...options, gradients, stats: false });
    return { loss: result.loss, gradients: [result.gradients?.x, result.gradients?.y] };
  });
}

/**
 * Uniformity: the logarithm of the mean Gaussian potential over all pairs of rows (Wang & Isola 2020).
 *
 * @param x rows [at least 2, dim], float32.
 * @returns a scalar tensor.
 * @throws as `ntXent`.
 */
export function uniformity(x: tf.Tensor, options: TfjsUniformityOptions = {}): tf.Scalar {
  checkRows('x', x);
  readOptions(options, UNIFORMITY_OPTIONS);
  return scalarLoss([x], (gradients) => {
    const result = kernels.uniformity(toMatrix(x), { ...options, gradients, stats: false });
    return { loss: result.loss, gradients: [result.gradients?.x] };
  });
}

/**
 * All cosine similarities of the rows of x with those of y (default: x itself).
 *
 * @param x rows [rows, dim], float32.
 * @param y rows [any, dim].
 * @returns a tensor [x.rows, y.rows].
 * @throws as `ntXent`.
 */
export function cosineSimilarity(x: tf.Tensor, y: tf.Tensor = x, options: TfjsOptions = {}): tf.Tensor2D {
  checkRows('x', x);
  checkRows('y', y);
  readOptions(options, FORWARDED);
  const forward = (): tf.Tensor2D => {
    const rows = toMatrix(x);
    const { data, shape } = kernels.cosineSimilarity(rows, y === x ? rows : toMatrix(y), options);
    return tf.tensor2d(data, [shape[0], shape[1]]);
  };
  if (!tf.engine().isTapeOn()) return forward();
  return tf.customGrad((...all) => {
    const save = all.pop() as unknown as tf.GradSaveFunc;
    save([x, y]);
    const gradFunc = (upstream: tf.Tensor, [savedX, savedY]: tf.Tensor[]): tf.Tensor[] => {
      const { gradients } = kernels.cosineSimilarityBackward(toMatrix(savedX), toMatrix(savedY), toMatrix(upstream), options);
      const values = [tf.tensor(gradients.x, savedX.shape), tf.tensor(gradients.y, savedY.shape)];
      return values.map((value) => firstOrderOnly(value, [upstream, savedX, savedY]));
    };
    return { value: forward(), gradFunc };
  })(x, y) as tf.Tensor2D;
}

/** What a kernel gives: the loss, and one gradient for each input, a number for a scalar one. */
interface LossAndGradients {
  readonly loss: number;
  readonly gradients: readonly (Float32Array | number | undefined)[];
}

/** A scalar tensor whose gradient by each of `inputs` is what `compute` returned beside the loss, times the upstream gradient. */
function scalarLoss(inputs: readonly tf.Tensor[], compute: (gradients: boolean) => LossAndGradients): tf.Scalar {
  if (!tf.engine().isTapeOn()) return tf.scalar(compute(false).loss);
  return tf.customGrad((...all) => {
    const save = all.pop() as unknown as tf.GradSaveFunc;
    const { loss, gradients } = compute(true);
    const tensors = gradients.map((gradient, i) => {
      const values = typeof gradient === 'number' ? [gradient] : gradient!;
      return tf.tensor(values, inputs[i].shape, 'float32');
    });
    save([...tensors, ...inputs]);
    const gradFunc = (upstream: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const savedInputs = saved.slice(tensors.length);
      return saved.slice(0, tensors.length).map((gradient) => firstOrderOnly(tf.mul(upstream, gradient), [upstream, ...savedInputs]));
    };
    return { value: tf.scalar(loss), gradFunc };
  })(...inputs) as tf.Scalar;
}

/**
 * `gradient`, as a function of `sources` whose own gradient throws. Without this an outer tape would take the kernel's gradient
 * for a constant, and a second derivative would silently be wrong.
 */
function firstOrderOnly(gradient: tf.Tensor, sources: readonly tf.Tensor[]): tf.Tensor {
  if (!tf.engine().isTapeOn()) return gradient;
  return tf.customGrad(() => ({
    value: tf.clone(gradient),
    gradFunc: () => {
      throw new Error('contrastive-kernels/tfjs: second derivatives are not supported');
    },
  }))(...sources);
}

/** The rows of a tensor, as the kernels take them. */
function toMatrix(tensor: tf.Tensor): Matrix {
  return { data: tensor.dataSync<'float32'>(), shape: [tensor.shape[0], tensor.shape[1]!] };
}

function checkRows(name: string, tensor: unknown): asserts tensor is tf.Tensor2D {
  if (!(tensor instanceof tf.Tensor)) throw new TypeError(`${name}: expected a tf.Tensor of rank 2, got ${describe(tensor)}`);
  if (tensor.rank !== 2) throw new RangeError(`${name}: expected a tf.Tensor of rank 2, got shape [${tensor.shape.join(', ')}]`);
  if (tensor.dtype !== 'float32') throw new TypeError(`${name}: expected dtype 'float32', got '${tensor.dtype}'`);
}
