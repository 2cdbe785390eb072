/**
 * The precisions of tensor cores on backend cuda, and 'bfloat16' of ntXent on backend cpu. 'bfloat16x3' is compared with float64 on the rows
 * as given, 'bfloat16' with float64 on unit rows rounded to bfloat16. Where a backend lacks them it refuses them.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  alignment,
  BackendUnavailableError,
  barlowTwins,
  cosineSimilarity,
  cosineSimilarityBackward,
  infoNce,
  infoNceAsync,
  type Matrix,
  matrix,
  ntXent,
  ntXentAsync,
  uniformity,
  workspaceBytes,
} from '../../src/index.js';
import { BACKEND, backendPrecisions, expectBackend, PROPERTY } from '../support/backend.js';
import { dotScale, expectAccuracy, expectEach, expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, layOut, makeViews, normsAreModerate } from '../support/families.js';
import { type InfoNceCase, infoNceOracle, makeInfoNceCase, NEGATIVE_KINDS, type NegativeKind } from '../support/info-nce-cases.js';
import { ntXentOracle, products, uniformityOracle, Vectors } from '../support/oracle.js';
import { normals } from '../support/random.js';

type TensorPrecision = 'bfloat16x3' | 'bfloat16';
const PRECISIONS = ['bfloat16x3', 'bfloat16'] as const;

/** Of a loss, relative, and of a gradient: docs/numerics.md. */
function lossTolerance(precision: TensorPrecision, temperature: number): number {
  return precision === 'bfloat16' ? 1e-2 : Math.max(1e-5, 4e-7 / temperature);
}
function gradientTolerance(precision: TensorPrecision, temperature: number): number {
  return precision === 'bfloat16' ? 1e-2 : Math.max(1e-4, 1e-6 / temperature);
}

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

/** The nearest bfloat16, ties to even. */
function toBfloat16(value: number): number {
  FLOAT[0] = value;
  BITS[0] = ((BITS[0] + 0x7fff + ((BITS[0] >>> 16) & 1)) & 0xffff0000) >>> 0;
  return FLOAT[0];
}

/** Unit rows as the precision sees them, and the norms they were divided by. */
interface Rounded {
  readonly rows: Matrix;
  readonly norms: number[];
}

function roundedRows(x: Matrix, precision: TensorPrecision, normalize: boolean): Rounded {
  if (precision === 'bfloat16x3') return { rows: x, norms: [] };
  const { u, norm } = new Vectors(x, normalize);
  return { rows: matrix(Float32Array.from(u.flat(), toBfloat16), x.shape[0], x.shape[1]), norms: normalize ? norm : norm.map(() => 1) };
}

/** The oracle's gradient on rounded unit rows, taken on to the rows they came from. */
function byInput(
  gradient: ReturnType<typeof ntXentOracle>['gradient'],
  rows: Matrix,
  norms: number[],
  normalize: boolean,
): typeof gradient {
  if (norms.length === 0 || !normalize) return gradient;
  const { cols } = gradient;
  const values = new Float64Array(gradient.values.length);
  norms.forEach((norm, i) => {
    if (norm === 0) return;
    let along = 0;
    for (let k = i * cols; k < (i + 1) * cols; k++) along += gradient.values[k] * rows.data[k];
    for (let k = i * cols; k < (i + 1) * cols; k++) values[k] = (gradient.values[k] - along * rows.data[k]) / norm;
  });
  const sizes = Float64Array.from(gradient.sizes, (size, i) => (norms[i] > 0 ? size / norms[i] : 0));
  return { values, sizes, norms: Float64Array.from(norms), cols };
}

interface Settings {
  readonly precision: TensorPrecision;
  readonly temperature: number;
  readonly normalize?: boolean;
  readonly pairs?: 'halves' | 'interleaved';
}

function expectNtXent(z: Matrix, { precision, temperature, normalize = true, pairs = 'halves' }: Settings): void {
  const got = ntXent(z, { precision, temperature, normalize, pairs, gradients: true, reduction: 'none' });
  expectBackend(got);
  const { rows, norms } = roundedRows(z, precision, normalize);
  const oracle = ntXentOracle(rows, temperature, pairs, normalize && norms.length === 0, 1);
  const scale = normalize ? 1 : dotScale(largestNorm(z), largestNorm(z));
  const tol = scale * lossTolerance(precision, temperature);
  // A loss near 0 hangs on one or two similarities, and a row on one: no average helps them.
  expectNumber('loss', got.loss, oracle.loss, oracle.loss < 1e-3 ? 4 * tol : tol, 0);
  expectEach('perRow', got.perRow as Float32Array, oracle.perRow, 4 * tol, 0);
  expectEach('rowLogSumExp', got.rowLogSumExp as Float32Array, oracle.rowLogSumExp, 4 * tol, 1);
  const gradient = byInput(oracle.gradient, rows, norms, normalize);
  expectGradient('gradients.z', got.gradients.z, gradient.values, gradient, scale * gradientTolerance(precision, temperature));
  const allowed =
    Math.max(Math.abs(oracle.temperatureGradient), oracle.temperatureSize) * scale * gradientTolerance(precision, temperature);
  expect(Math.abs(got.gradients.temperature - oracle.temperatureGradient)).toBeLessThanOrEqual(allowed + oracle.temperatureFloor + 1e-300);
}

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

  expectNumber('loss', got.loss, oracle.loss, Math.abs(oracle.loss) < 1e-3 ? 4 * tol : tol, 0);
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
    expectEach('perRow', got.perRow as Float32Array, oracle.perRow, 4 * tol, 0);
    expectEach('rowLogSumExp', got.rowLogSumExp as Float32Array, oracle.rowLogSumExp, 4 * tol, 1);
  }
  const stats = got.stats as NonNullable<typeof got.stats>;
  expect(stats.skippedRows).toBe(query.shape[0] - oracle.counted);
  expectNumber('positiveSimilarity', stats.positiveSimilarity, oracle.positiveSimilarity, 1e-5 * scale, 1);
  expectNumber('negativeSimilarity', stats.negativeSimilarity, oracle.negativeSimilarity, 1e-5 * scale, 1);
  const uncertain = scale * 1e-5 + 2e-7 * temperature * Math.abs(options.ownNegativeLogit ?? 0);
  if (oracle.counted > 0) expectAccuracy(stats.accuracy, oracle.margins, uncertain);
}

function expectUniformity(x: Matrix, precision: TensorPrecision, t: number): void {
  const got = uniformity(x, { precision, t, gradients: true });
  expectBackend(got);
  const { rows, norms } = roundedRows(x, precision, true);
  const oracle = uniformityOracle(rows, t, norms.length === 0);
  expectNumber('loss', got.loss, oracle.loss, lossTolerance(precision, 0.5 / t), 1);
  const gradient = byInput(oracle.gradient, rows, norms, true);
  expectGradient('gradients.x', got.gradients.x, gradient.values, gradient, gradientTolerance(precision, 0.5 / t));
}

const few = { ...PROPERTY, numRuns: Math.max(1, Math.floor(PROPERTY.numRuns / 10)) };
const onCuda = BACKEND === 'cuda';
const NT_XENT_HERE = backendPrecisions('ntXent');

describe.each(PRECISIONS)('%s of ntXent', (precision) => {
  if (!NT_XENT_HERE.includes(precision)) {
    test.skip(`not on ${BACKEND} here`, () => {});
    return;
  }

  test.each(FAMILIES)('%s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          items: fc.integer({ min: 2, max: 40 }),
          cols: fc.constantFrom(1, 2, 7, 31, 64, 65, 127, 128, 129, 200, 257),
          seed: fc.nat(1e6),
          temperature: fc.constantFrom(0.005, 0.01, 0.02, 0.07, 0.5, 10),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
          pairs: fc.constantFrom('halves' as const, 'interleaved' as const),
        }),
        ({ items, cols, seed, ...settings }) => {
          expectNtXent(layOut(makeViews(family, items, cols, seed), settings.pairs), { precision, ...settings });
        },
      ),
      few,
    );
  });

  test('exact duplicates of the positive are ties, and a tie is a miss', () => {
    for (const cols of [20, 128, 300]) {
      const data = normals(5, 3 * cols);
      const z = matrix(
        Float32Array.from({ length: 30 * cols }, (_, i) => data[(Math.floor(i / cols) % 3) * cols + (i % cols)]),
        30,
        cols,
      );
      expect(ntXent(z, { precision, temperature: 0.1 }).stats?.accuracy).toBe(0);
    }
  });

  test('the same call gives the same bits', async () => {
    const z = layOut(makeViews('correlated', 70, 200, 3), 'halves');
    const options = { precision, temperature: 0.1, gradients: true } as const;
    const [first, second] = [ntXent(z, options), ntXent(z, options)];
    expect(second.loss).toBe(first.loss);
    expect(second.gradients.z).toEqual(first.gradients.z);
    expect((await ntXentAsync(z, options)).gradients.z).toEqual(first.gradients.z);
  });

  test('workspaceBytes', () => {
    expect(workspaceBytes('ntXent', 512, 128, { precision, gradients: true })).toBeGreaterThan(512 * 128 * 4);
  });
});

describe.runIf(onCuda).each(PRECISIONS)('%s', (precision) => {
  test.each(FAMILIES)('uniformity: %s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          items: fc.integer({ min: 2, max: 40 }),
          cols: fc.constantFrom(1, 2, 7, 31, 64, 65, 127, 128, 129, 200, 257),
          seed: fc.nat(1e6),
          t: fc.constantFrom(0.05, 1, 7, 25, 50, 100),
        }),
        ({ items, cols, seed, t }) => expectUniformity(layOut(makeViews(family, items, cols, seed), 'halves'), precision, t),
      ),
      few,
    );
  });

  test.each(FAMILIES)('infoNce: %s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 1, max: 40 }),
          extraKeys: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 50 })),
          cols: fc.constantFrom(1, 2, 7, 31, 64, 65, 127, 128, 129, 200, 257),
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

  test.each([
    [1, 3, 5],
    [33, 65, 129],
    [70, 70, 300],
  ])('cosineSimilarity and its backward: [%i, %i] of %i columns', (rowsX, rowsY, cols) => {
    const x = matrix(normals(1, rowsX * cols), rowsX, cols);
    const y = matrix(normals(2, rowsY * cols), rowsY, cols);
    const upstream = matrix(normals(3, rowsX * rowsY), rowsX, rowsY);
    const got = cosineSimilarity(x, y, { precision });
    expectBackend(got);
    const unit = { x: roundedRows(x, precision, true), y: roundedRows(y, precision, true) };
    const raw = precision === 'bfloat16';
    expectEach('out', got.data, products(unit.x.rows, unit.y.rows, !raw).flat(), lossTolerance(precision, 1), 1);
    const backward = cosineSimilarityBackward(x, y, upstream, { precision });
    const u = new Vectors(unit.x.rows, !raw);
    const v = new Vectors(unit.y.rows, !raw);
    const w = Array.from({ length: rowsX }, (_, i) => Array.from(upstream.data.subarray(i * rowsY, (i + 1) * rowsY)));
    const transposed = Array.from({ length: rowsY }, (_, j) => w.map((row) => row[j]));
    const ofX = byInput(u.gradient(w, v), unit.x.rows, unit.x.norms, true);
    const ofY = byInput(v.gradient(transposed, u), unit.y.rows, unit.y.norms, true);
    expectGradient('x', backward.gradients.x, ofX.values, ofX, gradientTolerance(precision, 1));
    expectGradient('y', backward.gradients.y, ofY.values, ofY, gradientTolerance(precision, 1));
  });

  test('alignment', () => {
    const [x, y] = [matrix(normals(1, 40 * 30), 40, 30), matrix(normals(2, 40 * 30), 40, 30)];
    const got = alignment(x, y, { precision });
    expectBackend(got);
    const u = roundedRows(x, precision, true).rows;
    const v = roundedRows(y, precision, true).rows;
    const expected = alignment(u, v, { backend: 'reference', normalize: precision === 'bfloat16x3' });
    expectNumber('loss', got.loss, expected.loss, lossTolerance(precision, 1), 0);
  });

  test('a kernel that has only float32 says so', () => {
    const x = matrix(normals(1, 8 * 4), 8, 4);
    expect(() => barlowTwins(x, x, { precision, backend: 'cuda' })).toThrow(BackendUnavailableError);
  });
});

describe.runIf(!onCuda).each(PRECISIONS)('%s elsewhere', (precision) => {
  test('is refused by name', () => {
    const z = matrix(normals(1, 8 * 4), 8, 4);
    const backend = BACKEND === 'cpu' ? 'cpu' : 'reference';
    if (!NT_XENT_HERE.includes(precision)) expect(() => ntXent(z, { precision, backend })).toThrow(BackendUnavailableError);
    for (const call of [
      () => infoNce(z, z, { precision, backend }),
      () => uniformity(z, { precision, backend }),
      () => cosineSimilarity(z, z, { precision, backend }),
    ])
      expect(call).toThrow(BackendUnavailableError);
  });
});
