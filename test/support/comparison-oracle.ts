/**
 * The losses of "one against many" once more, in float64 and written out as a list of comparisons: an anchor, its positive and its
 * negatives, all rows of one stack of matrices. Nothing is shared with src/, and every pair of rows has its coefficient in one large
 * matrix, from which the gradients and the sizes A (see oracle.ts) are formed.
 */
import { type Matrix, matrix } from '../../src/index.js';
import { type OracleGradient, products, Vectors } from './oracle.js';

export interface Candidate {
  readonly row: number;
  /** What it is compared with; the anchor as a rule. */
  readonly by?: number;
  /** Added to the logit, as a constant. */
  readonly added?: number;
}

export interface Comparison {
  readonly anchor: number;
  readonly positive: number;
  readonly negatives: readonly Candidate[];
  /** Multiplies the loss. */
  readonly weight: number;
  /** DCL: the positive is not in the denominator, and its logit is multiplied by this. */
  readonly decoupled?: number;
}

export interface ComparisonOracle {
  /** Of each comparison, not weighted. */
  readonly losses: Float64Array;
  readonly logSumExps: Float64Array;
  /** Weighted. */
  readonly loss: number;
  readonly temperatureGradient: number;
  /** By which the temperature gradient is compared: its terms without their signs. */
  readonly temperatureSize: number;
  /** What it loses where shares of a row's negatives below the smallest normal float32 are lost. */
  readonly temperatureFloor: number;
  /** Logit of the positive minus the largest of a negative; -Infinity where a negative is a copy of the positive with the same logit. */
  readonly margins: Float64Array;
  readonly positiveSimilarities: readonly number[];
  readonly negativeSimilarities: readonly number[][];
  /** Of each matrix of the stack. */
  readonly gradients: OracleGradient[];
}

export function stack(...matrices: Matrix[]): Matrix {
  const data = Float32Array.from(matrices.flatMap(({ data }) => [...data]));
  const cols = matrices[0].shape[1];
  return matrix(data, data.length / cols, cols);
}

export function comparisonOracle(
  matrices: readonly Matrix[],
  comparisons: readonly Comparison[],
  temperature: number,
  normalize: boolean,
): ComparisonOracle {
  const all = stack(...matrices);
  const vectors = new Vectors(all, normalize);
  const s = products(all, all, normalize);
  const coefficients = s.map((row) => row.map(() => 0));
  const losses = new Float64Array(comparisons.length);
  const logSumExps = new Float64Array(comparisons.length);
  const margins = new Float64Array(comparisons.length);
  let temperatureSum = 0;
  let temperatureSize = 0;
  let temperatureFloor = 0;
  for (const [c, { anchor, positive, negatives, weight, decoupled }] of comparisons.entries()) {
    const add = (j: number, value: number, by = anchor): void => {
      coefficients[by][j] += (weight * value) / temperature;
      coefficients[j][by] += (weight * value) / temperature;
    };
    const w = decoupled ?? 1;
    const sp = s[anchor][positive];
    // The positive once more: its coefficients cancel but for those of the others, which is what the pair gets.
    const isPositive = ({ row, by = anchor, added = 0 }: Candidate): boolean =>
      added === 0 && ((by === anchor && row === positive) || (by === positive && row === anchor));
    const others = negatives.map((each) => !isPositive(each));
    // Everything relative to the positive: exp of this is what a negative adds to exp(loss).
    const exponents = negatives.map(({ row, by = anchor, added = 0 }) => (s[by][row] - sp) / temperature + added);
    const largestNegative = exponents.reduce((most, e) => Math.max(most, e), Number.NEGATIVE_INFINITY);
    const largest = decoupled === undefined ? Math.max(0, largestNegative) : largestNegative;
    const mass = exponents.reduce((sum, e) => sum + Math.exp(e - largest), 0);
    const massOfOthers = exponents.reduce((sum, e, n) => sum + (others[n] ? Math.exp(e - largest) : 0), 0);
    const denominator = decoupled === undefined ? Math.exp(-largest) + mass : mass;
    losses[c] =
      decoupled === undefined && largest === 0 ? Math.log1p(mass) : largest + Math.log(denominator) + ((1 - w) * sp) / temperature;
    logSumExps[c] = losses[c] + (w * sp) / temperature;
    const isCopy = ({ row, by, added = 0 }: Candidate): boolean => by === undefined && added === 0 && sameRow(all, row, positive);
    margins[c] = negatives.some(isCopy) ? Number.NEGATIVE_INFINITY : -temperature * largestNegative;
    negatives.forEach(({ row, by = anchor }, n) => {
      if (!others[n]) return;
      const probability = Math.exp(exponents[n] - largest) / denominator;
      const sizes = Math.abs(s[by][row]) + w * Math.abs(sp);
      add(row, probability, by);
      temperatureSum += weight * probability * (s[by][row] - w * sp);
      temperatureSize += weight * probability * sizes;
      temperatureFloor += weight * 2 ** -126 * (massOfOthers / denominator) * sizes;
    });
    add(positive, decoupled === undefined ? -massOfOthers / denominator : -w);
  }
  return {
    losses,
    logSumExps,
    loss: losses.reduce((sum, loss, c) => sum + comparisons[c].weight * loss, 0),
    temperatureGradient: -temperatureSum / temperature ** 2,
    temperatureSize: temperatureSize / temperature ** 2,
    temperatureFloor: temperatureFloor / temperature ** 2,
    margins,
    positiveSimilarities: comparisons.map(({ anchor, positive }) => s[anchor][positive]),
    negativeSimilarities: comparisons.map(({ anchor, negatives }) => negatives.map(({ row, by = anchor }) => s[by][row])),
    gradients: unstack(vectors.gradient(coefficients, vectors), matrices),
  };
}

export function sameRow({ data, shape: [, cols] }: Matrix, i: number, j: number): boolean {
  return data.subarray(i * cols, (i + 1) * cols).every((value, k) => value === data[j * cols + k]);
}

/** The gradient of the stack, cut at the borders of its matrices. */
export function unstack(gradient: OracleGradient, matrices: readonly Matrix[]): OracleGradient[] {
  let start = 0;
  return matrices.map(({ shape: [rows, cols] }) => {
    const end = start + rows;
    const part = {
      values: gradient.values.slice(start * cols, end * cols),
      sizes: gradient.sizes.slice(start, end),
      norms: gradient.norms.slice(start, end),
      cols,
    };
    start = end;
    return part;
  });
}

/** The mean; NaN of nothing. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
