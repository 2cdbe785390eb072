/** Recall@k and ranks against what can be counted by hand and by sorting. */
import { describe, expect, test } from 'vitest';
import { cosineSimilarity, type Matrix, matrix, NonFiniteError, retrieval, retrievalAsync } from '../../src/index.js';
import { normals, uniformStream } from '../support/random.js';

const WHERE = { backend: 'reference' } as const;

/** Unit rows in the plane, at these angles. */
const at = (...degrees: number[]): Matrix =>
  matrix(
    Float32Array.from(degrees.flatMap((angle) => [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)])),
    degrees.length,
    2,
  );

describe('by hand', () => {
  test('ranks, recall and the mean reciprocal rank', () => {
    // Query 0 finds its own first, query 1 second, query 2 fourth of four.
    const result = retrieval(at(0, 50, 100), at(0, 70, 210, 45), { k: [1, 2, 3, 4], ...WHERE });
    expect(Array.from(result.ranks)).toEqual([1, 2, 4]);
    expect(result.recall).toEqual({ 1: 1 / 3, 2: 2 / 3, 3: 2 / 3, 4: 1 });
    expect(result.meanReciprocalRank).toBeCloseTo((1 + 1 / 2 + 1 / 4) / 3, 12);
    expect(result.medianRank).toBe(2);
    expect(result.skippedRows).toBe(0);
  });

  test('positives by index, also one for several queries', () => {
    const { ranks } = retrieval(at(0, 10, 90), at(0, 90), { positives: [0, 0, 0], ...WHERE });
    expect(Array.from(ranks)).toEqual([1, 1, 2]);
  });

  test('a tie is a miss', () => {
    const copies = retrieval(at(30), at(60, 60, 200), { positives: [0], k: [1, 2], ...WHERE });
    expect(Array.from(copies.ranks)).toEqual([2]);
    expect(copies.recall).toEqual({ 1: 0, 2: 1 });
  });

  test('labels: the best of several counts; queries without any are left out', () => {
    const query = at(0, 90, 180);
    const key = at(5, 9, 100, 170);
    const labels = { queryLabels: [1, 2, 9], keyLabels: [0, 1, 1, 2] };
    const result = retrieval(query, key, { ...labels, k: [1, 2], ...WHERE });
    expect(Array.from(result.ranks)).toEqual([2, 2, 0]);
    expect(result).toMatchObject({ recall: { 1: 0, 2: 1 }, meanReciprocalRank: 0.5, medianRank: 2, skippedRows: 1 });
  });

  test('a labelled set among itself: no row finds itself', () => {
    const rows = at(0, 8, 90, 97, 200);
    const labels = [0, 0, 1, 1, 2];
    const options = { queryLabels: labels, keyLabels: labels, k: [1], ...WHERE };
    expect(retrieval(rows, rows, options).recall[1]).toBe(1);
    const { ranks, skippedRows } = retrieval(rows, rows, { ...options, excludeSameIndex: true });
    expect(Array.from(ranks)).toEqual([1, 1, 1, 1, 0]);
    expect(skippedRows).toBe(1);
  });

  test('nothing to find: no means', () => {
    const result = retrieval(at(0), at(0), { queryLabels: [1], keyLabels: [2], ...WHERE });
    expect(result).toMatchObject({ meanReciprocalRank: Number.NaN, medianRank: Number.NaN, skippedRows: 1 });
    expect(result.recall[1]).toBeNaN();
  });
});

test('against sorting, over several blocks, and the twin', async () => {
  // 70,000 keys: a block holds 59 queries.
  const [queries, keys, cols] = [120, 70_000, 3];
  const x = matrix(normals(1, queries * cols), queries, cols);
  const y = matrix(normals(2, keys * cols), keys, cols);
  const uniform = uniformStream(3);
  const positives = Array.from({ length: queries }, () => Math.floor(uniform() * keys));
  const result = retrieval(x, y, { positives, ...WHERE });
  for (const i of [0, 58, 59, 119]) {
    const row = matrix(x.data.slice(i * cols, (i + 1) * cols), 1, cols);
    const { data } = cosineSimilarity(row, y, WHERE);
    const own = data[positives[i]];
    expect(result.ranks[i]).toBe(data.filter((value) => value >= own).length);
  }
  const later = retrievalAsync(x, y, { positives, ...WHERE });
  x.data.fill(0);
  y.data.fill(Number.NaN);
  expect(await later).toEqual(result);
});

describe('bad input', () => {
  const x = at(0, 10, 20);
  test.each([
    [() => retrieval(x, at(0)), RangeError, /^key: expected at least 3 rows, one for each query, or positives, got 1/],
    [() => retrieval(x, matrix(normals(1, 9), 3, 3)), RangeError, /^key: expected 2 columns as in query, got 3/],
    [() => retrieval(x, x, { positives: [0, 1] }), RangeError, /^positives: expected 3 integers, got 2/],
    [() => retrieval(x, x, { positives: [0, 1, 3] }), RangeError, /^positives: expected integers from 0 to 2, got 3 at 2/],
    [() => retrieval(x, x, { queryLabels: [0, 1, 2] }), TypeError, /^keyLabels: expected an Int32Array/],
    [() => retrieval(x, x, { positives: [0, 1, 2], queryLabels: [0, 1, 2], keyLabels: [0, 1, 2] }), RangeError, /^positives: .*got both/],
    [() => retrieval(x, x, { excludeSameIndex: true }), RangeError, /^excludeSameIndex: /],
    [() => retrieval(x, x, { k: [0] }), RangeError, /^k\[0\]: /],
    [() => retrieval(x, x, { k: 5 as unknown as number[] }), TypeError, /^k: expected an array/],
    [() => retrieval(x, x, { ks: [1] } as object), TypeError, /got 'ks'/],
    [() => retrieval(matrix(Float32Array.of(1, Number.NaN), 1, 2), x), NonFiniteError, /^query: .*row 0, column 1/],
  ])('%#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});
