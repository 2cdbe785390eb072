/** Alignment on every kind of pairs, compared with the reference and with the definition in float64. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { alignment, type Matrix, matrix, type Reduction, uniformity } from '../../src/index.js';
import { expectBackend, PROPERTY } from '../support/backend.js';
import { dotScale, expectEach, expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, makeViews, normsAreModerate } from '../support/families.js';
import { goldens, gradients, stacked } from '../support/golden.js';
import { alignmentOracle, uniformityOracle } from '../support/oracle.js';

const TOLERANCE = 1e-6;

function expectRight(x: Matrix, y: Matrix, alpha: number, reduction: Reduction = 'mean', normalize = true): void {
  const options = { alpha, reduction, normalize, gradients: true } as const;
  const got = alignment(x, y, options);
  expectBackend(got);
  const weight = reduction === 'mean' ? 1 / x.shape[0] : 1;
  const oracle = alignmentOracle(x, y, alpha, normalize, weight);
  const reference = alignment(x, y, { ...options, backend: 'reference' });
  const scale = normalize ? 1 : dotScale(largestNorm(x), largestNorm(y));
  const tol = TOLERANCE * scale;
  // Rows on the same ray are at distance 0, or 2^-52 apart after float64 has normalised them: nobody can tell.
  const noise = normalize ? Math.max(2 ** -149, 2 ** (-51 * alpha)) : 2 ** -149;
  for (const loss of [reference.loss, weight * oracle.loss]) expectNumber('loss', got.loss, loss, tol, 0, noise * weight * x.shape[0]);
  for (const values of [reference.gradients.x, oracle.x.values]) expectGradient('gradients.x', got.gradients.x, values, oracle.x, tol);
  for (const values of [reference.gradients.y, oracle.y.values]) expectGradient('gradients.y', got.gradients.y, values, oracle.y, tol);
  if (reduction === 'none') expectEach('perRow', got.perRow as Float32Array, oracle.perRow, tol, 0, noise);
  else expect(got.perRow).toBeUndefined();
  expectNumber('positiveSimilarity', got.stats?.positiveSimilarity as number, oracle.positiveSimilarity, tol, 1);
}

function pairsOf(family: Family, items: number, cols: number, seed: number): [Matrix, Matrix] {
  const { first, second } = makeViews(family, items, cols, seed);
  return [matrix(first, items, cols), matrix(second, items, cols)];
}

describe('against the reference', () => {
  test.each(FAMILIES)('%s', (family) => {
    fc.assert(
      fc.property(
        fc.record({
          items: fc.integer({ min: 1, max: 60 }),
          cols: fc.integer({ min: 1, max: 70 }),
          seed: fc.nat(1e6),
          alpha: fc.oneof(fc.constantFrom(0.5, 1, 2, 3, 4), fc.double({ min: 0.5, max: 5, noNaN: true })),
          reduction: fc.constantFrom<Reduction>('mean', 'sum', 'none'),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        ({ items, cols, seed, alpha, reduction, normalize }) => {
          const [x, y] = pairsOf(family, items, cols, seed);
          expectRight(x, y, alpha, reduction, normalize);
        },
      ),
      PROPERTY,
    );
  });

  test.each([
    [768, 20],
    [4096, 10],
    [3, 3000],
  ])('rows of %i columns', (cols, items) => {
    for (const family of ['random', 'confident', 'tight'] as const) {
      const { first, second } = makeViews(family, items, cols, 3);
      const got = alignment(matrix(first, items, cols), matrix(second, items, cols), { gradients: true });
      const reference = alignment(matrix(first, items, cols), matrix(second, items, cols), { gradients: true, backend: 'reference' });
      expectNumber('loss', got.loss, reference.loss, TOLERANCE, 0);
      expectEach('gradient', got.gradients.x, reference.gradients.x, TOLERANCE, 1);
    }
  });
});

describe('golden values', () => {
  test.each(goldens('align_loss').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const x = stacked(golden, 'x');
    const y = stacked(golden, 'y');
    const alpha = golden.params.alpha as number;
    const normalize = golden.params.normalize_inside as boolean;
    const got = alignment(x, y, { alpha, normalize, gradients: true });
    expectBackend(got);
    const oracle = alignmentOracle(x, y, alpha, normalize, 1 / x.shape[0]);
    expectNumber('loss', got.loss, golden.expected.loss as number, TOLERANCE, 0);
    expectGradient('gradients.x', got.gradients.x, gradients(golden, 1, 'x'), oracle.x, TOLERANCE);
    expectGradient('gradients.y', got.gradients.y, gradients(golden, 1, 'y'), oracle.y, TOLERANCE);
  });

  test.each(goldens('HypersphereLoss').map((golden) => [golden.file, golden] as const))('%s: alignment + uniformity', (_, golden) => {
    const x = stacked(golden, 'z_a');
    const y = stacked(golden, 'z_b');
    const { t, alpha, lam } = golden.params as Record<string, number>;
    const aligned = alignment(x, y, { alpha, gradients: true });
    const uniform = [x, y].map((side) => uniformity(side, { t, gradients: true }));
    const half = lam / 2;
    expectNumber('loss', aligned.loss + half * (uniform[0].loss + uniform[1].loss), golden.expected.loss as number, 2e-6, 1);
    const sum = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => value + half * b[i]);
    const sizes = [x, y].map((side) => uniformityOracle(side, t, true).gradient);
    expectGradient('z_a', sum(aligned.gradients.x, uniform[0].gradients.x), gradients(golden, 1, 'z_a'), sizes[0], 2e-6);
    expectGradient('z_b', sum(aligned.gradients.y, uniform[1].gradients.x), gradients(golden, 1, 'z_b'), sizes[1], 2e-6);
  });
});

describe('exact cases', () => {
  const x = matrix(Float32Array.of(3, 4, 0, 2), 2, 2);

  test('equal views: loss 0 and gradient 0, for every alpha', () => {
    for (const alpha of [0.5, 1, 2, 3]) {
      const got = alignment(x, x, { alpha, gradients: true });
      expectBackend(got);
      expect(got.loss).toBe(0);
      expect([...got.gradients.x, ...got.gradients.y].every((value) => value === 0)).toBe(true);
    }
  });

  test('opposite views: 2 ** alpha', () => {
    const y = matrix(
      x.data.map((value) => -value),
      2,
      2,
    );
    for (const alpha of [1, 2, 3]) expectNumber('loss', alignment(x, y, { alpha }).loss, 2 ** alpha, 1e-6, 0);
  });

  test('zero rows: distance 1 from a row, 0 from another zero row, gradient 0', () => {
    const a = matrix(Float32Array.of(0, 0, 0, 0), 2, 2);
    const b = matrix(Float32Array.of(3, 4, 0, 0), 2, 2);
    const got = alignment(a, b, { reduction: 'none', gradients: true });
    expectEach('perRow', got.perRow as Float32Array, [1, 0], 1e-6, 0);
    expect(got.gradients.x.every((value) => value === 0)).toBe(true);
    expectEach('gradients.y', got.gradients.y, [0, 0, 0, 0], 1e-6, 1);
  });

  test('without normalisation: plain distances', () => {
    const y = matrix(Float32Array.of(0, 0, 0, 0), 2, 2);
    const got = alignment(x, y, { normalize: false, alpha: 1, reduction: 'none', gradients: true });
    expectEach('perRow', got.perRow as Float32Array, [5, 2], 1e-6, 0);
    expectEach('gradients.x', got.gradients.x, [0.6, 0.8, 0, 1], 1e-6, 0);
    expectEach('gradients.y', got.gradients.y, [-0.6, -0.8, 0, -1], 1e-6, 0);
  });

  test('stats: the mean cosine of the pairs, nothing else', () => {
    const { stats } = alignment(x, x);
    expectNumber('positiveSimilarity', stats?.positiveSimilarity as number, 1, 1e-6, 1);
    expect(stats?.negativeSimilarity).toBeNaN();
    expect(stats?.accuracy).toBeNaN();
    expect(stats?.skippedRows).toBe(0);
    expect(Object.keys(alignment(x, x, { stats: false })).sort()).toEqual(['backend', 'loss']);
  });
});
