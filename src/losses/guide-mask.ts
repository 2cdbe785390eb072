/** The mask of GISTEmbed: which candidates a guide model takes for no more alike than the positive. */

import type { Rows } from '../matrix.js';
import { cosineSimilarity } from './cosine-similarity.js';
import type { KernelOptions } from './plan.js';

/** Similarities held at a time. */
const BLOCK_ELEMENTS = 1 << 20;

/** One kind of candidates: the guide's embeddings of the row's side and of the candidates, and whether candidate i is row i itself. */
export interface GuidedBlock {
  readonly left: Rows;
  readonly right: Rows;
  readonly withItself: boolean;
}

/**
 * [rows * all candidates]: 1 where the guide's similarity is at most the threshold of the row. A row is never its own negative.
 *
 * @param blocks the first is that of the anchors and their positives.
 * @param thresholdOf a row's threshold, from the guide's similarity of its positive.
 */
export function guideMask(blocks: readonly GuidedBlock[], thresholdOf: (positive: number) => number, options: KernelOptions): Uint8Array {
  const { rows } = blocks[0].left;
  const thresholds = new Float64Array(rows);
  const width = blocks.reduce((sum, { right }) => sum + right.rows, 0);
  const mask = new Uint8Array(rows * width);
  let column = 0;
  for (const [block, { left, right, withItself }] of blocks.entries()) {
    const { cols } = left;
    const step = Math.max(1, Math.floor(BLOCK_ELEMENTS / right.rows));
    for (let from = 0; from < rows; from += step) {
      const count = Math.min(step, rows - from);
      const part = { data: left.data.subarray(from * cols, (from + count) * cols), shape: [count, cols] };
      const { data } = cosineSimilarity(part, { data: right.data, shape: [right.rows, cols] }, options);
      for (let i = 0; i < count; i++) {
        if (block === 0) thresholds[from + i] = thresholdOf(data[i * right.rows + from + i]);
        for (let j = 0; j < right.rows; j++) {
          const kept = data[i * right.rows + j] <= thresholds[from + i] && !(withItself && j === from + i);
          mask[(from + i) * width + column + j] = kept ? 1 : 0;
        }
      }
    }
    column += right.rows;
  }
  return mask;
}
