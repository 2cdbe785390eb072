/**
 * The losses that compare rows of two matrices in the precisions of tensor cores, on backend cuda; bounds and rows as in precision.test.ts.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { clip, crossUniformity, dcl, infoNce, infoNceAsync, type Matrix, matrix, sigLip } from '../../src/index.js';
import { BACKEND, expectBackend, PROPERTY } from '../support/backend.js';
import { type Comparison, comparisonOracle } from '../support/comparison-oracle.js';
import { dotScale, expectAccuracy, expectEach, expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, makeViews, normsAreModerate } from '../support/families.js';
import { type InfoNceCase, infoNceOracle, makeInfoNceCase, NEGATIVE_KINDS, type NegativeKind } from '../support/info-nce-cases.js';
import type { OracleGradient } from '../support/oracle.js';
import { crossUniformityOracle, sigLipOracle } from '../support/pair-oracle.js';
import {
  byInput,
  gradientTolerance,
  lossTolerance,
  type Rounded,
  roundedRows,
  TENSOR_PRECISIONS,
  type TensorPrecision,
} from '../support/precisions.js';
import { normals } from '../support/random.js';

/** The case whose matrices are the rows as the precision sees them, and the norms of each matrix. */
function roundedCase({ query, key, options }: InfoNceCase, precision: TensorPrecision): { rounded: InfoNceCase; parts: Rounded[] } {
  const normalize = options.normalize ?? true;
  const given = [query, key, ...(options.negatives ? [options.negatives as Matrix] : [])];
  const parts = given.map((rows) => roundedRows(rows, precision, normalize));
  const [a, b, negatives] = parts.map(({ rows }) => rows);
  const raw = precision === 'bfloat16' ? { normalize: false } : {};
  return { rounded: { query: a, key: b, options: { ...options, ...(negatives && { negatives }), ...raw } }, parts };
}

function expectInfoNce(each: InfoNceCase, precision: TensorPrecision): void {
  const { query, key, options } = each;
  const got = infoNce(query, key, { ...options, precision, gradients: true });
  expectBackend(got);
  const { rounded, parts } = roundedCase(each, precision);
  const oracle = infoNceOracle(rounded);
  const normalize = options.normalize ?? true;
  const temperature = options.temperature ?? 1 / (options.logitScale ?? 2);
  const matrices = [query, key, ...(options.negatives ? [options.negatives as Matrix] : [])];
  const scale = normalize ? 1 : dotScale(largestNorm(query), Math.max(...matrices.map(largestNorm)));
  const tol = scale * lossTolerance(precision, temperature);
  const gradientTol = scale * gradientTolerance(precision, temperature);

  expectNumber('loss', got.loss, oracle.loss, tol, 0);
  for (const [i, name] of (['query', 'key', 'negatives'] as const).slice(0, matrices.length).entries()) {
    const gradient = byInput(oracle.gradients[i], parts[i].rows, parts[i].norms, normalize);
    expectGradient(name, got.gradients[name] as Float32Array, gradient.values, gradient, gradientTol);
  }
  const byScale = options.logitScale === undefined ? 1 : -temperature * temperature;
  const slope = (options.logitScale === undefined ? got.gradients.temperature : got.gradients.logitScale) as number;
  const size = Math.max(Math.abs(oracle.temperatureGradient), oracle.temperatureSize);
  const allowed = Math.abs(byScale) * (gradientTol * size + oracle.temperatureFloor);
  expect(Math.abs(slope - byScale * oracle.temperatureGradient), 'the gradient by the scale').toBeLessThanOrEqual(allowed + 1e-300);
  if (options.reduction === 'none') {
    expectEach('perRow', got.perRow as Float32Array, oracle.perRow, tol, 0);
    expectEach('rowLogSumExp', got.rowLogSumExp as Float32Array, oracle.rowLogSumExp, tol, 1);
  }
  const stats = got.stats as NonNullable<typeof got.stats>;
  expect(stats.skippedRows).toBe(query.shape[0] - oracle.counted);
  expectNumber('positiveSimilarity', stats.positiveSimilarity, oracle.positiveSimilarity, 1e-5 * scale, 1);
  expectNumber('negativeSimilarity', stats.negativeSimilarity, oracle.negativeSimilarity, 1e-5 * scale, 1);
  const uncertain = scale * 1e-5 + 2e-7 * temperature * Math.abs(options.ownNegativeLogit ?? 0);
  if (oracle.counted > 0) expectAccuracy(stats.accuracy, oracle.margins, uncertain);
}

interface TwoSets {
  readonly precision: TensorPrecision;
  readonly normalize: boolean;
  readonly x: Matrix;
  readonly y: Matrix;
}

/** The rows as the precision sees them, whether they are still to be normalised, and by what bounds grow. */
function seen({ precision, normalize, x, y }: TwoSets) {
  const [u, v] = [x, y].map((rows) => roundedRows(rows, precision, normalize));
  const largest = Math.max(largestNorm(x), largestNorm(y));
  return { u, v, again: normalize && precision !== 'bfloat16', scale: normalize ? 1 : dotScale(largest, largest) };
}

function expectBoth(got: Float32Array[], expected: OracleGradient[], parts: Rounded[], normalize: boolean, tol: number, flushed = 0): void {
  expected.forEach((gradient, i) => {
    const own = byInput(gradient, parts[i].rows, parts[i].norms, normalize);
    expectGradient(i === 0 ? 'first' : 'second', got[i], own.values, own, tol, flushed);
  });
}

function expectCrossUniformity(sets: TwoSets, t: number): void {
  const { precision, normalize, x, y } = sets;
  const got = crossUniformity(x, y, { precision, normalize, t, gradients: true });
  expectBackend(got);
  const { u, v, again, scale } = seen(sets);
  const oracle = crossUniformityOracle(u.rows, v.rows, t, again);
  expectNumber('loss', got.loss, oracle.loss, scale * lossTolerance(precision, 0.5 / t), 1);
  const tol = scale * gradientTolerance(precision, 0.5 / t);
  // Coefficients below 2^-126 of the largest, which may belong to a pair of zero rows, are 0.
  const flushed = 2 ** -126 * 2 * t * Math.sqrt(scale) * (x.shape[0] + y.shape[0]);
  expectBoth([got.gradients.x, got.gradients.y], [oracle.x, oracle.y], [u, v], normalize, tol, flushed);
}

function expectSigLip(sets: TwoSets, logitScale: number, bias: number): void {
  const { precision, normalize, x, y } = sets;
  const got = sigLip(x, y, { precision, normalize, logitScale, bias, gradients: true, reduction: 'none' });
  expectBackend(got);
  const { u, v, again, scale } = seen(sets);
  const oracle = sigLipOracle(u.rows, v.rows, logitScale, bias, again, 1);
  const rounding = 6e-8 * Math.abs(bias);
  const tol = scale * lossTolerance(precision, 1 / logitScale) + rounding;
  const gradientTol = scale * gradientTolerance(precision, 1 / logitScale) + rounding;
  expectNumber('loss', got.loss, oracle.loss, tol, 0);
  expectEach('perRow', got.perRow as Float32Array, oracle.perRow, tol, 0);
  expectBoth([got.gradients.x, got.gradients.y], [oracle.x, oracle.y], [u, v], normalize, gradientTol);
  expect(Math.abs(got.gradients.logitScale - oracle.scaleGradient)).toBeLessThanOrEqual(gradientTol * oracle.scaleSize + 1e-300);
  expect(Math.abs(got.gradients.bias - oracle.biasGradient)).toBeLessThanOrEqual(gradientTol * oracle.biasSize + 1e-300);
  if (x.shape[0] > 1) expectAccuracy(got.stats?.accuracy as number, oracle.margins, 1e-5 * scale);
}

function expectDcl(sets: TwoSets, temperature: number): void {
  const { precision, normalize, x, y } = sets;
  const got = dcl(x, y, { precision, normalize, temperature, gradients: true });
  expectBackend(got);
  const { u, v, again, scale } = seen(sets);
  const items = x.shape[0];
  const rows = Array.from({ length: 2 * items }, (_, row) => row);
  const comparisons = rows.map((anchor): Comparison => {
    const positive = (anchor + items) % (2 * items);
    const negatives = rows.filter((row) => row !== anchor && row !== positive).map((row) => ({ row }));
    return { anchor, positive, negatives, weight: 0.5 / items, decoupled: 1 };
  });
  const oracle = comparisonOracle([u.rows, v.rows], comparisons, temperature, again);
  expectNumber('loss', got.loss, oracle.loss, scale * lossTolerance(precision, temperature), 1);
  const tol = scale * gradientTolerance(precision, temperature);
  expectBoth([got.gradients.z1, got.gradients.z2], oracle.gradients, [u, v], normalize, tol);
  const allowed = tol * Math.max(Math.abs(oracle.temperatureGradient), oracle.temperatureSize) + oracle.temperatureFloor;
  expect(Math.abs(got.gradients.temperature - oracle.temperatureGradient)).toBeLessThanOrEqual(allowed + 1e-300);
  expectAccuracy(got.stats?.accuracy as number, oracle.margins, 1e-5 * scale);
}

const COLUMNS = fc.constantFrom(1, 2, 7, 31, 64, 65, 127, 128, 129, 200, 257);
const few = { ...PROPERTY, numRuns: Math.max(1, Math.floor(PROPERTY.numRuns / 10)) };

describe.runIf(BACKEND === 'cuda').each(TENSOR_PRECISIONS)('%s', (precision) => {
  test.each(FAMILIES)('infoNce: %s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 1, max: 40 }),
          extraKeys: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 50 })),
          cols: COLUMNS,
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
          temperature: fc.constantFrom(0.005, 0.01, 0.02, 0.07, 0.5, 10),
          reduction: fc.constantFrom('mean' as const, 'sum' as const, 'none' as const),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        (shape) => expectInfoNce(makeInfoNceCase(family, shape), precision),
      ),
      { ...PROPERTY, numRuns: Math.max(1, Math.floor(PROPERTY.numRuns / 5)) },
    );
  });

  test.each([63, 64, 65, 127, 128, 129, 193])('infoNce: %i queries, where tiles end', (rows) => {
    for (const temperature of [0.01, 0.1]) {
      const of = (kind: NegativeKind, symmetric: boolean, extraKeys: number) =>
        makeInfoNceCase('correlated', { rows, extraKeys, cols: 130, seed: rows, kind, perQuery: 3, symmetric, temperature });
      expectInfoNce(of('none', true, 0), precision);
      expectInfoNce(of('shared', false, 37), precision);
      expectInfoNce(of('indexed', true, 11), precision);
    }
  });

  test('infoNce: a mask of more pairs than are decided at once', () => {
    const shape = { rows: 330, extraKeys: 130, cols: 2, seed: 1, mask: true, symmetric: true, temperature: 0.5 } as const;
    expectInfoNce(makeInfoNceCase('random', { ...shape, kind: 'none' }), precision);
  });

  test('infoNce: an exact copy of the positive among keys or shared negatives is a tie, and a tie is a miss', () => {
    for (const cols of [20, 128, 300]) {
      const x = matrix(normals(5, 10 * cols), 10, cols);
      const y = matrix(normals(6, 10 * cols), 10, cols);
      const twice = matrix(
        Float32Array.from({ length: 20 * cols }, (_, i) => y.data[i % (10 * cols)]),
        20,
        cols,
      );
      for (const options of [{}, { negatives: y, inBatch: false }]) {
        const got = infoNce(x, 'negatives' in options ? y : twice, { precision, temperature: 0.1, ...options });
        expect(got.stats?.accuracy).toBe(0);
      }
    }
  });

  test('infoNce: the same call gives the same bits', async () => {
    const { query, key, options } = makeInfoNceCase('correlated', {
      rows: 70,
      extraKeys: 9,
      cols: 200,
      seed: 3,
      kind: 'shared',
      symmetric: true,
      temperature: 0.1,
    });
    const asked = { ...options, precision, gradients: true } as const;
    const [first, second] = [infoNce(query, key, asked), infoNce(query, key, asked)];
    expect(second).toEqual(first);
    expect(await infoNceAsync(query, key, asked)).toEqual(first);
  });

  test('infoNce of many rows: several tiles to a share', () => {
    const [rows, keys, cols] = [2049, 2050, precision === 'bfloat16' ? 24 : 130];
    const query = matrix(normals(1, rows * cols), rows, cols);
    const key = matrix(normals(2, keys * cols), keys, cols);
    const got = infoNce(query, key, { precision, temperature: 0.1 });
    expectBackend(got);
    const [a, b] = [query, key].map((part) => roundedRows(part, precision, true).rows);
    const expected = infoNce(a, b, { backend: 'reference', temperature: 0.1, normalize: precision !== 'bfloat16' });
    // Of float32 sums on rounded rows: the bound of bfloat16 would hide a tile that is missing.
    expectNumber('loss', got.loss, expected.loss, 1e-5, 0);
    expectNumber('negativeSimilarity', got.stats?.negativeSimilarity as number, expected.stats?.negativeSimilarity as number, 1e-6, 1);
    expect(Math.abs((got.stats?.accuracy as number) - (expected.stats?.accuracy as number))).toBeLessThanOrEqual(2 / rows);
  });

  test('clip is the symmetric infoNce', () => {
    const [x, y] = [matrix(normals(1, 30 * 130), 30, 130), matrix(normals(2, 30 * 130), 30, 130)];
    const got = clip(x, y, { precision, gradients: true });
    expectBackend(got);
    const expected = infoNce(x, y, { precision, gradients: true, symmetric: true, logitScale: 1 / 0.07 });
    expect(got.loss).toBe(expected.loss);
    expect(got.gradients.image).toEqual(expected.gradients.query);
    expect(got.gradients.text).toEqual(expected.gradients.key);
  });

  test.each(FAMILIES)('dcl, sigLip and crossUniformity: %s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          items: fc.integer({ min: 2, max: 70 }),
          others: fc.integer({ min: 1, max: 150 }),
          cols: COLUMNS,
          seed: fc.nat(1e6),
          temperature: fc.constantFrom(0.005, 0.01, 0.02, 0.07, 0.5, 10),
          bias: fc.constantFrom(-10, 0, -100, 20),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        ({ items, others, cols, seed, temperature, bias, normalize }) => {
          const { first, second } = makeViews(family, Math.max(items, others), cols, seed);
          const part = (data: Float32Array, rows: number): Matrix => matrix(data.slice(0, rows * cols), rows, cols);
          const sets = { precision, normalize, x: part(first, items), y: part(second, items) };
          expectDcl(sets, temperature);
          expectSigLip(sets, 1 / temperature, bias);
          expectCrossUniformity({ ...sets, y: part(second, others) }, 0.5 / temperature);
        },
      ),
      few,
    );
  });
});
