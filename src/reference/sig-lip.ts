/**
 * SigLIP, the specification: every pair of a row of x with a row of y is a yes-or-no question of its own. With the logits
 * z_ij = s_ij / temperature + bias and y_ij = 1 on the diagonal, -1 elsewhere:
 *
 *   loss_i = sum_j softplus(-y_ij z_ij),   d loss_i / d z_ij = -y_ij sigmoid(-y_ij z_ij)
 *
 * Both are exact where a pair is decided: nothing is ever subtracted from 1.
 */
import type { KernelCall } from '../backends/backend.js';
import { sigmoid, softplus } from './logistic.js';
import { addRowOfPairs, checkFitsFloat32, gradientByInput, readRows, rowProducts } from './rows.js';
import type { Steps } from './steps.js';

export function* sigLip({ inputs, parameters, outputs, options }: KernelCall<'sigLip'>): Steps {
  const { temperature, bias } = parameters;
  const x = readRows('x', inputs.x, options.normalize);
  const y = readRows('y', inputs.y, options.normalize);
  const { rows } = x;
  const s = new Float64Array(rows);
  const wanted = outputs.x !== null || outputs.y !== null;
  const gradientX = wanted ? new Float64Array(x.u.length) : null;
  const gradientY = wanted ? new Float64Array(y.u.length) : null;
  const perRow = new Float64Array(rows);
  let loss = 0;
  let scaleSum = 0; // sum of d loss / d z_ij times s_ij
  let biasSum = 0;
  let positive = 0;
  let negative = 0;
  let hits = 0;

  for (let i = 0; i < rows; i++) {
    rowProducts(x, i, y, s);
    const own = s[i];
    let largestOther = Number.NEGATIVE_INFINITY;
    for (let j = 0; j < rows; j++) {
      const sign = j === i ? -1 : 1;
      const exponent = sign * (s[j] / temperature + bias);
      perRow[i] += softplus(exponent);
      if (j === i) positive += s[j];
      else {
        negative += s[j];
        if (s[j] > largestOther) largestOther = s[j];
      }
      const slope = sign * sigmoid(exponent);
      scaleSum += slope * s[j];
      biasSum += slope;
      s[j] = slope; // in place: each similarity is read once
    }
    loss += perRow[i];
    if (own > largestOther) hits++;
    if (gradientX && gradientY) addRowOfPairs(x, i, y, s, gradientX, gradientY);
    yield;
  }

  if (gradientX && outputs.x) gradientByInput('x', x, gradientX, options.weight / temperature);
  if (gradientY && outputs.y) gradientByInput('y', y, gradientY, options.weight / temperature);
  checkFitsFloat32('x', 'a loss', perRow);
  if (gradientX) outputs.x?.set(gradientX);
  if (gradientY) outputs.y?.set(gradientY);
  outputs.perRow?.set(perRow);
  const alone = rows === 1; // nothing to compare the one pair with, but it has a loss of its own
  return {
    loss,
    temperatureGradient: wanted ? (-options.weight * scaleSum) / (temperature * temperature) : Number.NaN,
    biasGradient: wanted ? options.weight * biasSum : Number.NaN,
    stats: {
      positiveSimilarity: positive / rows,
      negativeSimilarity: alone ? Number.NaN : negative / (rows * (rows - 1)),
      accuracy: alone ? Number.NaN : hits / rows,
      skippedRows: 0,
    },
  };
}
