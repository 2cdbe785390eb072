/** NT-Xent on every kind of rows, compared with the reference and with the definition in float64. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Matrix, matrix, ntXent, type PairLayout, type Reduction } from '../../src/index.js';
import { expectBackend, PROPERTY } from '../support/backend.js';
import { dotScale, expectAccuracy, expectEach, expectGradient, expectNumber, tolerance } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, layOut, makeViews, normsAreModerate } from '../support/families.js';
import { ntXentGoldens } from '../support/golden.js';
import { ntXentOracle } from '../support/oracle.js';
import { normals } from '../support/random.js';

interface Settings {
  readonly temperature: number;
  readonly pairs?: PairLayout;
  readonly reduction?: Reduction;
  readonly normalize?: boolean;
}

/** Everything a call returns, against the reference and against the definition. */
function expectRight(z: Matrix, { temperature, pairs = 'halves', reduction = 'mean', normalize = true }: Settings): void {
  const rows = z.shape[0];
  const options = { temperature, pairs, reduction, normalize, gradients: true } as const;
  const got = ntXent(z, options);
  expectBackend(got);
  const weight = reduction === 'mean' && rows > 2 ? 1 / rows : 1;
  const oracle = ntXentOracle(z, temperature, pairs, normalize, weight);
  const reference = ntXent(z, { ...options, backend: 'reference' });
  const scale = normalize ? 1 : dotScale(largestNorm(z), largestNorm(z));
  const tol = scale * tolerance(temperature);

  for (const loss of [reference.loss, weight * oracle.loss]) expectNumber('loss', got.loss, loss, tol, 0);
  for (const values of [reference.gradients.z, oracle.gradient.values]) {
    expectGradient('gradients.z', got.gradients.z, values, oracle.gradient, tol);
  }
  for (const slope of [reference.gradients.temperature, oracle.temperatureGradient]) {
    const allowed = tol * Math.max(Math.abs(slope), oracle.temperatureSize) + oracle.temperatureFloor + 1e-300;
    expect(Math.abs(got.gradients.temperature - slope), 'gradients.temperature').toBeLessThanOrEqual(allowed);
  }
  if (reduction === 'none') {
    expectEach('perRow', got.perRow as Float32Array, oracle.perRow, tol, 0);
    expectEach('rowLogSumExp', got.rowLogSumExp as Float32Array, oracle.rowLogSumExp, tol, 1);
  } else {
    expect(got.perRow).toBeUndefined();
    expect(got.rowLogSumExp).toBeUndefined();
  }
  const { positiveSimilarity, negativeSimilarity, accuracy, skippedRows } = got.stats as NonNullable<typeof got.stats>;
  expectNumber('positiveSimilarity', positiveSimilarity, oracle.positiveSimilarity, 1e-6 * scale, 1);
  expectNumber('negativeSimilarity', negativeSimilarity, oracle.negativeSimilarity, 1e-6 * scale, 1);
  if (rows > 2) expectAccuracy(accuracy, oracle.margins, 1e-6 * scale);
  else expect(accuracy).toBeNaN();
  expect(skippedRows).toBe(rows > 2 ? 0 : 2);
}

const temperatures = fc.oneof(
  fc.constantFrom(0.005, 0.01, 0.07, 0.1, 0.5, 1, 10),
  fc.double({ min: Math.log10(0.005), max: 1, noNaN: true }).map((exponent) => 10 ** exponent),
);
const pairLayouts = fc.constantFrom<PairLayout>('halves', 'interleaved');

describe('against the reference', () => {
  test.each(FAMILIES)('%s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          items: fc.integer({ min: 1, max: 36 }),
          cols: fc.integer({ min: 1, max: 70 }),
          seed: fc.nat(1e6),
          temperature: temperatures,
          pairs: pairLayouts,
          reduction: fc.constantFrom<Reduction>('mean', 'sum', 'none'),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        ({ items, cols, seed, ...settings }) => expectRight(layOut(makeViews(family, items, cols, seed), settings.pairs), settings),
      ),
      PROPERTY,
    );
  });

  test.each([31, 32, 33, 47, 48, 49, 64, 65, 95, 96, 97, 127, 129, 191, 193, 290])('%i items, where tiles end', (items) => {
    expectRight(layOut(makeViews('correlated', items, 24, items), 'halves'), { temperature: 0.1, reduction: 'none' });
    expectRight(layOut(makeViews('confident', items, 17, items), 'interleaved'), { temperature: 0.02, pairs: 'interleaved' });
  });

  test.each([
    [768, 20],
    [4096, 12],
  ])('rows of %i columns', (cols, items) => {
    for (const family of ['random', 'correlated', 'confident', 'clustered', 'tight', 'duplicated'] as const) {
      for (const temperature of [0.005, 0.07, 0.5]) {
        expectRight(layOut(makeViews(family, items, cols, 7), 'halves'), { temperature, reduction: 'none' });
      }
    }
  });
});

describe('golden values', () => {
  test.each(ntXentGoldens().map((golden) => [golden.golden.file, golden] as const))(
    '%s',
    (_, { z, temperature, pairs, loss, gradient }) => {
      const got = ntXent(z, { temperature, pairs, gradients: true });
      expectBackend(got);
      const oracle = ntXentOracle(z, temperature, pairs, true, 1 / z.shape[0]);
      expectNumber('loss', got.loss, loss, tolerance(temperature), 0);
      expectGradient('gradients.z', got.gradients.z, gradient, oracle.gradient, tolerance(temperature));
    },
  );
});

describe('confident rows', () => {
  /** Pairs of equal rows along the axes: every cosine is 0 or 1, so that loss_i = log1p((M - 2) exp(-1 / temperature)). */
  function axes(items: number, cols: number): Matrix {
    const data = new Float32Array(2 * items * cols);
    for (let i = 0; i < 2 * items; i++) data[i * cols + (i % items)] = 3;
    return matrix(data, 2 * items, cols);
  }

  test.each([1, 0.1, 1 / 46, 1 / 88, 1 / 120, 1 / 460, 1 / 650])('temperature %f: the loss keeps its relative accuracy', (temperature) => {
    const z = axes(8, 8);
    const loss = Math.log1p(14 * Math.exp(-1 / temperature));
    const got = ntXent(z, { temperature, gradients: true });
    expectNumber('loss', got.loss, loss, tolerance(temperature), 0);
    expect(got.loss).toBeGreaterThan(0);
    expectRight(z, { temperature });
  });

  test.each([1 / 46, 1 / 70, 1 / 85, 1 / 95, 1 / 110])('temperature %f: the gradient keeps it down to the denormals', (temperature) => {
    const data = axes(8, 8).data.map((value, index) => value + 0.02 * Math.sin(index));
    expectRight(matrix(data, 16, 8), { temperature, reduction: 'sum' });
  });

  test('some rows confident, some not', () => {
    const data = axes(8, 8).data.map((value, index) => value + (index < 48 ? 1.5 : 0.01) * Math.sin(7 * index));
    for (const temperature of [0.005, 0.02, 0.1]) expectRight(matrix(data, 16, 8), { temperature, reduction: 'none' });
  });
});

describe('exact cases', () => {
  test('one pair alone has nothing to compare', () => {
    const got = ntXent(matrix(normals(1, 10), 2, 5), { gradients: true, reduction: 'none' });
    expectBackend(got);
    expect(got.loss).toBe(0);
    expect([...(got.perRow as Float32Array)]).toEqual([0, 0]);
    expect(got.gradients.z.every((value) => value === 0)).toBe(true);
    expect(got.gradients.temperature).toBeCloseTo(0, 300);
    expect(got.stats).toEqual({ positiveSimilarity: Number.NaN, negativeSimilarity: Number.NaN, accuracy: Number.NaN, skippedRows: 2 });
  });

  test('equal rows: log(M - 1), accuracy 0 because ties are misses', () => {
    const z = layOut(makeViews('equal', 9, 13, 3), 'halves');
    const got = ntXent(z, { temperature: 0.2 });
    expectNumber('loss', got.loss, Math.log(17), 1e-6, 0);
    expect(got.stats?.accuracy).toBe(0);
  });

  test('a zero row gets gradient 0 and pulls nothing', () => {
    const z = layOut(makeViews('random', 6, 9, 4), 'halves');
    z.data.fill(0, 0, 9);
    const { gradients } = ntXent(z, { gradients: true });
    expect(gradients.z.subarray(0, 9).every((value) => value === 0)).toBe(true);
  });

  test('scaling rows by powers of two changes nothing but the gradient, exactly', () => {
    const z = layOut(makeViews('correlated', 20, 11, 5), 'halves');
    const scaled = matrix(
      z.data.map((value, index) => value * 2 ** ((Math.floor(index / 11) % 5) - 2)),
      40,
      11,
    );
    const a = ntXent(z, { temperature: 0.1, gradients: true });
    const b = ntXent(scaled, { temperature: 0.1, gradients: true });
    expect(b.loss).toBe(a.loss);
    expect(b.gradients.z.map((value, index) => value * 2 ** ((Math.floor(index / 11) % 5) - 2))).toEqual(a.gradients.z);
  });

  test('the two layouts are one loss', () => {
    const views = makeViews('correlated', 21, 10, 6);
    const halves = ntXent(layOut(views, 'halves'), { temperature: 0.1, gradients: true });
    const interleaved = ntXent(layOut(views, 'interleaved'), { temperature: 0.1, pairs: 'interleaved', gradients: true });
    expectNumber('loss', interleaved.loss, halves.loss, 1e-6, 0);
    const row = (values: Float32Array, i: number): number[] => [...values.subarray(i * 10, (i + 1) * 10)];
    for (let i = 0; i < 21; i++) {
      expectEach('first view', row(interleaved.gradients.z, 2 * i), row(halves.gradients.z, i), 1e-6, 1);
      expectEach('second view', row(interleaved.gradients.z, 2 * i + 1), row(halves.gradients.z, 21 + i), 1e-6, 1);
    }
  });

  test('reductions differ by the number of rows alone', () => {
    const z = layOut(makeViews('random', 15, 8, 7), 'halves');
    const mean = ntXent(z, { gradients: true });
    const sum = ntXent(z, { reduction: 'sum', gradients: true });
    const none = ntXent(z, { reduction: 'none', gradients: true });
    expectNumber('sum', sum.loss, 30 * mean.loss, 1e-6, 0);
    expect(none.loss).toBe(sum.loss);
    expect(none.gradients).toEqual(sum.gradients);
    expectEach(
      'gradient',
      mean.gradients.z.map((value) => 30 * value),
      sum.gradients.z,
      1e-6,
      0,
    );
  });

  test('what is not asked for is not there', () => {
    const z = layOut(makeViews('random', 5, 8, 8), 'halves');
    expect(Object.keys(ntXent(z)).sort()).toEqual(['backend', 'loss', 'stats']);
    expect(Object.keys(ntXent(z, { stats: false })).sort()).toEqual(['backend', 'loss']);
    const all = ntXent(z, { gradients: true, reduction: 'none' });
    expect(Object.keys(all).sort()).toEqual(['backend', 'gradients', 'loss', 'perRow', 'rowLogSumExp', 'stats']);
    expectNumber('loss without the rest', ntXent(z, { stats: false }).loss, all.loss / 10, 1e-6, 0);
  });

  test('rowLogSumExp gives back log-probabilities that sum to one', () => {
    const z = layOut(makeViews('correlated', 7, 12, 9), 'halves');
    const { rowLogSumExp } = ntXent(z, { temperature: 0.3, reduction: 'none' });
    const u = Array.from({ length: 14 }, (_, i) => Array.from(z.data.subarray(12 * i, 12 * i + 12)));
    const cosine = (a: number[], b: number[]): number =>
      a.reduce((sum, value, k) => sum + value * b[k], 0) / Math.hypot(...a) / Math.hypot(...b);
    for (let i = 0; i < 14; i++) {
      let total = 0;
      for (let k = 0; k < 14; k++) if (k !== i) total += Math.exp(cosine(u[i], u[k]) / 0.3 - (rowLogSumExp as Float32Array)[i]);
      expect(total).toBeCloseTo(1, 5);
    }
  });
});
