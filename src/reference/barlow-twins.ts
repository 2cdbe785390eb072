/**
 * Barlow Twins, the specification. With a and b standardised column by column (biased variance, plus EPSILON) over N rows:
 *
 *   c_ij = (1/N) sum_n a_ni b_nj          the correlation of column i of one view with column j of the other
 *   loss = sum_i (1 - c_ii)^2 + lambda sum_{i != j} c_ij^2
 *
 * 1 - c_ii is not formed by subtraction, which would lose the digits of matching columns. As mean a_i^2 = 1 - EPSILON / sigma^2,
 *
 *   1 - c_ii = ( mean_n (a_ni - b_ni)^2 + EPSILON / sigma_a^2 + EPSILON / sigma_b^2 ) / 2,   sigma^2 = variance + EPSILON.
 *
 * One row of c is all that is stored of it.
 */
import type { KernelCall } from '../backends/backend.js';
import { gradientThroughStandardising, readCentredColumns, standardise, transposed } from './columns.js';
import { addRowOfPairs, rowProducts } from './rows.js';
import { NO_STATS, type Steps } from './steps.js';

const EPSILON = 1e-5;

export function* barlowTwins({ inputs, parameters, outputs, options }: KernelCall<'barlowTwins'>): Steps {
  const { lambda } = parameters;
  const a = readCentredColumns('a', inputs.a);
  const b = readCentredColumns('b', inputs.b);
  standardise(a, EPSILON);
  standardise(b, EPSILON);
  const { rows: columns, cols: items } = a;
  const wanted = outputs.a !== null || outputs.b !== null;
  const gradientA = wanted ? new Float64Array(a.u.length) : null;
  const gradientB = wanted ? new Float64Array(b.u.length) : null;
  const correlations = new Float64Array(columns);
  let loss = 0;

  for (let i = 0; i < columns; i++) {
    rowProducts(a, i, b, correlations);
    let apart = 0;
    for (let n = i * items; n < (i + 1) * items; n++) apart += (a.u[n] - b.u[n]) ** 2;
    const missing = (apart / items + EPSILON / (a.variance[i] + EPSILON) + EPSILON / (b.variance[i] + EPSILON)) / 2;
    let others = 0;
    for (let j = 0; j < columns; j++) {
      const correlation = correlations[j] / items;
      if (j !== i) others += correlation * correlation;
      correlations[j] = (2 * (j === i ? -missing : lambda * correlation)) / items; // from here on the coefficient of the pair
    }
    loss += missing * missing + lambda * others;
    if (gradientA && gradientB) addRowOfPairs(a, i, b, correlations, gradientA, gradientB);
    yield;
  }

  const results = [['a', a, gradientA, outputs.a] as const, ['b', b, gradientB, outputs.b] as const].map(
    ([name, side, gradient, output]) => {
      if (!gradient || !output) return null;
      gradientThroughStandardising(side, gradient, EPSILON);
      return transposed(name, side, gradient, options.weight);
    },
  );
  if (results[0]) outputs.a?.set(results[0]);
  if (results[1]) outputs.b?.set(results[1]);
  return { loss, temperatureGradient: Number.NaN, biasGradient: Number.NaN, stats: NO_STATS };
}
