/**
 * Noise-contrastive estimation against a memory bank. Of n rows in the bank, row i is compared with its positive and m others drawn
 * at random; p = exp(s / temperature) / Z is what the model gives a row, 1/n what the noise gives it, and every row drawn is a
 * yes-or-no question of its own. With a = log p - log(m / n):
 *
 *   loss_i = softplus(-a_0) + sum over the m others of softplus(a_j)
 *
 * Z is a constant: without one, the mean of exp(s / temperature) over everything drawn, times n. Some code adds epsilon to
 * p + m/n: then the positive's is log((p + m/n + epsilon) / p), the others' log((p + m/n + epsilon) / (m/n)).
 */
import { NonFiniteError } from '../errors.js';
import type { Rows } from '../matrix.js';
import { sigmoid, softplus } from './logistic.js';
import type { Directions } from './rows.js';

export interface BankComparison {
  readonly query: Directions;
  /** Read row by row as it is drawn, so that a large bank is not copied; only drawn rows are checked for finite values. */
  readonly bank: Rows;
  /** [query.rows * (m + 1)]: the positive of each query, then its m others. */
  readonly indices: Int32Array;
  readonly temperature: number;
  /** log Z; NaN: to be estimated. */
  readonly logZ: number;
  readonly epsilon: number;
}

export interface BankLosses {
  readonly perRow: Float64Array;
  /** By u of the queries, times temperature; null where not wanted. */
  readonly gradient: Float64Array | null;
  /** The sum of d loss / d a times s. */
  readonly scaleSum: number;
  readonly logZ: number;
  readonly positive: number;
  readonly negative: number;
  readonly hits: number;
}

export function* memoryBankNce(
  { query, bank, indices, temperature, logZ: given, epsilon }: BankComparison,
  wantsGradient: boolean,
): Generator<void, BankLosses, void> {
  const { rows, cols } = query;
  const drawn = indices.length / rows;
  const similarities = new Float64Array(indices.length);
  const norms = new Float64Array(indices.length);
  for (let i = 0; i < rows; i++) {
    for (let n = i * drawn; n < (i + 1) * drawn; n++) {
      norms[n] = normOf(bank, indices[n], query.normalized);
      similarities[n] = dot(query, i, bank, indices[n]) / norms[n];
    }
    yield;
  }
  const logZ = Number.isNaN(given) ? logMeanExp(similarities, temperature) + Math.log(bank.rows) : given;
  const logNoise = Math.log((drawn - 1) / bank.rows);
  const slack = epsilon * Math.exp(-logNoise); // epsilon in units of m/n
  const gradient = wantsGradient ? new Float64Array(query.u.length) : null;
  const perRow = new Float64Array(rows);
  let scaleSum = 0;
  let positive = 0;
  let negative = 0;
  let hits = 0;

  for (let i = 0; i < rows; i++) {
    let largest = Number.NEGATIVE_INFINITY;
    const first = i * drawn;
    for (let n = first; n < first + drawn; n++) {
      const a = similarities[n] / temperature - logZ - logNoise;
      // With epsilon, p + m/n + epsilon = m/n (1 + slack) (1 + exp(shifted)).
      const shifted = a - Math.log1p(slack);
      const isPositive = n === first;
      perRow[i] += isPositive ? softplus(-shifted) : Math.log1p(slack) + softplus(shifted);
      const slope = isPositive ? -sigmoid(-shifted) : sigmoid(shifted);
      scaleSum += slope * similarities[n];
      if (isPositive) positive += similarities[n];
      else {
        negative += similarities[n];
        largest = Math.max(largest, similarities[n]);
      }
      if (!gradient) continue;
      const from = indices[n] * cols;
      for (let k = 0; k < cols; k++) gradient[i * cols + k] += slope * (bank.data[from + k] / norms[n]);
    }
    if (similarities[first] > largest) hits++;
    yield;
  }
  return { perRow, gradient, scaleSum, logZ, positive, negative, hits };
}

function dot({ u, cols }: Directions, i: number, { data }: Rows, j: number): number {
  let sum = 0;
  for (let k = 0; k < cols; k++) sum += u[i * cols + k] * data[j * cols + k];
  return sum;
}

/** What row j is divided by: its norm, or 1 where it is zero or rows stay as they are. Throws NonFiniteError. */
function normOf({ data, cols }: Rows, j: number, normalize: boolean): number {
  let square = 0;
  for (let k = j * cols; k < (j + 1) * cols; k++) square += data[k] * data[k];
  if (!Number.isFinite(square)) {
    const column = data.subarray(j * cols, (j + 1) * cols).findIndex((value) => !Number.isFinite(value));
    throw new NonFiniteError('bank', j, column, data[j * cols + column]);
  }
  return normalize && square > 0 ? Math.sqrt(square) : 1;
}

function logMeanExp(values: Float64Array, temperature: number): number {
  const largest = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const sum = values.reduce((total, value) => total + Math.exp((value - largest) / temperature), 0);
  return largest / temperature + Math.log(sum / values.length);
}
