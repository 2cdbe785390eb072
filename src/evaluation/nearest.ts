/** The nearest rows of another matrix: checks the arguments and describes the call. The k largest are kept as similarities are computed. */
import { type LossInput, readInput } from '../losses/device-call.js';
import { makePlan, type Plan, readCallOptions } from '../losses/plan.js';
import { SIMILARITY_OPTIONS, type SimilarityOptions } from '../losses/similarity-rows.js';
import { readBoolean, readInteger, readOptions } from '../validate.js';

export interface NearestOptions extends SimilarityOptions {
  /** true: row i of y is no neighbour of row i of x, as for a set searched in itself. Default false. */
  readonly excludeSameIndex?: boolean | undefined;
}

export interface Neighbours {
  /** [x.rows, k]: rows of y, the most similar first; of equals the lower row first. */
  readonly indices: Int32Array;
  /** [x.rows, k]: their similarities. */
  readonly similarities: Float32Array;
  readonly k: number;
}

const NEAREST_OPTIONS: ReadonlySet<string> = new Set([...SIMILARITY_OPTIONS, 'excludeSameIndex']);

/**
 * The `k` rows of `y` that are most similar to each row of `x`. Exact; x.rows x y.rows similarities are never stored at once.
 *
 * @param x queries [rows, dim].
 * @param y what is searched [any, dim].
 * @param k how many, 1 to y.rows; one less with `excludeSameIndex`.
 * @param options `normalize: false` compares dot products.
 * @throws {TypeError | RangeError} for wrong types and shapes; {NonFiniteError}; {BackendUnavailableError}.
 */
export function nearest(x: LossInput, y: LossInput, k: number, options?: NearestOptions): Neighbours {
  return plan(x, y, k, options, false).run();
}

/** `nearest` off the event loop. Inputs are copied before this returns. Every error is a rejection. */
export async function nearestAsync(x: LossInput, y: LossInput, k: number, options?: NearestOptions): Promise<Neighbours> {
  return plan(x, y, k, options, true).runAsync();
}

function plan(
  xGiven: LossInput,
  yGiven: LossInput,
  k: number,
  optionsGiven: NearestOptions | undefined,
  isAsync: boolean,
): Plan<Neighbours> {
  const x = readInput('x', xGiven, isAsync);
  const y = readInput('y', yGiven, isAsync);
  if (x.cols !== y.cols) throw new RangeError(`y: expected ${x.cols} columns as in x, got ${y.cols}`);
  const { excludeSameIndex: excludeGiven, ...options } = readOptions(optionsGiven, NEAREST_OPTIONS);
  const excludeSameIndex = readBoolean('excludeSameIndex', excludeGiven, false);
  readInteger('k', k, 1, y.rows - (excludeSameIndex ? 1 : 0));
  const outputs = { indices: new Int32Array(x.rows * k), similarities: new Float32Array(x.rows * k) };
  const call = { inputs: { x, y }, parameters: { k, excludeSameIndex }, outputs, options: readCallOptions(options, false, 1) };
  return makePlan('nearest', call, options, x.rows * y.rows * x.cols, () => ({ ...outputs, k }));
}
