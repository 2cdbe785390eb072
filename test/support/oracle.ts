/**
 * Every loss once more, in float64 and written as its definition with whole matrices, sharing nothing with src/. The
 * reference is held to it closely, and it supplies the sizes A by which gradients are compared: with c_ij the coefficient of
 * u_j in the gradient by u_i, before the projection on the tangent space, A = (sum_i (sum_j |c_ij| / |x_i|)^2)^(1/2).
 */
import type { Matrix, PairLayout } from '../../src/index.js';

export interface OracleGradient {
  /** [rows, cols], by the rows as given. */
  readonly values: Float64Array;
  /** A of each row: sum_j |c_ij| / |x_i|, or sum_j |c_ij| |x_j| where rows are not normalised. */
  readonly sizes: Float64Array;
  /** |x_i|, or 1 where rows are not normalised: what a row's gradient is multiplied by to compare rows of unlike norms. */
  readonly norms: Float64Array;
  readonly cols: number;
}

export class Vectors {
  readonly rows: number;
  readonly cols: number;
  readonly u: number[][];
  readonly norm: number[];

  constructor(
    { data, shape }: Matrix,
    readonly normalize: boolean,
  ) {
    [this.rows, this.cols] = shape;
    const rows = Array.from({ length: this.rows }, (_, i) => Array.from(data.subarray(i * this.cols, (i + 1) * this.cols)));
    this.norm = rows.map((row) => Math.hypot(...row));
    this.u = rows.map((row, i) => (normalize && this.norm[i] > 0 ? row.map((value) => value / this.norm[i]) : row));
  }

  /** Of a loss whose gradient by u_i is sum_j c_ij v_j. */
  gradient(coefficients: number[][], v: Vectors): OracleGradient {
    const directions = coefficients.map((row) => {
      const direction = new Array<number>(this.cols).fill(0);
      row.forEach((c, j) => {
        if (c !== 0) for (let k = 0; k < this.cols; k++) direction[k] += c * v.u[j][k];
      });
      return direction;
    });
    const sizes = coefficients.map((row) => row.reduce((sum, c, j) => sum + Math.abs(c) * (this.normalize ? 1 : v.norm[j]), 0));
    return this.byInput(directions, sizes);
  }

  /** From the gradient by u to the gradient by x: projected on the tangent space, divided by the norm; 0 at a zero row. */
  byInput(directions: number[][], sizes: number[]): OracleGradient {
    const norms = Float64Array.from(this.norm, (norm) => (this.normalize ? norm : 1));
    const values = directions.flatMap((direction, i) => {
      if (!this.normalize) return direction;
      if (norms[i] === 0) return direction.map(() => 0);
      const along = dot(direction, this.u[i]);
      return direction.map((value, k) => (value - along * this.u[i][k]) / norms[i]);
    });
    const byNorm = Float64Array.from(sizes, (size, i) => (norms[i] > 0 ? size / norms[i] : 0));
    return { values: Float64Array.from(values), sizes: byNorm, norms, cols: this.cols };
  }
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, k) => sum + value * b[k], 0);
}

export function products(x: Matrix, y: Matrix, normalize: boolean): number[][] {
  const u = new Vectors(x, normalize).u;
  const v = new Vectors(y, normalize).u;
  return u.map((a) => v.map((b) => dot(a, b)));
}

export interface NtXentOracle {
  readonly perRow: Float64Array;
  readonly rowLogSumExp: Float64Array;
  readonly loss: number;
  readonly gradient: OracleGradient;
  readonly temperatureGradient: number;
  /** By which the temperature gradient is compared: its terms without their signs. */
  readonly temperatureSize: number;
  /** What it loses where shares of a row's negatives below the smallest normal float32 are lost. */
  readonly temperatureFloor: number;
  readonly positiveSimilarity: number;
  readonly negativeSimilarity: number;
  /** [rows]: similarity with the positive minus the largest with a negative; -Infinity where a negative is a copy of the positive (a tie). */
  readonly margins: Float64Array;
}

export function ntXentOracle(z: Matrix, temperature: number, pairs: PairLayout, normalize: boolean, weight: number): NtXentOracle {
  const vectors = new Vectors(z, normalize);
  const M = vectors.rows;
  const s = products(z, z, normalize);
  const positiveOf = (i: number): number => (pairs === 'halves' ? (i + M / 2) % M : i + 1 - 2 * (i % 2));
  const perRow = new Float64Array(M);
  const rowLogSumExp = new Float64Array(M);
  const margins = new Float64Array(M);
  const coefficients = s.map((row) => row.map(() => 0));
  const scale = weight / temperature;
  let temperatureSum = 0;
  let temperatureSize = 0;
  let temperatureFloor = 0;
  let positiveSum = 0;
  let negativeSum = 0;
  for (let i = 0; i < M; i++) {
    const p = positiveOf(i);
    const negatives = Array.from({ length: M }, (_, j) => j).filter((j) => j !== i && j !== p);
    // Everything relative to the positive: exp((s_ij - s_ip) / temperature) is what a negative adds to exp(loss_i).
    const exponents = negatives.map((j) => (s[i][j] - s[i][p]) / temperature);
    const largest = Math.max(0, ...exponents);
    const negativeMass = exponents.reduce((sum, e) => sum + Math.exp(e - largest), 0);
    const all = Math.exp(-largest) + negativeMass;
    perRow[i] = largest === 0 ? Math.log1p(negativeMass) : largest + Math.log(all);
    rowLogSumExp[i] = s[i][p] / temperature + perRow[i];
    margins[i] = marginOf(z, p, negatives, s[i]);
    positiveSum += s[i][p];
    negatives.forEach((j, n) => {
      const probability = Math.exp(exponents[n] - largest) / all;
      coefficients[i][j] += scale * probability;
      coefficients[j][i] += scale * probability;
      temperatureSum += probability * (s[i][j] - s[i][p]);
      temperatureSize += probability * (Math.abs(s[i][j]) + Math.abs(s[i][p]));
      temperatureFloor += 2 ** -126 * (negativeMass / all) * (Math.abs(s[i][j]) + Math.abs(s[i][p]));
      negativeSum += s[i][j];
    });
    coefficients[i][p] -= (scale * negativeMass) / all;
    coefficients[p][i] -= (scale * negativeMass) / all;
  }
  return {
    perRow,
    rowLogSumExp,
    loss: perRow.reduce((sum, value) => sum + value, 0),
    gradient: vectors.gradient(coefficients, vectors),
    temperatureGradient: (-scale * temperatureSum) / temperature,
    temperatureSize: (scale * temperatureSize) / temperature,
    temperatureFloor: (scale * temperatureFloor) / temperature,
    positiveSimilarity: M > 2 ? positiveSum / M : Number.NaN,
    negativeSimilarity: M > 2 ? negativeSum / (M * (M - 2)) : Number.NaN,
    margins,
  };
}

function marginOf({ data, shape }: Matrix, p: number, negatives: number[], s: number[]): number {
  const cols = shape[1];
  const isCopy = (j: number): boolean => data.subarray(j * cols, (j + 1) * cols).every((value, k) => value === data[p * cols + k]);
  return negatives.some(isCopy) ? Number.NEGATIVE_INFINITY : s[p] - Math.max(...negatives.map((j) => s[j]));
}

export interface UniformityOracle {
  readonly loss: number;
  readonly gradient: OracleGradient;
}

export function uniformityOracle(x: Matrix, t: number, normalize: boolean): UniformityOracle {
  const vectors = new Vectors(x, normalize);
  const M = vectors.rows;
  const exponents = vectors.u.map((a) => vectors.u.map((b) => -t * a.reduce((sum, value, k) => sum + (value - b[k]) ** 2, 0)));
  const all: number[] = [];
  for (let i = 0; i < M; i++) for (let j = i + 1; j < M; j++) all.push(exponents[i][j]);
  const largest = all.reduce((m, value) => Math.max(m, value), Number.NEGATIVE_INFINITY);
  const total = all.reduce((sum, value) => sum + Math.exp(value - largest), 0);
  // d exponent_ij / d u_i = 2t (u_j - u_i). What lies along u_i is projected away, so it only counts without normalisation.
  const coefficients = exponents.map((row, i) => row.map((value, j) => (i === j ? 0 : (2 * t * Math.exp(value - largest)) / total)));
  if (!normalize) for (let i = 0; i < M; i++) coefficients[i][i] = -coefficients[i].reduce((sum, value) => sum + value, 0);
  return { loss: Math.log(total / all.length) + largest, gradient: vectors.gradient(coefficients, vectors) };
}

export interface AlignmentOracle {
  readonly perRow: Float64Array;
  readonly loss: number;
  readonly x: OracleGradient;
  readonly y: OracleGradient;
  readonly positiveSimilarity: number;
}

export function alignmentOracle(x: Matrix, y: Matrix, alpha: number, normalize: boolean, weight: number): AlignmentOracle {
  const u = new Vectors(x, normalize);
  const v = new Vectors(y, normalize);
  const differences = u.u.map((a, i) => a.map((value, k) => value - v.u[i][k]));
  const distances = differences.map((row) => Math.hypot(...row));
  const perRow = Float64Array.from(distances, (distance) => distance ** alpha);
  // By u_i: weight alpha d^(alpha - 2) (u_i - v_i); by v_i the opposite.
  const slopes = distances.map((d) => (d > 0 ? weight * alpha * d ** (alpha - 2) : 0));
  const sizes = slopes.map((slope, i) => slope * (normalize ? 1 : u.norm[i] + v.norm[i]));
  const directions = (sign: number) => differences.map((row, i) => row.map((value) => sign * slopes[i] * value));
  return {
    perRow,
    loss: perRow.reduce((sum, value) => sum + value, 0),
    x: u.byInput(directions(1), sizes),
    y: v.byInput(directions(-1), sizes),
    positiveSimilarity: u.u.reduce((sum, a, i) => sum + dot(a, v.u[i]), 0) / u.rows,
  };
}

export function backwardOracle(x: Matrix, y: Matrix, upstream: Matrix, normalize: boolean): { x: OracleGradient; y: OracleGradient } {
  const u = new Vectors(x, normalize);
  const v = new Vectors(y, normalize);
  const coefficients = u.u.map((_, i) => v.u.map((_, j) => upstream.data[i * v.rows + j]));
  const transposed = v.u.map((_, j) => u.u.map((_, i) => coefficients[i][j]));
  return { x: u.gradient(coefficients, v), y: v.gradient(transposed, u) };
}
