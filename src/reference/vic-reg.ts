/**
 * VICReg, the specification: the weighted sum of three terms of two views a and b [N, d], C the unbiased covariance of one
 * view's columns:
 *
 *   invariance   mean over all N d values of (a - b)^2
 *   variance     half the sum over the two views of mean_k max(0, 1 - sqrt(C_kk + EPSILON))
 *   covariance   the sum over the two views of (1/d) sum_{i != j} C_ij^2
 *
 * One row of C is all that is stored of it.
 */
import type { KernelCall } from '../backends/backend.js';
import { type Columns, readCentredColumns, transposed } from './columns.js';
import { addRowOfPairs, rowProducts } from './rows.js';
import { NO_STATS, type Steps } from './steps.js';

const EPSILON = 1e-4;

export function* vicReg({ inputs, parameters, outputs, options }: KernelCall<'vicReg'>): Steps {
  const { invariance, variance, covariance } = parameters;
  const a = readCentredColumns('a', inputs.a);
  const b = readCentredColumns('b', inputs.b);
  const gradientA = outputs.a && new Float64Array(a.u.length);
  const gradientB = outputs.b && new Float64Array(b.u.length);
  let loss = invariance * meanSquare(inputs.a.data, inputs.b.data);
  loss += variance * hinge(a, gradientA, variance) + covariance * (yield* offDiagonal(a, gradientA, covariance));
  loss += variance * hinge(b, gradientB, variance) + covariance * (yield* offDiagonal(b, gradientB, covariance));

  if (gradientA) addDifferences(a, inputs.a.data, inputs.b.data, gradientA, invariance);
  if (gradientB) addDifferences(b, inputs.b.data, inputs.a.data, gradientB, invariance);
  const resultA = gradientA && transposed('a', a, gradientA, options.weight);
  const resultB = gradientB && transposed('b', b, gradientB, options.weight);
  if (resultA) outputs.a?.set(resultA);
  if (resultB) outputs.b?.set(resultB);
  return { loss, temperatureGradient: Number.NaN, biasGradient: Number.NaN, stats: NO_STATS };
}

function meanSquare(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += (a[k] - b[k]) ** 2;
  return sum / a.length;
}

/** The gradient of weight * meanSquare by `own`, added to the gradient by its columns. */
function addDifferences(
  { rows: d, cols: N }: Columns,
  own: Float32Array,
  other: Float32Array,
  gradient: Float64Array,
  weight: number,
): void {
  const factor = (2 * weight) / (N * d);
  for (let n = 0; n < N; n++) for (let k = 0; k < d; k++) gradient[k * N + n] += factor * (own[n * d + k] - other[n * d + k]);
}

/** Half the mean over columns of max(0, 1 - standard deviation); its gradient times `weight` is added. */
function hinge({ rows: d, cols: N, u, variance }: Columns, gradient: Float64Array | null, weight: number): number {
  let sum = 0;
  for (let k = 0; k < d; k++) {
    const deviation = Math.sqrt((variance[k] * N) / (N - 1) + EPSILON);
    if (deviation >= 1) continue;
    sum += 1 - deviation;
    const slope = -weight / (2 * d * (N - 1) * deviation);
    if (gradient) for (let n = k * N; n < (k + 1) * N; n++) gradient[n] += slope * u[n];
  }
  return sum / (2 * d);
}

/** (1/d) sum_{i != j} C_ij^2, each pair of columns once; its gradient times `weight` is added. */
function* offDiagonal(x: Columns, gradient: Float64Array | null, weight: number): Generator<void, number, void> {
  const { rows: d, cols: N } = x;
  const row = new Float64Array(d);
  let sum = 0;
  for (let i = 0; i < d; i++) {
    rowProducts(x, i, x, row);
    row.fill(0, 0, i + 1);
    for (let j = i + 1; j < d; j++) {
      const c = row[j] / (N - 1);
      sum += 2 * c * c;
      row[j] = (4 * weight * c) / (d * (N - 1));
    }
    if (gradient) addRowOfPairs(x, i, x, row, gradient, gradient);
    yield;
  }
  return sum / d;
}
