/** The references of InfoNCE, SupCon and DCL, held to more than the backends are: see reference.test.ts. */
import { describe, expect, test } from 'vitest';
import { dcl, infoNce, matrix, multipleNegativesRanking, supCon } from '../../src/index.js';
import { expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, layOut, makeViews } from '../support/families.js';
import { expectSlopes, onGrid, slope } from '../support/finite-differences.js';
import { infoNceOracle, makeInfoNceCase, NEGATIVE_KINDS } from '../support/info-nce-cases.js';
import { supConOracle } from '../support/sup-con-oracle.js';
import { systemGoldens } from '../support/system-goldens.js';

const backend = 'reference';

/** What float64 sums of a few thousand terms lose. */
const FLOAT64 = 1e-11;

/** What rounding a result to float32 loses. */
const FLOAT32 = 6e-8;

const VARIANTS = ['out', 'in', 'pair'] as const;

describe.each(FAMILIES)('the definitions: %s', (family) => {
  test.each([0.005, 0.07, 0.5, 10])('infoNce, temperature %f', (temperature) => {
    for (const kind of NEGATIVE_KINDS) {
      const shape = { rows: 13, extraKeys: 4, cols: 11, seed: 42, kind, perQuery: 3, temperature, ownNegativeLogit: 0.5 } as const;
      for (const more of [{ symmetric: true }, { labels: true, mask: true }]) {
        const { query, key, options } = makeInfoNceCase(family, { ...shape, ...more, reduction: 'sum' });
        const got = infoNce(query, key, { ...options, gradients: true, backend });
        const oracle = infoNceOracle({ query, key, options });
        // Where the loss is log1p of something tiny, the float64 rounding of the exponent is what is left: 1e-16 / temperature.
        expectNumber('loss', got.loss, oracle.loss, FLOAT64 + 1e-14 / temperature, 0);
        expectGradient('query', got.gradients.query, oracle.gradients[0].values, oracle.gradients[0], FLOAT32);
        expectGradient('key', got.gradients.key, oracle.gradients[1].values, oracle.gradients[1], FLOAT32);
        const error = Math.abs((got.gradients.temperature as number) - oracle.temperatureGradient);
        expect(error).toBeLessThanOrEqual(FLOAT64 * oracle.temperatureSize + 1e-300);
      }
    }
  });

  test.each([0.005, 0.07, 0.5, 10])('supCon, temperature %f', (temperature) => {
    const z = layOut(makeViews(family, 9, 11, 42), 'halves');
    const labels = Array.from({ length: 18 }, (_, i) => (i * i) % 7);
    for (const variant of VARIANTS) {
      const got = supCon(z, labels, { variant, temperature, reduction: 'sum', gradients: true, backend });
      const oracle = supConOracle(z, labels, variant, temperature, true, 1);
      expectNumber('loss', got.loss, oracle.loss, FLOAT64 + 1e-14 / temperature, 0);
      expectGradient('z', got.gradients.z, oracle.gradient.values, oracle.gradient, FLOAT32);
    }
  });
});

describe('golden values, to the last digits', () => {
  // Rows put side by side are rounded to float32 on the way, as rows of lightly's bank are. MoCo's queue holds float32 rows of length 1 but
  // for their rounding, and MoCo does not divide by that length, as we do: test/kernels/systems.test.ts holds these to float32's tolerance.
  const rounded = [
    'GISTEmbedLoss',
    'MultipleNegativesRankingLoss (2026-08)',
    'NTXentLoss(memory_bank_size)',
    'MoCo.forward + CrossEntropyLoss',
  ];
  const files = systemGoldens().filter(({ golden }) => !rounded.includes(golden.loss) && typeof golden.expected.loss === 'number');
  test.each(files.map((each) => [each.golden.file, each] as const))('%s', (_, { golden, run }) => {
    const before = process.env.CONTRASTIVE_KERNELS_BACKEND;
    process.env.CONTRASTIVE_KERNELS_BACKEND = backend;
    try {
      expectNumber('loss', run().loss, golden.expected.loss as number, 1e-12, 0);
    } finally {
      if (before === undefined) delete process.env.CONTRASTIVE_KERNELS_BACKEND;
      else process.env.CONTRASTIVE_KERNELS_BACKEND = before;
    }
  });
});

describe('finite differences', () => {
  test.each([true, false])('infoNce, normalize %s', (normalize) => {
    const [query, key, negatives] = [onGrid(5, 4, 21), onGrid(6, 4, 22), onGrid(10, 4, 23)];
    const explicit = { negatives, positives: [5, 0, 1, 4, 2], normalize, backend } as const;
    for (const more of [
      { symmetric: true, ownNegativeLogit: 0.7 },
      { negativeMode: 'paired', inBatch: false },
      {
        negativeMode: 'indexed',
        negativeIndices: [0, 3, 3, 3, 9, 8, 7, 6, 2, 2],
        queryLabels: [1, 2, 1, 2, 3],
        keyLabels: [1, 1, 2, 3, 3, 2],
      },
    ] as const) {
      const options = { ...explicit, ...more, temperature: 0.6 };
      const { gradients } = infoNce(query, key, { ...options, gradients: true });
      const loss = (): number => infoNce(query, key, options).loss;
      expectSlopes(query, gradients.query, loss);
      expectSlopes(key, gradients.key, loss);
      expectSlopes(negatives, gradients.negatives as Float32Array, loss);
      const byTemperature = slope((shift) => infoNce(query, key, { ...options, temperature: 0.6 + shift }).loss);
      expectNumber('temperature', gradients.temperature as number, byTemperature, 1e-7, 0);
      const scaled = { ...explicit, ...more };
      const byScale = slope((shift) => infoNce(query, key, { ...scaled, logitScale: 2 + shift }).loss);
      const { logitScale } = infoNce(query, key, { ...scaled, logitScale: 2, gradients: true }).gradients;
      expectNumber('logitScale', logitScale as number, byScale, 1e-7, 0);
    }
  });

  test.each(VARIANTS)('supCon, variant %s', (variant) => {
    const z = onGrid(9, 4, 24);
    const labels = [0, 0, 1, 1, 1, 2, 0, 3, 1];
    for (const normalize of [true, false]) {
      for (const noPositive of variant === 'pair' ? (['skip'] as const) : (['skip', 'zero'] as const)) {
        const options = { variant, noPositive, normalize, temperature: 0.7, backend } as const;
        const { gradients } = supCon(z, labels, { ...options, gradients: true });
        expectSlopes(z, gradients.z, () => supCon(z, labels, options).loss);
        const byTemperature = slope((shift) => supCon(z, labels, { ...options, temperature: 0.7 + shift }).loss);
        expectNumber('temperature', gradients.temperature, byTemperature, 1e-7, 1);
      }
    }
  });

  test.each([true, false])('dcl, normalize %s', (normalize) => {
    const [z1, z2] = [onGrid(5, 4, 25), onGrid(5, 4, 26)];
    const options = { normalize, temperature: 0.7, backend } as const;
    const { gradients } = dcl(z1, z2, { ...options, gradients: true });
    expectSlopes(z1, gradients.z1, () => dcl(z1, z2, options).loss);
    expectSlopes(z2, gradients.z2, () => dcl(z1, z2, options).loss);
    const byTemperature = slope((shift) => dcl(z1, z2, { ...options, temperature: 0.7 + shift }).loss);
    expectNumber('temperature', gradients.temperature, byTemperature, 1e-7, 1);
  });

  test('the scale of a ranking loss, beside constants that do not depend on it', () => {
    const [anchor, positive] = [onGrid(6, 4, 27), onGrid(6, 4, 28)];
    const options = { directions: ['queryToDoc', 'docToQuery', 'docToDoc'], backend } as const;
    const { gradients } = multipleNegativesRanking(anchor, positive, { ...options, logitScale: 3, gradients: true });
    const byScale = slope((shift) => multipleNegativesRanking(anchor, positive, { ...options, logitScale: 3 + shift }).loss);
    // The rows are rounded to float32 once more, by the factor that the scale is part of.
    expect(Math.abs((gradients.logitScale as number) - byScale)).toBeLessThan(1e-4);
  });
});

test('one label far from its negatives keeps the gradient that is left', () => {
  // Three rows of each label, equal up to a power of two; negatives orthogonal: the coefficient of a positive is -q/2 alone.
  const data = new Float32Array(6 * 2);
  for (let i = 0; i < 6; i++) data[2 * i + (i % 2)] = 2 ** i;
  for (const temperature of [0.5, 0.05, 0.01]) {
    const { loss, gradients } = supCon(matrix(data, 6, 2), [0, 1, 0, 1, 0, 1], { temperature, gradients: true, backend });
    const ratio = (3 / 2) * Math.exp(-1 / temperature);
    expectNumber('loss', loss, Math.log(2) + Math.log1p(ratio), 1e-12, 0);
    const q = ratio / (1 + ratio);
    expectNumber('temperature', gradients.temperature, q / temperature ** 2, 1e-12, 0);
  }
});
