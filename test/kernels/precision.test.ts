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
  type Matrix,
  matrix,
  ntXent,
  ntXentAsync,
  uniformity,
  workspaceBytes,
} from '../../src/index.js';
import { BACKEND, backendPrecisions, expectBackend, PROPERTY } from '../support/backend.js';
import { dotScale, expectEach, expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, layOut, makeViews, normsAreModerate } from '../support/families.js';
import { ntXentOracle, products, uniformityOracle, Vectors } from '../support/oracle.js';
import {
  byInput,
  gradientTolerance,
  lossTolerance,
  TENSOR_PRECISIONS as PRECISIONS,
  roundedRows,
  type TensorPrecision,
} from '../support/precisions.js';
import { normals } from '../support/random.js';

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
  expectNumber('loss', got.loss, oracle.loss, tol, 0);
  expectEach('perRow', got.perRow as Float32Array, oracle.perRow, tol, 0);
  expectEach('rowLogSumExp', got.rowLogSumExp as Float32Array, oracle.rowLogSumExp, tol, 1);
  const gradient = byInput(oracle.gradient, rows, norms, normalize);
  expectGradient('gradients.z', got.gradients.z, gradient.values, gradient, scale * gradientTolerance(precision, temperature));
  const allowed =
    Math.max(Math.abs(oracle.temperatureGradient), oracle.temperatureSize) * scale * gradientTolerance(precision, temperature);
  expect(Math.abs(got.gradients.temperature - oracle.temperatureGradient)).toBeLessThanOrEqual(allowed + oracle.temperatureFloor + 1e-300);
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

  // What a part leaves of their elements does not average over columns.
  test('rows of one magnitude', () => {
    for (const cols of [127, 1016])
      for (const temperature of [0.2, 0.5, 1.5]) {
        const { first, second, ...size } = makeViews('correlated', 12, cols, 6);
        const codes = { first: first.map(Math.sign), second: second.map(Math.sign), ...size };
        expectNtXent(layOut(codes, 'halves'), { precision, temperature });
      }
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
