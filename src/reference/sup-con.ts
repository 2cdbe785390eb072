/**
 * Supervised contrastive loss, the specification. P(i) are the other rows of row i's label, the rest are its negatives; with
 * z = similarity / temperature, P and N the sums of exp(z) over them, pi_p = exp(z_p) / P and q = N / (P + N):
 *
 *   out    loss_i = -mean over p of log softmax_p = (log P - mean z_p) + log(1 + N / P)
 *          d loss_i / d z_p = (pi_p - 1/|P(i)|) - q pi_p
 *   in     loss_i = -log mean over p of softmax_p = log |P(i)| + log(1 + N / P),        d loss_i / d z_p = -q pi_p
 *   pair   loss_ip = log(1 + N / exp(z_p)) for every pair, q_p = N / (exp(z_p) + N),    d loss_ip / d z_p = -q_p
 *
 * and d loss / d z_j = q exp(z_j) / N for a negative ('pair': the sum of the q_p). No probability minus one is formed; pi_p - 1/|P|
 * is (exp(z_p) - their mean) / P, which is 0 where the positives are equal.
 *
 * A row without positives, or with one and nothing else to compare, is skipped; with 'pair' also one without negatives.
 */
import type { KernelCall, SupConVariant } from '../backends/backend.js';
import { Candidates } from './candidates.js';
import { sigmoid, softplus } from './logistic.js';
import { addRowOfPairs, checkFitsFloat32, gradientByInput, readRows, rowProducts } from './rows.js';
import type { Steps } from './steps.js';

/** What a row adds: its loss, the sum over all candidates of d loss / d z times similarity, and the two sides' coefficients. */
interface RowLoss {
  readonly loss: number;
  readonly moment: number;
}

export function* supCon({ inputs, integers, parameters, outputs, options }: KernelCall<'supCon'>): Steps {
  const { temperature, variant } = parameters;
  const { labels } = integers;
  const z = readRows('z', inputs.z, options.normalize);
  const { rows } = z;
  const similarities = new Float64Array(rows);
  const positives = new Candidates(rows);
  const negatives = new Candidates(rows);
  const gradient = outputs.z && new Float64Array(z.u.length);
  const perRow = new Float64Array(rows);
  const rowLogSumExp = new Float64Array(rows);
  let loss = 0;
  let moment = 0;
  let counted = 0;
  let hits = 0;
  const sums = { positive: 0, positives: 0, negative: 0, negatives: 0 };

  for (let i = 0; i < rows; i++) {
    rowProducts(z, i, z, similarities);
    positives.clear();
    negatives.clear();
    for (let j = 0; j < rows; j++) {
      if (j !== i) (labels[j] === labels[i] ? positives : negatives).add(similarities[j], similarities[j] / temperature);
    }
    const logP = positives.logSumExp();
    const logN = negatives.logSumExp();
    rowLogSumExp[i] = positives.count > 0 ? logP + softplus(logN - logP) : logN;
    if (isCounted(positives.count, negatives.count, variant)) {
      const row = variant === 'pair' ? pairs(positives, negatives) : against(positives, negatives, variant);
      perRow[i] = row.loss;
      loss += row.loss;
      moment += row.moment;
      counted++;
      hits += positives.largestLogit() > negatives.largestLogit() ? 1 : 0;
      sums.positive += positives.sum();
      sums.positives += positives.count;
      sums.negative += negatives.sum();
      sums.negatives += negatives.count;
      if (gradient) {
        let p = 0;
        let n = 0;
        const coefficients = similarities; // in place: the similarities have been copied
        for (let j = 0; j < rows; j++) {
          if (j === i) coefficients[j] = 0;
          else coefficients[j] = labels[j] === labels[i] ? positives.shares[p++] : negatives.shares[n++];
        }
        addRowOfPairs(z, i, z, coefficients, gradient, gradient);
      }
    }
    yield;
  }

  if (gradient) gradientByInput('z', z, gradient, options.weight / temperature);
  if (outputs.perRow) checkFitsFloat32('z', 'a loss', perRow);
  if (outputs.rowLogSumExp) checkFitsFloat32('z', 'a log-sum-exp', rowLogSumExp);
  if (gradient) outputs.z?.set(gradient);
  outputs.perRow?.set(perRow);
  outputs.rowLogSumExp?.set(rowLogSumExp);
  return {
    loss,
    temperatureGradient: gradient ? (-options.weight * moment) / (temperature * temperature) : Number.NaN,
    biasGradient: Number.NaN,
    stats: {
      positiveSimilarity: sums.positives ? sums.positive / sums.positives : Number.NaN,
      negativeSimilarity: sums.negatives ? sums.negative / sums.negatives : Number.NaN,
      accuracy: counted ? hits / counted : Number.NaN,
      skippedRows: rows - counted,
    },
  };
}

function isCounted(positives: number, negatives: number, variant: SupConVariant): boolean {
  if (variant === 'pair') return positives > 0 && negatives > 0;
  return positives > 1 || (positives === 1 && negatives > 0);
}

/** Variants 'out' and 'in'. Leaves the coefficients in the `shares` of both. */
function against(positives: Candidates, negatives: Candidates, variant: 'out' | 'in'): RowLoss {
  const logP = positives.logSumExp();
  const logN = negatives.logSumExp();
  const q = sigmoid(logN - logP);
  positives.share(1, 0); // pi_p
  let center = 0; // sum of pi_p s_p
  let meanSimilarity = 0;
  let meanLogit = 0;
  for (let p = 0; p < positives.count; p++) {
    center += positives.shares[p] * positives.similarities[p];
    meanSimilarity += positives.similarities[p] / positives.count;
    meanLogit += positives.logits[p] / positives.count;
  }
  let moment = negatives.share(q, center);
  const spread = variant === 'out' ? positives.shares.subarray(0, positives.count).map(excess(positives)) : null;
  for (let p = 0; p < positives.count; p++) {
    const beyondMean = spread ? spread[p] : 0;
    moment += beyondMean * (positives.similarities[p] - meanSimilarity);
    positives.shares[p] = beyondMean - q * positives.shares[p];
  }
  const first = variant === 'out' ? logP - meanLogit : Math.log(positives.count);
  return { loss: first + softplus(logN - logP), moment };
}

/** pi_p - 1/|P|, from the differences of the exponentials. */
function excess(positives: Candidates): (share: number, p: number) => number {
  const largest = positives.largestLogit();
  let total = 0;
  for (let p = 0; p < positives.count; p++) total += Math.exp(positives.logits[p] - largest);
  const mean = total / positives.count;
  return (_, p) => (Math.exp(positives.logits[p] - largest) - mean) / total;
}

/** Variant 'pair'. Leaves the coefficients in the `shares` of both. */
function pairs(positives: Candidates, negatives: Candidates): RowLoss {
  const logN = negatives.logSumExp();
  let loss = 0;
  let total = 0; // of the q_p
  for (let p = 0; p < positives.count; p++) {
    loss += softplus(logN - positives.logits[p]);
    positives.shares[p] = -sigmoid(logN - positives.logits[p]);
    total -= positives.shares[p];
  }
  let center = 0; // of the positives, weighted by q_p
  for (let p = 0; p < positives.count; p++) if (total > 0) center -= (positives.shares[p] / total) * positives.similarities[p];
  return { loss, moment: negatives.share(total, center) };
}
