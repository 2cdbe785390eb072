/**
 * The comparison rules of the numerics contract (docs/numerics.md), used by every test of a backend.
 *
 *   tolerance(temperature) = max(1e-6, 2e-7 / temperature): what rounding a float32 dot product costs after the division.
 *   loss       relative, at any size, for sums of positive terms; else relative to max(1, |loss|)
 *   gradient   |g - expected| <= tolerance * max(|expected|, A), norms over all rows; see oracle.ts for A.
 *              Where float32 ends (denormals), one step of 1.4e-45 an element on top.
 */
import { expect } from 'vitest';
import type { OracleGradient } from './oracle.js';

const FLOAT32_STEP = 2 ** -149;

/** float32 results carry this rounding, relative. */
const FLOAT32_ROUNDING = 2 ** -24;

export function tolerance(temperature: number): number {
  return Math.max(1e-6, 2e-7 / temperature);
}

/** Where rows are not normalised, products and with them their rounding grow by this. */
export function dotScale(largestNormX: number, largestNormY: number): number {
  return Math.max(1, largestNormX * largestNormY);
}

function fail(what: string, got: unknown, expected: unknown, error: number, allowed: number): void {
  expect.fail(`${what}: got ${got}, expected ${expected}; the error ${error} is larger than ${allowed} allows`);
}

/**
 * `floor` 0: relative at any size (sums of positive terms). `floor` 1: absolute below 1.
 *
 * @param noise an absolute error to grant on top, where the input itself does not determine the value more closely.
 */
export function expectNumber(what: string, got: number, expected: number, tol: number, floor: 0 | 1, noise = 1e-300): void {
  if (Number.isNaN(expected)) {
    expect(got, what).toBeNaN();
    return;
  }
  const error = Math.abs(got - expected);
  const allowed = tol * Math.max(Math.abs(expected), floor) + noise;
  if (!(error <= allowed)) fail(what, got, expected, error, allowed);
}

/** Every element by itself, as `expectNumber`; float32 rounding and its smallest step are granted. */
export function expectEach(
  what: string,
  got: ArrayLike<number>,
  expected: ArrayLike<number>,
  tol: number,
  floor: 0 | 1,
  noise = FLOAT32_STEP,
): void {
  expect(got.length, `${what}: length`).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(got[i] - expected[i]);
    const allowed = (tol + FLOAT32_ROUNDING) * Math.max(Math.abs(expected[i]), floor) + noise;
    if (!(error <= allowed)) fail(`${what}[${i}]`, got[i], expected[i], error, allowed);
  }
}

/**
 * The gradient rule, twice: on the gradient as it is, and with each row multiplied by its norm, so that rows of large norm
 * (and small gradient) are looked at as closely as the others.
 *
 * @param expected the reference's gradient; `oracle` supplies the sizes and norms.
 * @param coefficientStep what the smallest step of float32 in a coefficient makes of the gradient by a row of norm 1, where the rows of
 *   this array may have such coefficients only, beside larger ones of other arrays.
 */
export function expectGradient(
  what: string,
  got: Float32Array,
  expected: ArrayLike<number>,
  oracle: OracleGradient,
  tol: number,
  coefficientStep = 0,
): void {
  expect(got.length, `${what}: length`).toBe(expected.length);
  const finite = got.findIndex((value) => !Number.isFinite(value));
  expect(finite, `${what}: first element that is not finite`).toBe(-1);
  const { cols, norms, sizes } = oracle;
  for (const byNorm of [false, true]) {
    let error = 0;
    let size = 0;
    let A = 0;
    let steps = 0;
    for (let i = 0; i < norms.length; i++) {
      const scale = byNorm ? norms[i] : 1;
      A += (scale * sizes[i]) ** 2;
      steps += cols * (scale * FLOAT32_STEP) ** 2 + (norms[i] > 0 ? ((scale * coefficientStep) / norms[i]) ** 2 : 0);
      for (let k = i * cols; k < (i + 1) * cols; k++) {
        error += (scale * (got[k] - expected[k])) ** 2;
        size += (scale * expected[k]) ** 2;
      }
    }
    const allowed = tol * Math.sqrt(Math.max(size, A)) + Math.sqrt(steps);
    const name = byNorm ? `${what}, rows times their norms` : what;
    if (!(Math.sqrt(error) <= allowed))
      fail(`|${name}|`, 'a vector', `norm ${Math.sqrt(size)}, A ${Math.sqrt(A)}`, Math.sqrt(error), allowed);
  }
}

/**
 * The share of rows whose positive beats every negative: exact but for rows so close to a tie that float32 may decide either
 * way. A copy of the positive among the negatives is a miss on every backend.
 */
export function expectAccuracy(got: number, margins: Float64Array, similarityError: number): void {
  const certain = margins.filter((margin) => margin > similarityError).length;
  const possible = margins.filter((margin) => margin > -similarityError).length;
  const rows = Math.round(got * margins.length);
  expect(got * margins.length, 'accuracy times rows is a whole number').toBeCloseTo(rows, 6);
  if (rows < certain || rows > possible) fail('accuracy', rows, `${certain} to ${possible} of ${margins.length} rows`, rows, possible);
}
