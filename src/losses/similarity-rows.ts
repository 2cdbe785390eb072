/**
 * All similarities of two sets, a row of them at a time and never stored together: the similarity kernel on blocks of rows, for
 * what looks at every similarity once.
 */
import type { Matrix, Rows } from '../matrix.js';
import { runInSlices, runToEnd } from '../reference/steps.js';
import { cosineSimilarity, cosineSimilarityAsync } from './cosine-similarity.js';
import type { KernelOptions } from './plan.js';

/** Similarities held at a time: 16 MB of float32. */
const BLOCK_ELEMENTS = 1 << 22;

/** Where and how similarities are computed. */
export type SimilarityOptions = Pick<KernelOptions, 'backend' | 'precision' | 'normalize' | 'threads' | 'signal' | 'fallbackWarning'>;

export const SIMILARITY_OPTIONS = ['backend', 'precision', 'normalize', 'threads', 'signal', 'fallbackWarning'] as const;

/** What is done with row i of the similarities, [y.rows]; the array is used again for the next row. */
type Visit = (i: number, similarities: Float32Array) => void;

/** Values have been checked: the backend would name the row within its block. */
export function forEachRow(x: Rows, y: Rows, options: SimilarityOptions, visit: Visit): void {
  const all = asMatrix(y, 0, y.rows);
  for (const { part, from, out } of blocks(x, y)) {
    cosineSimilarity(part, all, { ...options, out });
    runToEnd(visits(out, from, y.rows, visit));
  }
}

/** The same off the event loop, `visit` in slices on it. Inputs must not change meanwhile: the caller gives copies. */
export async function forEachRowAsync(x: Rows, y: Rows, options: SimilarityOptions, visit: Visit): Promise<void> {
  const all = asMatrix(y, 0, y.rows);
  for (const { part, from, out } of blocks(x, y)) {
    await cosineSimilarityAsync(part, all, { ...options, out });
    await runInSlices(visits(out, from, y.rows, visit), options.signal);
  }
}

function* blocks(x: Rows, y: Rows): Generator<{ readonly part: Matrix; readonly from: number; readonly out: Float32Array }> {
  const blockRows = Math.min(x.rows, Math.max(1, Math.floor(BLOCK_ELEMENTS / y.rows)));
  const block = new Float32Array(blockRows * y.rows);
  for (let from = 0; from < x.rows; from += blockRows) {
    const count = Math.min(blockRows, x.rows - from);
    yield { part: asMatrix(x, from, count), from, out: block.subarray(0, count * y.rows) };
  }
}

function asMatrix({ data, cols }: Rows, from: number, count: number): Matrix {
  return { data: data.subarray(from * cols, (from + count) * cols), shape: [count, cols] };
}

function* visits(similarities: Float32Array, from: number, cols: number, visit: Visit): Generator<void, void, void> {
  for (let at = 0; at < similarities.length; at += cols) {
    visit(from + at / cols, similarities.subarray(at, at + cols));
    yield;
  }
}
