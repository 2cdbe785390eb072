/** SigLIP on every kind of pairs, compared with the reference and with the definition in float64. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Matrix, matrix, type Reduction, sigLip } from '../../src/index.js';
import { describeKernel, expectBackend, PROPERTY } from '../support/backend.js';
import { dotScale, expectAccuracy, expectEach, expectGradient, expectNumber, tolerance } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, makeViews, normsAreModerate } from '../support/families.js';
import { type Golden, goldens, gradients, stacked } from '../support/golden.js';
import { sigLipOracle } from '../support/pair-oracle.js';

interface Case {
  readonly logitScale?: number;
  readonly bias?: number;
  readonly reduction?: Reduction;
  readonly normalize?: boolean;
}

function expectRight(x: Matrix, y: Matrix, { logitScale = 10, bias = -10, reduction = 'mean', normalize = true }: Case = {}): void {
  const options = { logitScale, bias, reduction, normalize, gradients: true } as const;
  const got = sigLip(x, y, options);
  expectBackend(got);
  const reference = sigLip(x, y, { ...options, backend: 'reference' });
  const weight = reduction === 'mean' ? 1 / x.shape[0] : 1;
  const oracle = sigLipOracle(x, y, logitScale, bias, normalize, weight);
  const scale = normalize ? 1 : dotScale(largestNorm(x), largestNorm(y));
  // A float32 logit is rounded with its bias.
  const tol = tolerance(1 / logitScale) * scale + 6e-8 * Math.abs(bias);
  for (const loss of [reference.loss, weight * oracle.loss]) expectNumber('loss', got.loss, loss, tol, 0);
  for (const name of ['x', 'y'] as const) {
    for (const values of [reference.gradients[name], oracle[name].values]) {
      expectGradient(`gradients.${name}`, got.gradients[name], values, oracle[name], tol);
    }
  }
  const { logitScale: bySlope, bias: byBias } = got.gradients;
  expect(Math.abs(bySlope - oracle.scaleGradient), 'logitScale').toBeLessThanOrEqual(tol * oracle.scaleSize + 1e-300);
  expect(Math.abs(byBias - oracle.biasGradient), 'bias').toBeLessThanOrEqual(tol * oracle.biasSize + 1e-300);
  if (reduction === 'none') expectEach('perRow', got.perRow as Float32Array, oracle.perRow, tol, 0);
  else expect(got.perRow).toBeUndefined();
  const stats = got.stats as NonNullable<typeof got.stats>;
  expectNumber('positiveSimilarity', stats.positiveSimilarity, oracle.positiveSimilarity, 1e-6 * scale, 1);
  expectNumber('negativeSimilarity', stats.negativeSimilarity, oracle.negativeSimilarity, 1e-6 * scale, 1);
  expect(stats.skippedRows).toBe(0);
  if (x.shape[0] > 1) expectAccuracy(stats.accuracy, oracle.margins, 1e-6 * scale);
  else expect(stats.accuracy).toBeNaN();
}

function pairsOf(family: Family, items: number, cols: number, seed: number): [Matrix, Matrix] {
  const { first, second } = makeViews(family, items, cols, seed);
  return [matrix(first, items, cols), matrix(second, items, cols)];
}

describeKernel('sigLip', 'against the reference', () => {
  test.each(FAMILIES)('%s', (family) => {
    fc.assert(
      fc.property(
        fc.record({
          items: fc.integer({ min: 1, max: 60 }),
          cols: fc.integer({ min: 1, max: 70 }),
          seed: fc.nat(1e6),
          logitScale: fc.oneof(
            fc.constantFrom(0.1, 1, 10, 100, 200),
            fc.double({ min: -1, max: 2.3, noNaN: true }).map((exponent) => 10 ** exponent),
          ),
          bias: fc.oneof(fc.constantFrom(-10, 0, -100, 20), fc.double({ min: -20, max: 5, noNaN: true })),
          reduction: fc.constantFrom<Reduction>('mean', 'sum', 'none'),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        ({ items, cols, seed, ...more }) => expectRight(...pairsOf(family, items, cols, seed), more),
      ),
      PROPERTY,
    );
  });

  test.each([63, 64, 65, 95, 96, 97, 127, 129, 191, 193, 257, 385])('%i rows, where tiles end', (rows) => {
    expectRight(...pairsOf('correlated', rows, 19, rows));
  });

  test.each([
    [768, 30],
    [4096, 12],
  ])('rows of %i columns', (cols, rows) => {
    for (const family of ['random', 'confident', 'tight'] as const) {
      for (const logitScale of [1, 10, 100]) expectRight(...pairsOf(family, rows, cols, 3), { logitScale, bias: -logitScale / 2 });
    }
  });
});

describeKernel('sigLip', 'golden values', () => {
  const isGathered = ({ params }: Golden): boolean => params.world_size !== undefined;
  const files = goldens('SigLipLoss').map((golden) => [golden.file, golden] as const);

  test.each(files.filter(([, golden]) => !isGathered(golden)))('%s', (_, golden) => {
    const x = stacked(golden, 'image_features');
    const y = stacked(golden, 'text_features');
    const logitScale = Math.exp(golden.inputs.log_scale.data[0]);
    const bias = golden.inputs.logit_bias.data[0];
    const got = sigLip(x, y, { logitScale, bias, gradients: true });
    expectBackend(got);
    const oracle = sigLipOracle(x, y, logitScale, bias, true, 1 / x.shape[0]);
    const tol = tolerance(1 / logitScale) + 6e-8 * Math.abs(bias);
    expectNumber('loss', got.loss, golden.expected.loss as number, tol, 0);
    expectGradient('x', got.gradients.x, gradients(golden, 1, 'image_features'), oracle.x, tol);
    expectGradient('y', got.gradients.y, gradients(golden, 1, 'text_features'), oracle.y, tol);
    const [[byLog], [byBias]] = ['log_scale', 'logit_bias'].map((name) => gradients(golden, 1, name));
    expect(Math.abs(logitScale * got.gradients.logitScale - byLog)).toBeLessThanOrEqual(tol * logitScale * oracle.scaleSize);
    expect(Math.abs(got.gradients.bias - byBias)).toBeLessThanOrEqual(tol * oracle.biasSize);
  });

  // Every rank's loss is that of its own images against all texts; its gradients are W times those of the mean over all ranks.
  test.each(files.filter(([, golden]) => isGathered(golden)))('%s: several processes', (_, golden) => {
    const x = stacked(golden, 'image_features');
    const y = stacked(golden, 'text_features');
    const { world_size: W, N_per_rank: N, logit_scale: logitScale, logit_bias: bias } = golden.params as Record<string, number>;
    const got = sigLip(x, y, { logitScale, bias, gradients: true });
    const { perRow } = sigLip(x, y, { logitScale, bias, reduction: 'none' });
    expectBackend(got);
    const oracle = sigLipOracle(x, y, logitScale, bias, true, 1 / x.shape[0]);
    const tol = tolerance(1 / logitScale) + 6e-8 * Math.abs(bias);
    (golden.expected.loss as number[]).forEach((loss, rank) => {
      const own = (perRow as Float32Array).subarray(rank * N, (rank + 1) * N);
      expectNumber(`loss of rank ${rank}`, own.reduce((sum, value) => sum + value, 0) / N, loss, tol, 0);
    });
    expectGradient('x', got.gradients.x, gradients(golden, 1 / W, 'image_features'), oracle.x, tol);
    expectGradient('y', got.gradients.y, gradients(golden, 1 / W, 'text_features'), oracle.y, tol);
    const slopes = golden.expected.grad_logit_scale as number[];
    const mean = slopes.reduce((sum, value) => sum + value, 0) / W;
    expect(Math.abs(got.gradients.logitScale - mean)).toBeLessThanOrEqual(tol * oracle.scaleSize);
  });
});

describeKernel('sigLip', 'exact cases', () => {
  const axes = matrix(Float32Array.of(2, 0, 0, 3), 2, 2);

  test('orthogonal pairs: two that match, two that do not', () => {
    const { loss, gradients: slopes } = sigLip(axes, axes, { logitScale: 4, bias: -1, gradients: true });
    expectNumber('loss', loss, Math.log1p(Math.exp(-3)) + Math.log1p(Math.exp(-1)), 1e-6, 0);
    expectNumber('bias', slopes.bias, 1 / (1 + Math.exp(1)) - 1 / (1 + Math.exp(3)), 1e-6, 0);
    expectNumber('logitScale', slopes.logitScale, -1 / (1 + Math.exp(3)), 1e-6, 0);
  });

  test('one pair alone has a loss, and nothing to be compared with', () => {
    const { loss, stats } = sigLip(matrix(Float32Array.of(1, 1), 1, 2), matrix(Float32Array.of(2, 2), 1, 2), { logitScale: 5, bias: -3 });
    expectNumber('loss', loss, Math.log1p(Math.exp(-2)), 1e-6, 0);
    expect(stats).toEqual({
      positiveSimilarity: expect.closeTo(1, 6),
      negativeSimilarity: Number.NaN,
      accuracy: Number.NaN,
      skippedRows: 0,
    });
  });

  test('decided pairs keep their digits: a loss of 1e-40', () => {
    const { loss, gradients: slopes } = sigLip(axes, axes, { logitScale: 200, bias: -100, gradients: true });
    expectNumber('loss', loss, 2 * Math.exp(-100), 4e-5, 0);
    expectNumber('logitScale', slopes.logitScale, -Math.exp(-100), 4e-5, 0);
  });

  test('defaults are those of the paper at initialisation; what is not asked for is not there', () => {
    expect(sigLip(axes, axes).loss).toBe(sigLip(axes, axes, { logitScale: 10, bias: -10 }).loss);
    expect(Object.keys(sigLip(axes, axes, { stats: false })).sort()).toEqual(['backend', 'loss']);
  });
});

describe('bad input', () => {
  const x = matrix(Float32Array.of(1, 2, 3, 4), 2, 2);
  test.each([
    [() => sigLip(x, matrix(new Float32Array(6).fill(1), 3, 2)), RangeError, /^y: expected the shape \[2, 2\] of x, got \[3, 2\]/],
    [() => sigLip(x, x, { temperature: 1 } as object), TypeError, /^options: .*got 'temperature'/],
    [() => sigLip(x, x, { logitScale: 0 }), RangeError, /^logitScale: /],
    [() => sigLip(x, x, { bias: Number.NaN }), RangeError, /^bias: expected a finite number, got NaN/],
    [() => sigLip(x, x, { bias: '1' as unknown as number }), TypeError, /^bias: expected a number/],
  ])('%#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});
