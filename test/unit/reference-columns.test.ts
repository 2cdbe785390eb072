/** The references of SigLIP, Barlow Twins, VICReg, cross uniformity and negative cosine, held to more than the backends are: see reference.test.ts. */
import { describe, expect, test } from 'vitest';
import { alignmentUniformity, barlowTwins, crossUniformity, type Matrix, matrix, negativeCosine, sigLip, vicReg } from '../../src/index.js';
import { barlowTwinsOracle, byColumn, vicRegOracle } from '../support/column-oracle.js';
import { expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, makeViews, normsAreModerate } from '../support/families.js';
import { expectSlopes, onGrid, slope } from '../support/finite-differences.js';
import { goldens, stacked } from '../support/golden.js';
import { crossUniformityOracle, sigLipOracle } from '../support/pair-oracle.js';

const backend = 'reference';

/** What float64 sums of a few thousand terms lose. */
const FLOAT64 = 1e-11;

/** What rounding a result to float32 loses. */
const FLOAT32 = 6e-8;

describe.each(FAMILIES)('the definitions: %s', (family) => {
  const views = makeViews(family, 17, 11, 42);
  const x = matrix(views.first, 17, 11);
  const y = matrix(views.second, 17, 11);

  test.each([1, 10, 200])('sigLip, logit scale %f', (logitScale) => {
    const bias = -logitScale / 2;
    const got = sigLip(x, y, { logitScale, bias, reduction: 'sum', gradients: true, backend });
    const oracle = sigLipOracle(x, y, logitScale, bias, true, 1);
    expectNumber('loss', got.loss, oracle.loss, FLOAT64, 0);
    expectGradient('x', got.gradients.x, oracle.x.values, oracle.x, FLOAT32);
    expectGradient('y', got.gradients.y, oracle.y.values, oracle.y, FLOAT32);
    expect(Math.abs(got.gradients.logitScale - oracle.scaleGradient)).toBeLessThanOrEqual(FLOAT64 * oracle.scaleSize);
    expect(Math.abs(got.gradients.bias - oracle.biasGradient)).toBeLessThanOrEqual(FLOAT64 * oracle.biasSize);
  });

  test('barlowTwins', () => {
    const got = barlowTwins(x, y, { gradients: true, backend });
    const oracle = barlowTwinsOracle(x, y, 0.0051);
    expectNumber('loss', got.loss, oracle.loss, FLOAT64, 0);
    expectGradient('a', byColumn(got.gradients.a, 17, 11), oracle.a.values, oracle.a, FLOAT32);
    expectGradient('b', byColumn(got.gradients.b, 17, 11), oracle.b.values, oracle.b, FLOAT32);
  });

  // Squared covariances of huge rows do not fit float32.
  if (normsAreModerate(family))
    test('vicReg', () => {
      const weights = { invariance: 3, variance: 5, covariance: 2 };
      const got = vicReg(x, y, { ...weights, gradients: true, backend });
      const oracle = vicRegOracle(x, y, weights);
      expectNumber('loss', got.loss, oracle.loss, FLOAT64, 0);
      expectGradient('a', byColumn(got.gradients.a, 17, 11), oracle.a.values, oracle.a, FLOAT32);
      expectGradient('b', byColumn(got.gradients.b, 17, 11), oracle.b.values, oracle.b, FLOAT32);
    });

  test.each([0.5, 2, 100])('crossUniformity, t %f', (t) => {
    const got = crossUniformity(x, y, { t, gradients: true, backend });
    const oracle = crossUniformityOracle(x, y, t, true);
    expectNumber('loss', got.loss, oracle.loss, FLOAT64, 1);
    expectGradient('x', got.gradients.x, oracle.x.values, oracle.x, FLOAT32);
    expectGradient('y', got.gradients.y, oracle.y.values, oracle.y, FLOAT32);
  });
});

describe('golden values, to the last digits', () => {
  const cases: [string, (a: Matrix, b: Matrix, params: Record<string, number>) => number][] = [
    ['BarlowTwins.forward', (a, b, { lambda }) => barlowTwins(a, b, { lambda, backend }).loss],
    ['BarlowTwinsLoss', (a, b, { lambda }) => barlowTwins(a, b, { lambda, backend }).loss],
    ['VICRegLoss', (a, b, p) => vicReg(a, b, { invariance: p.lambda, variance: p.mu, covariance: p.nu, backend }).loss],
    ['NegativeCosineSimilarity', (a, b) => negativeCosine(a, b, { backend }).loss],
    ['byol_loss_func', (a, b) => 2 + 2 * negativeCosine(a, b, { backend }).loss],
    ['HypersphereLoss', (a, b, { t, alpha, lam }) => alignmentUniformity(a, b, { t, alpha, weight: lam, backend }).loss],
  ];
  test.each(cases.flatMap(([name, ours]) => goldens(name).map((golden) => [golden.file, golden, ours] as const)))(
    '%s',
    (_, golden, ours) => {
      const [a, b] = Object.keys(golden.inputs).map((name) => stacked(golden, name));
      expectNumber('loss', ours(a, b, golden.params as Record<string, number>), golden.expected.loss as number, 1e-12, 1);
    },
  );
});

describe('finite differences', () => {
  const a = onGrid(7, 4, 12);
  const b = onGrid(7, 4, 13);

  test.each([true, false])('sigLip, normalize %s', (normalize) => {
    for (const reduction of ['mean', 'sum'] as const) {
      const options = { logitScale: 3, bias: -2, normalize, reduction, backend } as const;
      const { gradients } = sigLip(a, b, { ...options, gradients: true });
      const loss = (): number => sigLip(a, b, options).loss;
      expectSlopes(a, gradients.x, loss);
      expectSlopes(b, gradients.y, loss);
      const byScale = slope((shift) => sigLip(a, b, { ...options, logitScale: 3 + shift }).loss);
      const byBias = slope((shift) => sigLip(a, b, { ...options, bias: -2 + shift }).loss);
      expectNumber('logitScale', gradients.logitScale, byScale, 1e-8, 0);
      expectNumber('bias', gradients.bias, byBias, 1e-8, 0);
    }
  });

  test('barlowTwins', () => {
    const options = { lambda: 0.3, backend } as const;
    const { gradients } = barlowTwins(a, b, { ...options, gradients: true });
    expectSlopes(a, gradients.a, () => barlowTwins(a, b, options).loss);
    expectSlopes(b, gradients.b, () => barlowTwins(a, b, options).loss);
  });

  test('vicReg, with deviations on both sides of 1', () => {
    const wide = matrix(
      a.data.map((value, k) => value * [0.25, 1, 0.5, 3][k % 4]),
      7,
      4,
    );
    const options = { invariance: 2, variance: 3, covariance: 0.5, backend } as const;
    const { gradients } = vicReg(wide, b, { ...options, gradients: true });
    expectSlopes(wide, gradients.a, () => vicReg(wide, b, options).loss);
    expectSlopes(b, gradients.b, () => vicReg(wide, b, options).loss);
  });

  test.each([true, false])('crossUniformity, normalize %s', (normalize) => {
    const y = onGrid(5, 4, 14);
    const options = { t: 0.8, normalize, backend } as const;
    const { gradients } = crossUniformity(a, y, { ...options, gradients: true });
    expectSlopes(a, gradients.x, () => crossUniformity(a, y, options).loss);
    expectSlopes(y, gradients.y, () => crossUniformity(a, y, options).loss);
  });

  test('negativeCosine', () => {
    const { gradients } = negativeCosine(a, b, { gradients: true, detachTarget: false, backend });
    expectSlopes(a, gradients.p, () => negativeCosine(a, b, { backend }).loss);
    expectSlopes(b, gradients.target as Float32Array, () => negativeCosine(a, b, { backend }).loss);
  });
});
