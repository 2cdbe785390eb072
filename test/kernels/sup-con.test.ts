/** The supervised contrastive loss in its three variants, compared with the reference and with the definition in float64. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Matrix, matrix, ntXent, type Reduction, type SupConVariant, supCon } from '../../src/index.js';
import { describeKernel, expectBackend, PROPERTY } from '../support/backend.js';
import { dotScale, expectAccuracy, expectEach, expectGradient, expectNumber, tolerance } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, layOut, makeViews, normsAreModerate } from '../support/families.js';
import { normals, uniformStream } from '../support/random.js';
import { supConOracle } from '../support/sup-con-oracle.js';

interface Settings {
  readonly variant: SupConVariant;
  readonly temperature: number;
  readonly noPositive?: 'skip' | 'zero';
  readonly reduction?: Reduction;
  readonly normalize?: boolean;
}

/** Everything a call returns, against the reference and against the definition. */
function expectRight(z: Matrix, labels: readonly number[], settings: Settings): void {
  const { variant, temperature, noPositive = 'skip', reduction = 'mean', normalize = true } = settings;
  const rows = z.shape[0];
  const options = { variant, temperature, noPositive, reduction, normalize, gradients: true } as const;
  const got = supCon(z, labels, options);
  expectBackend(got);
  const reference = supCon(z, labels, { ...options, backend: 'reference' });
  const { terms } = supConOracle(z, labels, variant, temperature, normalize, 1);
  const divisor = reduction !== 'mean' ? 1 : noPositive === 'zero' ? rows : Math.max(1, terms);
  const oracle = supConOracle(z, labels, variant, temperature, normalize, 1 / divisor);
  const scale = normalize ? 1 : dotScale(largestNorm(z), largestNorm(z));
  const tol = scale * tolerance(temperature);

  for (const loss of [reference.loss, oracle.loss]) expectNumber('loss', got.loss, loss, tol, 0);
  for (const values of [reference.gradients.z, oracle.gradient.values])
    expectGradient('gradients.z', got.gradients.z, values, oracle.gradient, tol);
  const slope = oracle.temperatureGradient;
  const allowed = tol * Math.max(Math.abs(slope), oracle.temperatureSize) + oracle.temperatureFloor + 1e-300;
  expect(Math.abs(got.gradients.temperature - slope), 'gradients.temperature').toBeLessThanOrEqual(allowed);
  if (reduction === 'none') {
    expectEach('perRow', got.perRow as Float32Array, oracle.perRow, tol, 0);
    expectEach('rowLogSumExp', got.rowLogSumExp as Float32Array, oracle.rowLogSumExp, tol, 1);
  }
  const stats = got.stats as NonNullable<typeof got.stats>;
  expect(stats.skippedRows).toBe(rows - oracle.counted);
  expectNumber('positiveSimilarity', stats.positiveSimilarity, oracle.positiveSimilarity, 1e-6 * scale, 1);
  expectNumber('negativeSimilarity', stats.negativeSimilarity, oracle.negativeSimilarity, 1e-6 * scale, 1);
  if (oracle.counted > 0) expectAccuracy(stats.accuracy, oracle.margins, 1e-6 * scale);
  else expect(stats.accuracy).toBeNaN();
}

const VARIANTS = ['out', 'in', 'pair'] as const;
const temperatures = fc.oneof(
  fc.constantFrom(0.005, 0.01, 0.07, 0.1, 0.5, 1, 10),
  fc.double({ min: Math.log10(0.005), max: 1, noNaN: true }).map((exponent) => 10 ** exponent),
);

/** Labels that make some rows the only one of theirs, and sometimes all rows of one. */
function drawLabels(rows: number, classes: number, seed: number): number[] {
  const uniform = uniformStream(seed);
  return Array.from({ length: rows }, () => Math.floor(classes * uniform()) - 1);
}

describeKernel('supCon', 'against the reference', () => {
  test.each(FAMILIES)('%s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          items: fc.integer({ min: 1, max: 24 }),
          cols: fc.integer({ min: 1, max: 60 }),
          classes: fc.integer({ min: 1, max: 12 }),
          seed: fc.nat(1e6),
          variant: fc.constantFrom<SupConVariant>(...VARIANTS),
          temperature: temperatures,
          zero: fc.boolean(),
          reduction: fc.constantFrom<Reduction>('mean', 'sum', 'none'),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        ({ items, cols, classes, seed, zero, ...settings }) => {
          const noPositive = zero && settings.variant !== 'pair' ? 'zero' : 'skip';
          expectRight(layOut(makeViews(family, items, cols, seed), 'halves'), drawLabels(2 * items, classes, seed), {
            ...settings,
            noPositive,
          });
        },
      ),
      PROPERTY,
    );
  });

  test.each([31, 32, 33, 48, 65, 96, 97, 145])('%i items, where tiles end', (items) => {
    for (const variant of VARIANTS) {
      const z = layOut(makeViews('correlated', items, 21, items), 'halves');
      expectRight(z, drawLabels(2 * items, 9, items), { variant, temperature: 0.1, reduction: 'none' });
    }
  });
});

describeKernel('supCon', 'confident rows', () => {
  /** Rows of one label are equal and along an axis of their own: every cosine is 0 or 1. */
  function axes(perLabel: number, labels: number, noise = 0): { z: Matrix; labels: number[] } {
    const rows = perLabel * labels;
    const data = new Float32Array(rows * labels);
    for (let i = 0; i < rows; i++) data[i * labels + (i % labels)] = 3;
    for (let k = 0; k < data.length; k++) data[k] += noise * Math.sin(7 * k);
    return { z: matrix(data, rows, labels), labels: Array.from({ length: rows }, (_, i) => i % labels) };
  }

  test.each([1, 0.1, 1 / 46, 1 / 88, 1 / 120])('temperature %f', (temperature) => {
    for (const perLabel of [2, 3, 5]) {
      for (const variant of VARIANTS) {
        const { z, labels } = axes(perLabel, 6);
        const got = supCon(z, labels, { variant, temperature, gradients: true });
        expectBackend(got);
        // N / P, or N / exp(z_p): every negative has similarity 0, every positive 1.
        const ratio = ((5 * perLabel) / (variant === 'pair' ? 1 : perLabel - 1)) * Math.exp(-1 / temperature);
        const first = variant === 'pair' ? 0 : Math.log(perLabel - 1);
        expectNumber('loss', got.loss, first + Math.log1p(ratio), tolerance(temperature), 0);
        expectRight(z, labels, { variant, temperature });
        const noisy = axes(perLabel, 6, 0.02);
        expectRight(noisy.z, noisy.labels, { variant, temperature, reduction: 'none' });
      }
    }
  });
});

describeKernel('supCon', 'exact cases', () => {
  const random = (rows: number, seed: number): Matrix => matrix(normals(seed, rows * 6), rows, 6);

  test('two views of every item: the three variants are NT-Xent', () => {
    const z = random(12, 1);
    const labels = Array.from({ length: 12 }, (_, i) => i % 6);
    const expected = ntXent(z, { temperature: 0.2, gradients: true, backend: 'reference' });
    for (const variant of VARIANTS) {
      const got = supCon(z, labels, { variant, temperature: 0.2, gradients: true });
      expectBackend(got);
      expectNumber('loss', got.loss, expected.loss, 1e-6, 0);
      expectEach('gradient', got.gradients.z, expected.gradients.z, 2e-6, 1);
      expectNumber('temperature', got.gradients.temperature, expected.gradients.temperature, 2e-6, 1);
    }
  });

  test("rows without a positive: 'skip' leaves them out of the mean, 'zero' keeps them in it", () => {
    const z = random(5, 2);
    const labels = [0, 0, 1, 2, 2];
    const sum = supCon(z, labels, { reduction: 'sum' }).loss;
    const skip = supCon(z, labels);
    expectBackend(skip);
    expect(skip.stats?.skippedRows).toBe(1);
    expectNumber('skip', skip.loss, sum / 4, 1e-6, 0);
    const zero = supCon(z, labels, { noPositive: 'zero', reduction: 'mean' });
    expectNumber('zero', zero.loss, sum / 5, 1e-6, 0);
    expect(zero.stats?.skippedRows).toBe(1);
  });

  test('nothing to compare: loss 0, gradient 0', () => {
    for (const [z, labels, variant] of [
      [random(2, 3), [4, 4], 'out'],
      [random(4, 4), [1, 2, 3, 4], 'in'],
      [random(4, 5), [1, 1, 1, 1], 'pair'],
    ] as const) {
      const got = supCon(z, labels, { variant, gradients: true });
      expectBackend(got);
      expect(got.loss).toBe(0);
      expect(got.gradients.z.every((value) => value === 0)).toBe(true);
      expect(got.stats?.skippedRows).toBe(labels.length);
    }
  });

  test('one label alone: what is left is how unlike its positives are', () => {
    const got = supCon(random(4, 6), [7, 7, 7, 7], { variant: 'in', gradients: true });
    expectBackend(got);
    expectNumber('loss', got.loss, Math.log(3), 1e-6, 0);
    expect(got.stats?.accuracy).toBe(1);
    expect(got.gradients.z.every((value) => Math.abs(value) < 1e-7)).toBe(true);
    expect(supCon(random(4, 6), [7, 7, 7, 7]).loss).toBeGreaterThan(Math.log(3));
  });

  test('any integers serve as labels', () => {
    const z = random(6, 7);
    const expected = supCon(z, [0, 0, 1, 1, 2, 2]);
    expectBackend(expected);
    expect(supCon(z, [-(2 ** 31), -(2 ** 31), 2 ** 31 - 1, 2 ** 31 - 1, 0, 0])).toEqual(expected);
    expect(supCon(z, Int32Array.from([5, 5, 6, 6, 7, 7]))).toEqual(expected);
  });
});
