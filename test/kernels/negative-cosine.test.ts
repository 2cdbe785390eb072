/** The regression of SimSiam and BYOL on every kind of pairs, compared with the definition in float64 and with their own code. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Matrix, matrix, NonFiniteError, negativeCosine, negativeCosineAsync, type Reduction } from '../../src/index.js';
import { expectBackend, PROPERTY } from '../support/backend.js';
import { expectEach, expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, type Family, makeViews } from '../support/families.js';
import { goldens, gradients, stacked } from '../support/golden.js';
import { type OracleGradient, products, Vectors } from '../support/oracle.js';
import { normals } from '../support/random.js';

const TOLERANCE = 1e-6;

interface Oracle {
  readonly perRow: Float64Array;
  readonly p: OracleGradient;
  readonly target: OracleGradient;
}

function oracleOf(p: Matrix, target: Matrix, weight: number): Oracle {
  const [u, v] = [new Vectors(p, true), new Vectors(target, true)];
  const onDiagonal = u.u.map((_, i) => u.u.map((_, j) => (i === j ? -weight : 0)));
  return {
    perRow: Float64Array.from(products(p, target, true), (row, i) => -row[i]),
    p: u.gradient(onDiagonal, v),
    target: v.gradient(onDiagonal, u),
  };
}

function expectRight(p: Matrix, target: Matrix, reduction: Reduction): void {
  const options = { reduction, gradients: true, detachTarget: false } as const;
  const got = negativeCosine(p, target, options);
  expectBackend(got);
  const reference = negativeCosine(p, target, { ...options, backend: 'reference' });
  const weight = reduction === 'mean' ? 1 / p.shape[0] : 1;
  const oracle = oracleOf(p, target, weight);
  const loss = weight * oracle.perRow.reduce((sum, value) => sum + value, 0);
  // A sum of cosines of either sign, each right to 1e-6.
  for (const expected of [reference.loss, loss]) expectNumber('loss', got.loss, expected, TOLERANCE * Math.max(1, weight * p.shape[0]), 1);
  for (const name of ['p', 'target'] as const) {
    for (const values of [reference.gradients[name] as Float32Array, oracle[name].values]) {
      expectGradient(name, got.gradients[name] as Float32Array, values, oracle[name], TOLERANCE);
    }
  }
  if (reduction === 'none') expectEach('perRow', got.perRow as Float32Array, oracle.perRow, TOLERANCE, 1);
  else expect(got.perRow).toBeUndefined();
  const mean = -oracle.perRow.reduce((sum, value) => sum + value, 0) / p.shape[0];
  expectNumber('positiveSimilarity', got.stats?.positiveSimilarity as number, mean, TOLERANCE, 1);
}

function pairsOf(family: Family, items: number, cols: number, seed: number): [Matrix, Matrix] {
  const { first, second } = makeViews(family, items, cols, seed);
  return [matrix(first, items, cols), matrix(second, items, cols)];
}

describe('against the definition', () => {
  test.each(FAMILIES)('%s', (family) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 70 }),
        fc.nat(1e6),
        fc.constantFrom<Reduction>('mean', 'sum', 'none'),
        (items, cols, seed, reduction) => expectRight(...pairsOf(family, items, cols, seed), reduction),
      ),
      PROPERTY,
    );
  });

  test.each([
    [768, 20],
    [4096, 10],
    [3, 3000],
  ])('rows of %i columns', (cols, items) => {
    for (const family of ['random', 'confident', 'tight'] as const) expectRight(...pairsOf(family, items, cols, 3), 'mean');
  });
});

describe('golden values', () => {
  test.each(goldens('NegativeCosineSimilarity').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const [p, target] = [stacked(golden, 'x0'), stacked(golden, 'x1')];
    const got = negativeCosine(p, target, { gradients: true, detachTarget: false });
    expectBackend(got);
    const oracle = oracleOf(p, target, 1 / p.shape[0]);
    expectNumber('loss', got.loss, golden.expected.loss as number, TOLERANCE, 1);
    expectGradient('x0', got.gradients.p, gradients(golden, 1, 'x0'), oracle.p, TOLERANCE);
    expectGradient('x1', got.gradients.target as Float32Array, gradients(golden, 1, 'x1'), oracle.target, TOLERANCE);
  });

  test.each(goldens('SymNegCosineSimilarityLoss').map((golden) => [golden.file, golden] as const))('SimSiam: %s', (_, golden) => {
    const [z0, p0, z1, p1] = ['z0', 'p0', 'z1', 'p1'].map((name) => stacked(golden, name));
    const sides = [negativeCosine(p0, z1, { gradients: true }), negativeCosine(p1, z0, { gradients: true })];
    expectNumber('loss', (sides[0].loss + sides[1].loss) / 2, golden.expected.loss as number, TOLERANCE, 1);
    const weight = 1 / p0.shape[0];
    expectGradient('p0', sides[0].gradients.p, gradients(golden, 2, 'p0'), oracleOf(p0, z1, weight).p, TOLERANCE);
    expectGradient('p1', sides[1].gradients.p, gradients(golden, 2, 'p1'), oracleOf(p1, z0, weight).p, TOLERANCE);
    for (const { gradients: given } of sides) expect(Object.keys(given)).toEqual(['p']);
    expect(gradients(golden, 1, 'z0', 'z1').every((value) => value === 0)).toBe(true);
  });

  test.each(goldens('byol_loss_func').map((golden) => [golden.file, golden] as const))('BYOL: %s', (_, golden) => {
    const [p, z] = [stacked(golden, 'p'), stacked(golden, 'z')];
    const got = negativeCosine(p, z, { gradients: true });
    expectBackend(got);
    expectNumber('loss', 2 + 2 * got.loss, golden.expected.loss as number, 2 * TOLERANCE, 1);
    const doubled = got.gradients.p.map((value) => 2 * value);
    expectGradient('p', doubled, gradients(golden, 1, 'p'), oracleOf(p, z, 2 / p.shape[0]).p, TOLERANCE);
  });
});

describe('exact cases', () => {
  test('equal, opposite and orthogonal rows, and rows that are zero', () => {
    const p = matrix(Float32Array.of(3, 4, 3, 4, 3, 4, 0, 0, 3, 4, 0, 0), 6, 2);
    const target = matrix(Float32Array.of(6, 8, -3, -4, 4, -3, 1, 2, 0, 0, 0, 0), 6, 2);
    const got = negativeCosine(p, target, { reduction: 'none', gradients: true, detachTarget: false });
    expectEach('perRow', got.perRow as Float32Array, [-1, 1, 0, 0, 0, 0], TOLERANCE, 1);
    expectNumber('loss', got.loss, 0, 6 * TOLERANCE, 1);
    expect([...got.gradients.p.subarray(6, 8), ...got.gradients.p.subarray(10)].every((value) => value === 0)).toBe(true);
    expectEach('gradients.p', got.gradients.p.subarray(6), [0, 0, 0, 0, 0, 0], TOLERANCE, 1);
  });

  test('detached, which is the default, the target has no gradient', () => {
    const [p, target] = pairsOf('random', 5, 4, 1);
    expect(Object.keys(negativeCosine(p, target, { gradients: true }).gradients)).toEqual(['p']);
    const both = negativeCosine(p, target, { gradients: true, detachTarget: false }).gradients;
    expect(both.p).toEqual(negativeCosine(p, target, { gradients: true }).gradients.p);
    expect(both.target).toEqual(negativeCosine(target, p, { gradients: true }).gradients.p);
  });

  test('the twin gives the same bits, into the arrays it is given', async () => {
    const [p, target] = pairsOf('random', 9, 4, 1);
    const expected = negativeCosine(p, target, { gradients: true, detachTarget: false, reduction: 'none' });
    const out = { p: new Float32Array(36), target: new Float32Array(36), perRow: new Float32Array(9) };
    const call = negativeCosineAsync(p, target, { gradients: true, detachTarget: false, reduction: 'none', out });
    p.data.fill(Number.NaN);
    const got = await call;
    expect(got).toEqual(expected);
    expect([got.gradients.p, got.gradients.target, got.perRow]).toEqual([out.p, out.target, out.perRow]);
    expect(got.gradients.p).toBe(out.p);
  });
});

describe('bad input, under its own names', () => {
  const [p, target] = pairsOf('random', 3, 2, 1);
  const withNaN = matrix(Float32Array.of(1, 2, 3, Number.NaN, 5, 6), 3, 2);
  const tiny = matrix(
    normals(3, 6).map((value, k) => (k < 4 ? value : value * 1e-43)),
    3,
    2,
  );

  test.each([
    [withNaN, target, {}, NonFiniteError, /^p: expected finite values, got NaN at row 1, column 1/],
    [p, withNaN, {}, NonFiniteError, /^target: expected finite values, got NaN at row 1, column 1/],
    [tiny, target, { gradients: true }, RangeError, /^p: .*row 2/],
    [p, tiny, { gradients: true, detachTarget: false }, RangeError, /^target: .*row 2/],
    [p, matrix(new Float32Array(8), 4, 2), {}, RangeError, /^target: expected the shape \[3, 2\] of p, got \[4, 2\]/],
    [p, target, { normalize: false }, RangeError, /^normalize: expected true/],
    [p, target, { detachTarget: 1 }, TypeError, /^detachTarget: expected a boolean/],
    [p, target, { gradients: true, out: { target: new Float32Array(6) } }, RangeError, /^out\.target: /],
    [p, target, { gradients: true, out: { p: new Float32Array(5) } }, RangeError, /^out\.p: expected exactly 6/],
    [p, target, { detach: true }, TypeError, /^options: .*got 'detach'/],
  ])('%#', async (first, second, options, type, message) => {
    const call = () => negativeCosine(first, second, options as object);
    expect(call).toThrow(type);
    expect(call).toThrow(message);
    const rejection = await negativeCosineAsync(first, second, options as object).catch((error) => error);
    expect(rejection).toBeInstanceOf(type);
    expect(rejection.message).toMatch(message);
    if (rejection instanceof NonFiniteError) expect(['p', 'target']).toContain(rejection.argument);
  });

  test('detached in flight', async () => {
    const [x, y] = pairsOf('random', 200, 32, 1);
    const out = { p: new Float32Array(6400) };
    const call = negativeCosineAsync(x, y, { gradients: true, out });
    structuredClone(out.p.buffer, { transfer: [out.p.buffer] });
    await expect(call).rejects.toThrow(/^out\.p: .*detached/);
  });
});
