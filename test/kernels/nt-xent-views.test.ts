/** NT-Xent with more than two views of each item. */
import { expect, test } from 'vitest';
import { type Matrix, matrix, ntXent, supCon } from '../../src/index.js';
import { describeKernel, expectBackend } from '../support/backend.js';
import { expectEach, expectNumber } from '../support/expect-close.js';
import { normals } from '../support/random.js';

const random = (rows: number, seed: number): Matrix => matrix(normals(seed, rows * 7), rows, 7);

describeKernel('supCon', 'NT-Xent with views', () => {
  test('is SupCon with the items as labels', () => {
    const z = random(12, 1);
    for (const views of [3, 4, 6]) {
      const items = 12 / views;
      for (const pairs of ['halves', 'interleaved'] as const) {
        const labels = Array.from({ length: 12 }, (_, row) => (pairs === 'halves' ? row % items : Math.floor(row / views)));
        const options = { temperature: 0.2, reduction: 'none', gradients: true } as const;
        const got = ntXent(z, { ...options, views, pairs });
        expectBackend(got);
        expect(got).toEqual(supCon(z, labels, options));
      }
    }
  });

  test('has the definition written out, for three views of two items', () => {
    const z = random(6, 2);
    const rows = Array.from({ length: 6 }, (_, i) => Array.from(z.data.subarray(7 * i, 7 * i + 7)));
    const cosine = (a: number[], b: number[]): number =>
      a.reduce((sum, value, k) => sum + value * b[k], 0) / Math.hypot(...a) / Math.hypot(...b);
    let total = 0;
    for (let i = 0; i < 6; i++) {
      const others = [0, 1, 2, 3, 4, 5].filter((k) => k !== i);
      const logSumExp = Math.log(others.reduce((sum, k) => sum + Math.exp(cosine(rows[i], rows[k]) / 0.3), 0));
      for (const p of others.filter((k) => k % 2 === i % 2)) total += (logSumExp - cosine(rows[i], rows[p]) / 0.3) / 2;
    }
    const got = ntXent(z, { temperature: 0.3, views: 3 });
    expectBackend(got);
    expectNumber('loss', got.loss, total / 6, 1e-6, 0);
  });

  test('the two layouts are one loss', () => {
    const z = random(15, 3);
    const order = Array.from({ length: 15 }, (_, row) => (row % 3) * 5 + Math.floor(row / 3)); // interleaved row of each halves row
    const interleaved = matrix(Float32Array.from(order.flatMap((from) => [...z.data.subarray(7 * from, 7 * from + 7)])), 15, 7);
    const a = ntXent(z, { views: 3, gradients: true });
    const b = ntXent(interleaved, { views: 3, pairs: 'interleaved', gradients: true });
    expectBackend(b);
    expectNumber('loss', b.loss, a.loss, 1e-6, 0);
    order.forEach((from, row) => {
      expectEach('gradient', b.gradients.z.subarray(7 * row, 7 * row + 7), a.gradients.z.subarray(7 * from, 7 * from + 7), 1e-6, 1);
    });
  });
});

describeKernel('ntXent', 'the number of views', () => {
  test.each([
    [1, RangeError, /^views: expected an integer from 2 .*got 1/],
    [2.5, RangeError, /^views: /],
    ['3', TypeError, /^views: expected an integer, got '3'/],
    [5, RangeError, /^z: expected a multiple of 5 rows, 5 views of each item, got 12/],
  ] as const)('%s is refused', (views, type, message) => {
    expect(() => ntXent(random(12, 4), { views: views as number })).toThrow(type);
    expect(() => ntXent(random(12, 4), { views: views as number })).toThrow(message);
  });

  test('2 is the default', () => {
    const got = ntXent(random(12, 5), { views: 2 });
    expectBackend(got);
    expect(got).toEqual(ntXent(random(12, 5)));
  });
});
