/**
 * The reference is the specification, so it is held to more than the backends are: to the definitions in float64 and to
 * golden values as closely as float64 and the float32 of its outputs allow, and to finite differences of its own losses.
 */
import { describe, expect, test } from 'vitest';
import { alignment, cosineSimilarity, cosineSimilarityBackward, matrix, ntXent, uniformity } from '../../src/index.js';
import { expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, layOut, makeViews } from '../support/families.js';
import { expectSlopes, onGrid, slope } from '../support/finite-differences.js';
import { goldens, ntXentGoldens } from '../support/golden.js';
import { alignmentOracle, backwardOracle, ntXentOracle, products, uniformityOracle } from '../support/oracle.js';
import { normals } from '../support/random.js';

const backend = 'reference';

/** What float64 sums of a few thousand terms lose. */
const FLOAT64 = 1e-11;

/** What rounding a result to float32 loses. */
const FLOAT32 = 6e-8;

describe.each(FAMILIES)('the definitions: %s', (family) => {
  const views = makeViews(family, 17, 11, 42);
  const x = matrix(views.first, 17, 11);
  const y = matrix(views.second, 17, 11);

  test.each([0.005, 0.07, 0.5, 10])('ntXent, temperature %f', (temperature) => {
    for (const pairs of ['halves', 'interleaved'] as const) {
      const z = layOut(views, pairs);
      const got = ntXent(z, { temperature, pairs, reduction: 'sum', gradients: true, backend });
      const oracle = ntXentOracle(z, temperature, pairs, true, 1);
      // Where the loss is log1p of something tiny, the float64 rounding of the exponent is what is left: 1e-16 / temperature.
      expectNumber('loss', got.loss, oracle.loss, FLOAT64 + 1e-14 / temperature, 0);
      expectGradient('z', got.gradients.z, oracle.gradient.values, oracle.gradient, FLOAT32);
      const slopeError = Math.abs(got.gradients.temperature - oracle.temperatureGradient);
      expect(slopeError).toBeLessThanOrEqual(FLOAT64 * oracle.temperatureSize + 1e-300);
    }
  });

  test.each([0.5, 2, 100])('uniformity, t %f', (t) => {
    const got = uniformity(x, { t, gradients: true, backend });
    const oracle = uniformityOracle(x, t, true);
    expectNumber('loss', got.loss, oracle.loss, FLOAT64, 1);
    expectGradient('x', got.gradients.x, oracle.gradient.values, oracle.gradient, FLOAT32);
  });

  test.each([0.5, 1, 2, 3])('alignment, alpha %f', (alpha) => {
    const got = alignment(x, y, { alpha, reduction: 'sum', gradients: true, backend });
    const oracle = alignmentOracle(x, y, alpha, true, 1);
    expectNumber('loss', got.loss, oracle.loss, FLOAT64, 0);
    expectGradient('x', got.gradients.x, oracle.x.values, oracle.x, FLOAT32);
    expectGradient('y', got.gradients.y, oracle.y.values, oracle.y, FLOAT32);
  });

  test('cosineSimilarity and its backward', () => {
    const got = cosineSimilarity(x, y, { backend });
    const expected = products(x, y, true).flat();
    for (let i = 0; i < expected.length; i++) expectNumber('data', got.data[i], expected[i], FLOAT32, 1);
    const upstream = matrix(normals(3, 17 * 17), 17, 17);
    const oracle = backwardOracle(x, y, upstream, true);
    const { gradients } = cosineSimilarityBackward(x, y, upstream, { backend });
    expectGradient('x', gradients.x, oracle.x.values, oracle.x, FLOAT32);
    expectGradient('y', gradients.y, oracle.y.values, oracle.y, FLOAT32);
  });
});

describe('golden values, to the last digits', () => {
  test.each(ntXentGoldens().map((golden) => [golden.golden.file, golden] as const))('%s', (_, { z, temperature, pairs, loss }) => {
    expectNumber('loss', ntXent(z, { temperature, pairs, backend }).loss, loss, 1e-12, 0);
  });

  test.each(goldens('uniform_loss').map((golden) => [golden.file, golden] as const))('%s', (_, { inputs, params, expected }) => {
    const x = matrix(Float32Array.from(inputs.x.data), ...(inputs.x.shape as [number, number]));
    expectNumber('loss', uniformity(x, { t: params.t as number, backend }).loss, expected.loss as number, 1e-12, 1);
  });
});

describe('finite differences', () => {
  test.each([true, false])('ntXent, normalize %s', (normalize) => {
    for (const pairs of ['halves', 'interleaved'] as const) {
      for (const reduction of ['mean', 'sum'] as const) {
        const z = onGrid(8, 5, 11);
        const options = { temperature: 0.7, pairs, reduction, normalize, backend } as const;
        const { gradients } = ntXent(z, { ...options, gradients: true });
        expectSlopes(z, gradients.z, () => ntXent(z, options).loss);
        const temperature = slope((shift) => ntXent(z, { ...options, temperature: 0.7 + shift }).loss);
        expectNumber('temperature', gradients.temperature, temperature, 1e-7, 0);
      }
    }
  });

  test.each([true, false])('uniformity, normalize %s', (normalize) => {
    const x = onGrid(7, 4, 12);
    const { gradients } = uniformity(x, { normalize, t: 0.8, gradients: true, backend });
    expectSlopes(x, gradients.x, () => uniformity(x, { normalize, t: 0.8, backend }).loss);
  });

  test.each([true, false])('alignment, normalize %s', (normalize) => {
    for (const alpha of [1, 2, 3.5]) {
      const x = onGrid(6, 5, 13);
      const y = onGrid(6, 5, 14);
      const options = { alpha, normalize, backend } as const;
      const { gradients } = alignment(x, y, { ...options, gradients: true });
      expectSlopes(x, gradients.x, () => alignment(x, y, options).loss);
      expectSlopes(y, gradients.y, () => alignment(x, y, options).loss);
    }
  });

  test.each([true, false])('cosineSimilarityBackward, normalize %s', (normalize) => {
    const x = onGrid(4, 5, 15);
    const y = onGrid(3, 5, 16);
    const upstream = onGrid(4, 3, 17);
    const { gradients } = cosineSimilarityBackward(x, y, upstream, { normalize, backend });
    // The similarities come back as float32, too coarse to differentiate: the loss is formed from the definition.
    const loss = (): number =>
      products(x, y, normalize)
        .flat()
        .reduce((sum, value, i) => sum + value * upstream.data[i], 0);
    expectSlopes(x, gradients.x, loss);
    expectSlopes(y, gradients.y, loss);
  });
});

test('confident rows: the slope by temperature does not cancel', () => {
  // Pairs of equal rows on the axes: L = M log1p((M - 2) e^(-1/T)), whose derivative is closed.
  const data = new Float32Array(8 * 4);
  for (let i = 0; i < 8; i++) data[i * 4 + (i % 4)] = 1;
  for (const temperature of [0.5, 0.05, 1 / 46, 1 / 460]) {
    const e = Math.exp(-1 / temperature);
    const expected = (6 * e) / (1 + 6 * e) / temperature ** 2;
    const { gradients, loss } = ntXent(matrix(data, 8, 4), { temperature, gradients: true, backend });
    expectNumber('temperature', gradients.temperature, expected, 1e-12, 0);
    expectNumber('loss', loss, Math.log1p(6 * e), 1e-12, 0);
  }
});
