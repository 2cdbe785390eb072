/** The nearest rows of another matrix by cosine similarity, from the similarity kernel, a block of queries at a time. */
import { cosineSimilarity } from '../losses/cosine-similarity.js';
import type { KernelOptions } from '../losses/plan.js';
import type { MatrixLike } from '../matrix.js';
import { readInteger, readOptions } from '../validate.js';
import { readFeatures } from './labelled.js';

/** Similarities held at a time: 16 MB of float32. */
const BLOCK_ELEMENTS = 1 << 22;

/** Where the similarities are computed; as for every kernel. */
export type NearestOptions = Pick<KernelOptions, 'backend' | 'threads' | 'fallbackWarning'>;

const NEAREST_OPTIONS: ReadonlySet<string> = new Set(['backend', 'threads', 'fallbackWarning']);

export interface Neighbours {
  /** [x.rows, k]: rows of y, the most similar first; of equals the lower row first. */
  readonly indices: Int32Array;
  /** [x.rows, k]: their cosines. */
  readonly similarities: Float32Array;
  readonly k: number;
}

/**
 * The `k` rows of `y` that are most similar to each row of `x`. Exact; x.rows x y.rows similarities are never stored at once.
 *
 * @param x queries [rows, dim].
 * @param y what is searched [any, dim].
 * @param k how many, 1 to y.rows.
 * @throws {TypeError | RangeError} for wrong types and shapes; {NonFiniteError}; {BackendUnavailableError}.
 */
export function nearest(x: MatrixLike, y: MatrixLike, k: number, options: NearestOptions = {}): Neighbours {
  readOptions(options, NEAREST_OPTIONS);
  const queries = readFeatures('x', x);
  const searched = readFeatures('y', y);
  if (queries.cols !== searched.cols) throw new RangeError(`y: expected ${queries.cols} columns as in x, got ${searched.cols}`);
  readInteger('k', k, 1, searched.rows);
  const { rows, cols } = queries;
  const indices = new Int32Array(rows * k);
  const similarities = new Float32Array(rows * k);
  const blockRows = Math.min(rows, Math.max(1, Math.floor(BLOCK_ELEMENTS / searched.rows)));
  const block = new Float32Array(blockRows * searched.rows);
  for (let from = 0; from < rows; from += blockRows) {
    const count = Math.min(blockRows, rows - from);
    const out = block.subarray(0, count * searched.rows);
    const part = { data: queries.data.subarray(from * cols, (from + count) * cols), shape: [count, cols] };
    cosineSimilarity(part, { data: searched.data, shape: [searched.rows, cols] }, { ...options, out });
    for (let i = 0; i < count; i++) {
      const at = (from + i) * k;
      keepLargest(out, i * searched.rows, searched.rows, indices.subarray(at, at + k), similarities.subarray(at, at + k));
    }
  }
  return { indices, similarities, k };
}

/** The largest of `values[start .. start + count)` in falling order, by insertion: k is small and most values fail the first test. */
function keepLargest(values: Float32Array, start: number, count: number, indices: Int32Array, kept: Float32Array): void {
  const k = kept.length;
  let filled = 0;
  let least = Number.NEGATIVE_INFINITY;
  for (let j = 0; j < count; j++) {
    const value = values[start + j];
    if (filled === k && value <= least) continue;
    let place = filled < k ? filled++ : k - 1;
    for (; place > 0 && kept[place - 1] < value; place--) {
      kept[place] = kept[place - 1];
      indices[place] = indices[place - 1];
    }
    kept[place] = value;
    indices[place] = j;
    least = kept[filled - 1];
  }
}
