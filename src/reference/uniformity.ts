/**
 * Uniformity, the specification: log mean over pairs i < j of exp(-t |u_i - u_j|^2).
 *
 * The largest exponent of all pairs is subtracted before the exponential, so rows that are far apart give a finite loss.
 * With p_ij the pair's share of the sum, the gradient by u_i is 2t sum_j p_ij (u_j - u_i). Two passes over the pairs: the
 * shares are known only when all pairs are. Squared distances are sums of squared differences, so near pairs keep theirs.
 */
import type { KernelCall } from '../backends/backend.js';
import { type Directions, gradientByInput, readRows } from './rows.js';
import { NO_STATS, type Steps } from './steps.js';

export function* uniformity({ inputs, parameters, outputs, options }: KernelCall<'uniformity'>): Steps {
  const { t } = parameters;
  const x = readRows('x', inputs.x, options.normalize);
  const { rows } = x;
  const distances = new Float64Array(rows);

  let largest = Number.NEGATIVE_INFINITY;
  let total = 0; // sum of exp(exponent - largest)
  for (let i = 0; i < rows - 1; i++) {
    squaredDistancesAfter(x, i, distances);
    let nearest = Number.POSITIVE_INFINITY;
    for (let j = i + 1; j < rows; j++) nearest = Math.min(nearest, distances[j]);
    if (-t * nearest > largest) {
      total *= Math.exp(largest + t * nearest);
      largest = -t * nearest;
    }
    for (let j = i + 1; j < rows; j++) total += Math.exp(-t * distances[j] - largest);
    yield;
  }

  if (outputs.x) {
    const gradient = new Float64Array(x.u.length);
    for (let i = 0; i < rows - 1; i++) {
      squaredDistancesAfter(x, i, distances);
      for (let j = i + 1; j < rows; j++) {
        const share = Math.exp(-t * distances[j] - largest) / total;
        if (share > 0) addPair(gradient, i, j, share, x);
      }
      yield;
    }
    gradientByInput('x', x, gradient, 2 * t);
    outputs.x.set(gradient);
  }

  const pairs = (rows * (rows - 1)) / 2;
  return { loss: Math.log(total / pairs) + largest, temperatureGradient: Number.NaN, biasGradient: Number.NaN, stats: NO_STATS };
}

/** distances[j] = |u_i - u_j|^2 for j > i. */
function squaredDistancesAfter({ rows, cols, u }: Directions, i: number, distances: Float64Array): void {
  const a = i * cols;
  for (let j = i + 1; j < rows; j++) {
    const b = j * cols;
    let sum = 0;
    for (let k = 0; k < cols; k++) {
      const difference = u[a + k] - u[b + k];
      sum += difference * difference;
    }
    distances[j] = sum;
  }
}

/** Row i is pushed along u_j - u_i, row j the other way. */
function addPair(gradient: Float64Array, i: number, j: number, share: number, { cols, u }: Directions): void {
  const a = i * cols;
  const b = j * cols;
  for (let k = 0; k < cols; k++) {
    const step = share * (u[b + k] - u[a + k]);
    gradient[a + k] += step;
    gradient[b + k] -= step;
  }
}
