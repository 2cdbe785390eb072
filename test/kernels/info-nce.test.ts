/** InfoNCE on every kind of rows, with every kind of negatives, compared with the reference and with the definition in float64. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type InfoNceOptions, infoNce, type Matrix, matrix } from '../../src/index.js';
import { describeKernel, expectBackend, PROPERTY } from '../support/backend.js';
import { dotScale, expectAccuracy, expectEach, expectGradient, expectNumber, tolerance } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, makeViews, normsAreModerate } from '../support/families.js';
import { type InfoNceCase, infoNceOracle, makeInfoNceCase, NEGATIVE_KINDS, type NegativeKind } from '../support/info-nce-cases.js';
import { normals } from '../support/random.js';

/** Everything a call returns, against the reference and against the definition. */
function expectRight({ query, key, options }: InfoNceCase): void {
  const got = infoNce(query, key, { ...options, gradients: true });
  expectBackend(got);
  const reference = infoNce(query, key, { ...options, gradients: true, backend: 'reference' });
  const oracle = infoNceOracle({ query, key, options });
  const normalize = options.normalize ?? true;
  const temperature = options.temperature ?? 1 / (options.logitScale ?? 2);
  const matrices = [query, key, ...(options.negatives ? [options.negatives as Matrix] : [])];
  const scale = normalize ? 1 : dotScale(largestNorm(query), Math.max(...matrices.map(largestNorm)));
  const tol = scale * tolerance(temperature);

  for (const loss of [reference.loss, oracle.loss]) expectNumber('loss', got.loss, loss, tol, 0);
  for (const [i, name] of (['query', 'key', 'negatives'] as const).slice(0, matrices.length).entries()) {
    const size = oracle.gradients[i];
    for (const values of [reference.gradients[name] as Float32Array, size.values]) {
      expectGradient(name, got.gradients[name] as Float32Array, values, size, tol);
    }
  }
  const byScale = options.logitScale === undefined ? 1 : -temperature * temperature;
  const slope = options.logitScale === undefined ? got.gradients.temperature : got.gradients.logitScale;
  expect(Object.keys(got.gradients).length, 'one gradient a matrix and one by the scale').toBe(matrices.length + 1);
  const expectedSlope = byScale * oracle.temperatureGradient;
  const allowed =
    tol * Math.max(Math.abs(expectedSlope), Math.abs(byScale) * oracle.temperatureSize) + Math.abs(byScale) * oracle.temperatureFloor;
  expect(Math.abs((slope as number) - expectedSlope), 'the gradient by the scale').toBeLessThanOrEqual(allowed + 1e-300);
  if (options.reduction === 'none') {
    expectEach('perRow', got.perRow as Float32Array, oracle.perRow, tol, 0);
    expectEach('rowLogSumExp', got.rowLogSumExp as Float32Array, oracle.rowLogSumExp, tol, 1);
  }
  const stats = got.stats as NonNullable<typeof got.stats>;
  expect(stats.skippedRows).toBe(query.shape[0] - oracle.counted);
  expectNumber('positiveSimilarity', stats.positiveSimilarity, oracle.positiveSimilarity, 1e-6 * scale, 1);
  expectNumber('negativeSimilarity', stats.negativeSimilarity, oracle.negativeSimilarity, 1e-6 * scale, 1);
  // The added logit is rounded with the others: what it is worth as a similarity is uncertain by its rounding.
  const similarityError = scale * 1e-6 + 2e-7 * temperature * Math.abs(options.ownNegativeLogit ?? 0);
  if (oracle.counted > 0) expectAccuracy(stats.accuracy, oracle.margins, similarityError);
  else expect(stats.accuracy).toBeNaN();
}

const temperatures = fc.oneof(
  fc.constantFrom(0.005, 0.01, 0.07, 0.1, 0.5, 1, 10),
  fc.double({ min: Math.log10(0.005), max: 1, noNaN: true }).map((exponent) => 10 ** exponent),
);

describeKernel('infoNce', 'against the reference', () => {
  test.each(FAMILIES)('%s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 1, max: 24 }),
          extraKeys: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 30 })),
          cols: fc.integer({ min: 1, max: 50 }),
          seed: fc.nat(1e6),
          kind: fc.constantFrom<NegativeKind>(...NEGATIVE_KINDS),
          perQuery: fc.integer({ min: 1, max: 5 }),
          positives: fc.boolean(),
          inBatch: fc.boolean(),
          symmetric: fc.boolean(),
          labels: fc.boolean(),
          mask: fc.boolean(),
          ownNegativeLogit: fc.constantFrom(0, 0, 1.5, -2),
          logitScale: fc.boolean(),
          temperature: temperatures,
          reduction: fc.constantFrom('mean' as const, 'sum' as const, 'none' as const),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        (shape) => expectRight(makeInfoNceCase(family, shape)),
      ),
      PROPERTY,
    );
  });

  test.each([31, 33, 48, 64, 65, 96, 97, 129, 193])('%i queries, where tiles end', (rows) => {
    const of = (kind: NegativeKind, symmetric: boolean, extraKeys: number) =>
      makeInfoNceCase('correlated', { rows, extraKeys, cols: 19, seed: rows, kind, perQuery: 3, symmetric, temperature: 0.1 });
    expectRight(of('none', true, 0));
    expectRight(of('shared', false, 37));
    expectRight(of('indexed', true, 11));
  });

  // Pairs of so many rows of so few columns are decided a part at a time on CUDA (native/cuda/guide.hpp).
  test.each([
    [330, 460, 2],
    [520, 530, 5],
  ])('a mask of %i queries and %i keys of %i columns', (rows, keys, cols) => {
    const shape = { rows, extraKeys: keys - rows, cols, seed: rows, perQuery: 3, mask: true, temperature: 0.5 };
    expectRight(makeInfoNceCase('random', { ...shape, kind: 'none', symmetric: true }));
    expectRight(makeInfoNceCase('random', { ...shape, kind: 'shared', positives: true, labels: true }));
  });

  test.each([768, 4096])('rows of %i columns', (cols) => {
    for (const family of ['random', 'confident', 'tight', 'duplicated'] as const) {
      for (const temperature of [0.005, 0.07, 0.5]) {
        expectRight(makeInfoNceCase(family, { rows: 10, extraKeys: 3, cols, seed: 5, kind: 'shared', symmetric: true, temperature }));
      }
    }
  });
});

describeKernel('infoNce', 'confident queries', () => {
  /** Queries along the axes, keys equal to them: every cosine is 0 or 1, so that loss_i = log1p((N - 1) exp(-1 / temperature)). */
  function axes(rows: number): Matrix {
    const data = new Float32Array(rows * rows);
    for (let i = 0; i < rows; i++) data[i * rows + i] = 3;
    return matrix(data, rows, rows);
  }

  test.each([1, 0.1, 1 / 46, 1 / 88, 1 / 120, 1 / 460, 1 / 650])('temperature %f: the loss keeps its relative accuracy', (temperature) => {
    for (const symmetric of [false, true]) {
      const got = infoNce(axes(8), axes(8), { temperature, symmetric, gradients: true });
      expectBackend(got);
      expectNumber('loss', got.loss, Math.log1p(7 * Math.exp(-1 / temperature)), tolerance(temperature), 0);
      expect(got.loss).toBeGreaterThan(0);
      expectRight({ query: axes(8), key: axes(8), options: { temperature, symmetric } });
    }
  });

  test.each([1 / 46, 1 / 70, 1 / 85, 1 / 95])('temperature %f: the gradient keeps it', (temperature) => {
    const moved = (by: number): Matrix =>
      matrix(
        axes(8).data.map((value, index) => value + by * Math.sin(index + by)),
        8,
        8,
      );
    expectRight({ query: moved(0.02), key: moved(0.03), options: { temperature, symmetric: true, reduction: 'sum' } });
    expectRight({ query: moved(0.02), key: moved(0.03), options: { temperature, negatives: moved(0.5), inBatch: false } });
  });
});

describeKernel('infoNce', 'exact cases', () => {
  const random = (rows: number, cols: number, seed: number): Matrix => matrix(normals(seed, rows * cols), rows, cols);

  test('without any negative: loss 0, gradient 0, skipped', () => {
    const got = infoNce(random(1, 5, 1), random(1, 5, 2), { gradients: true, reduction: 'none', symmetric: true });
    expectBackend(got);
    expect(got.loss).toBe(0);
    expect([...(got.perRow as Float32Array)]).toEqual([0]);
    expect([...got.gradients.query, ...got.gradients.key].every((value) => value === 0)).toBe(true);
    expect(got.stats).toEqual({ positiveSimilarity: Number.NaN, negativeSimilarity: Number.NaN, accuracy: Number.NaN, skippedRows: 1 });
  });

  test('labels: skipped queries are not in the mean', () => {
    // Queries 0 and 1 see only their own label; query 2 has two negatives.
    const [query, key] = [random(3, 6, 3), random(3, 6, 4)];
    const labels = { queryLabels: [7, 7, -1], keyLabels: [7, 7, 7] };
    const none = infoNce(query, key, { ...labels, reduction: 'none' });
    expectBackend(none);
    expect([...(none.perRow as Float32Array)].slice(0, 2)).toEqual([0, 0]);
    const mean = infoNce(query, key, { ...labels, gradients: true });
    expectNumber('loss', mean.loss, none.loss, 1e-6, 0);
    expect(mean.stats?.skippedRows).toBe(2);
    expect(mean.gradients.query.subarray(0, 12).every((value) => value === 0)).toBe(true);
  });

  test('a mask of all true, labels that all differ, change nothing', () => {
    const [query, key] = [random(9, 6, 5), random(12, 6, 6)];
    const plain = infoNce(query, key, { gradients: true });
    const masked = infoNce(query, key, { gradients: true, mask: new Uint8Array(9 * 12).fill(3) });
    const booleans = infoNce(query, key, { gradients: true, mask: new Array(9 * 12).fill(true) });
    const labelled = infoNce(query, key, {
      gradients: true,
      queryLabels: Array.from({ length: 9 }, (_, i) => i),
      keyLabels: new Int32Array(12).fill(99),
    });
    for (const other of [masked, booleans, labelled]) {
      expectBackend(other);
      expectNumber('loss', other.loss, plain.loss, 1e-6, 0);
      expectEach('gradient', other.gradients.key, plain.gradients.key, 1e-6, 1);
    }
  });

  test('negatives by index are the same as the rows they name, paired', () => {
    const [query, key, pool] = [random(5, 7, 7), random(5, 7, 8), random(4, 7, 9)];
    const negativeIndices = [0, 3, 3, 3, 1, 2, 0, 1, 2, 2];
    const copied = matrix(Float32Array.from(negativeIndices.flatMap((j) => [...pool.data.subarray(7 * j, 7 * j + 7)])), 10, 7);
    for (const inBatch of [true, false]) {
      const indexed = infoNce(query, key, { negatives: pool, negativeIndices, inBatch, gradients: true });
      const paired = infoNce(query, key, { negatives: copied, negativeMode: 'paired', inBatch, gradients: true });
      expectBackend(indexed);
      expectNumber('loss', indexed.loss, paired.loss, 1e-6, 0);
      expectEach('query', indexed.gradients.query, paired.gradients.query, 1e-6, 1);
      const scattered = new Float64Array(28);
      negativeIndices.forEach((j, n) => {
        for (let k = 0; k < 7; k++) scattered[7 * j + k] += (paired.gradients.negatives as Float32Array)[7 * n + k];
      });
      expectEach('negatives', indexed.gradients.negatives as Float32Array, scattered, 1e-6, 1);
    }
  });

  test('temperature and logit scale are one thing', () => {
    const [query, key] = [random(9, 6, 10), random(9, 6, 11)];
    const byTemperature = infoNce(query, key, { temperature: 0.25, gradients: true });
    const byScale = infoNce(query, key, { logitScale: 4, gradients: true });
    expect(byScale.loss).toBe(byTemperature.loss);
    expect(byScale.gradients.query).toEqual(byTemperature.gradients.query);
    expectNumber('slope', byScale.gradients.logitScale as number, -(byTemperature.gradients.temperature as number) / 16, 1e-12, 0);
    expect(byScale.gradients.temperature).toBeUndefined();
    expect(byTemperature.gradients.logitScale).toBeUndefined();
  });

  test('symmetric swaps its sides without a change', () => {
    const [query, key] = [random(11, 6, 12), random(11, 6, 13)];
    const a = infoNce(query, key, { symmetric: true, gradients: true, temperature: 0.1 });
    const b = infoNce(key, query, { symmetric: true, gradients: true, temperature: 0.1 });
    expectNumber('loss', a.loss, b.loss, 1e-6, 0);
    expectEach('gradient', a.gradients.query, b.gradients.key, 2e-6, 1);
  });

  test("'dot' is not normalised", () => {
    const [query, key] = [random(6, 5, 14), random(6, 5, 15)];
    const options: InfoNceOptions = { temperature: 1, gradients: true };
    expect(infoNce(query, key, { ...options, similarity: 'dot' })).toEqual(infoNce(query, key, { ...options, normalize: false }));
  });
});

describeKernel('infoNce', 'the limit of many negatives', () => {
  test('loss - log M settles as M grows', () => {
    const { first, second } = makeViews('correlated', 32, 8, 16);
    const [query, key] = [matrix(first, 32, 8), matrix(second, 32, 8)];
    const excess = [10, 100, 1000, 10_000, 20_000].map((M) => {
      const negatives = matrix(normals(17, M * 8), M, 8);
      const got = infoNce(query, key, { temperature: 0.5, negatives, inBatch: false });
      expectBackend(got);
      return got.loss - Math.log(M);
    });
    const steps = excess.slice(1).map((value, i) => Math.abs(value - excess[i]));
    expect(steps[0]).toBeGreaterThan(steps[2]);
    expect(steps[3]).toBeLessThan(0.01);
    // Wang & Isola: the limit is -E[s+]/temperature + E log E exp(s-/temperature), the second from the sphere itself: by quadrature
    // over the cosine t of a uniform direction in 8 dimensions, whose density is (1 - t^2)^(5/2).
    let [mass, total] = [0, 0];
    for (let t = -0.9999; t < 1; t += 0.0002) {
      const density = (1 - t * t) ** 2.5;
      mass += density;
      total += density * Math.exp(t / 0.5);
    }
    const similarity = infoNce(query, key, { temperature: 0.5 }).stats?.positiveSimilarity as number;
    expect(excess[4]).toBeCloseTo(-similarity / 0.5 + Math.log(total / mass), 1.5);
  });
});
