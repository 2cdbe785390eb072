/** InfoNCE against constants: what is not asked for is not computed, and changes nothing of what is. */
import { describe, expect, test } from 'vitest';
import { infoNce, infoNceAsync, type Matrix, matrix, mocoV3 } from '../../src/index.js';
import { expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';

const rowsOf = (rows: number, cols: number, seed: number, scale = 1): Matrix =>
  matrix(
    normals(seed, rows * cols).map((value) => scale * value),
    rows,
    cols,
  );

describe('detachKeys', () => {
  const query = rowsOf(37, 19, 1);
  const key = rowsOf(37, 19, 2);
  const negatives = rowsOf(74, 19, 3);
  const settings = {
    'keys of the batch': {},
    'a queue': { negatives, inBatch: false },
    'both, shared': { negatives, ownNegativeLogit: 0.3 },
    'paired negatives': { negatives, negativeMode: 'paired' },
    'indexed negatives': { negatives, negativeIndices: Array.from({ length: 37 * 3 }, (_, n) => (7 * n) % 74) },
    symmetric: { symmetric: true },
    'labels, where sums underflow': { queryLabels: Array.from({ length: 37 }, (_, i) => i % 9), temperature: 0.005 },
  } as const;

  test.each(Object.entries(settings))('%s: the same bits, of the query alone', async (_, options) => {
    const all = infoNce(query, key, { temperature: 0.1, ...options, gradients: true });
    for (const got of [
      infoNce(query, key, { temperature: 0.1, ...options, detachKeys: true, gradients: true }),
      await infoNceAsync(query, key, { temperature: 0.1, ...options, detachKeys: true, gradients: true }),
    ]) {
      expectBackend(got);
      expect(Object.keys(got.gradients).sort()).toEqual(['query', 'temperature']);
      expect(got.gradients.query).toEqual(all.gradients.query);
      expect(got.gradients.temperature).toBe(all.gradients.temperature);
      expect(got.loss).toBe(all.loss);
      expect(got.stats).toEqual(all.stats);
    }
  });

  test('a gradient that nobody asked for cannot overflow', () => {
    const tiny = rowsOf(37, 19, 2, 1e-41);
    const call = (detachKeys: boolean) => infoNce(query, tiny, { temperature: 0.1, reduction: 'sum', detachKeys, gradients: true });
    expect(() => call(false)).toThrow(RangeError);
    expect(Math.hypot(...call(true).gradients.query)).toBeGreaterThan(0);
    expect(mocoV3(query, query, tiny, tiny, { gradients: true }).loss).toBeGreaterThan(0);
  });

  test('arguments that do not fit', () => {
    const out = { key: new Float32Array(37 * 19) };
    expect(() => infoNce(query, key, { detachKeys: true, gradients: true, out })).toThrow(/^out\.key: expected only outputs/);
    expect(() => infoNce(query, key, { detachKeys: 1 as unknown as boolean })).toThrow(/^detachKeys: expected a boolean, got number 1/);
  });
});
