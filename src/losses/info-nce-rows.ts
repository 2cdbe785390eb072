/** Which queries of InfoNCE have anything to be compared with: the rows that a mean is taken over. */

export interface Comparisons {
  readonly inBatch: boolean;
  readonly symmetric: boolean;
  readonly positives: Int32Array | null;
  readonly queryLabels: Int32Array | null;
  readonly keyLabels: Int32Array | null;
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
function byLabels({ queryLabels, keyLabels }: Comparisons): Search {
  const [ofQueries, ofKeys] = [queryLabels as Int32Array, keyLabels as Int32Array];
  const [queriesOf, keysOf] = [ofQueries, ofKeys].map((labels) => {
    const sizes = new Map<number, number>();
    for (const label of labels) sizes.set(label, (sizes.get(label) ?? 0) + 1);
    return sizes;
  });
  // A positive of another label is no negative.
  const pair = (i: number, p: number): number => (ofQueries[i] === ofKeys[p] ? 0 : 1);
  return {
    inRow: (i, p) => ofKeys.length - (keysOf.get(ofQueries[i]) ?? 0) > pair(i, p),
    inColumn: (i, p) => ofQueries.length - (queriesOf.get(ofKeys[p]) ?? 0) > pair(i, p),
  };
}

/** By the mask, and by labels where there are some. A row of the mask may be all zeros: its bytes are looked at before anything else. */
function byMask(mask: Uint8Array, queries: number, keys: number, { queryLabels, keyLabels }: Comparisons): Search {
  const differ = (i: number, j: number): boolean => !queryLabels || !keyLabels || queryLabels[i] !== keyLabels[j];
  return {
    inRow(i, p) {
      const start = i * keys;
      for (let j = 0; j < keys; j++) if (mask[start + j] !== 0 && j !== p && differ(i, j)) return true;
      return false;
    },
    inColumn(i, p) {
      for (let j = 0; j < queries; j++) if (mask[j * keys + p] !== 0 && j !== i && differ(j, p)) return true;
      return false;
    },
  };
}
