/**
 * Alignment, the specification: the sum over rows of |u_i - v_i|^alpha, u from x and v from y.
 *
 * The gradient by u_i is alpha |u_i - v_i|^(alpha - 1) times the unit vector along u_i - v_i, and 0 where they are equal
 * (for alpha <= 1 that is a choice: there is no derivative).
 */
import type { KernelCall } from '../backends/backend.js';
import { checkFitsFloat32, gradientByInput, readRows } from './rows.js';
import { NO_STATS, type Steps } from './steps.js';

export function* alignment({ inputs, parameters, outputs, options }: KernelCall<'alignment'>): Steps {
  const { alpha } = parameters;
  const x = readRows('x', inputs.x, options.normalize);
  const y = readRows('y', inputs.y, options.normalize);
  const { rows, cols } = x;
  const gradientX = outputs.x && new Float64Array(x.u.length);
  const gradientY = outputs.y && new Float64Array(y.u.length);
  const perRow = new Float64Array(rows);
  let loss = 0;
  let similarity = 0;

  for (let i = 0; i < rows; i++) {
    let square = 0;
    for (let k = i * cols; k < (i + 1) * cols; k++) {
      const difference = x.u[k] - y.u[k];
      square += difference * difference;
      similarity += x.u[k] * y.u[k];
    }
    const distance = Math.sqrt(square);
    perRow[i] = alpha === 2 ? square : distance ** alpha;
    loss += perRow[i];
    if (distance > 0) {
      const slope = alpha * distance ** (alpha - 1);
      for (let k = i * cols; k < (i + 1) * cols; k++) {
        const step = slope * ((x.u[k] - y.u[k]) / distance);
        if (gradientX) gradientX[k] = step;
        if (gradientY) gradientY[k] = -step;
      }
    }
    yield;
  }

  if (gradientX) gradientByInput('x', x, gradientX, options.weight);
  if (gradientY) gradientByInput('y', y, gradientY, options.weight);
  checkFitsFloat32('x', 'a loss', perRow);
  if (gradientX) outputs.x?.set(gradientX);
  if (gradientY) outputs.y?.set(gradientY);
  outputs.perRow?.set(perRow);
  return {
    loss,
    temperatureGradient: Number.NaN,
    biasGradient: Number.NaN,
    stats: { ...NO_STATS, positiveSimilarity: similarity / rows },
  };
}
