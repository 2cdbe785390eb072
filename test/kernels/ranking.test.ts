/** Multiple-negatives ranking in all its settings, and GISTEmbed, against their definitions in float64. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  gist,
  type Matrix,
  matrix,
  multipleNegativesRanking,
  multipleNegativesRankingAsync,
  type RankingDirection,
} from '../../src/index.js';
import { describeKernel, expectBackend, PROPERTY } from '../support/backend.js';
import { type Candidate, type Comparison, comparisonOracle } from '../support/comparison-oracle.js';
import { expectGradient, expectNumber, tolerance } from '../support/expect-close.js';
import { FAMILIES, type Family, makeViews } from '../support/families.js';
import { products } from '../support/oracle.js';
import { normals } from '../support/random.js';

interface Texts {
  readonly anchor: Matrix;
  readonly positive: Matrix;
  readonly negatives: readonly Matrix[];
}

function makeTexts(family: Family, rows: number, cols: number, hard: number, seed: number): Texts {
  const { first, second } = makeViews(family, rows, cols, seed);
  const negatives = Array.from({ length: hard }, (_, n) => matrix(makeViews(family, rows, cols, seed + 100 + n).second, rows, cols));
  return { anchor: matrix(first, rows, cols), positive: matrix(second, rows, cols), negatives };
}

interface Ranking {
  readonly directions: readonly RankingDirection[];
  readonly partition: 'joint' | 'perDirection';
  readonly hardness?: { readonly mode: 'inBatch' | 'hard' | 'all'; readonly strength: number } | undefined;
  readonly temperature: number;
}

/** Rows of the stack: anchors, positives, then each matrix of negatives. */
function rankingComparisons(
  { anchor, positive, negatives }: Texts,
  { directions, partition, hardness, temperature: _ }: Ranking,
): Comparison[] {
  const N = anchor.shape[0];
  const similarities = [positive, ...negatives].map((docs) => products(anchor, docs, true));
  const range = Array.from({ length: N }, (_, j) => j);
  const docs = similarities.map((_, n) => n);
  const raised = (i: number, j: number, n: number): number => {
    const applies = { inBatch: j !== i, hard: j === i && n > 0, all: j !== i || n > 0 };
    return hardness && applies[hardness.mode] ? hardness.strength * similarities[n][i][j] : 0;
  };
  const ofDocs = (i: number): Candidate[] =>
    docs.flatMap((n) => range.filter((j) => j !== i || n > 0).map((j) => ({ row: N + n * N + j, added: raised(i, j, n) })));
  if (partition === 'perDirection') {
    const both = directions.includes('docToQuery');
    const rows = range.map((i) => ({ anchor: i, positive: N + i, negatives: ofDocs(i), weight: (both ? 0.5 : 1) / N }));
    const columns = range.map((i) => ({
      anchor: N + i,
      positive: i,
      negatives: range.filter((j) => j !== i).map((row) => ({ row })),
      weight: 0.5 / N,
    }));
    return both ? [...rows, ...columns] : rows;
  }
  const has = (direction: RankingDirection): boolean => directions.includes(direction);
  return range.map((i) => ({
    anchor: i,
    positive: N + i,
    weight: 1 / N,
    negatives: [
      ...ofDocs(i),
      ...(has('queryToQuery') ? range.filter((j) => j !== i).map((row) => ({ row })) : []),
      ...(has('docToQuery') ? range.map((row) => ({ row, by: N + i })) : []),
      ...(has('docToDoc') ? docs.flatMap((n) => range.filter((j) => j !== i).map((j) => ({ row: N + n * N + j, by: N + i }))) : []),
    ],
  }));
}

function expectOracle(
  got: {
    readonly loss: number;
    readonly backend: string;
    readonly gradients: { anchor: Float32Array; positive: Float32Array; negatives: readonly Float32Array[] };
  },
  texts: Texts,
  comparisons: Comparison[],
  temperature: number,
  slope: (temperatureGradient: number) => number,
): void {
  expectBackend(got);
  const oracle = comparisonOracle([texts.anchor, texts.positive, ...texts.negatives], comparisons, temperature, true);
  const tol = tolerance(temperature);
  expectNumber('loss', got.loss, oracle.loss, tol, 0);
  const { anchor, positive, negatives } = got.gradients;
  for (const [n, gradient] of [anchor, positive, ...negatives].entries()) {
    expectGradient(`gradient ${n}`, gradient, oracle.gradients[n].values, oracle.gradients[n], tol);
  }
  const factor = Math.abs(slope(1));
  const allowed =
    factor * (tol * Math.max(Math.abs(oracle.temperatureGradient), oracle.temperatureSize) + oracle.temperatureFloor) + 1e-300;
  expect(Math.abs(slope(oracle.temperatureGradient)), 'the gradient by the scale').toBeLessThan(Number.POSITIVE_INFINITY);
  const scale =
    'logitScale' in got.gradients
      ? (got.gradients.logitScale as number)
      : ((got.gradients as { temperature?: number }).temperature as number);
  expect(Math.abs(scale - slope(oracle.temperatureGradient)), 'the gradient by the scale').toBeLessThanOrEqual(allowed);
}

const temperatures = fc.constantFrom(0.01, 0.05, 0.2, 1);
const families = FAMILIES.filter((family) => !family.endsWith('norms'));

describeKernel('infoNce', 'multiple-negatives ranking', () => {
  test.each(families)('%s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 2, max: 14 }),
          cols: fc.integer({ min: 1, max: 20 }),
          hard: fc.integer({ min: 0, max: 2 }),
          seed: fc.nat(1e6),
          more: fc.subarray<RankingDirection>(['docToQuery', 'queryToQuery', 'docToDoc']),
          joint: fc.boolean(),
          hardness: fc.option(
            fc.record({ mode: fc.constantFrom('inBatch' as const, 'hard' as const, 'all' as const), strength: fc.constantFrom(0, 1, 9) }),
            { nil: undefined },
          ),
          temperature: temperatures,
          byTemperature: fc.boolean(),
        }),
        ({ rows, cols, hard, seed, more, joint, hardness, temperature, byTemperature }) => {
          const texts = makeTexts(family, rows, cols, hard, seed);
          const partition = joint || more.some((direction) => direction !== 'docToQuery') ? 'joint' : 'perDirection';
          const settings = { directions: ['queryToDoc' as const, ...more], partition, hardness, temperature } as const;
          const { temperature: _, ...options } = settings;
          const scale = byTemperature ? { temperature } : { logitScale: 1 / temperature };
          const got = multipleNegativesRanking(texts.anchor, texts.positive, {
            ...options,
            ...scale,
            negatives: texts.negatives,
            gradients: true,
          });
          const slope = (value: number): number => (byTemperature ? value : -temperature * temperature * value);
          expectOracle(got, texts, rankingComparisons(texts, settings), temperature, slope);
        },
      ),
      { ...PROPERTY, numRuns: Math.min(PROPERTY.numRuns, 40) },
    );
  });

  test('many rows, in every set of directions', () => {
    const texts = makeTexts('correlated', 230, 24, 0, 3);
    for (const more of [['docToQuery'], ['queryToQuery'], ['docToDoc'], ['docToQuery', 'queryToQuery', 'docToDoc']] as const) {
      const settings = { directions: ['queryToDoc', ...more], partition: 'joint', temperature: 0.05 } as const;
      const got = multipleNegativesRanking(texts.anchor, texts.positive, { ...settings, gradients: true });
      expectOracle(got, texts, rankingComparisons(texts, settings), 0.05, (value) => value);
      const { stats, perRow } = multipleNegativesRanking(texts.anchor, texts.positive, { ...settings, reduction: 'none' });
      const reference = multipleNegativesRanking(texts.anchor, texts.positive, { ...settings, backend: 'reference' }).stats;
      expect(stats?.skippedRows).toBe(0);
      expectNumber('positive similarity', stats?.positiveSimilarity as number, reference?.positiveSimilarity as number, 1e-5, 1);
      expectNumber('negative similarity', stats?.negativeSimilarity as number, reference?.negativeSimilarity as number, 1e-5, 1);
      expect(stats?.accuracy).toBe(reference?.accuracy);
      const mean = (perRow as Float32Array).reduce((sum, value) => sum + value, 0) / 230;
      expectNumber('mean of the rows', mean, got.loss, 1e-5, 1);
    }
  });

  test('dot products of all directions', () => {
    const { anchor, positive } = makeTexts('random', 40, 6, 0, 4);
    const options = { directions: ['queryToDoc', 'docToQuery', 'queryToQuery', 'docToDoc'], temperature: 0.5, normalize: false } as const;
    const got = multipleNegativesRanking(anchor, positive, { ...options, gradients: true });
    const want = multipleNegativesRanking(anchor, positive, { ...options, gradients: true, backend: 'reference' });
    expectNumber('loss', got.loss, want.loss, 1e-5, 0);
    for (const name of ['anchor', 'positive'] as const) {
      for (const [k, value] of want.gradients[name].entries()) expectNumber(`${name}[${k}]`, got.gradients[name][k], value, 1e-5, 1);
    }
    expectNumber('temperature', got.gradients.temperature as number, want.gradients.temperature as number, 1e-5, 1);
  });

  test('the scale is 20 by default, and its gradient the one that is given', () => {
    const { anchor, positive } = makeTexts('correlated', 6, 5, 0, 1);
    const plain = multipleNegativesRanking(anchor, positive, { gradients: true });
    expectBackend(plain);
    expect(plain).toEqual(multipleNegativesRanking(anchor, positive, { logitScale: 20, gradients: true }));
    expect(plain.gradients.temperature).toBeUndefined();
    expect(multipleNegativesRanking(anchor, positive, { temperature: 0.05, gradients: true }).gradients.logitScale).toBeUndefined();
  });

  test('perRow of both directions', () => {
    const { anchor, positive, negatives } = makeTexts('random', 7, 5, 1, 2);
    for (const hardness of [undefined, { mode: 'all', strength: 2 }] as const) {
      const options = { negatives, directions: ['queryToDoc', 'docToQuery'], partition: 'perDirection', hardness } as const;
      const { perRow, loss } = multipleNegativesRanking(anchor, positive, { ...options, reduction: 'none' });
      expectNumber(
        'sum',
        (perRow as Float32Array).reduce((sum, value) => sum + value, 0),
        loss,
        1e-6,
        0,
      );
      expectNumber('mean', multipleNegativesRanking(anchor, positive, options).loss, loss / 7, 1e-6, 0);
    }
  });

  test('asynchronous: the same bits, whatever becomes of the inputs', async () => {
    const options = {
      directions: ['queryToDoc', 'docToQuery', 'queryToQuery', 'docToDoc'],
      hardness: { mode: 'all', strength: 2 },
      reduction: 'none',
      gradients: true,
    } as const;
    const { anchor, positive, negatives } = makeTexts('random', 13, 5, 2, 1);
    const expected = multipleNegativesRanking(anchor, positive, { ...options, negatives });
    const call = multipleNegativesRankingAsync(anchor, positive, { ...options, negatives });
    // None like another: a matrix that is read late would change the result.
    for (const [n, { data }] of [anchor, positive, ...negatives].entries()) data.set(normals(30 + n, data.length));
    expect(await call).toEqual(expected);
  });

  test('with the own anchor in the softmax accuracy has no meaning', () => {
    const { anchor, positive } = makeTexts('confident', 7, 5, 0, 3);
    expect(multipleNegativesRanking(anchor, positive, { directions: ['queryToDoc', 'docToQuery'] }).stats?.accuracy).toBeNaN();
    expect(multipleNegativesRanking(anchor, positive, { directions: ['queryToDoc', 'docToDoc'] }).stats?.accuracy).toBe(1);
  });
});

describeKernel('infoNce', 'GISTEmbed', () => {
  test.each(families)('%s', (family: Family) => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 2, max: 14 }),
          cols: fc.integer({ min: 1, max: 20 }),
          hard: fc.integer({ min: 0, max: 2 }),
          seed: fc.nat(1e6),
          contrastAnchors: fc.boolean(),
          contrastPositives: fc.boolean(),
          marginStrategy: fc.constantFrom('absolute' as const, 'relative' as const),
          margin: fc.constantFrom(0, 0.05, -0.3),
          temperature: temperatures,
        }),
        ({ rows, cols, hard, seed, temperature, ...settings }) => {
          const texts = makeTexts(family, rows, cols, hard, seed);
          // The guide has rows of its own, of another length; its similarities are drawn at random, so none is near a threshold.
          const guide = makeTexts('random', rows, 6, hard, seed + 999);
          const got = gist(texts.anchor, texts.positive, { ...settings, temperature, negatives: texts.negatives, guide, gradients: true });
          const comparisons = gistComparisons(texts, guide, settings);
          // Rows that have nothing left to compare are not in the mean.
          const counted = comparisons.filter(({ negatives }) => negatives.length > 0);
          expect(got.stats?.skippedRows).toBe(rows - counted.length);
          expectOracle(
            got,
            texts,
            counted.map((each) => ({ ...each, weight: 1 / counted.length })),
            temperature,
            (value) => value,
          );
        },
      ),
      { ...PROPERTY, numRuns: Math.min(PROPERTY.numRuns, 40) },
    );
  });

  test.each([
    [40, 150, 210, 1, 0.05],
    [230, 40, 30, 0, 0.05],
    [60, 600, 400, 0, 0.2],
    [230, 24, 24, 0, 0.01],
  ])('%i rows of %i columns, guided by %i, with %i hard negatives', (rows, cols, guideCols, hard, temperature) => {
    const texts = makeTexts('correlated', rows, cols, hard, 5);
    const guide = makeTexts('random', rows, guideCols, hard, 6);
    for (const [contrastAnchors, contrastPositives, margin] of [
      [true, true, 0.05] as const,
      [true, false, -0.1] as const,
      [false, true, 0] as const,
    ]) {
      const settings = { contrastAnchors, contrastPositives, marginStrategy: 'absolute', margin } as const;
      const options = { ...settings, negatives: texts.negatives, guide, temperature };
      const got = gist(texts.anchor, texts.positive, { ...options, gradients: true });
      const want = gist(texts.anchor, texts.positive, { ...options, gradients: true, backend: 'reference' });
      expectBackend(got);
      expectNumber('loss', got.loss, want.loss, tolerance(temperature), 0);
      const all = ({ anchor, positive, negatives }: typeof want.gradients): number[] =>
        [anchor, positive, ...negatives].flatMap((g) => [...g]);
      const values = all(got.gradients);
      const largest = Math.max(...all(want.gradients).map(Math.abs));
      for (const [k, value] of all(want.gradients).entries()) {
        expect(Math.abs(values[k] - value), `gradient ${k}`).toBeLessThan(tolerance(temperature) * largest);
      }
      const slope = want.gradients.temperature;
      expect(Math.abs(got.gradients.temperature - slope), 'temperature').toBeLessThan(
        tolerance(temperature) * Math.max(1, Math.abs(slope)),
      );
      expect(got.stats?.skippedRows).toBe(want.stats?.skippedRows);
      expect(got.stats?.accuracy).toBe(want.stats?.accuracy);
      expectNumber('similarity', got.stats?.negativeSimilarity as number, want.stats?.negativeSimilarity as number, 1e-5, 1);
      const { perRow, rowLogSumExp } = gist(texts.anchor, texts.positive, { ...options, reduction: 'none' });
      const rowsWanted = gist(texts.anchor, texts.positive, { ...options, reduction: 'none', backend: 'reference' });
      for (let i = 0; i < rows; i++) {
        expectNumber(`perRow[${i}]`, perRow?.[i] as number, rowsWanted.perRow?.[i] as number, 1e-5, 1);
        expectNumber(`rowLogSumExp[${i}]`, rowLogSumExp?.[i] as number, rowsWanted.rowLogSumExp?.[i] as number, 1e-5, 1);
      }
    }
  });

  test('a guide that finds everything alike leaves nothing', () => {
    const [x, y] = [matrix(normals(1, 20), 4, 5), matrix(normals(2, 20), 4, 5)];
    const ones = matrix(new Float32Array(8).fill(1), 4, 2);
    const got = gist(x, y, { guide: { anchor: ones, positive: ones }, margin: 0.1, gradients: true });
    expectBackend(got);
    expect(got.loss).toBe(0);
    expect(got.stats?.skippedRows).toBe(4);
  });
});

describeKernel('infoNce', 'ranking: out of the negatives', () => {
  const [anchor, positive, ...negatives] = [1, 2, 3, 4].map((seed) => matrix(normals(seed, 18), 6, 3));
  const directions: readonly RankingDirection[][] = [['queryToDoc'], ['queryToDoc', 'docToQuery', 'docToDoc']];
  const options = { negatives, gradients: true } as const;

  test.each(directions.map((each) => [each]))('%s: filled and returned', (each) => {
    const out = { negatives: negatives.map(() => new Float32Array(18)) };
    const got = multipleNegativesRanking(anchor, positive, { ...options, directions: each, out });
    const plain = multipleNegativesRanking(anchor, positive, { ...options, directions: each });
    expectBackend(got);
    expect(got).toEqual(plain);
    for (const [n, array] of out.negatives.entries()) expect(got.gradients.negatives[n]).toBe(array);
  });

  test('that does not fit is refused', () => {
    const fitting = negatives.map(() => new Float32Array(18));
    for (const [bad, type, message] of [
      [{ negatives: fitting.slice(1) }, RangeError, /^out\.negatives: expected 2 arrays/],
      [{ negatives: [fitting[0], negatives[0].data] }, RangeError, /^out\.negatives\[1\]: .*overlaps negatives\[0\]/],
      [{ negatives: [fitting[0], new Float32Array(17)] }, RangeError, /^out\.negatives\[1\]: expected exactly 18 elements/],
      [{ negatives: 5 }, TypeError, /^out\.negatives: expected an array/],
    ] as const) {
      const call = (): unknown => multipleNegativesRanking(anchor, positive, { ...options, out: bad as never });
      expect(call).toThrow(type);
      expect(call).toThrow(message);
    }
  });
});

function gistComparisons(
  { anchor, negatives }: Texts,
  guide: Texts,
  {
    contrastAnchors,
    contrastPositives,
    marginStrategy,
    margin,
  }: { contrastAnchors: boolean; contrastPositives: boolean; marginStrategy: string; margin: number },
): Comparison[] {
  const N = anchor.shape[0];
  const range = Array.from({ length: N }, (_, j) => j);
  const guided = (x: Matrix, y: Matrix): number[][] => products(x, y, true);
  const toPositives = guided(guide.anchor, guide.positive);
  const toAnchors = guided(guide.anchor, guide.anchor);
  const amongPositives = guided(guide.positive, guide.positive);
  const toNegatives = guide.negatives.map((each) => guided(guide.anchor, each));
  return range.map((i) => {
    const own = toPositives[i][i];
    const threshold = marginStrategy === 'absolute' ? own - margin : own * (1 - margin);
    const others = range.filter((j) => j !== i);
    return {
      anchor: i,
      positive: N + i,
      weight: 1,
      negatives: [
        ...others.filter((j) => toPositives[i][j] <= threshold).map((j) => ({ row: N + j })),
        ...(contrastAnchors ? others.filter((j) => toAnchors[i][j] <= threshold).map((row) => ({ row })) : []),
        ...(contrastPositives ? others.filter((j) => amongPositives[i][j] <= threshold).map((j) => ({ row: N + j, by: N + i })) : []),
        ...negatives.flatMap((_, n) => range.filter((j) => toNegatives[n][i][j] <= threshold).map((j) => ({ row: 2 * N + n * N + j }))),
      ],
    };
  });
}
