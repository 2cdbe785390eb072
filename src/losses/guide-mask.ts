/** The mask of GISTEmbed: which candidates a guide model takes for no more alike than the positive. */

import type { Rows } from '../matrix.js';
import type { Plan } from './plan.js';
import { forEachRow, forEachRowAsync, type SimilarityOptions } from './similarity-rows.js';

/** One kind of candidates: the guide's embeddings of the row's side and of the candidates, and whether candidate i is row i itself. */
export interface GuidedBlock {
  readonly left: Rows;
  readonly right: Rows;
  readonly withItself: boolean;
}

/**
 * [rows * all candidates]: 1 where the guide's similarity is at most the threshold of the row. A row is never its own negative.
 * An asynchronous run takes the similarities off the event loop and compares them in slices on it.
 *
 * @param blocks the first is that of the anchors and their positives. Of an asynchronous run copies: it reads them while it runs.
 * @param thresholdOf a row's threshold, from the guide's similarity of its positive.
 */
export function planGuideMask(
  blocks: readonly GuidedBlock[],
  thresholdOf: (positive: number) => number,
  options: SimilarityOptions,
): Plan<Uint8Array> {
  const { rows } = blocks[0].left;
  const width = blocks.reduce((sum, { right }) => sum + right.rows, 0);
  const comparison = () => {
    const thresholds = new Float64Array(rows);
    const mask = new Uint8Array(rows * width);
    let column = 0;
    const visits = blocks.map(({ right, withItself }, block) => {
      const start = column;
      column += right.rows;
      return (i: number, similarities: Float32Array): void => {
        if (block === 0) thresholds[i] = thresholdOf(similarities[i]);
        const threshold = thresholds[i];
        const at = i * width + start;
        for (let j = 0; j < similarities.length; j++) mask[at + j] = similarities[j] <= threshold ? 1 : 0;
        if (withItself) mask[at + i] = 0;
      };
    });
    return { mask, visits };
  };
  return {
    run() {
      const { mask, visits } = comparison();
      for (const [block, { left, right }] of blocks.entries()) forEachRow(left, right, options, visits[block]);
      return mask;
    },
    async runAsync() {
      const { mask, visits } = comparison();
      for (const [block, { left, right }] of blocks.entries()) await forEachRowAsync(left, right, options, visits[block]);
      return mask;
    },
  };
}
