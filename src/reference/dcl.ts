/**
 * Decoupled contrastive loss, the specification: for each of the 2N rows of x and y, with p the other view of its item and
 * z = similarity / temperature,
 *
 *   loss_i = -w_i z_ip + log sum over k neither i nor p of exp(z_ik)
 *
 * The positive is not in the denominator, so the loss can be negative. w is 1, or for DCLW 2 - N softmax_i(<x_i, y_i> / sigma), the
 * same for both views and without a gradient. One pair alone has no negatives: loss 0, both rows skipped.
 */
import type { KernelCall } from '../backends/backend.js';
import { Candidates } from './candidates.js';
import { addRowOfPairs, checkFitsFloat32, type Directions, gradientByInput, readRows, rowProducts } from './rows.js';
import type { Steps } from './steps.js';

export function* dcl({ inputs, parameters, outputs, options }: KernelCall<'dcl'>): Steps {
  const { temperature, weightSigma } = parameters;
  const views = [readRows('x', inputs.x, options.normalize), readRows('y', inputs.y, options.normalize)] as const;
  const { rows } = views[0];
  const wanted = outputs.x !== null || outputs.y !== null;
  const gradients = views.map(({ u }) => (wanted ? new Float64Array(u.length) : null));
  const weights = weightSigma === 0 ? new Float64Array(rows).fill(1) : vonMisesFisherWeights(views[0], views[1], weightSigma);
  const ofSameView = new Float64Array(rows);
  const ofOtherView = new Float64Array(rows);
  const negatives = new Candidates(2 * rows);
  const perRow = new Float64Array(2 * rows);
  const rowLogSumExp = new Float64Array(2 * rows).fill(Number.NEGATIVE_INFINITY);
  const counted = rows > 1 ? 2 * rows : 0;
  let loss = 0;
  let moment = 0;
  let positiveSum = 0;
  let negativeSum = 0;
  let hits = 0;

  for (let row = 0; row < counted; row++) {
    const [own, other] = row < rows ? [0, 1] : [1, 0];
    const i = row % rows;
    rowProducts(views[own], i, views[own], ofSameView);
    rowProducts(views[own], i, views[other], ofOtherView);
    negatives.clear();
    for (const products of [ofSameView, ofOtherView]) {
      for (let j = 0; j < rows; j++) if (j !== i) negatives.add(products[j], products[j] / temperature);
    }
    const positive = ofOtherView[i];
    const weight = weights[i];
    rowLogSumExp[row] = negatives.logSumExp();
    perRow[row] = rowLogSumExp[row] - (weight * positive) / temperature;
    loss += perRow[row];
    moment += negatives.share(1, weight * positive);
    positiveSum += positive;
    negativeSum += negatives.sum();
    hits += positive / temperature > negatives.largestLogit() ? 1 : 0;
    const ownGradient = gradients[own];
    const otherGradient = gradients[other];
    if (ownGradient && otherGradient) {
      for (let j = 0, n = 0; j < rows; j++) ofSameView[j] = j === i ? 0 : negatives.shares[n++];
      for (let j = 0, n = rows - 1; j < rows; j++) ofOtherView[j] = j === i ? -weight : negatives.shares[n++];
      addRowOfPairs(views[own], i, views[own], ofSameView, ownGradient, ownGradient);
      addRowOfPairs(views[own], i, views[other], ofOtherView, ownGradient, otherGradient);
    }
    yield;
  }

  const [gradientX, gradientY] = gradients;
  if (gradientX) gradientByInput('x', views[0], gradientX, options.weight / temperature);
  if (gradientY) gradientByInput('y', views[1], gradientY, options.weight / temperature);
  if (outputs.perRow) checkFitsFloat32('x', 'a loss', perRow);
  if (outputs.rowLogSumExp && counted > 0) checkFitsFloat32('x', 'a log-sum-exp', rowLogSumExp);
  if (gradientX) outputs.x?.set(gradientX);
  if (gradientY) outputs.y?.set(gradientY);
  outputs.perRow?.set(perRow);
  outputs.rowLogSumExp?.set(rowLogSumExp);
  return {
    loss,
    temperatureGradient: wanted ? (-options.weight * moment) / (temperature * temperature) : Number.NaN,
    biasGradient: Number.NaN,
    stats: {
      positiveSimilarity: counted ? positiveSum / counted : Number.NaN,
      negativeSimilarity: counted ? negativeSum / (counted * (counted - 2)) : Number.NaN,
      accuracy: counted ? hits / counted : Number.NaN,
      skippedRows: 2 * rows - counted,
    },
  };
}

/** [N]: 2 - N softmax_i(<x_i, y_i> / sigma). */
function vonMisesFisherWeights(x: Directions, y: Directions, sigma: number): Float64Array {
  const { rows, cols } = x;
  const exponents = new Float64Array(rows);
  for (let k = 0; k < rows * cols; k++) exponents[Math.floor(k / cols)] += (x.u[k] * y.u[k]) / sigma;
  const largest = exponents.reduce((most, e) => Math.max(most, e), Number.NEGATIVE_INFINITY);
  const shares = exponents.map((e) => Math.exp(e - largest));
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share) => 2 - (rows * share) / total);
}
