/** The supervised contrastive loss once more, in float64 and from its definition with whole matrices. Nothing is shared with src/. */
import type { Matrix, SupConVariant } from '../../src/index.js';
import { comparisonOracle, mean, sameRow } from './comparison-oracle.js';
import { type OracleGradient, products, Vectors } from './oracle.js';

export interface SupConOracle {
  readonly perRow: Float64Array;
  readonly rowLogSumExp: Float64Array;
  /** Of the sum, times `weight`. */
  readonly loss: number;
  readonly gradient: OracleGradient;
  readonly temperatureGradient: number;
  readonly temperatureSize: number;
  readonly temperatureFloor: number;
  readonly positiveSimilarity: number;
  readonly negativeSimilarity: number;
  /** Of the counted rows: similarity of the best positive minus that of the best negative. */
  readonly margins: Float64Array;
  readonly counted: number;
  /** What a mean divides by with noPositive 'skip'. */
  readonly terms: number;
}

interface Row {
  readonly i: number;
  readonly positives: number[];
  readonly negatives: number[];
}

export function supConOracle(
  z: Matrix,
  labels: readonly number[],
  variant: SupConVariant,
  temperature: number,
  normalize: boolean,
  weight: number,
): SupConOracle {
  const vectors = new Vectors(z, normalize);
  const s = products(z, z, normalize);
  const all = s.map((_, i) => i);
  const rows: Row[] = all.map((i) => ({
    i,
    positives: all.filter((j) => j !== i && labels[j] === labels[i]),
    negatives: all.filter((j) => labels[j] !== labels[i]),
  }));
  const counts = ({ positives: { length: P }, negatives: { length: N } }: Row): boolean =>
    variant === 'pair' ? P > 0 && N > 0 : P > 0 && P + N > 1;
  const counted = rows.filter(counts);
  const logits = (i: number, rows: number[]): number[] => rows.map((j) => s[i][j] / temperature);
  const result = {
    rowLogSumExp: Float64Array.from(rows, ({ i, positives, negatives }) => logSumExp(logits(i, [...positives, ...negatives]))),
    positiveSimilarity: mean(counted.flatMap(({ i, positives }) => positives.map((p) => s[i][p]))),
    negativeSimilarity: mean(counted.flatMap(({ i, negatives }) => negatives.map((n) => s[i][n]))),
    margins: Float64Array.from(counted, (row) => marginOf(z, s[row.i], row)),
    counted: counted.length,
    terms: variant === 'pair' ? counted.reduce((sum, { positives }) => sum + positives.length, 0) : counted.length,
  };
  if (variant === 'pair') return { ...result, ...pairs(z, rows, counted, temperature, normalize, weight) };

  const perRow = new Float64Array(rows.length);
  const coefficients = s.map((row) => row.map(() => 0));
  const apart = new Float64Array(rows.length);
  let [moment, size, floor] = [0, 0, 0];
  for (const { i, positives, negatives } of counted) {
    const zp = logits(i, positives);
    const zn = logits(i, negatives);
    const logP = logSumExp(zp);
    const logN = logSumExp(zn);
    const ratio = Math.exp(logN - logP); // N / P
    const q = ratio === Number.POSITIVE_INFINITY ? 1 : ratio / (1 + ratio);
    const first = variant === 'out' ? logP - mean(zp) : Math.log(positives.length);
    perRow[i] = first + (ratio === Number.POSITIVE_INFINITY ? logN - logP : Math.log1p(ratio));
    const pi = zp.map((value) => Math.exp(value - logP));
    // pi_p - 1/|P|, exactly 0 where the positives are equal.
    const largest = zp.reduce((most, value) => Math.max(most, value));
    const e = zp.map((value) => Math.exp(value - largest));
    const meanE = mean(e);
    const spread = e.map((value) => (value - meanE) / (meanE * e.length));
    // As the coefficients of a row sum to 0, so do those of its positives without q: each sum may be taken around its own center.
    const center = positives.reduce((sum, p, n) => sum + pi[n] * s[i][p], 0);
    const middle = mean(positives.map((p) => s[i][p]));
    const add = (j: number, value: number): void => {
      coefficients[i][j] += (weight * value) / temperature;
      coefficients[j][i] += (weight * value) / temperature;
    };
    positives.forEach((p, n) => {
      const beyond = variant === 'out' ? spread[n] : 0;
      add(p, beyond - q * pi[n]);
      moment += weight * beyond * (s[i][p] - middle);
      if (variant === 'out') size += (weight / pi.length) * Math.abs(s[i][p] - middle);
      // Unequal positives: pi_p and 1/|P| count by themselves, for each similarity is uncertain by its rounding.
      if (variant === 'out' && !positives.every((other) => sameRow(z, p, other))) {
        for (const row of [i, p]) apart[row] += weight / temperature / pi.length;
      }
    });
    negatives.forEach((j, n) => {
      const probability = q * Math.exp(zn[n] - logN);
      const sizes = Math.abs(s[i][j]) + Math.abs(center);
      add(j, probability);
      moment += weight * probability * (s[i][j] - center);
      size += weight * probability * sizes;
      floor += weight * 2 ** -126 * sizes;
    });
    // Positives that are equal come out as unequal as float32 rounds them.
    if (variant === 'out' && positives.length > 1) floor += (weight * 2e-7 ** 2) / temperature;
  }
  const gradient = vectors.gradient(coefficients, vectors);
  return {
    ...result,
    perRow,
    loss: weight * perRow.reduce((sum, value) => sum + value, 0),
    gradient: { ...gradient, sizes: gradient.sizes.map((size, i) => size + (gradient.norms[i] > 0 ? apart[i] / gradient.norms[i] : 0)) },
    temperatureGradient: -moment / temperature ** 2,
    temperatureSize: size / temperature ** 2,
    temperatureFloor: floor / temperature ** 2,
  };
}

/** Every ordered pair of positives is a comparison by itself. */
function pairs(z: Matrix, rows: Row[], counted: Row[], temperature: number, normalize: boolean, weight: number) {
  const comparisons = counted.flatMap(({ i, positives, negatives }) =>
    positives.map((positive) => ({ anchor: i, positive, negatives: negatives.map((row) => ({ row })), weight })),
  );
  const oracle = comparisonOracle([z], comparisons, temperature, normalize);
  const perRow = new Float64Array(rows.length);
  comparisons.forEach(({ anchor }, c) => {
    perRow[anchor] += oracle.losses[c];
  });
  const { loss, temperatureGradient, temperatureSize, temperatureFloor } = oracle;
  return { perRow, loss, gradient: oracle.gradients[0], temperatureGradient, temperatureSize, temperatureFloor };
}

function logSumExp(values: readonly number[]): number {
  const largest = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  return values.length === 0 ? largest : largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
}

/** -Infinity where a negative is a copy of the best positive. */
function marginOf(z: Matrix, s: number[], { positives, negatives }: Row): number {
  const best = positives.reduce((most, p) => (s[p] > s[most] ? p : most));
  if (negatives.some((j) => sameRow(z, j, best))) return Number.NEGATIVE_INFINITY;
  return s[best] - negatives.reduce((most, j) => Math.max(most, s[j]), Number.NEGATIVE_INFINITY);
}
