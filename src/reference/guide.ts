/**
 * A guide model's say in what is a negative, the specification:
 *
 *   cosine     c(x, y) = <x, y> / (|x| |y|) in float64, 0 where a row is zero; |x| = sqrt(<x, x>)
 *   threshold  of a query, from the cosine s of its positive: s - margin, or s (1 - margin)
 *   counts     c <= threshold
 *
 * Products of float32 numbers are exact in float64, and the order of their additions is part of the definition (`guideDot`): every
 * backend gets the same bits, and a key whose guide row equals the positive's ties with it.
 */
import type { KernelCall } from '../backends/backend.js';
import type { Rows } from '../matrix.js';
import { checkFinite } from './rows.js';

/** <x_i, y_j>: element k is added to sum k mod 8; then halves of the sums are added, 8 to 4 to 2 to 1. */
export function guideDot(x: Rows, i: number, y: Rows, j: number): number {
  const { cols } = x;
  const a = i * cols;
  const b = j * cols;
  const sums = [0, 0, 0, 0, 0, 0, 0, 0];
  let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
  let k = 0;
  for (; k + 8 <= cols; k += 8) {
    s0 += x.data[a + k] * y.data[b + k];
    s1 += x.data[a + k + 1] * y.data[b + k + 1];
    s2 += x.data[a + k + 2] * y.data[b + k + 2];
    s3 += x.data[a + k + 3] * y.data[b + k + 3];
    s4 += x.data[a + k + 4] * y.data[b + k + 4];
    s5 += x.data[a + k + 5] * y.data[b + k + 5];
    s6 += x.data[a + k + 6] * y.data[b + k + 6];
    s7 += x.data[a + k + 7] * y.data[b + k + 7];
  }
  if (k === cols) return s0 + s4 + (s2 + s6) + (s1 + s5 + (s3 + s7));
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
  sums[4] = s4;
  sums[5] = s5;
  sums[6] = s6;
  sums[7] = s7;
  for (let lane = 0; k < cols; k++, lane++) sums[lane] += x.data[a + k] * y.data[b + k];
  return sums[0] + sums[4] + (sums[2] + sums[6]) + (sums[1] + sums[5] + (sums[3] + sums[7]));
}

/** The guide of a call of InfoNCE. */
export class Guide {
  private readonly queries: readonly { readonly rows: Rows; readonly norms: Float64Array }[];
  private readonly keys: Rows;
  private readonly keyNorms: Float64Array;
  private readonly split: number;
  private readonly thresholds: Float64Array;

  /** null where the call has none. Throws NonFiniteError. */
  static of({ inputs, integers, parameters }: KernelCall<'infoNce'>): Guide | null {
    const { guideQuery, guideKey, guideSecondQuery } = inputs;
    return guideQuery && guideKey && new Guide(guideQuery, guideKey, guideSecondQuery, integers.positives, parameters);
  }

  private constructor(
    query: Rows,
    keys: Rows,
    second: Rows | null,
    positives: Int32Array | null,
    { guideMargin, guideRelative, guideSplit }: KernelCall<'infoNce'>['parameters'],
  ) {
    checkFinite('guideQuery', query);
    checkFinite('guideKey', keys);
    if (second) checkFinite('guideSecondQuery', second);
    this.queries = [query, ...(second ? [second] : [])].map((rows) => ({ rows, norms: normsOf(rows) }));
    this.keys = keys;
    this.keyNorms = normsOf(keys);
    this.split = second ? guideSplit : keys.rows;
    this.thresholds = new Float64Array(query.rows);
    for (let i = 0; i < query.rows; i++) {
      const s = this.cosine(i, positives ? positives[i] : i);
      this.thresholds[i] = guideRelative ? s * (1 - guideMargin) : s - guideMargin;
    }
  }

  private cosine(i: number, j: number): number {
    const { rows, norms } = this.queries[j < this.split ? 0 : 1];
    const lengths = norms[i] * this.keyNorms[j];
    return lengths > 0 ? guideDot(rows, i, this.keys, j) / lengths : 0;
  }

  /** Whether key row j counts for query i. */
  counts(i: number, j: number): boolean {
    return this.cosine(i, j) <= this.thresholds[i];
  }
}

function normsOf(rows: Rows): Float64Array {
  return Float64Array.from({ length: rows.rows }, (_, i) => Math.sqrt(guideDot(rows, i, rows, i)));
}
