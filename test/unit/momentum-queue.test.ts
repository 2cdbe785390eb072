/** The queue of MoCo against a list that is written one row at a time, the definition of it. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cosineSimilarity, MomentumQueue, type MomentumQueueState, matrix, NonFiniteError } from '../../src/index.js';
import { PROPERTY } from '../support/backend.js';
import { goldens, stacked } from '../support/golden.js';
import { normals } from '../support/random.js';

const rows = (count: number, cols: number, seed: number) => matrix(normals(seed, count * cols), count, cols);

describe('enqueue', () => {
  test('any batch sizes, also larger than the queue: row n lies at n modulo capacity', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 }),
        (capacity, cols, batches) => {
          const queue = new MomentumQueue(capacity, cols);
          const expected: number[][] = [];
          let count = 0;
          batches.forEach((size, batch) => {
            const keys = rows(size, cols, batch);
            queue.enqueue(keys);
            for (let i = 0; i < size; i++) expected[count++ % capacity] = Array.from(keys.data.subarray(i * cols, (i + 1) * cols));
            expect(Array.from(queue.data)).toEqual(expected.flat());
            expect(queue.shape).toEqual([Math.min(count, capacity), cols]);
            expect([queue.size, queue.position]).toEqual([Math.min(count, capacity), count % capacity]);
          });
        },
      ),
      PROPERTY,
    );
  });

  test('the queue itself may be put in', () => {
    const queue = new MomentumQueue(5, 2);
    queue.enqueue(rows(3, 2, 1));
    const [a, b, c] = [0, 2, 4].map((at) => Array.from(queue.data.subarray(at, at + 2)));
    queue.enqueue(queue);
    expect(Array.from(queue.data)).toEqual([c, b, c, a, b].flat());
    expect(queue.size).toBe(5);
  });

  test.each(goldens('MoCo.forward + CrossEntropyLoss').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const { K, ptr, d } = golden.params as Record<string, number>;
    // Theirs is [d, K], a key a column, of unit length.
    const transposed = (values: readonly number[]) =>
      Float32Array.from({ length: K * d }, (_, at) => values[(at % d) * K + Math.floor(at / d)]);
    const queue = MomentumQueue.restore({ data: transposed(golden.inputs.queue.data), capacity: K, cols: d, position: ptr });
    const key = stacked(golden, 'im_k');
    for (let i = 0; i < key.shape[0]; i++) {
      const row = key.data.subarray(i * d, (i + 1) * d);
      row.set(row.map((value) => value / Math.hypot(...row)));
    }
    queue.enqueue(key);
    const after = transposed((golden.expected.queue_after as { data: readonly number[] }).data);
    for (let k = 0; k < after.length; k++) expect(Math.abs(queue.data[k] - after[k])).toBeLessThan(1e-7);
    expect(queue.position).toBe(golden.expected.ptr_after);
  });
});

describe('as a matrix', () => {
  test('it goes into a kernel as it is, without a copy', () => {
    const queue = new MomentumQueue(6, 3);
    queue.enqueue(rows(4, 3, 1));
    const memory = queue.data.buffer;
    const x = rows(2, 3, 2);
    expect(cosineSimilarity(x, queue, { backend: 'reference' }).data).toEqual(
      cosineSimilarity(x, rows(4, 3, 1), { backend: 'reference' }).data,
    );
    queue.enqueue(rows(6, 3, 3));
    expect(queue.data.buffer).toBe(memory);
  });

  test('empty it has no rows, which a loss refuses', () => {
    expect(() => cosineSimilarity(rows(2, 3, 1), new MomentumQueue(6, 3))).toThrow(
      /^y\.shape: expected integers of at least 1, got \[0, 3\]/,
    );
  });

  test('seeded it is full of directions at once, the same for the same seed', () => {
    const queue = new MomentumQueue(50, 8, { seed: 7 });
    expect(queue.size).toBe(50);
    expect(queue.data).toEqual(new MomentumQueue(50, 8, { seed: 7 }).data);
    expect(queue.data).not.toEqual(new MomentumQueue(50, 8, { seed: 8 }).data);
    const { data } = cosineSimilarity(queue, queue, { backend: 'reference' });
    const mean = (data.reduce((sum, value) => sum + value, 0) - 50) / (50 * 49);
    expect(Math.abs(mean)).toBeLessThan(0.05);
  });
});

describe('save and restore', () => {
  test('an equal queue, empty, half full or full, and neither knows the other', () => {
    for (const batches of [[], [3], [3, 5], [20]]) {
      const queue = new MomentumQueue(7, 2);
      for (const size of batches) queue.enqueue(rows(size, 2, size));
      const state = JSON.parse(JSON.stringify({ ...queue.save(), data: Array.from(queue.save().data) }));
      const copy = MomentumQueue.restore({ ...state, data: Float32Array.from(state.data) });
      expect(copy.save()).toEqual(queue.save());
      queue.enqueue(rows(4, 2, 9));
      copy.enqueue(rows(4, 2, 9));
      expect(copy.save()).toEqual(queue.save());
    }
  });

  test.each([
    [{ position: 7 }, /^position: expected an integer from 0 to 6, got 7/],
    [{ position: 2 }, /^position: expected 3, after the last row/],
    [{ capacity: 2, position: 0 }, /^data: expected at most 2 rows, the capacity, got 3/],
    [{ data: new Float32Array(5) }, /^state\.data: expected 3 x 2 = 6 elements, got 5/],
    [{ data: new Float32Array(0) }, /^position: expected 0 for an empty queue, got 3/],
    [{ data: [1, 2] }, /^state\.data: expected a Float32Array/],
    [{ data: new Float32Array(6).fill(Number.NaN) }, /^data: expected finite values, got NaN at row 0, column 0/],
    [{ rows: 3 }, /expected only data, capacity, cols, position, got 'rows'/],
  ])('refuses %j', (change, message) => {
    const queue = new MomentumQueue(7, 2);
    queue.enqueue(rows(3, 2, 1));
    expect(() => MomentumQueue.restore({ ...queue.save(), ...change } as MomentumQueueState)).toThrow(message);
  });
});

describe('bad input', () => {
  test.each([
    [() => new MomentumQueue(0, 2), RangeError, /^capacity: /],
    [() => new MomentumQueue(2, 1.5), RangeError, /^cols: /],
    [() => new MomentumQueue(2 ** 20, 2 ** 12), RangeError, /^capacity: expected at most/],
    [() => new MomentumQueue(2, 2, { seed: 0.5 }), RangeError, /^seed: /],
    [() => new MomentumQueue(2, 2, { sead: 1 } as object), TypeError, /got 'sead'/],
    [() => new MomentumQueue(2, 2).enqueue(rows(2, 3, 1)), RangeError, /^keys: expected 2 columns as in the queue, got 3/],
    [() => MomentumQueue.restore(undefined as unknown as MomentumQueueState), TypeError, /^state: /],
    [() => MomentumQueue.restore(null as unknown as MomentumQueueState), TypeError, /^state: expected an object, got null/],
  ])('%#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });

  test('a key that is not finite leaves the queue as it was', () => {
    const queue = new MomentumQueue(4, 2);
    queue.enqueue(rows(3, 2, 1));
    const before = queue.save();
    const keys = rows(3, 2, 2);
    keys.data[5] = Number.NaN;
    expect(() => queue.enqueue(keys)).toThrow(NonFiniteError);
    expect(() => queue.enqueue(keys)).toThrow(/^keys: .*row 2, column 1/);
    expect(queue.save()).toEqual(before);
  });
});
