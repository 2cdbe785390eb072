/** Barlow Twins and VICReg on every kind of columns, compared with the reference and with the definitions in float64. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { barlowTwins, type Matrix, matrix, type VicRegOptions, vicReg } from '../../src/index.js';
import { describeKernel, expectBackend, PROPERTY } from '../support/backend.js';
import { barlowTwinsOracle, byColumn, type ColumnOracle, vicRegOracle } from '../support/column-oracle.js';
import { expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, type Family, makeViews, normsAreModerate } from '../support/families.js';
import { goldens, gradients, stacked } from '../support/golden.js';
import { normals } from '../support/random.js';

const TOLERANCE = 1e-6;
/** What rounding a correlation of float32 columns loses. */
const ROUNDING = 1e-7;

interface Got {
  readonly loss: number;
  readonly backend: string;
  readonly gradients: { readonly a: Float32Array; readonly b: Float32Array };
}

function expectRight(a: Matrix, got: Got, reference: Got, oracle: ColumnOracle): void {
  expectBackend(got);
  for (const loss of [reference.loss, oracle.loss]) expectNumber('loss', got.loss, loss, TOLERANCE, 0, ROUNDING * oracle.lossSize + 1e-15);
  for (const name of ['a', 'b'] as const) {
    const columns = byColumn(got.gradients[name], ...a.shape);
    for (const values of [byColumn(reference.gradients[name], ...a.shape), oracle[name].values]) {
      expectGradient(`gradients.${name}, by column`, columns, values, oracle[name], TOLERANCE);
    }
  }
}

function expectBarlow(a: Matrix, b: Matrix, lambda = 0.0051): void {
  const options = { lambda, gradients: true } as const;
  const reference = barlowTwins(a, b, { ...options, backend: 'reference' });
  expectRight(a, barlowTwins(a, b, options), reference, barlowTwinsOracle(a, b, lambda));
}

function expectVicReg(a: Matrix, b: Matrix, { invariance = 25, variance = 25, covariance = 1 }: VicRegOptions = {}): void {
  const weights = { invariance, variance, covariance };
  const options = { ...weights, gradients: true } as const;
  const reference = vicReg(a, b, { ...options, backend: 'reference' });
  expectRight(a, vicReg(a, b, options), reference, vicRegOracle(a, b, weights));
}

function viewsOf(family: Family, items: number, cols: number, seed: number): [Matrix, Matrix] {
  const { first, second } = makeViews(family, items, cols, seed);
  return [matrix(first, items, cols), matrix(second, items, cols)];
}

const shape = { items: fc.integer({ min: 2, max: 60 }), cols: fc.integer({ min: 1, max: 40 }), seed: fc.nat(1e6) };
const SIZES = [
  [2, 1],
  [3, 97],
  [300, 2],
  [130, 129],
  [64, 193],
] as const;

describeKernel('barlowTwins', 'Barlow Twins', () => {
  test.each(FAMILIES)('%s', (family) => {
    fc.assert(
      fc.property(
        fc.record({ ...shape, lambda: fc.oneof(fc.constantFrom(0.0051, 1), fc.double({ min: 1e-4, max: 2, noNaN: true })) }),
        ({ items, cols, seed, lambda }) => expectBarlow(...viewsOf(family, items, cols, seed), lambda),
      ),
      PROPERTY,
    );
  });

  test.each(SIZES)('%i rows of %i columns', (items, cols) => {
    for (const family of ['random', 'correlated', 'confident'] as const) expectBarlow(...viewsOf(family, items, cols, 3));
  });

  test.each(goldens('BarlowTwins.forward', 'BarlowTwinsLoss').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const [first, second] = Object.keys(golden.inputs);
    const a = stacked(golden, first);
    const b = stacked(golden, second);
    const lambda = golden.params.lambda as number;
    const got = barlowTwins(a, b, { lambda, gradients: true });
    const expected = { a: Float32Array.from(gradients(golden, 1, first)), b: Float32Array.from(gradients(golden, 1, second)) };
    const oracle = barlowTwinsOracle(a, b, lambda);
    expectRight(a, got, { loss: golden.expected.loss as number, backend: '', gradients: expected }, oracle);
  });

  test('equal views of independent columns: nothing is missing but what the epsilon takes', () => {
    // Two columns of +-1, orthogonal: variance 1, so 1 - c_ii = 1e-5 / (1 + 1e-5), which the plain formula has to 1 % in float32.
    const a = matrix(Float32Array.of(1, 1, 1, -1, -1, 1, -1, -1), 4, 2);
    const got = barlowTwins(a, a, { gradients: true });
    expectNumber('loss', got.loss, 2 * (1e-5 / (1 + 1e-5)) ** 2, TOLERANCE, 0);
  });

  test('constant columns, whatever their value: nothing to correlate, gradient 0', () => {
    const a = matrix(new Float32Array(12).fill(1e30), 4, 3);
    const got = barlowTwins(a, a, { gradients: true });
    expectNumber('loss', got.loss, 3, TOLERANCE, 0);
    expect([...got.gradients.a, ...got.gradients.b].every((value) => value === 0)).toBe(true);
  });

  test('a column does not care for its offset and, far from the epsilon, for its scale', () => {
    const [a, b] = viewsOf('correlated', 40, 6, 8);
    const moved = matrix(
      a.data.map((value, k) => 64 * (value + [0, 1, 2, 3, 4, 5][k % 6])),
      40,
      6,
    );
    expectNumber('loss', barlowTwins(moved, b).loss, barlowTwins(a, b).loss, 1e-4, 1);
  });
});

describeKernel('vicReg', 'VICReg', () => {
  test.each(FAMILIES.filter(normsAreModerate))('%s', (family) => {
    const weight = fc.constantFrom(0, 1, 25, 0.3);
    fc.assert(
      fc.property(fc.record({ ...shape, invariance: weight, variance: weight, covariance: weight }), ({ items, cols, seed, ...weights }) =>
        expectVicReg(...viewsOf(family, items, cols, seed), weights),
      ),
      PROPERTY,
    );
  });

  test.each(SIZES)('%i rows of %i columns', (items, cols) => {
    for (const family of ['random', 'correlated', 'tight'] as const) expectVicReg(...viewsOf(family, items, cols, 3));
  });

  test.each(goldens('VICRegLoss').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const a = stacked(golden, 'z_a');
    const b = stacked(golden, 'z_b');
    const { lambda: invariance, mu: variance, nu: covariance } = golden.params as Record<string, number>;
    const weights = { invariance, variance, covariance };
    const got = vicReg(a, b, { ...weights, gradients: true });
    const expected = { a: Float32Array.from(gradients(golden, 1, 'z_a')), b: Float32Array.from(gradients(golden, 1, 'z_b')) };
    expectRight(a, got, { loss: golden.expected.loss as number, backend: '', gradients: expected }, vicRegOracle(a, b, weights));
  });

  test('each term by itself, in closed form', () => {
    const a = matrix(Float32Array.of(0, 0, 1, 1), 2, 2); // unbiased variances and covariance 1/2
    const b = matrix(Float32Array.of(3, 0, 3, 0), 2, 2); // constant columns
    const only = (name: keyof VicRegOptions): number => vicReg(a, b, { invariance: 0, variance: 0, covariance: 0, [name]: 1 }).loss;
    expectNumber('invariance', only('invariance'), (9 + 0 + 4 + 1) / 4, TOLERANCE, 0);
    expectNumber('variance', only('variance'), (1 - Math.sqrt(0.5 + 1e-4) + 1 - Math.sqrt(1e-4)) / 2, TOLERANCE, 0);
    expectNumber('covariance', only('covariance'), (2 * 0.5 * 0.5) / 2, TOLERANCE, 0);
  });
});

const losses: [string, (a: Matrix, b: Matrix, options?: object) => unknown][] = [
  ['barlowTwins', barlowTwins],
  ['vicReg', vicReg],
];

describe.each(losses)('bad input of %s', (name, loss) => {
  const a = matrix(normals(1, 12), 4, 3);
  test.each([
    [() => loss(a, matrix(normals(2, 9), 3, 3)), RangeError, /^b: expected the shape \[4, 3\] of a, got \[3, 3\]/],
    [() => loss(matrix(normals(1, 3), 1, 3), matrix(normals(1, 3), 1, 3)), RangeError, /^a: expected at least two rows/],
    [() => loss(a, a, { reduction: 'sum' }), RangeError, new RegExp(`^reduction: expected 'mean' for ${name}.*got 'sum'`)],
    [() => loss(a, a, { normalize: false }), RangeError, /^normalize: expected true/],
    [() => loss(a, a, { lamda: 1 } as object), TypeError, /^options: .*got 'lamda'/],
  ])('%#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});

test('weights and lambda out of range', () => {
  const a = matrix(normals(1, 12), 4, 3);
  expect(() => barlowTwins(a, a, { lambda: 0 })).toThrow(/^lambda: /);
  expect(() => vicReg(a, a, { variance: -1 })).toThrow(/^variance: expected a number from 0 to 1e30, got -1/);
  expect(() => vicReg(a, a, { covariance: '1' as unknown as number })).toThrow(TypeError);
});
