/** Uniformity across two sets, and alignment and uniformity as one loss, compared with the definitions in float64. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  alignment,
  alignmentUniformity,
  alignmentUniformityAsync,
  crossUniformity,
  type Matrix,
  matrix,
  NonFiniteError,
  uniformity,
} from '../../src/index.js';
import { describeKernel, expectBackend, PROPERTY } from '../support/backend.js';
import { dotScale, expectGradient, expectNumber, tolerance } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, makeViews, normsAreModerate } from '../support/families.js';
import { goldens, gradients, stacked } from '../support/golden.js';
import { uniformityOracle } from '../support/oracle.js';
import { crossUniformityOracle } from '../support/pair-oracle.js';
import { normals } from '../support/random.js';

function expectRight(x: Matrix, y: Matrix, t: number, normalize = true): void {
  const got = crossUniformity(x, y, { t, normalize, gradients: true });
  expectBackend(got);
  const oracle = crossUniformityOracle(x, y, t, normalize);
  const reference = crossUniformity(x, y, { t, normalize, gradients: true, backend: 'reference' });
  const largest = Math.max(largestNorm(x), largestNorm(y));
  const tol = tolerance(1 / (2 * t)) * (normalize ? 1 : dotScale(largest, largest));
  for (const loss of [reference.loss, oracle.loss]) expectNumber('loss', got.loss, loss, tol, 1);
  for (const name of ['x', 'y'] as const) {
    for (const values of [reference.gradients[name], oracle[name].values]) {
      expectGradient(`gradients.${name}`, got.gradients[name], values, oracle[name], tol);
    }
  }
}

/** Of the two views of the family, the first rows each. */
function sets(family: Family, rows: number, others: number, cols: number, seed: number): [Matrix, Matrix] {
  const { first, second } = makeViews(family, Math.max(rows, others), cols, seed);
  return [matrix(first.slice(0, rows * cols), rows, cols), matrix(second.slice(0, others * cols), others, cols)];
}

describeKernel('crossUniformity', 'crossUniformity', () => {
  test.each(FAMILIES)('%s', (family) => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 1, max: 60 }),
          others: fc.integer({ min: 1, max: 60 }),
          cols: fc.integer({ min: 1, max: 70 }),
          seed: fc.nat(1e6),
          t: fc.oneof(
            fc.constantFrom(0.05, 0.5, 2, 7, 100),
            fc.double({ min: -1.3, max: 2, noNaN: true }).map((exponent) => 10 ** exponent),
          ),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        ({ rows, others, cols, seed, t, normalize }) => expectRight(...sets(family, rows, others, cols, seed), t, normalize),
      ),
      PROPERTY,
    );
  });

  test.each([
    [1, 1],
    [63, 257],
    [192, 96],
    [385, 1],
  ])('%i rows against %i, where tiles end', (rows, others) => {
    expectRight(...sets('random', rows, others, 19, rows), 2);
  });

  test.each([
    [768, 20],
    [4096, 10],
  ])('rows of %i columns', (cols, rows) => {
    for (const family of ['random', 'clustered', 'tight', 'duplicated'] as const) {
      for (const t of [0.5, 2, 100]) expectRight(...sets(family, rows, rows + 5, cols, 3), t);
    }
  });

  test('in closed form: equal rows 0, opposite rows -4t, orthogonal rows -2t', () => {
    const x = matrix(Float32Array.of(1, 0, 2, 0), 2, 2);
    const of = (...row: number[]): number => crossUniformity(x, matrix(Float32Array.from(row), 1, 2), { t: 3 }).loss;
    expectNumber('equal', of(5, 0), 0, 1e-6, 1);
    expectNumber('opposite', of(-1, 0), -12, 1e-6, 1);
    expectNumber('orthogonal', of(0, 7), -6, 1e-6, 1);
  });

  test('of a set with itself: uniformity, with every row against itself as well', () => {
    const x = matrix(normals(1, 40), 10, 4);
    const own = uniformity(x, { t: 2 }).loss;
    expectNumber('loss', crossUniformity(x, x).loss, Math.log((90 * Math.exp(own) + 10) / 100), 1e-6, 1);
  });
});

describe('bad input', () => {
  const x = matrix(normals(1, 12), 4, 3);
  test.each([
    [() => crossUniformity(x, matrix(normals(1, 8), 4, 2)), RangeError, /^y: expected rows of 3 columns as x has, got 2/],
    [() => crossUniformity(x, x, { t: -1 }), RangeError, /^t: /],
    [() => crossUniformity(x, x, { reduction: 'none' }), RangeError, /^reduction: expected 'mean'/],
    [() => alignmentUniformity(x, x, { reduction: 'none' }), RangeError, /^reduction: expected 'mean'/],
    [() => alignmentUniformity(x, matrix(normals(1, 9), 3, 3)), RangeError, /^y: expected the shape/],
    [() => alignmentUniformity(matrix(normals(1, 3), 1, 3), matrix(normals(1, 3), 1, 3)), RangeError, /^x: expected at least two rows/],
    [() => alignmentUniformity(x, x, { weight: Number.NaN }), RangeError, /^weight: /],
    [() => alignmentUniformity(x, x, { lam: 1 } as object), TypeError, /got 'lam'/],
  ])('%#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});

describe('alignmentUniformity', () => {
  const x = matrix(normals(1, 60), 12, 5);
  const y = matrix(normals(2, 60), 12, 5);

  test('is the weighted sum of the two, and so are its gradients', async () => {
    for (const weight of [1, 0.3, 0]) {
      const options = { alpha: 1.5, t: 3, gradients: true } as const;
      const got = alignmentUniformity(x, y, { ...options, weight });
      expectBackend(got);
      const aligned = alignment(x, y, { alpha: 1.5, gradients: true });
      const spread = [x, y].map((side) => uniformity(side, { t: 3, gradients: true }));
      expect(got.alignment).toBe(aligned.loss);
      expect(got.uniformity).toBe((spread[0].loss + spread[1].loss) / 2);
      expect(got.loss).toBe(got.alignment + weight * got.uniformity);
      expect(got.gradients.x).toEqual(aligned.gradients.x.map((value, k) => value + (weight / 2) * spread[0].gradients.x[k]));
      expect(got.gradients.y).toEqual(aligned.gradients.y.map((value, k) => value + (weight / 2) * spread[1].gradients.x[k]));
      expect(got.stats).toEqual(aligned.stats);
      expect(await alignmentUniformityAsync(x, y, { ...options, weight })).toEqual(got);
    }
    expect(Object.keys(alignmentUniformity(x, y, { stats: false })).sort()).toEqual(['alignment', 'backend', 'loss', 'uniformity']);
  });

  test.each(goldens('HypersphereLoss').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const [a, b] = [stacked(golden, 'z_a'), stacked(golden, 'z_b')];
    const { t, alpha, lam: weight } = golden.params as Record<string, number>;
    const got = alignmentUniformity(a, b, { t, alpha, weight, gradients: true });
    expectBackend(got);
    expectNumber('loss', got.loss, golden.expected.loss as number, 2e-6, 1);
    expectGradient('z_a', got.gradients.x, gradients(golden, 1, 'z_a'), uniformityOracle(a, t, true).gradient, 2e-6);
    expectGradient('z_b', got.gradients.y, gradients(golden, 1, 'z_b'), uniformityOracle(b, t, true).gradient, 2e-6);
  });

  test('fills the arrays it is given, and copies its inputs before the twin returns', async () => {
    const expected = alignmentUniformity(x, y, { gradients: true });
    const out = { x: new Float32Array(60), y: new Float32Array(60) };
    const [a, b] = [x, y].map(({ data }) => matrix(data.slice(), 12, 5));
    const call = alignmentUniformityAsync(a, b, { gradients: true, out });
    a.data.fill(Number.NaN);
    b.data.fill(Number.NaN);
    const got = await call;
    expect(got).toEqual(expected);
    expect(got.gradients.x).toBe(out.x);
    const late = { x: new Float32Array(60), y: new Float32Array(60) };
    const detached = alignmentUniformityAsync(x, y, { gradients: true, out: late });
    structuredClone(late.y.buffer, { transfer: [late.y.buffer] });
    await expect(detached).rejects.toThrow(/^out\.y: .*detached/);
    expect(late.x.every((value) => value === 0)).toBe(true);
  });

  test('names the argument whose value is not finite, and writes nothing', async () => {
    const bad = matrix(y.data.slice(), 12, 5);
    bad.data[7] = Number.NaN;
    const out = { x: new Float32Array(60), y: new Float32Array(60) };
    for (const [first, second, name] of [
      [bad, y, 'x'],
      [x, bad, 'y'],
    ] as const) {
      const message = new RegExp(`^${name}: .*row 1, column 2`);
      expect(() => alignmentUniformity(first, second, { gradients: true, out })).toThrow(message);
      const rejection = await alignmentUniformityAsync(first, second, { gradients: true, out }).catch((error) => error);
      expect(rejection).toBeInstanceOf(NonFiniteError);
      expect(rejection.message).toMatch(message);
    }
    expect([...out.x, ...out.y].every((value) => value === 0)).toBe(true);
  });
});
