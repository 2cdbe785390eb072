import { describe, expect, it } from 'vitest';
import { fitSoftmax, logLoss } from '../../src/evaluation/softmax-regression.js';
import { cosineSimilarity, knnClassify, linearProbe, type MatrixLike, NonFiniteError, nearest, randomStream } from '../../src/index.js';
import { normal } from '../../src/training/random.js';

const WHERE = { backend: 'reference' } as const;

/** `perClass` points around each centre, standard deviation `spread`; rows of one class stand together. */
function blobs(centres: readonly (readonly number[])[], perClass: number, spread: number, seed: number) {
  const random = randomStream(seed);
  const dim = centres[0].length;
  const labels = Int32Array.from({ length: centres.length * perClass }, (_, i) => Math.floor(i / perClass));
  const data = Float32Array.from({ length: labels.length * dim }, (_, at) => {
    const centre = centres[labels[Math.floor(at / dim)]];
    return centre[at % dim] + spread * normal(random);
  });
  return { features: { data, shape: [labels.length, dim] as const }, labels };
}

const CORNERS = [
  [3, 0, 0],
  [0, 3, 0],
  [0, 0, 3],
];

describe('linearProbe', () => {
  it('finds separated classes exactly', () => {
    const result = linearProbe(blobs(CORNERS, 20, 0.2, 1), blobs(CORNERS, 50, 0.2, 2));
    expect(result.accuracy).toBe(1);
    expect(result.trainAccuracy).toBe(1);
    expect(Array.from(result.predictions)).toEqual(Array.from(blobs(CORNERS, 50, 0, 2).labels));
  });

  it('comes near the best possible accuracy on two overlapping Gaussians, and guesses where there is nothing to learn', () => {
    // Centres 2 apart, standard deviation 1: no classifier does better than Phi(1) = 84.1 %.
    const centres = [
      [-1, 0],
      [1, 0],
    ];
    const overlapping = linearProbe(blobs(centres, 500, 1, 3), blobs(centres, 5000, 1, 4), { scaling: 'none' });
    expect(overlapping.accuracy).toBeGreaterThan(0.83);
    expect(overlapping.accuracy).toBeLessThan(0.855);
    const nothing = [
      [0, 0],
      [0, 0],
    ];
    expect(Math.abs(linearProbe(blobs(nothing, 200, 1, 5), blobs(nothing, 5000, 1, 6)).accuracy - 0.5)).toBeLessThan(0.03);
  });

  it('is where the gradient of its objective vanishes', () => {
    const { features, labels } = blobs(CORNERS, 15, 1.5, 7);
    const l2 = 0.02;
    const design = { data: features.data, labels, rows: 45, dim: 3, classes: 3 };
    const { parameters } = fitSoftmax(design, l2, 500);
    const at = (changed: Float64Array) => {
      const penalty = changed.reduce((sum, p, i) => (i % 4 === 3 ? sum : sum + p * p), 0);
      return logLoss({ parameters: changed, dim: 3, classes: 3 }, features.data, labels) + 0.5 * l2 * penalty;
    };
    const moved = (i: number, by: number) => at(parameters.map((p, j) => (j === i ? p + by : p)));
    parameters.forEach((_, i) => {
      expect(Math.abs(moved(i, 1e-4) - moved(i, -1e-4)) / 2e-4).toBeLessThan(1.1e-5);
      expect(Math.min(moved(i, 1e-2), moved(i, -1e-2))).toBeGreaterThan(at(parameters));
    });
  });

  it('is deterministic, and the seed draws the folds', () => {
    const train = blobs(CORNERS, 12, 2, 8);
    const test = blobs(CORNERS, 40, 2, 9);
    const once = linearProbe(train, test, { seed: 1 });
    expect(linearProbe(train, test, { seed: 1 })).toEqual(once);
    expect(linearProbe(train, test, { seed: 2 }).candidates).not.toEqual(once.candidates);
  });

  it('chooses a scaling and a penalty that suit the data', () => {
    // One column of noise a thousand times larger than the ones that tell the classes apart: only 'standardize' copes.
    const drown = ({ features, labels }: ReturnType<typeof blobs>, seed: number) => {
      const random = randomStream(seed);
      const rows = labels.length;
      const data = Float32Array.from({ length: rows * 4 }, (_, at) =>
        at % 4 === 3 ? 1000 * normal(random) : features.data[Math.floor(at / 4) * 3 + (at % 4)],
      );
      return { features: { data, shape: [rows, 4] as const }, labels };
    };
    const train = drown(blobs(CORNERS, 30, 0.5, 10), 11);
    const test = drown(blobs(CORNERS, 100, 0.5, 12), 13);
    const chosen = linearProbe(train, test, { scaling: ['none', 'unit', 'standardize'] });
    expect(chosen.scaling).toBe('standardize');
    expect(chosen.accuracy).toBeGreaterThan(0.95);
    expect(chosen.candidates).toHaveLength(12);
    const best = Math.min(...chosen.candidates.map(({ logLoss }) => logLoss));
    expect(chosen.candidates.find(({ logLoss }) => logLoss === best)).toMatchObject({ l2: chosen.l2, scaling: chosen.scaling });
    expect(linearProbe(train, test, { l2: 1e-4, scaling: 'unit' }).accuracy).toBeLessThan(0.7);
  });

  it('does not depend on the scale of the features, and takes few rows, one class, constant columns and no test labels', () => {
    const train = blobs(CORNERS, 12, 1, 14);
    const test = blobs(CORNERS, 40, 1, 15);
    const large = (set: typeof train) => ({ ...set, features: { ...set.features, data: set.features.data.map((v) => v * 1024) } });
    for (const scaling of ['none', 'unit', 'standardize'] as const) {
      const settings = { l2: 0.01, scaling };
      expect(linearProbe(large(train), large(test), settings).predictions).toEqual(linearProbe(train, test, settings).predictions);
    }
    const one = { features: { data: new Float32Array(6).fill(1), shape: [2, 3] }, labels: [0, 0] };
    const unknown = linearProbe(one, { features: one.features });
    expect(Array.from(unknown.predictions)).toEqual([0, 0]);
    expect(unknown.accuracy).toBeNaN();
  });
});

describe('nearest and knnClassify', () => {
  it('finds what sorting all similarities finds, ties to the lower row', () => {
    const x = blobs(CORNERS, 11, 2, 20).features;
    const y = blobs(CORNERS, 17, 2, 21).features;
    y.data.set(y.data.subarray(0, 9), 30);
    const all = cosineSimilarity(x, y, WHERE).data;
    for (const k of [1, 7, 51]) {
      const { indices, similarities } = nearest(x, y, k, WHERE);
      for (let row = 0; row < 33; row++) {
        const own = all.subarray(row * 51, (row + 1) * 51);
        const order = Array.from(own.keys()).sort((a, b) => own[b] - own[a] || a - b);
        expect(Array.from(indices.subarray(row * k, (row + 1) * k))).toEqual(order.slice(0, k));
        expect(Array.from(similarities.subarray(row * k, (row + 1) * k))).toEqual(order.slice(0, k).map((j) => own[j]));
      }
    }
  });

  it('gives the same in several blocks as in one', () => {
    // 70,000 rows are searched, so 4,194,304 similarities hold 59 queries: 150 queries take three blocks.
    const y = { data: Float32Array.from({ length: 140_000 }, randomStream(22)).map((v) => v - 0.5), shape: [70_000, 2] };
    const x = { data: Float32Array.from({ length: 300 }, randomStream(23)).map((v) => v - 0.5), shape: [150, 2] };
    const together = nearest(x, y, 3, WHERE);
    for (const row of [0, 58, 59, 149]) {
      const alone = nearest({ data: x.data.subarray(2 * row, 2 * row + 2), shape: [1, 2] }, y, 3, WHERE);
      expect(together.indices.subarray(3 * row, 3 * row + 3)).toEqual(alone.indices);
      expect(together.similarities.subarray(3 * row, 3 * row + 3)).toEqual(alone.similarities);
    }
  });

  it('classifies separated blobs exactly and keeps to cosines', () => {
    const train = blobs(CORNERS, 20, 0.2, 24);
    const test = blobs(CORNERS, 50, 0.2, 25);
    const far = { ...test, features: { ...test.features, data: test.features.data.map((v) => v * 1000) } };
    for (const k of [1, 10, 60]) {
      const expected = k === 60 ? expect(knnClassify(train, test, { k, weights: 'similarity', ...WHERE }).accuracy) : null;
      expected?.toBe(1);
      if (k < 60) expect(knnClassify(train, far, { k, ...WHERE }).accuracy).toBe(1);
    }
  });

  it('counts votes, settles ties by similarity, and weighs them on request', () => {
    const angle = (degrees: number) => [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
    const rows = (...degrees: number[]) => ({ data: Float32Array.from(degrees.flatMap(angle)), shape: [degrees.length, 2] });
    const train = { features: rows(5, 40, 50, 60, 70), labels: [1, 0, 0, 2, 1] };
    const test = { features: rows(0) };
    const predict = (options: object) => knnClassify(train, test, { ...options, ...WHERE }).predictions[0];
    expect(predict({ k: 1 })).toBe(1);
    expect(predict({ k: 3 })).toBe(0);
    expect(predict({ k: 5 })).toBe(0);
    expect(predict({ k: 2 })).toBe(1);
    expect(predict({ k: 3, weights: 'similarity' })).toBe(1);
    expect(predict({ k: 3, weights: 'similarity', temperature: 1e-6 })).toBe(1);
    expect(predict({ k: 3, weights: 'similarity', temperature: 1e6 })).toBe(0);
  });
});

describe('bad input', () => {
  const good = blobs(CORNERS, 2, 1, 30);
  const rows = (values: number[], shape: number[]): MatrixLike => ({ data: Float32Array.from(values), shape });

  it.each([
    [null, good, TypeError, /train: expected \{ features, labels \}, got null/],
    [
      { ...good, features: [1] },
      good,
      TypeError,
      /train\.features\.dims: expected|train\.features: expected|train\.features\.data: expected/,
    ],
    [{ ...good, features: rows([1, 2], [1, 3]) }, good, RangeError, /train\.features\.data: expected 1 x 3 = 3 elements, got 2/],
    [{ ...good, labels: 'abc' }, good, TypeError, /train\.labels: expected an Int32Array or an array of integers/],
    [{ ...good, labels: [1] }, good, RangeError, /train\.labels: expected 6 labels, one a row, got 1/],
    [{ ...good, labels: [0, 1, 2, 0, 1, -1] }, good, RangeError, /train\.labels: expected integers from 0, got number -1 at 5/],
    [good, { features: rows([1, 2], [1, 2]) }, RangeError, /test\.features: expected 3 columns as in train\.features, got 2/],
    [good, { ...good, labels: [0.5, 0, 0, 0, 0, 0] }, RangeError, /test\.labels/],
    [good, { features: rows([1, 2, 3, 4, Number.NaN, 6], [2, 3]) }, NonFiniteError, /test\.features: .* row 1, column 1/],
  ])('sets %#', (train, test, type, message) => {
    for (const call of [() => linearProbe(train as never, test as never), () => knnClassify(train as never, test as never, WHERE)]) {
      expect(call).toThrow(type);
      expect(call).toThrow(message);
    }
  });

  it.each([
    [() => linearProbe(good, good, { l2: -1 }), RangeError, /l2: expected a number/],
    [() => linearProbe(good, good, { l2: [] }), RangeError, /l2: expected at least one/],
    [() => linearProbe(good, good, { scaling: 'whiten' as never }), RangeError, /scaling: expected one of/],
    [() => linearProbe(good, good, { folds: 1 }), RangeError, /folds/],
    [() => linearProbe(good, good, { iterations: 0.5 }), RangeError, /iterations/],
    [() => linearProbe(good, good, { seed: 0.5 }), RangeError, /seed/],
    [() => linearProbe(good, good, { L2: 1 } as never), TypeError, /expected only l2,.*got 'L2'/],
    [() => knnClassify(good, good, { k: 7, ...WHERE }), RangeError, /k: expected an integer from 1 to 6, got 7/],
    [() => knnClassify(good, good, { k: '3' as never }), TypeError, /k: expected an integer/],
    [() => knnClassify(good, good, { weights: 'distance' as never }), RangeError, /weights: expected one of 'uniform', 'similarity'/],
    [() => knnClassify(good, good, { temperature: 0 }), RangeError, /temperature/],
    [() => nearest(good.features, rows([1, 2], [1, 2]), 1), RangeError, /y: expected 3 columns/],
  ])('option %#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});
