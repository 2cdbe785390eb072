/**
 * How calls behave around the numbers: outputs of the caller's, views, shared memory, asynchronous twins, cancelling, and
 * the same bits every time.
 */
import { describe, expect, test } from 'vitest';
import {
  alignment,
  alignmentAsync,
  cosineSimilarity,
  cosineSimilarityAsync,
  cosineSimilarityBackward,
  cosineSimilarityBackwardAsync,
  type Matrix,
  type MatrixLike,
  matrix,
  ntXent,
  ntXentAsync,
  uniformity,
  uniformityAsync,
} from '../../src/index.js';
import { expectBackend } from '../support/backend.js';
import { expectEach, expectNumber } from '../support/expect-close.js';
import { normals } from '../support/random.js';

const random = (rows: number, cols: number, seed = 1): Matrix => matrix(normals(seed, rows * cols), rows, cols);

/** Every function on these inputs, with everything it can return. */
const everything = {
  ntXent: (x: MatrixLike, _y: MatrixLike, more = {}) => ntXent(x, { temperature: 0.1, reduction: 'none', gradients: true, ...more }),
  uniformity: (x: MatrixLike, _y: MatrixLike, more = {}) => uniformity(x, { gradients: true, ...more }),
  alignment: (x: MatrixLike, y: MatrixLike, more = {}) => alignment(x, y, { reduction: 'none', gradients: true, ...more }),
  cosineSimilarity: (x: MatrixLike, y: MatrixLike, more = {}) => cosineSimilarity(x, y, more),
  cosineSimilarityBackward: (x: MatrixLike, y: MatrixLike, more = {}) =>
    cosineSimilarityBackward(x, y, random((x.shape as number[])[0], (y.shape as number[])[0], 77), more),
};
const everythingAsync = {
  ntXent: (x: MatrixLike, _y: MatrixLike, more = {}) => ntXentAsync(x, { temperature: 0.1, reduction: 'none', gradients: true, ...more }),
  uniformity: (x: MatrixLike, _y: MatrixLike, more = {}) => uniformityAsync(x, { gradients: true, ...more }),
  alignment: (x: MatrixLike, y: MatrixLike, more = {}) => alignmentAsync(x, y, { reduction: 'none', gradients: true, ...more }),
  cosineSimilarity: (x: MatrixLike, y: MatrixLike, more = {}) => cosineSimilarityAsync(x, y, more),
  cosineSimilarityBackward: (x: MatrixLike, y: MatrixLike, more = {}) =>
    cosineSimilarityBackwardAsync(x, y, random((x.shape as number[])[0], (y.shape as number[])[0], 77), more),
};
const names = Object.keys(everything) as (keyof typeof everything)[];

describe('inputs', () => {
  test.each(names)('%s: a view with an offset gives the same bits', (name) => {
    const x = random(34, 13, 1);
    const y = random(34, 13, 2);
    const expected = everything[name](x, y);
    expectBackend(expected);
    for (const offset of [1, 3, 5]) {
      const moved = ({ data, shape }: Matrix): Matrix => {
        const memory = new Float32Array(data.length + 16).fill(Number.NaN);
        memory.set(data, offset);
        return matrix(memory.subarray(offset, offset + data.length), ...shape);
      };
      expect(everything[name](moved(x), moved(y))).toEqual(expected);
    }
  });

  test.each(names)('%s: dims for shape, and objects that have more', (name) => {
    const x = random(10, 4, 1);
    const y = random(10, 4, 2);
    const tensor = ({ data, shape }: Matrix) => ({ data, dims: [...shape], shape: undefined, type: 'float32', dispose() {} });
    if (name === 'cosineSimilarityBackward') {
      const upstream = random(10, 10, 77);
      expect(cosineSimilarityBackward(tensor(x), tensor(y), tensor(upstream))).toEqual(everything[name](x, y));
    } else {
      expect(everything[name](tensor(x), tensor(y))).toEqual(everything[name](x, y));
    }
    expect(everything[name]({ ...x, dims: [10, 4] }, { ...y, dims: [10, 4] })).toEqual(everything[name](x, y));
  });

  test.each(names)('%s: shared memory in synchronous calls only', async (name) => {
    const x = random(10, 4, 1);
    const y = random(10, 4, 2);
    const shared = ({ data, shape }: Matrix): Matrix => {
      const copy = new Float32Array(new SharedArrayBuffer(data.byteLength));
      copy.set(data);
      return matrix(copy, ...shape);
    };
    expect(everything[name](shared(x), shared(y))).toEqual(everything[name](x, y));
    await expect(everythingAsync[name](shared(x), shared(y))).rejects.toThrow(TypeError);
    await expect(everythingAsync[name](shared(x), shared(y))).rejects.toThrow(/^x\.data|^z\.data/);
  });

  test.each(names)('%s: inputs are left as they are', (name) => {
    const x = random(20, 7, 1);
    const y = random(20, 7, 2);
    const [before, beforeY] = [x.data.slice(), y.data.slice()];
    everything[name](x, y);
    expect(x.data).toEqual(before);
    expect(y.data).toEqual(beforeY);
  });
});

describe('out', () => {
  /** Fresh arrays in one memory, each between guards that must stay. */
  function guarded(...lengths: number[]): { arrays: Float32Array[]; guardsHold: () => boolean } {
    const memory = new Float32Array(lengths.reduce((sum, length) => sum + length + 3, 3)).fill(99);
    let start = 3;
    const arrays = lengths.map((length) => {
      const array = memory.subarray(start, start + length);
      start += length + 3;
      return array;
    });
    const inside = new Set(arrays.flatMap((array) => Array.from(array, (_, k) => array.byteOffset / 4 + k)));
    return { arrays, guardsHold: () => memory.every((value, index) => inside.has(index) || value === 99) };
  }

  test('is filled, returned, and nothing beside it is written', async () => {
    const x = random(14, 5, 1);
    const y = random(14, 5, 2);
    const upstream = random(14, 14, 3);
    for (const isAsync of [false, true]) {
      const { arrays, guardsHold } = guarded(70, 14, 14, 70, 70, 70, 14, 196, 70, 70);
      const [z, perRow, rowLogSumExp, ux, ax, ay, aRow, matrixOut, bx, by] = arrays;
      const results = await Promise.all([
        (isAsync ? ntXentAsync : ntXent)(x, { gradients: true, reduction: 'none', out: { z, perRow, rowLogSumExp } }),
        (isAsync ? uniformityAsync : uniformity)(x, { gradients: true, out: { x: ux } }),
        (isAsync ? alignmentAsync : alignment)(x, y, { gradients: true, reduction: 'none', out: { x: ax, y: ay, perRow: aRow } }),
        (isAsync ? cosineSimilarityAsync : cosineSimilarity)(x, y, { out: matrixOut }),
        (isAsync ? cosineSimilarityBackwardAsync : cosineSimilarityBackward)(x, y, upstream, { out: { x: bx, y: by } }),
      ]);
      expect(results[0].gradients.z).toBe(z);
      expect(results[0].perRow).toBe(perRow);
      expect(results[0].rowLogSumExp).toBe(rowLogSumExp);
      expect(results[1].gradients.x).toBe(ux);
      expect(results[2].gradients.x).toBe(ax);
      expect(results[2].gradients.y).toBe(ay);
      expect(results[2].perRow).toBe(aRow);
      expect(results[3].data).toBe(matrixOut);
      expect(results[4].gradients.x).toBe(bx);
      expect(results[4].gradients.y).toBe(by);
      expect(guardsHold()).toBe(true);
      expect(z).toEqual(ntXent(x, { gradients: true, reduction: 'none' }).gradients.z);
      expect(ux).toEqual(uniformity(x, { gradients: true }).gradients.x);
      expect(ay).toEqual(alignment(x, y, { gradients: true, reduction: 'sum' }).gradients.y);
      expect(matrixOut).toEqual(cosineSimilarity(x, y).data);
      expect(by).toEqual(cosineSimilarityBackward(x, y, upstream).gradients.y);
    }
  });

  test('only some of the outputs may be given', () => {
    const x = random(10, 4);
    const perRow = new Float32Array(10);
    const got = ntXent(x, { gradients: true, reduction: 'none', out: { perRow } });
    expect(got.perRow).toBe(perRow);
    expect(got.gradients.z.length).toBe(40);
    expect(got.rowLogSumExp?.length).toBe(10);
  });

  test('detached in flight: rejects with TypeError', async () => {
    const x = random(200, 32);
    const z = new Float32Array(200 * 32);
    const call = ntXentAsync(x, { gradients: true, out: { z } });
    structuredClone(z.buffer, { transfer: [z.buffer] });
    await expect(call).rejects.toThrow(TypeError);
    await expect(call).rejects.toThrow(/^out\.z: .*detached/);
    const out = new Float32Array(200 * 200);
    const matrixCall = cosineSimilarityAsync(x, x, { out });
    structuredClone(out.buffer, { transfer: [out.buffer] });
    await expect(matrixCall).rejects.toThrow(/^out: .*detached/);
  });
});

describe('asynchronous twins', () => {
  test.each(names)('%s: the same bits as the synchronous call', async (name) => {
    for (const [rows, cols] of [
      [2, 1],
      [10, 3],
      [130, 21],
    ]) {
      const x = random(rows, cols, rows);
      const y = random(rows, cols, rows + 1);
      const got = await everythingAsync[name](x, y);
      expectBackend(got);
      expect(got).toEqual(everything[name](x, y));
    }
  });

  test.each(names)('%s: inputs are copied before it returns', async (name) => {
    const x = random(40, 9, 1);
    const y = random(40, 9, 2);
    const expected = everything[name](x, y);
    const call = everythingAsync[name](x, y);
    x.data.fill(Number.NaN);
    y.data.fill(0);
    expect(await call).toEqual(expected);
  });

  test('many at once do not change each other', async () => {
    const inputs = Array.from({ length: 24 }, (_, i) => [random(4 + 2 * i, 5 + i, i), random(4 + 2 * i, 5 + i, 100 + i)] as const);
    const calls = inputs.flatMap(([x, y]) => names.map((name) => everythingAsync[name](x, y)));
    const expected = inputs.flatMap(([x, y]) => names.map((name) => everything[name](x, y)));
    expect(await Promise.all(calls)).toEqual(expected);
  });

  test('the event loop turns while a call runs', async () => {
    /** Turns of the event loop during one call; a call that blocks it leaves room for one at most. */
    async function turnsDuring(rows: number): Promise<number> {
      let running = true;
      let turns = 0;
      const turn = (): void => {
        turns++;
        if (running) setImmediate(turn);
      };
      const call = ntXentAsync(random(rows, 48), { gradients: true }).finally(() => {
        running = false;
      });
      setImmediate(turn);
      await call;
      return turns;
    }
    // A fast backend on a busy machine may be done before the loop has had its turns: then a larger call.
    let most = 0;
    for (const rows of [500, 1000, 2000]) {
      if (most <= 3) most = await turnsDuring(rows);
    }
    expect(most).toBeGreaterThan(3);
  });
});

describe('signal', () => {
  const reason = new Error('no longer wanted');

  test.each(names)('%s: aborted before', async (name) => {
    const x = random(10, 3);
    const signal = AbortSignal.abort(reason);
    expect(() => everything[name](x, x, { signal })).toThrow(reason);
    await expect(everythingAsync[name](x, x, { signal })).rejects.toBe(reason);
  });

  test('aborted while it runs: rejects with the reason, outputs untouched', async () => {
    const x = random(600, 64);
    const controller = new AbortController();
    const z = new Float32Array(600 * 64).fill(5);
    const call = ntXentAsync(x, { gradients: true, out: { z }, signal: controller.signal });
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    expect(z.every((value) => value === 5)).toBe(true);
    // The next call is not touched by it.
    expect((await ntXentAsync(x, { gradients: true })).loss).toBeGreaterThan(0);
  });

  test('not aborted: no difference', async () => {
    const x = random(20, 3);
    const { signal } = new AbortController();
    expect(await ntXentAsync(x, { signal })).toEqual(ntXent(x));
    expect(ntXent(x, { signal })).toEqual(ntXent(x));
  });
});

describe('repeatability', () => {
  test.each(names)('%s: the same bits every time, for every number of threads', async (name) => {
    const x = random(214, 33, 5);
    const y = random(214, 33, 6);
    const expected = everything[name](x, y);
    for (const threads of [1, 2, 3]) {
      const first = everything[name](x, y, { threads });
      for (let repeat = 0; repeat < 5; repeat++) expect(everything[name](x, y, { threads })).toEqual(first);
      const atOnce = await Promise.all(Array.from({ length: 4 }, () => everythingAsync[name](x, y, { threads })));
      for (const result of atOnce) expect(result).toEqual(first);
      if ('loss' in first && 'loss' in expected) expectNumber('loss', first.loss, expected.loss, 1e-6, 1);
      if ('data' in first && 'data' in expected) expectEach('data', first.data, expected.data, 1e-6, 1);
    }
  });

  test('calls in between change nothing', () => {
    const x = random(100, 20, 8);
    const expected = ntXent(x, { temperature: 0.05, gradients: true });
    for (const [rows, cols] of [
      [6, 300],
      [256, 3],
      [2, 2],
    ]) {
      ntXent(random(rows, cols), { temperature: 0.005, gradients: true });
      uniformity(random(rows, cols), { gradients: true });
      expect(ntXent(x, { temperature: 0.05, gradients: true })).toEqual(expected);
    }
  });
});
