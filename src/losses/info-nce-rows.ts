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
  const { inBatch, symmetric, positives, queryLabels, keyLabels, mask } = comparisons;
  if (explicit > 0) return queries;
  if (!inBatch) return 0;
  if (!mask && !queryLabels) return keys > 1 ? queries : 0;
  const isNegative = (i: number, j: number): boolean =>
    mask?.[i * keys + j] !== 0 && (!queryLabels || !keyLabels || queryLabels[i] !== keyLabels[j]);
  let counted = 0;
  for (let i = 0; i < queries; i++) {
    const p = positives ? positives[i] : i;
    let found = false;
    for (let j = 0; j < keys && !found; j++) found = j !== p && isNegative(i, j);
    if (symmetric) for (let j = 0; j < queries && !found; j++) found = j !== i && isNegative(j, p);
    if (found) counted++;
  }
  return counted;
}
