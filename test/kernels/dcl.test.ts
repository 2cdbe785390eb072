/** DCL and DCLW on every kind of rows, compared with the reference and with the definition in float64. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { dcl, type Matrix, matrix, type Reduction } from '../../src/index.js';
import { describeKernel, expectBackend, PROPERTY } from '../support/backend.js';
import { type Comparison, comparisonOracle, mean } from '../support/comparison-oracle.js';
import { dotScale, expectAccuracy, expectEach, expectGradient, expectNumber, tolerance } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, makeViews, normsAreModerate } from '../support/families.js';
import { goldens, gradients } from '../support/golden.js';
import { products } from '../support/oracle.js';
import { normals } from '../support/random.js';

interface Settings {
  readonly temperature: number;
  readonly weightSigma?: number | undefined;
  readonly reduction?: Reduction;
  readonly normalize?: boolean;
}

function oracleOf(z1: Matrix, z2: Matrix, { temperature, weightSigma, reduction = 'mean', normalize = true }: Settings) {
  const N = z1.shape[0];
  const weights = weightSigma === undefined ? new Array<number>(N).fill(1) : dclwWeights(products(z1, z2, normalize), weightSigma);
  const comparisons = Array.from({ length: 2 * N }, (_, anchor): Comparison => {
    const positive = (anchor + N) % (2 * N);
    const negatives = Array.from({ length: 2 * N }, (_, row) => ({ row })).filter(({ row }) => row !== anchor && row !== positive);
    return { anchor, positive, negatives, weight: reduction === 'mean' ? 1 / (2 * N) : 1, decoupled: weights[anchor % N] };
  });
  return comparisonOracle([z1, z2], comparisons, temperature, normalize);
}

function dclwWeights(s: number[][], sigma: number): number[] {
  const exponents = s.map((row, i) => row[i] / sigma);
  const largest = Math.max(...exponents);
  const total = exponents.reduce((sum, e) => sum + Math.exp(e - largest), 0);
  return exponents.map((e) => 2 - (s.length * Math.exp(e - largest)) / total);
}

/** Everything a call returns, against the reference and against the definition. At least two items. */
function expectRight(z1: Matrix, z2: Matrix, settings: Settings): void {
  const { temperature, weightSigma, reduction = 'mean', normalize = true } = settings;
  const options = { temperature, weightSigma, reduction, normalize, gradients: true } as const;
  const got = dcl(z1, z2, options);
  expectBackend(got);
  const reference = dcl(z1, z2, { ...options, backend: 'reference' });
  const oracle = oracleOf(z1, z2, settings);
  const largest = Math.max(largestNorm(z1), largestNorm(z2));
  const scale = normalize ? 1 : dotScale(largest, largest);
  const tol = scale * tolerance(temperature);
  // The weights grow with the rounding of the cosines divided by sigma, and are at most N + 2.
  const weighted = weightSigma === undefined ? 1 : 2 + z1.shape[0] / Math.min(1, weightSigma);
  const summed = reduction === 'mean' ? 0 : 2 * z1.shape[0]; // rows of either sign, each within the tolerance

  for (const loss of [reference.loss, oracle.loss]) expectNumber('loss', got.loss, loss, tol * weighted, 1, tol * weighted * summed);
  for (const [name, size] of [
    ['z1', oracle.gradients[0]],
    ['z2', oracle.gradients[1]],
  ] as const) {
    for (const values of [reference.gradients[name], size.values]) expectGradient(name, got.gradients[name], values, size, tol * weighted);
  }
  const slope = oracle.temperatureGradient;
  const allowed = tol * weighted * Math.max(Math.abs(slope), oracle.temperatureSize) + oracle.temperatureFloor + 1e-300;
  expect(Math.abs(got.gradients.temperature - slope), 'gradients.temperature').toBeLessThanOrEqual(allowed);
  if (reduction === 'none') {
    expectEach('perRow', got.perRow as Float32Array, oracle.losses, tol * weighted, 1);
    expectEach('rowLogSumExp', got.rowLogSumExp as Float32Array, oracle.logSumExps, tol, 1);
  }
  const stats = got.stats as NonNullable<typeof got.stats>;
  expectNumber('positiveSimilarity', stats.positiveSimilarity, mean(oracle.positiveSimilarities), 1e-6 * scale, 1);
  expectNumber('negativeSimilarity', stats.negativeSimilarity, mean(oracle.negativeSimilarities.flat()), 1e-6 * scale, 1);
  expectAccuracy(stats.accuracy, oracle.margins, 1e-6 * scale);
  expect(stats.skippedRows).toBe(0);
}

const temperatures = fc.oneof(
  fc.constantFrom(0.005, 0.01, 0.07, 0.1, 0.5, 1, 10),
  fc.double({ min: Math.log10(0.005), max: 1, noNaN: true }).map((exponent) => 10 ** exponent),
);

function views(family: Family, items: number, cols: number, seed: number): [Matrix, Matrix] {
  const { first, second } = makeViews(family, items, cols, seed);
  return [matrix(first, items, cols), matrix(second, items, cols)];
}

describeKernel('dcl', 'against the reference', () => {
  test.each(FAMILIES)('%s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          items: fc.integer({ min: 2, max: 30 }),
          cols: fc.integer({ min: 1, max: 60 }),
          seed: fc.nat(1e6),
          temperature: temperatures,
          weightSigma: fc.constantFrom(undefined, undefined, 0.5, 2),
          reduction: fc.constantFrom<Reduction>('mean', 'sum', 'none'),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        ({ items, cols, seed, ...settings }) => expectRight(...views(family, items, cols, seed), settings),
      ),
      PROPERTY,
    );
  });

  test.each([31, 33, 48, 64, 65, 96, 97, 145])('%i items, where tiles end', (items) => {
    expectRight(...views('correlated', items, 24, items), { temperature: 0.1, reduction: 'none' });
    expectRight(...views('confident', items, 17, items), { temperature: 0.02, weightSigma: 0.5 });
  });
});

describeKernel('dcl', 'golden values', () => {
  test.each(goldens('DCLLoss', 'DCLWLoss').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const { inputs, params, expected } = golden;
    const [z1, z2] = ['out0', 'out1'].map((name) =>
      matrix(Float32Array.from(inputs[name].data), ...(inputs[name].shape as [number, number])),
    );
    const temperature = params.temperature as number;
    const weightSigma = params.sigma as number | undefined;
    const got = dcl(z1, z2, { temperature, weightSigma, gradients: true });
    expectBackend(got);
    const oracle = oracleOf(z1, z2, { temperature, weightSigma });
    expectNumber('loss', got.loss, expected.loss as number, tolerance(temperature), 1);
    for (const [i, name] of (['z1', 'z2'] as const).entries()) {
      expectGradient(name, got.gradients[name], gradients(golden, 1, `out${i}`), oracle.gradients[i], tolerance(temperature));
    }
  });
});

describeKernel('dcl', 'exact cases', () => {
  const random = (rows: number, seed: number): Matrix => matrix(normals(seed, rows * 5), rows, 5);

  test('one pair alone has nothing to compare', () => {
    const got = dcl(random(1, 1), random(1, 2), { gradients: true, reduction: 'none' });
    expectBackend(got);
    expect(got.loss).toBe(0);
    expect([...(got.perRow as Float32Array)]).toEqual([0, 0]);
    expect([...(got.rowLogSumExp as Float32Array)]).toEqual([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]);
    expect([...got.gradients.z1, ...got.gradients.z2].every((value) => value === 0)).toBe(true);
    expect(got.stats).toEqual({ positiveSimilarity: Number.NaN, negativeSimilarity: Number.NaN, accuracy: Number.NaN, skippedRows: 2 });
  });

  test('the loss can be negative: the positive is not in the denominator', () => {
    // Two items along two axes, both views equal: -1/T + log(2 exp(0)).
    const z = matrix(Float32Array.from([1, 0, 0, 1]), 2, 2);
    const got = dcl(z, z, { temperature: 0.1 });
    expectBackend(got);
    expectNumber('loss', got.loss, Math.log(2) - 10, 1e-6, 1);
  });

  test('equal positives: every DCLW weight is 1', () => {
    const z = random(6, 3);
    const plain = dcl(z, z, { gradients: true });
    const weighted = dcl(z, z, { gradients: true, weightSigma: 0.5 });
    expectBackend(weighted);
    expectNumber('loss', weighted.loss, plain.loss, 1e-6, 1);
    expectEach('gradient', weighted.gradients.z1, plain.gradients.z1, 1e-6, 1);
  });
});
