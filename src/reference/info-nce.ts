/**
 * InfoNCE, the specification. For query i with positive p (a row of `key`), z = similarity / temperature:
 *
 *   loss_i = -z_ip + log(exp(z_ip) + sum over negatives of exp(z))
 *
 * Its negatives are the other rows of `key` (inBatch; those that the mask, the labels or a guide take out excepted) and its rows of
 * `negatives`. Symmetric: half of that, and half of the column loss, where key row p has the positive query i and the other
 * queries as negatives. candidates.ts is the arithmetic of a row; one row of similarities is all that is stored.
 */
import type { KernelCall } from '../backends/backend.js';
import { againstNegatives, Candidates } from './candidates.js';
import { Guide } from './guide.js';
import { addRowOfPairs, checkFitsFloat32, type Directions, gradientByInput, readRows, rowProducts, rowsBetween } from './rows.js';
import type { Steps } from './steps.js';

/** Rows of one matrix that an anchor is compared with. */
interface ComparedRows {
  readonly y: Directions;
  readonly gradient: Float64Array | null;
  readonly isNegative: (j: number) => boolean;
  /** The candidate whose logit is raised by `added`; -1: none. */
  readonly own: number;
  readonly added: number;
}

interface Comparison {
  readonly loss: number;
  readonly positive: number;
  /** Of the negatives' probabilities times (similarity - positive). */
  readonly moment: number;
  readonly hit: boolean;
  readonly negatives: number;
  readonly negativeSum: number;
}

export function* infoNce(call: KernelCall<'infoNce'>): Steps {
  const { inputs, integers, parameters, outputs, options } = call;
  const { temperature, inBatch, symmetric, ownNegativeLogit } = parameters;
  const query = readRows('query', inputs.query, options.normalize);
  const key = readRows('key', inputs.key, options.normalize);
  const negatives = inputs.negatives && readRows('negatives', inputs.negatives, options.normalize);
  const { rows } = query;
  const wanted = outputs.query !== null || outputs.key !== null || outputs.negatives !== null;
  const gradientOf = (x: Directions): Float64Array | null => (wanted ? new Float64Array(x.u.length) : null);
  const gradientQuery = gradientOf(query);
  const gradientKey = gradientOf(key);
  const gradientNegatives = negatives && gradientOf(negatives);
  const perRow = new Float64Array(rows);
  const rowLogSumExp = new Float64Array(rows);
  const compare = comparer(temperature, Math.max(rows, key.rows) + (negatives ? negatives.rows + parameters.perQuery : 0));
  const isNegative = negativePairs(call, Guide.of(call));
  let loss = 0;
  let moment = 0;
  let positiveSum = 0;
  let negativeSum = 0;
  let negativeCount = 0;
  let hits = 0;
  let counted = 0;

  for (let i = 0; i < rows; i++) {
    const p = integers.positives ? integers.positives[i] : i;
    const ofKey: ComparedRows = { y: key, gradient: gradientKey, isNegative: (j) => j !== p && isNegative(i, j), own: -1, added: 0 };
    const candidates = inBatch ? [ofKey] : [oneCandidate(key, gradientKey, p)];
    if (negatives) {
      for (const { start, count } of rowsOfNegatives(i, negatives.rows, parameters, integers.negativeIndices)) {
        const y = rowsBetween(negatives, start, count);
        const gradient = gradientNegatives?.subarray(start * y.cols, (start + count) * y.cols) ?? null;
        candidates.push({ y, gradient, isNegative: () => true, own: ownNegativeLogit === 0 ? -1 : i, added: ownNegativeLogit });
      }
    }
    const row = compare(query, i, gradientQuery, candidates, inBatch ? p : 0);
    const ofQuery: ComparedRows = { y: query, gradient: gradientQuery, isNegative: (j) => j !== i && isNegative(j, p), own: -1, added: 0 };
    const column = symmetric ? compare(key, p, gradientKey, [ofQuery], i) : null;

    perRow[i] = column ? (row.loss + column.loss) / 2 : row.loss;
    rowLogSumExp[i] = row.positive / temperature + row.loss;
    loss += perRow[i];
    moment += column ? (row.moment + column.moment) / 2 : row.moment;
    if (row.negatives > 0 || (column && column.negatives > 0)) {
      counted++;
      positiveSum += row.positive;
      hits += row.hit ? 1 : 0;
    }
    negativeSum += row.negativeSum;
    negativeCount += row.negatives;
    yield;
  }

  const factor = (options.weight * (symmetric ? 0.5 : 1)) / temperature;
  if (gradientQuery) gradientByInput('query', query, gradientQuery, factor);
  if (gradientKey && outputs.key) gradientByInput('key', key, gradientKey, factor);
  if (negatives && gradientNegatives && outputs.negatives) gradientByInput('negatives', negatives, gradientNegatives, factor);
  if (outputs.perRow) checkFitsFloat32('query', 'a loss', perRow);
  if (outputs.rowLogSumExp) checkFitsFloat32('query', 'a log-sum-exp', rowLogSumExp);
  if (gradientQuery) outputs.query?.set(gradientQuery);
  if (gradientKey) outputs.key?.set(gradientKey);
  if (gradientNegatives) outputs.negatives?.set(gradientNegatives);
  outputs.perRow?.set(perRow);
  outputs.rowLogSumExp?.set(rowLogSumExp);
  return {
    loss,
    temperatureGradient: wanted ? (-options.weight * moment) / (temperature * temperature) : Number.NaN,
    biasGradient: Number.NaN,
    stats: {
      positiveSimilarity: counted ? positiveSum / counted : Number.NaN,
      negativeSimilarity: negativeCount ? negativeSum / negativeCount : Number.NaN,
      accuracy: counted ? hits / counted : Number.NaN,
      skippedRows: rows - counted,
    },
  };
}

/** Whether query i and key row j, not its positive, are compared at all. */
function negativePairs({ inputs, integers, parameters }: KernelCall<'infoNce'>, guide: Guide | null) {
  const { mask, queryLabels, keyLabels } = integers;
  const labels = { queryLabels, keyLabels, ownedKeys: parameters.ownedKeys };
  const keyRows = inputs.key.rows;
  return (i: number, j: number): boolean =>
    mask?.[i * keyRows + j] !== 0 && !leftOutByLabels(i, j, labels) && (guide === null || guide.counts(i, j));
}

export type Labels = Pick<KernelCall<'infoNce'>['integers'], 'queryLabels' | 'keyLabels'> &
  Pick<KernelCall<'infoNce'>['parameters'], 'ownedKeys'>;

/**
 * With ownedKeys: the label of the queries that alone see a key of this label; negative: its label is an ordinary one. The other way round
 * the label of the keys that queries of this label alone see.
 */
export function ownerOf(label: number): number {
  return -2 - label;
}

/** Whether labels say that key row j is no negative of query i. */
export function leftOutByLabels(i: number, j: number, { queryLabels, keyLabels, ownedKeys }: Labels): boolean {
  if (!queryLabels || !keyLabels) return false;
  const owner = ownedKeys ? ownerOf(keyLabels[j]) : -1;
  return owner >= 0 ? queryLabels[i] !== owner : queryLabels[i] === keyLabels[j];
}

/** The rows of `negatives` that query i sees, as runs of rows in order. */
function rowsOfNegatives(
  i: number,
  all: number,
  { negativeMode, perQuery }: KernelCall<'infoNce'>['parameters'],
  indices: Int32Array | null,
): { start: number; count: number }[] {
  if (negativeMode === 'shared') return [{ start: 0, count: all }];
  if (negativeMode === 'paired') return [{ start: i * perQuery, count: perQuery }];
  const own = (indices as Int32Array).subarray(i * perQuery, (i + 1) * perQuery);
  return Array.from(own, (start) => ({ start, count: 1 }));
}

/** Row p of `key` alone, for a query whose negatives are elsewhere. */
function oneCandidate(key: Directions, gradient: Float64Array | null, p: number): ComparedRows {
  const { cols } = key;
  const part = gradient?.subarray(p * cols, (p + 1) * cols) ?? null;
  return { y: rowsBetween(key, p, 1), gradient: part, isNegative: () => false, own: -1, added: 0 };
}

/**
 * A function that compares row i of x with candidates; the positive is row p of the first of them. Gradients by u, times the
 * temperature, are added on both sides.
 */
function comparer(temperature: number, capacity: number) {
  const negatives = new Candidates(capacity);
  const similarities = new Float64Array(capacity);
  return (x: Directions, i: number, gradient: Float64Array | null, candidates: readonly ComparedRows[], p: number): Comparison => {
    negatives.clear();
    let positive = 0;
    for (const [index, { y, isNegative, own, added }] of candidates.entries()) {
      rowProducts(x, i, y, similarities);
      if (index === 0) positive = similarities[p];
      for (let j = 0; j < y.rows; j++) {
        if (isNegative(j)) negatives.add(similarities[j], similarities[j] / temperature + (j === own ? added : 0));
      }
    }
    const { loss, q } = againstNegatives(positive / temperature, negatives.logSumExp());
    const moment = negatives.share(q, positive);
    if (gradient) {
      let n = 0;
      const coefficients = similarities;
      for (const [index, { y, gradient: other, isNegative }] of candidates.entries()) {
        for (let j = 0; j < y.rows; j++) coefficients[j] = isNegative(j) ? negatives.shares[n++] : 0;
        if (index === 0) coefficients[p] = -q;
        addRowOfPairs(x, i, y, coefficients, gradient, other as Float64Array);
      }
    }
    const hit = positive / temperature > negatives.largestLogit();
    return { loss, positive, moment, hit, negatives: negatives.count, negativeSum: negatives.sum() };
  };
}
