/** Uniformity on every kind of rows, compared with the reference and with the definition in float64. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Matrix, matrix, uniformity } from '../../src/index.js';
import { expectBackend, PROPERTY } from '../support/backend.js';
import { dotScale, expectGradient, expectNumber, tolerance } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, layOut, makeViews, normsAreModerate } from '../support/families.js';
import { goldens, gradients, stacked } from '../support/golden.js';
import { uniformityOracle } from '../support/oracle.js';

function expectRight(x: Matrix, t: number, normalize = true): void {
  const got = uniformity(x, { t, normalize, gradients: true });
  expectBackend(got);
  const oracle = uniformityOracle(x, t, normalize);
  const reference = uniformity(x, { t, normalize, gradients: true, backend: 'reference' });
  const largest = largestNorm(x);
  const tol = tolerance(1 / (2 * t)) * (normalize ? 1 : dotScale(largest, largest));
  for (const loss of [reference.loss, oracle.loss]) expectNumber('loss', got.loss, loss, tol, 1);
  for (const values of [reference.gradients.x, oracle.gradient.values]) {
    expectGradient('gradients.x', got.gradients.x, values, oracle.gradient, tol);
  }
}

/** An odd or even number of rows of this kind. */
function rowsOf(family: Family, rows: number, cols: number, seed: number): Matrix {
  const { data } = layOut(makeViews(family, Math.ceil(rows / 2), cols, seed), 'halves');
  return matrix(data.slice(0, rows * cols), rows, cols);
}

describe('against the reference', () => {
  test.each(FAMILIES)('%s', (family) => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 2, max: 72 }),
          cols: fc.integer({ min: 1, max: 70 }),
          seed: fc.nat(1e6),
          t: fc.oneof(
            fc.constantFrom(0.05, 0.5, 2, 7, 100),
            fc.double({ min: -1.3, max: 2, noNaN: true }).map((exponent) => 10 ** exponent),
          ),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        ({ rows, cols, seed, t, normalize }) => expectRight(rowsOf(family, rows, cols, seed), t, normalize),
      ),
      PROPERTY,
    );
  });

  test.each([63, 64, 65, 95, 96, 97, 127, 129, 191, 193, 257, 385, 580])('%i rows, where tiles end', (rows) => {
    expectRight(rowsOf('random', rows, 19, rows), 2);
  });

  test.each([
    [768, 30],
    [4096, 16],
  ])('rows of %i columns', (cols, rows) => {
    for (const family of ['random', 'clustered', 'tight', 'duplicated'] as const) {
      for (const t of [0.5, 2, 100]) expectRight(rowsOf(family, rows, cols, 3), t);
    }
  });
});

describe('golden values', () => {
  test.each(goldens('uniform_loss').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const x = stacked(golden, 'x');
    const t = golden.params.t as number;
    const got = uniformity(x, { t, gradients: true });
    expectBackend(got);
    expectNumber('loss', got.loss, golden.expected.loss as number, tolerance(1 / (2 * t)), 1);
    expectGradient(
      'gradients.x',
      got.gradients.x,
      gradients(golden, 1, 'x'),
      uniformityOracle(x, t, true).gradient,
      tolerance(1 / (2 * t)),
    );
  });
});

describe('exact cases', () => {
  test('equal rows: 0', () => {
    const got = uniformity(rowsOf('equal', 11, 6, 1), { gradients: true });
    expectNumber('loss', got.loss, 0, 1e-6, 1);
  });

  test('two opposite rows: -4t, however large t', () => {
    for (const t of [2, 50, 1000, 1e6]) {
      const got = uniformity(matrix(Float32Array.of(1, 2, 3, -1, -2, -3), 2, 3), { t, gradients: true });
      expectNumber('loss', got.loss, -4 * t, 1e-6, 1);
      expect(got.gradients.x.every(Number.isFinite)).toBe(true);
    }
  });

  test('the simplex in three dimensions: every squared distance is 8/3', () => {
    const simplex = Float32Array.of(1, 1, 1, 1, -1, -1, -1, 1, -1, -1, -1, 1);
    expectNumber('loss', uniformity(matrix(simplex, 4, 3), { t: 3 }).loss, -8, 1e-6, 1);
  });

  test('a zero row is the origin: at distance 1 from every other, 0 from another zero row', () => {
    const t = 2;
    const x = matrix(Float32Array.of(0, 0, 5, 0, 0, 0), 3, 2);
    const got = uniformity(x, { t, gradients: true });
    expectNumber('loss', got.loss, Math.log((1 + 2 * Math.exp(-t)) / 3), 1e-6, 1);
    expect([...got.gradients.x.subarray(0, 2), ...got.gradients.x.subarray(4)].every((value) => value === 0)).toBe(true);
  });

  test('without normalisation, rows far apart: the nearest pair decides', () => {
    const x = matrix(Float32Array.of(0, 0, 100, 0, 0, 300), 3, 2);
    const got = uniformity(x, { normalize: false, t: 0.5, gradients: true });
    expectNumber('loss', got.loss, -5000 - Math.log(3), 1e-6, 1);
    expectNumber('gradient', got.gradients.x[0], 100, 1e-6, 1);
    expectNumber('gradient', got.gradients.x[2], -100, 1e-6, 1);
  });

  test('no positives and negatives, so no stats of them; what is not asked for is not there', () => {
    const x = rowsOf('random', 6, 4, 2);
    const { stats } = uniformity(x);
    expect(stats?.positiveSimilarity).toBeNaN();
    expect(stats?.negativeSimilarity).toBeNaN();
    expect(stats?.accuracy).toBeNaN();
    expect(stats?.skippedRows).toBe(0);
    expect(Object.keys(uniformity(x, { stats: false })).sort()).toEqual(['backend', 'loss']);
    expect(Object.keys(uniformity(x, { gradients: true })).sort()).toEqual(['backend', 'gradients', 'loss', 'stats']);
  });
});
