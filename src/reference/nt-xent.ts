/**
 * NT-Xent, the specification. With z_ij = s_ij / temperature and p the positive of row i:
 *
 *   N_i    = sum over negatives j (neither i nor p) of exp(z_ij), kept as its logarithm
 *   loss_i = -z_ip + log(exp(z_ip) + N_i) = softplus(log N_i - z_ip)
 *   q_i    = N_i / (exp(z_ip) + N_i)      = sigmoid(log N_i - z_ip)
 *
 *   d loss_i / d s_ij = q_i exp(z_ij - log N_i) / temperature,   d loss_i / d s_ip = -q_i / temperature
 *   d loss_i / d temperature = -(sum over negatives of p_ij (s_ij - s_ip)) / temperature^2
 *
 * The probability of the positive minus one is never formed, and neither is 1 - q: at confident rows both are differences
 * of nearly equal numbers. Row i of the similarities is all that is stored; its part of the gradient goes to every row at once.
 */
import type { KernelCall, PairLayout } from '../backends/backend.js';
import { sigmoid, softplus } from './logistic.js';
import { addRowOfPairs, checkFitsFloat32, type Directions, gradientByInput, readRows, rowProducts } from './rows.js';
import type { Steps } from './steps.js';

interface RowLoss {
  loss: number;
  logSumExp: number;
  /** The sum over negatives of p_ij (s_ij - s_ip). */
  temperatureSum: number;
  positive: number;
  negativeSum: number;
  hit: boolean;
}

export function* ntXent({ inputs, parameters, outputs, options }: KernelCall<'ntXent'>): Steps {
  const { temperature, pairs } = parameters;
  const z = readRows('z', inputs.z, options.normalize);
  const { rows } = z;
  const similarities = new Float64Array(rows);
  const gradient = outputs.z && new Float64Array(z.u.length);
  const perRow = new Float64Array(outputs.perRow ? rows : 0);
  const rowLogSumExp = new Float64Array(outputs.rowLogSumExp ? rows : 0);
  let loss = 0;
  let temperatureSum = 0;
  let positive = 0;
  let negative = 0;
  let hits = 0;

  for (let i = 0; i < rows; i++) {
    const row = oneRow(z, i, positiveOf(i, rows, pairs), temperature, similarities, gradient);
    loss += row.loss;
    temperatureSum += row.temperatureSum;
    positive += row.positive;
    negative += row.negativeSum;
    hits += row.hit ? 1 : 0;
    if (outputs.perRow) perRow[i] = row.loss;
    if (outputs.rowLogSumExp) rowLogSumExp[i] = row.logSumExp;
    yield;
  }

  if (gradient) gradientByInput('z', z, gradient, options.weight / temperature);
  checkFitsFloat32('z', 'a loss', perRow);
  checkFitsFloat32('z', 'a log-sum-exp', rowLogSumExp);
  if (gradient) outputs.z?.set(gradient);
  outputs.perRow?.set(perRow);
  outputs.rowLogSumExp?.set(rowLogSumExp);

  const counted = rows > 2 ? rows : 0; // one pair alone: each row's only candidate is its own positive
  return {
    loss,
    temperatureGradient: gradient ? (-options.weight * temperatureSum) / (temperature * temperature) : Number.NaN,
    biasGradient: Number.NaN,
    stats: {
      positiveSimilarity: counted ? positive / counted : Number.NaN,
      negativeSimilarity: counted ? negative / (counted * (rows - 2)) : Number.NaN,
      accuracy: counted ? hits / counted : Number.NaN,
      skippedRows: rows - counted,
    },
  };
}

/** The other view of row i. */
export function positiveOf(i: number, rows: number, pairs: PairLayout): number {
  if (pairs === 'interleaved') return i ^ 1;
  const half = rows / 2;
  return i < half ? i + half : i - half;
}

/**
 * Row i: its loss, and its part of the gradient by every u (times temperature), added to `gradient`. `s` is scratch [rows].
 */
function oneRow(z: Directions, i: number, p: number, temperature: number, s: Float64Array, gradient: Float64Array | null): RowLoss {
  const { rows } = z;
  rowProducts(z, i, z, s);
  const positive = s[p];

  let largest = Number.NEGATIVE_INFINITY;
  let negativeSum = 0;
  for (let j = 0; j < rows; j++) {
    if (j === i || j === p) continue;
    negativeSum += s[j];
    if (s[j] > largest) largest = s[j];
  }
  let scaledSum = 0;
  for (let j = 0; j < rows; j++) {
    if (j !== i && j !== p) scaledSum += Math.exp((s[j] - largest) / temperature);
  }
  // log N_i - z_ip; -Infinity where there is no negative, which gives loss 0 and q 0.
  const logRatio = (largest - positive) / temperature + Math.log(scaledSum);
  const loss = softplus(logRatio);
  const q = sigmoid(logRatio);

  let temperatureSum = 0;
  if (gradient) {
    const coefficients = s; // in place: each similarity is read once more
    for (let j = 0; j < rows; j++) {
      if (j === i || j === p) continue;
      const probability = (q / scaledSum) * Math.exp((s[j] - largest) / temperature);
      temperatureSum += probability * (s[j] - positive);
      coefficients[j] = probability;
    }
    coefficients[i] = 0;
    coefficients[p] = -q;
    addRowOfPairs(z, i, z, coefficients, gradient, gradient);
  }
  return { loss, logSumExp: positive / temperature + loss, temperatureSum, positive, negativeSum, hit: positive > largest };
}
