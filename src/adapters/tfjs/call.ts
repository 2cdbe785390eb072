/**
 * How a kernel becomes a differentiable TensorFlow.js function (tf.customGrad). The loss and its gradients come from one fused call,
 * made when the forward pass reaches it; without a tape only the loss is computed.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { LossOptions } from '../../losses/plan.js';
import type { Matrix } from '../../matrix.js';
import { describe, readChoice, readOptions } from '../../validate.js';

export const FORWARDED_NAMES = ['backend', 'precision', 'normalize', 'threads', 'fallbackWarning'] as const;

/** Where and how the kernel runs; passed on as they are. */
export type TfjsOptions = Pick<LossOptions, (typeof FORWARDED_NAMES)[number]>;

/** Options of losses that have rows. */
export interface TfjsReductionOptions extends TfjsOptions {
  /** 'mean' (default) over the rows that count, or 'sum'. */
  readonly reduction?: 'mean' | 'sum' | undefined;
}

/** One number comes out, so 'none' has no meaning here. */
const REDUCTIONS = ['mean', 'sum'] as const;

/** The options, with only these names beside the forwarded ones. */
export function readTfjsOptions<T extends object>(options: T, ...names: string[]): T {
  const read = readOptions(options, new Set([...FORWARDED_NAMES, ...names]));
  if (names.includes('reduction')) readChoice('reduction', (read as TfjsReductionOptions).reduction, REDUCTIONS, 'mean');
  return read;
}

type Matrices<Name extends string> = { readonly [N in Name]: Matrix };
type Numbers<Name extends string> = { readonly [N in Name]: number | undefined };

/** What a kernel gives: the loss, and a gradient by every input, under its name. */
interface LossAndGradients {
  readonly loss: number;
  readonly gradients?: object;
}

/**
 * A scalar tensor: what `compute` returns as the loss, whose gradient by every input is what it returns beside it.
 *
 * @param rows tensors of rank 2.
 * @param scalars numbers, or scalar tensors, which then get a gradient as well.
 */
export function scalarLoss<R extends string, S extends string>(
  rows: { readonly [N in R]: tf.Tensor },
  scalars: { readonly [N in S]: number | tf.Tensor | undefined },
  compute: (rows: Matrices<R>, scalars: Numbers<S>, gradients: boolean) => LossAndGradients,
): tf.Scalar {
  for (const [name, tensor] of Object.entries(rows)) checkRows(name, tensor);
  const learnt = Object.entries<number | tf.Tensor | undefined>(scalars).filter(([name, value]) => isScalarTensor(name, value));
  const inputs = [...Object.entries<tf.Tensor>(rows), ...(learnt as [string, tf.Tensor][])];
  const run = (gradients: boolean): LossAndGradients => {
    const matrices = Object.entries<tf.Tensor>(rows).map(([name, tensor]) => [name, toMatrix(tensor)]);
    const numbers = Object.entries<number | tf.Tensor | undefined>(scalars).map(([name, value]) => [
      name,
      value instanceof tf.Tensor ? value.dataSync()[0] : value,
    ]);
    return compute(Object.fromEntries(matrices) as Matrices<R>, Object.fromEntries(numbers) as Numbers<S>, gradients);
  };
  if (!tf.engine().isTapeOn()) return tf.scalar(run(false).loss);

  return tf.customGrad((...all) => {
    const save = all.pop() as unknown as tf.GradSaveFunc;
    const { loss, gradients } = run(true);
    const tensors = inputs.map(([name, input]) => {
      const gradient = (gradients as Record<string, Float32Array | number>)[name];
      return tf.tensor(typeof gradient === 'number' ? [gradient] : gradient, input.shape, 'float32');
    });
    save([...tensors, ...inputs.map(([, input]) => input)]);
    const gradFunc = (upstream: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const savedInputs = saved.slice(tensors.length);
      return saved.slice(0, tensors.length).map((gradient) => firstOrderOnly(tf.mul(upstream, gradient), [upstream, ...savedInputs]));
    };
    return { value: tf.scalar(loss), gradFunc };
  })(...inputs.map(([, input]) => input)) as tf.Scalar;
}

/**
 * `gradient`, as a function of `sources` whose own gradient throws. Without this an outer tape would take the kernel's gradient
 * for a constant, and a second derivative would silently be wrong.
 */
export function firstOrderOnly(gradient: tf.Tensor, sources: readonly tf.Tensor[]): tf.Tensor {
  if (!tf.engine().isTapeOn()) return gradient;
  return tf.customGrad(() => ({
    value: tf.clone(gradient),
    gradFunc: () => {
      throw new Error('contrastive-kernels/tfjs: second derivatives are not supported');
    },
  }))(...sources);
}

/** The rows of a tensor, as the kernels take them. */
export function toMatrix(tensor: tf.Tensor): Matrix {
  return { data: tensor.dataSync<'float32'>(), shape: [tensor.shape[0], tensor.shape[1]!] };
}

export function checkRows(name: string, tensor: unknown): asserts tensor is tf.Tensor2D {
  if (!(tensor instanceof tf.Tensor)) throw new TypeError(`${name}: expected a tf.Tensor of rank 2, got ${describe(tensor)}`);
  if (tensor.rank !== 2) throw new RangeError(`${name}: expected a tf.Tensor of rank 2, got shape [${tensor.shape.join(', ')}]`);
  if (tensor.dtype !== 'float32') throw new TypeError(`${name}: expected dtype 'float32', got '${tensor.dtype}'`);
}

function isScalarTensor(name: string, value: unknown): boolean {
  if (!(value instanceof tf.Tensor)) return false;
  if (value.size !== 1) throw new RangeError(`${name}: expected a number or a scalar tensor, got shape [${value.shape.join(', ')}]`);
  return true;
}
