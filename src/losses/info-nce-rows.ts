/** Which queries of InfoNCE have anything to be compared with: the rows that a mean is taken over. */
import { type Labels, leftOutByLabels, ownerOf } from '../reference/info-nce.js';

export interface Comparisons extends Labels {
  readonly inBatch: boolean;
  readonly symmetric: boolean;
  readonly positives: Int32Array | null;
  readonly mask: Uint8Array | null;
}

/**
 * How many of the queries have a negative in their row, or in their column where the loss is symmetric.
 *
 * @param explicit negatives that each query sees beside those in `key`.
 */
export function countedRows(queries: number, keys: number, explicit: number, comparisons: Comparisons): number {
  const { inBatch, symmetric, positives, queryLabels, mask } = comparisons;
  if (explicit > 0) return queries;
  if (!inBatch) return 0;
  if (!mask && !queryLabels) return keys > 1 ? queries : 0;
  const { inRow, inColumn } = mask ? byMask(mask, queries, keys, comparisons) : byLabels(comparisons);
  let counted = 0;
  for (let i = 0; i < queries; i++) {
    const p = positives ? positives[i] : i;
    if (inRow(i, p) || (symmetric && inColumn(i, p))) counted++;
  }
  return counted;
}

/** Whether query i has a negative, p its positive: among the keys, or (its positive) among the queries. */
interface Search {
  inRow(i: number, p: number): boolean;
  inColumn(i: number, p: number): boolean;
}

/** By the number of rows of each label: nothing is searched. */
function byLabels(labels: Labels): Search {
  const [ofQueries, ofKeys] = [labels.queryLabels as Int32Array, labels.keyLabels as Int32Array];
  const owner = (j: number): number => (labels.ownedKeys ? ownerOf(ofKeys[j]) : -1);
  const [queriesOf, keysOf, keysOwnedBy] = [new Map<number, number>(), new Map<number, number>(), new Map<number, number>()];
  const count = (sizes: Map<number, number>, label: number): unknown => sizes.set(label, (sizes.get(label) ?? 0) + 1);
  let owned = 0;
  for (const label of ofQueries) count(queriesOf, label);
  for (const [j, label] of ofKeys.entries()) {
    if (owner(j) < 0) count(keysOf, label);
    else {
      count(keysOwnedBy, owner(j));
      owned++;
    }
  }
  // A positive that labels do not leave out is no negative for all that.
  const pair = (i: number, p: number): number => (leftOutByLabels(i, p, labels) ? 0 : 1);
  const of = (sizes: Map<number, number>, label: number): number => sizes.get(label) ?? 0;
  return {
    inRow: (i, p) => ofKeys.length - owned - of(keysOf, ofQueries[i]) + of(keysOwnedBy, ofQueries[i]) > pair(i, p),
    inColumn: (i, p) => (owner(p) < 0 ? ofQueries.length - of(queriesOf, ofKeys[p]) : of(queriesOf, owner(p))) > pair(i, p),
  };
}

/** By the mask, and by labels where there are some. A row of the mask may be all zeros: its bytes are looked at before anything else. */
function byMask(mask: Uint8Array, queries: number, keys: number, labels: Labels): Search {
  return {
    inRow(i, p) {
      const start = i * keys;
      for (let j = 0; j < keys; j++) if (mask[start + j] !== 0 && j !== p && !leftOutByLabels(i, j, labels)) return true;
      return false;
    },
    inColumn(i, p) {
      for (let j = 0; j < queries; j++) if (mask[j * keys + p] !== 0 && j !== i && !leftOutByLabels(j, p, labels)) return true;
      return false;
    },
  };
}
