/** The seeded sampler: different rows, none excluded, all equally often, and the loss that it is for. */
import { describe, expect, test } from 'vitest';
import { infoNce, matrix, sampleNegatives } from '../../src/index.js';
import { normals } from '../support/random.js';

describe('sampleNegatives', () => {
  test('draws different rows for each query, never the excluded one', () => {
    for (const [queries, perQuery, rows] of [
      [7, 4, 5],
      [20, 1, 2],
      [3, 9, 10],
      [5, 50, 1000],
    ]) {
      const exclude = Int32Array.from({ length: queries }, (_, i) => (i * 3) % rows);
      const indices = sampleNegatives(queries, perQuery, rows, 11, { exclude });
      for (let i = 0; i < queries; i++) {
        const own = [...indices.subarray(i * perQuery, (i + 1) * perQuery)];
        expect(new Set(own).size).toBe(perQuery);
        expect(own).not.toContain(exclude[i]);
        expect(own.every((row) => row >= 0 && row < rows)).toBe(true);
      }
    }
  });

  test('all rows can be had where none is excluded', () => {
    expect([...sampleNegatives(1, 6, 6, 1)].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect([...sampleNegatives(1, 6, 6, 1, { exclude: [-1] })].sort()).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test('each row equally often', () => {
    const counts = new Array<number>(8).fill(0);
    for (const row of sampleNegatives(20_000, 3, 8, 5, { exclude: new Int32Array(20_000).fill(2) })) counts[row]++;
    expect(counts[2]).toBe(0);
    // 60000 draws over 7 rows: mean 8571, standard deviation about 65.
    for (const [row, count] of counts.entries()) if (row !== 2) expect(Math.abs(count - 60_000 / 7)).toBeLessThan(400);
  });

  test('same seed, same rows; a query keeps its rows when there are more queries', () => {
    const few = sampleNegatives(3, 5, 100, 42);
    expect(sampleNegatives(3, 5, 100, 42)).toEqual(few);
    expect(sampleNegatives(9, 5, 100, 42).subarray(0, 15)).toEqual(few);
    expect(sampleNegatives(3, 5, 100, 43)).not.toEqual(few);
  });

  test('goes into infoNce', () => {
    const pool = matrix(normals(1, 50 * 4), 50, 4);
    const query = matrix(normals(2, 6 * 4), 6, 4);
    const positives = [3, 9, 27, 31, 1, 0];
    const negativeIndices = sampleNegatives(6, 10, 50, 7, { exclude: positives });
    const got = infoNce(query, pool, { positives, negatives: pool, negativeIndices, inBatch: false, backend: 'reference' });
    expect(got.loss).toBeGreaterThan(0);
  });

  test.each([
    [[0, 1, 5, 1], RangeError, /^queries: /],
    [[2, 6, 5, 1], RangeError, /^perQuery: expected an integer from 1 to 5, got 6/],
    [[2, 5, 5, 1, { exclude: [0, -1] }], RangeError, /^perQuery: expected an integer from 1 to 4, got 5/],
    [[2, 1, 5, 1, { exclude: [0] }], RangeError, /^exclude: expected 2 integers/],
    [[2, 1, 5, 1, { exclude: [0, 5] }], RangeError, /^exclude: .*got 5 at 1/],
    [[2, 1, 5, 0.5], RangeError, /^seed: /],
    [[2, 1, 5], TypeError, /^seed: /],
    [[2, 1, '5', 1], TypeError, /^rows: /],
    [[2, 1, 5, 1, { without: [0, 1] }], TypeError, /^options: .*got 'without'/],
  ] as const)('refuses %j', (args, type, message) => {
    const call = () => (sampleNegatives as (...args: unknown[]) => unknown)(...args);
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});
