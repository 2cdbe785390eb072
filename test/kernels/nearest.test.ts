/** The nearest rows on every backend: against sorting all similarities, as far as float32 can tell them apart. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Matrix, matrix, NonFiniteError, nearest, nearestAsync } from '../../src/index.js';
import { PROPERTY } from '../support/backend.js';
import { dotScale } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, makeViews, normsAreModerate } from '../support/families.js';
import { products } from '../support/oracle.js';
import { normals } from '../support/random.js';

/**
 * Rows may change places where their similarities are closer than `error`; otherwise the k largest come in falling order, each with
 * its own similarity, none twice. Equal bits: the lower row first.
 */
function expectRight(x: Matrix, y: Matrix, k: number, normalize = true, excludeSameIndex = false): void {
  const { indices, similarities, k: given } = nearest(x, y, k, { normalize, excludeSameIndex });
  expect([given, indices.length, similarities.length]).toEqual([k, x.shape[0] * k, x.shape[0] * k]);
  const scale = normalize ? 1 : dotScale(largestNorm(x), largestNorm(y));
  const error = 1e-6 * scale;
  products(x, y, normalize).forEach((row, i) => {
    const order = Array.from(row.keys())
      .filter((j) => !(excludeSameIndex && j === i))
      .sort((a, b) => row[b] - row[a]);
    const own = Array.from(indices.subarray(i * k, (i + 1) * k));
    expect(new Set(own).size, `row ${i}: distinct neighbours`).toBe(k);
    if (excludeSameIndex) expect(own).not.toContain(i);
    own.forEach((j, place) => {
      const got = similarities[i * k + place];
      expect(Math.abs(got - row[j]), `row ${i}, place ${place}: the similarity of row ${j}`).toBeLessThanOrEqual(error);
      expect(got, `row ${i}, place ${place}`).toBeGreaterThanOrEqual(row[order[place]] - 2 * error);
      if (place > 0) {
        const before = similarities[i * k + place - 1];
        expect(before > got || (before === got && own[place - 1] < j), `row ${i}: falling order at ${place}`).toBe(true);
      }
    });
  });
}

function sets(family: Family, rows: number, others: number, cols: number, seed: number): [Matrix, Matrix] {
  const { first, second } = makeViews(family, Math.max(rows, others), cols, seed);
  return [matrix(first.slice(0, rows * cols), rows, cols), matrix(second.slice(0, others * cols), others, cols)];
}

describe('against sorting', () => {
  test.each(FAMILIES)('%s', (family) => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 1, max: 30 }),
          others: fc.integer({ min: 2, max: 60 }),
          cols: fc.integer({ min: 1, max: 40 }),
          seed: fc.nat(1e6),
          part: fc.double({ min: 0, max: 1, noNaN: true }),
          excludeSameIndex: fc.boolean(),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        ({ rows, others, cols, seed, part, excludeSameIndex, normalize }) => {
          const k = 1 + Math.floor(part * (others - (excludeSameIndex ? 1.001 : 0.001)));
          expectRight(...sets(family, rows, others, cols, seed), k, normalize, excludeSameIndex);
        },
      ),
      PROPERTY,
    );
  });

  test.each([
    [1, 1, 1],
    [65, 193, 10],
    [300, 96, 96],
    [5, 1000, 100],
  ])('%i rows against %i, k %i, where tiles end', (rows, others, k) => {
    expectRight(...sets('random', rows, others, 17, rows), k);
  });

  test('copies of one row: all equal, in the order of the rows', () => {
    const row = normals(4, 9);
    const y = matrix(
      Float32Array.from({ length: 90 }, (_, at) => row[at % 9]),
      10,
      9,
    );
    const { indices } = nearest(matrix(normals(5, 18), 2, 9), y, 7);
    expect(Array.from(indices)).toEqual([0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6]);
  });
});

describe('the twin', () => {
  test('gives the same bits, of the inputs as they were', async () => {
    const [x, y] = sets('random', 40, 70, 11, 1);
    const expected = nearest(x, y, 5);
    const call = nearestAsync(x, y, 5);
    x.data.fill(Number.NaN);
    y.data.fill(Number.NaN);
    expect(await call).toEqual(expected);
  });

  test('gives up when it is aborted', async () => {
    const [x, y] = sets('random', 400, 700, 32, 1);
    const reason = new Error('no longer wanted');
    const controller = new AbortController();
    const call = nearestAsync(x, y, 5, { signal: controller.signal });
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    expect(() => nearest(x, y, 5, { signal: controller.signal })).toThrow(reason);
  });
});

describe('bad input', () => {
  const [x, y] = sets('random', 3, 5, 4, 1);
  const bad = (m: Matrix): Matrix => {
    const data = m.data.slice();
    data[6] = Number.POSITIVE_INFINITY;
    return matrix(data, ...m.shape);
  };

  test.each([
    [() => nearest(x, matrix(normals(1, 6), 2, 3), 1), RangeError, /^y: expected 4 columns as in x, got 3/],
    [() => nearest(x, y, 6), RangeError, /^k: expected an integer from 1 to 5, got 6/],
    [() => nearest(x, y, 5, { excludeSameIndex: true }), RangeError, /^k: expected an integer from 1 to 4, got 5/],
    [() => nearest(x, y, '2' as unknown as number), TypeError, /^k: expected an integer/],
    [() => nearest(x, y, 2, { exclude: true } as object), TypeError, /^options: .*got 'exclude'/],
    [() => nearest(bad(x), y, 2), NonFiniteError, /^x: expected finite values, got Infinity at row 1, column 2/],
    [() => nearest(x, bad(y), 2), NonFiniteError, /^y: expected finite values, got Infinity at row 1, column 2/],
  ])('%#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});
