/**
 * The nearest rows of another matrix: checks the arguments and chooses. A backend that has the kernel keeps the k largest while it
 * computes similarities; on one that lacks it they are picked from blocks of its similarities.
 */
import { BACKEND_CHOICES, selectBackend } from '../backends/select.js';
import { checkFinite } from '../finite.js';
import { readCallOptions } from '../losses/plan.js';
import type { MatrixLike, Rows } from '../matrix.js';
import { keepLargest } from '../reference/nearest.js';
import { readBoolean, readChoice, readInteger, readMatrix, readOptions, readSignal } from '../validate.js';
import { forEachRow, forEachRowAsync, SIMILARITY_OPTIONS, type SimilarityOptions } from './similarity-rows.js';

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
export function nearest(x: MatrixLike, y: MatrixLike, k: number, options?: NearestOptions): Neighbours {
  const { call, backend, signal, blocks } = plan(x, y, k, options, false);
  signal?.throwIfAborted();
  if (backend.supports('nearest')) backend.run('nearest', call);
  else forEachRow(call.inputs.x, call.inputs.y, blocks.options, blocks.visit);
  return { ...call.outputs, k };
}

/** `nearest` off the event loop. Inputs are copied before this returns. Every error is a rejection. */
export async function nearestAsync(x: MatrixLike, y: MatrixLike, k: number, options?: NearestOptions): Promise<Neighbours> {
  const { call, backend, signal, blocks } = plan(x, y, k, options, true);
  signal?.throwIfAborted();
  if (backend.supports('nearest')) await backend.runAsync('nearest', call, signal);
  else await forEachRowAsync(call.inputs.x, call.inputs.y, blocks.options, blocks.visit);
  return { ...call.outputs, k };
}

function plan(xGiven: MatrixLike, yGiven: MatrixLike, k: number, optionsGiven: NearestOptions | undefined, isAsync: boolean) {
  const x = readMatrix('x', xGiven, isAsync);
  const y = readMatrix('y', yGiven, isAsync);
  if (x.cols !== y.cols) throw new RangeError(`y: expected ${x.cols} columns as in x, got ${y.cols}`);
  const { excludeSameIndex: excludeGiven, ...options } = readOptions(optionsGiven, NEAREST_OPTIONS);
  const excludeSameIndex = readBoolean('excludeSameIndex', excludeGiven, false);
  readInteger('k', k, 1, y.rows - (excludeSameIndex ? 1 : 0));
  const signal = readSignal(options.signal);
  const callOptions = readCallOptions(options, false, 1);
  const backend = selectBackend(
    {
      // Whoever has the similarities can do it; the choice must not fall back because the kernel is missing.
      kernel: 'cosineSimilarity',
      backend: readChoice('backend', options.backend, BACKEND_CHOICES, 'auto'),
      precision: callOptions.precision,
      fallbackWarning: readBoolean('fallbackWarning', options.fallbackWarning, true),
    },
    x.rows * y.rows * x.cols,
  );
  const outputs = { indices: new Int32Array(x.rows * k), similarities: new Float32Array(x.rows * k) };
  if (!backend.supports('nearest')) checkValues(x, y);
  return {
    call: { inputs: { x, y }, parameters: { k, excludeSameIndex }, outputs, options: callOptions },
    backend,
    signal,
    blocks: {
      options: { ...options, backend: backend.name },
      visit: (i: number, similarities: Float32Array) => {
        const [from, to] = [i * k, (i + 1) * k];
        keepLargest(similarities, excludeSameIndex ? i : -1, outputs.indices.subarray(from, to), outputs.similarities.subarray(from, to));
      },
    },
  };
}

function checkValues(x: Rows, y: Rows): void {
  checkFinite('x', x.data, x.cols);
  checkFinite('y', y.data, y.cols);
}
