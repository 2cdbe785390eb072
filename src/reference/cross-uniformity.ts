/**
 * Uniformity across two sets, the specification: log mean over all rows i of x and j of y of exp(-t |u_i - v_j|^2).
 *
 * As for uniformity, the largest exponent is subtracted first, and the pairs are walked twice: a pair's share p_ij of the sum is
 * known only when all are. The gradient by u_i is 2t sum_j p_ij (v_j - u_i), by v_j it is 2t sum_i p_ij (u_i - v_j).
 */
import type { KernelCall } from '../backends/backend.js';
import { type Directions, gradientByInput, readRows } from './rows.js';
import { NO_STATS, type Steps } from './steps.js';

export function* crossUniformity({ inputs, parameters, outputs, options }: KernelCall<'crossUniformity'>): Steps {
  const { t } = parameters;
  const x = readRows('x', inputs.x, options.normalize);
  const y = readRows('y', inputs.y, options.normalize);
  const distances = new Float64Array(y.rows);

  let largest = Number.NEGATIVE_INFINITY;
  let total = 0; // sum of exp(exponent - largest)
  for (let i = 0; i < x.rows; i++) {
    squaredDistances(x, i, y, distances);
    const nearest = distances.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
    if (-t * nearest > largest) {
      total *= Math.exp(largest + t * nearest);
      largest = -t * nearest;
    }
    for (let j = 0; j < y.rows; j++) total += Math.exp(-t * distances[j] - largest);
    yield;
  }

  if (outputs.x || outputs.y) {
    const gradientX = new Float64Array(x.u.length);
    const gradientY = new Float64Array(y.u.length);
    for (let i = 0; i < x.rows; i++) {
      squaredDistances(x, i, y, distances);
      for (let j = 0; j < y.rows; j++) {
        const share = Math.exp(-t * distances[j] - largest) / total;
        if (share > 0) addPair(x, i, y, j, share, gradientX, gradientY);
      }
      yield;
    }
    if (outputs.x) gradientByInput('x', x, gradientX, 2 * t);
    if (outputs.y) gradientByInput('y', y, gradientY, 2 * t);
    outputs.x?.set(gradientX);
    outputs.y?.set(gradientY);
  }
  const loss = Math.log(total / (x.rows * y.rows)) + largest;
  return { loss, temperatureGradient: Number.NaN, biasGradient: Number.NaN, stats: NO_STATS };
}

/** distances[j] = |u_i - v_j|^2. */
function squaredDistances(x: Directions, i: number, y: Directions, distances: Float64Array): void {
  const { cols } = x;
  for (let j = 0; j < y.rows; j++) {
    let sum = 0;
    for (let k = 0; k < cols; k++) sum += (x.u[i * cols + k] - y.u[j * cols + k]) ** 2;
    distances[j] = sum;
  }
}

/** Row i of x is pushed along v_j - u_i, row j of y the other way. */
function addPair(
  x: Directions,
  i: number,
  y: Directions,
  j: number,
  share: number,
  gradientX: Float64Array,
  gradientY: Float64Array,
): void {
  const a = i * x.cols;
  const b = j * x.cols;
  for (let k = 0; k < x.cols; k++) {
    const step = share * (y.u[b + k] - x.u[a + k]);
    gradientX[a + k] += step;
    gradientY[b + k] -= step;
  }
}
