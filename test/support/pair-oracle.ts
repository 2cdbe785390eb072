/** SigLIP and cross uniformity in float64, as their definitions with whole matrices; see oracle.ts. */
import type { Matrix } from '../../src/index.js';
import { type OracleGradient, products, Vectors } from './oracle.js';

export interface SigLipOracle {
  readonly perRow: Float64Array;
  readonly loss: number;
  readonly x: OracleGradient;
  readonly y: OracleGradient;
  readonly scaleGradient: number;
  readonly biasGradient: number;
  /** By which the two are compared: their terms without signs. */
  readonly scaleSize: number;
  readonly biasSize: number;
  readonly positiveSimilarity: number;
  readonly negativeSimilarity: number;
  /** [rows]: similarity with the positive minus the largest with another row; -Infinity where another is a copy of the positive. */
  readonly margins: Float64Array;
}

export function sigLipOracle(x: Matrix, y: Matrix, scale: number, bias: number, normalize: boolean, weight: number): SigLipOracle {
  const u = new Vectors(x, normalize);
  const v = new Vectors(y, normalize);
  const N = u.rows;
  const s = products(x, y, normalize);
  /** -log sigmoid(m) and its slope, without a difference from 1. */
  const pair = (m: number) => ({
    loss: Math.max(0, -m) + Math.log1p(Math.exp(-Math.abs(m))),
    slope: m > 0 ? Math.exp(-m) / (1 + Math.exp(-m)) : 1 / (1 + Math.exp(m)),
  });
  const sign = (i: number, j: number): number => (i === j ? 1 : -1);
  const pairs = s.map((row, i) => row.map((value, j) => pair(sign(i, j) * (scale * value + bias))));
  const slopes = pairs.map((row, i) => row.map(({ slope }, j) => -sign(i, j) * weight * slope));
  const coefficients = slopes.map((row) => row.map((slope) => scale * slope));
  const perRow = Float64Array.from(pairs, (row) => row.reduce((sum, { loss }) => sum + loss, 0));
  const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
  const bySimilarity = slopes.flatMap((row, i) => row.map((slope, j) => slope * s[i][j]));
  const off = s.flatMap((row, i) => row.filter((_, j) => j !== i));
  return {
    perRow,
    loss: sum(Array.from(perRow)),
    x: u.gradient(coefficients, v),
    y: v.gradient(
      coefficients.map((_, j) => coefficients.map((row) => row[j])),
      u,
    ),
    scaleGradient: sum(bySimilarity),
    biasGradient: sum(slopes.flat()),
    scaleSize: sum(bySimilarity.map(Math.abs)),
    biasSize: sum(slopes.flat().map(Math.abs)),
    positiveSimilarity: sum(s.map((row, i) => row[i])) / N,
    negativeSimilarity: N > 1 ? sum(off) / off.length : Number.NaN,
    margins: Float64Array.from(s, (row, i) => marginOf(y, i, row)),
  };
}

function marginOf({ data, shape: [rows, cols] }: Matrix, p: number, s: number[]): number {
  const others = Array.from({ length: rows }, (_, j) => j).filter((j) => j !== p);
  const isCopy = (j: number): boolean => data.subarray(j * cols, (j + 1) * cols).every((value, k) => value === data[p * cols + k]);
  return others.some(isCopy) ? Number.NEGATIVE_INFINITY : s[p] - Math.max(...others.map((j) => s[j]));
}

export interface CrossUniformityOracle {
  readonly loss: number;
  readonly x: OracleGradient;
  readonly y: OracleGradient;
}

export function crossUniformityOracle(x: Matrix, y: Matrix, t: number, normalize: boolean): CrossUniformityOracle {
  const u = new Vectors(x, normalize);
  const v = new Vectors(y, normalize);
  const exponents = u.u.map((a) => v.u.map((b) => -t * a.reduce((sum, value, k) => sum + (value - b[k]) ** 2, 0)));
  const largest = exponents.flat().reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const terms = exponents.map((row) => row.map((value) => Math.exp(value - largest)));
  const total = terms.flat().reduce((sum, value) => sum + value, 0);
  const coefficients = terms.map((row) => row.map((term) => (2 * t * term) / total));
  const transposed = v.u.map((_, j) => coefficients.map((row) => row[j]));
  /** Of gradients by a_i of sum_j c_ij (b_j - a_i); A counts the difference where rows keep their norms. */
  const side = (a: Vectors, c: number[][], b: Vectors): OracleGradient => {
    const directions = a.u.map((row, i) => row.map((value, k) => c[i].reduce((sum, cij, j) => sum + cij * (b.u[j][k] - value), 0)));
    const sizes = c.map((row, i) => row.reduce((sum, cij, j) => sum + cij * (normalize ? 1 : a.norm[i] + b.norm[j]), 0));
    return a.byInput(directions, sizes);
  };
  return { loss: Math.log(total / (u.rows * v.rows)) + largest, x: side(u, coefficients, v), y: side(v, transposed, u) };
}
