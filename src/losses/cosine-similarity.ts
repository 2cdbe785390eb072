/** The similarity matrix and its backward: check the arguments, describe the call, shape the result. */

import { DeviceMatrix } from '../device-matrix.js';
import type { BackendName } from '../errors.js';
import type { Matrix } from '../matrix.js';
import { checkNoOverlap, checkSize, describe, readOptions, readOutput } from '../validate.js';
import { type LossInput, readInput } from './device-call.js';
import { KERNEL_OPTIONS, type KernelOptions, makePlan, type Plan, readCallOptions, readOutputs } from './plan.js';

export interface CosineSimilarityOptions extends KernelOptions {
  /** An array of x.rows * y.rows elements to fill instead of a new one. */
  readonly out?: Float32Array | undefined;
}

export interface CosineSimilarityResult extends Matrix {
  /** What computed it. */
  readonly backend: BackendName;
}

export interface CosineSimilarityBackwardOptions extends KernelOptions {
  /** Arrays to fill instead of new ones: `x` and `y`, each as long as its input. */
  readonly out?: { readonly x?: Float32Array | undefined; readonly y?: Float32Array | undefined } | undefined;
}

export interface CosineSimilarityBackwardResult {
  readonly gradients: {
    /** As its input: [x.rows, cols], by the rows as given. */
    readonly x: Float32Array;
    /** [y.rows, cols]. Where x and y are one matrix, its gradient is the sum of both. */
    readonly y: Float32Array;
  };
  /** What computed it. */
  readonly backend: BackendName;
}

const KNOWN = new Set<string>(KERNEL_OPTIONS);

/**
 * All cosines between the rows of x and the rows of y, normalisation and product in one pass: data[i * y.rows + j] =
 * cos(x_i, y_j), or the dot product with `normalize: false`. A zero row has cosine 0 with everything. This is the one function
 * whose result is rows x rows.
 *
 * @param x [n, cols].
 * @param y [m, cols]; x itself when left out.
 * @returns `data` [n * m], `shape` [n, m].
 * @throws TypeError, RangeError (row lengths that differ, a product too large for float32, ...), NonFiniteError,
 *   BackendUnavailableError. Nothing is written then.
 */
export function cosineSimilarity(x: LossInput, y?: LossInput, options?: CosineSimilarityOptions): CosineSimilarityResult {
  return plan(x, y, options, false).run();
}

/**
 * `cosineSimilarity` off the event loop. Inputs are copied before this returns; the output is written when the promise
 * resolves. Every error, those of the arguments too, is a rejection.
 */
export async function cosineSimilarityAsync(
  x: LossInput,
  y?: LossInput,
  options?: CosineSimilarityOptions,
): Promise<CosineSimilarityResult> {
  return plan(x, y, options, true).runAsync();
}

/**
 * The gradients of sum_ij upstream_ij cos(x_i, y_j) by x and by y. With x and y the same matrix both are returned all the same:
 * the gradient by that matrix is their sum.
 *
 * @param x [n, cols].
 * @param y [m, cols].
 * @param upstream [n, m], the derivative of what comes after by each similarity.
 * @throws TypeError, RangeError (shapes that do not match, a gradient too large for float32, ...), NonFiniteError,
 *   BackendUnavailableError. Nothing is written then.
 */
export function cosineSimilarityBackward(
  x: LossInput,
  y: LossInput,
  upstream: LossInput,
  options?: CosineSimilarityBackwardOptions,
): CosineSimilarityBackwardResult {
  return planBackward(x, y, upstream, options, false).run();
}

/**
 * `cosineSimilarityBackward` off the event loop. Inputs are copied before this returns; outputs are written when the promise
 * resolves. Every error, those of the arguments too, is a rejection.
 */
export async function cosineSimilarityBackwardAsync(
  x: LossInput,
  y: LossInput,
  upstream: LossInput,
  options?: CosineSimilarityBackwardOptions,
): Promise<CosineSimilarityBackwardResult> {
  return planBackward(x, y, upstream, options, true).runAsync();
}

function plan(
  xGiven: LossInput,
  yGiven: LossInput | undefined,
  optionsGiven: CosineSimilarityOptions | undefined,
  isAsync: boolean,
): Plan<CosineSimilarityResult> {
  const x = readInput('x', xGiven, isAsync);
  const withItself = yGiven === undefined || yGiven === xGiven;
  if (!withItself && typeof yGiven === 'object' && yGiven !== null && !('data' in yGiven || yGiven instanceof DeviceMatrix)) {
    throw new TypeError(`y: expected a matrix, or undefined before the options, got ${describe(yGiven)} without data`);
  }
  const y = withItself ? x : readInput('y', yGiven, isAsync);
  checkSameCols('y', y.cols, x.cols);
  checkSize('x and y', x.rows, y.rows);
  const options = readOptions(optionsGiven, KNOWN);
  const callOptions = readCallOptions(options, false, 1);
  const length = x.rows * y.rows;
  const given = options.out === undefined ? undefined : readOutput('out', options.out, length, isAsync);
  if (given) checkNoOverlap({ out: given }, { x: x.data, y: y.data });
  const out = given ?? new Float32Array(length);
  const call = { inputs: { x, y: withItself ? null : y }, parameters: {}, outputs: { out }, options: callOptions };
  return makePlan('cosineSimilarity', call, options, length * x.cols, (_, backend) => ({
    data: out,
    shape: [x.rows, y.rows],
    backend,
  }));
}

function planBackward(
  xGiven: LossInput,
  yGiven: LossInput,
  upstreamGiven: LossInput,
  optionsGiven: CosineSimilarityBackwardOptions | undefined,
  isAsync: boolean,
): Plan<CosineSimilarityBackwardResult> {
  const x = readInput('x', xGiven, isAsync);
  const y = readInput('y', yGiven, isAsync);
  const upstream = readInput('upstream', upstreamGiven, isAsync);
  checkSameCols('y', y.cols, x.cols);
  if (upstream.rows !== x.rows || upstream.cols !== y.rows) {
    throw new RangeError(
      `upstream: expected the shape [${x.rows}, ${y.rows}] of the similarities, got [${upstream.rows}, ${upstream.cols}]`,
    );
  }
  const options = readOptions(optionsGiven, KNOWN);
  const callOptions = readCallOptions(options, false, 1);
  const outputs = readOutputs(
    options.out,
    { x: x.data.length, y: y.data.length },
    { x: x.data, y: y.data, upstream: upstream.data },
    isAsync,
  );
  const call = { inputs: { x, y, upstream }, parameters: {}, outputs, options: callOptions };
  const gradients = { x: outputs.x as Float32Array, y: outputs.y as Float32Array };
  return makePlan('cosineSimilarityBackward', call, options, 2 * upstream.data.length * x.cols, (_, backend) => ({
    gradients,
    backend,
  }));
}

function checkSameCols(argument: string, cols: number, expected: number): void {
  if (cols !== expected) throw new RangeError(`${argument}: expected rows of ${expected} columns as x has, got ${cols}`);
}
