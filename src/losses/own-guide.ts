/** A guide of InfoNCE, as a loss that is made of it hands it to the kernels. */
import type { Rows } from '../matrix.js';

/** What leaves a key out where its row is closer to the query's than the positive's is; see reference/guide.ts. */
export interface OwnGuide {
  /** [query.rows, any], [key.rows, as long]. */
  readonly query: Rows;
  readonly key: Rows;
  /** What keys from row `split` on are compared with, in the place of `query`. */
  readonly second: Rows | null;
  readonly split: number;
  readonly margin: number;
  readonly relative: boolean;
}

export function guideInputs(guide: OwnGuide | undefined) {
  return { guideQuery: guide?.query ?? null, guideKey: guide?.key ?? null, guideSecondQuery: guide?.second ?? null };
}

export function guideParameters(guide: OwnGuide | undefined) {
  return { guideMargin: guide?.margin ?? 0, guideRelative: guide?.relative ?? false, guideSplit: guide?.split ?? 0 };
}
