/** Losses made of several calls: nothing is written before all of them are done. */
import { describe, expect, test } from 'vitest';
import { cmc, cmcAsync, type Matrix, matrix, mocoV3, mocoV3Async } from '../../src/index.js';
import { normals } from '../support/random.js';

const rowsOf = (seed: number): Matrix => matrix(normals(seed, 18 * 7), 18, 7);
const bad = matrix(rowsOf(5).data.slice(), 18, 7);
bad.data[17] = Number.POSITIVE_INFINITY;
const untouched = (): Float32Array => new Float32Array(18 * 7).fill(9);
const detach = (array: Float32Array): void => void structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });

describe('losses of several calls', () => {
  const [a, b, c, d] = [1, 2, 3, 4].map(rowsOf);

  test('mocoV3: an output detached in flight is a TypeError, and the other is not written', async () => {
    const out = { q1: untouched(), q2: untouched() };
    const call = mocoV3Async(a, b, c, d, { gradients: true, out });
    detach(out.q2);
    await expect(call).rejects.toThrow(TypeError);
    await expect(call).rejects.toThrow(/^out\.q2: expected 126 elements, got a buffer that was detached/);
    expect(out.q1).toEqual(untouched());
  });

  test('cmc: likewise', async () => {
    const out = { views: [untouched(), untouched(), untouched()] };
    const call = cmcAsync([a, b, c], { gradients: true, out });
    detach(out.views[1]);
    await expect(call).rejects.toThrow(/^out\.views\[1\]: expected 126 elements, got a buffer that was detached/);
    expect(out.views[0]).toEqual(untouched());
    expect(out.views[2]).toEqual(untouched());
  });

  test('a call that fails after others are done writes nothing', () => {
    const out = { q1: untouched(), q2: untouched() };
    expect(() => mocoV3(a, b, bad, d, { gradients: true, out })).toThrow(/^k1: .* got Infinity at row 2, column 3$/);
    expect(out).toEqual({ q1: untouched(), q2: untouched() });
    const views = [untouched(), untouched(), untouched()];
    expect(() => cmc([a, b, bad], { gradients: true, out: { views } })).toThrow(/^views\[2\]: /);
    expect(views).toEqual([untouched(), untouched(), untouched()]);
  });

  test('outputs are the arrays given, with the values of new ones', () => {
    const out = { q1: untouched(), q2: untouched() };
    const got = mocoV3(a, b, c, d, { gradients: true, out });
    expect(got.gradients.q1).toBe(out.q1);
    expect(got.gradients.q2).toBe(out.q2);
    expect(got.gradients).toEqual(mocoV3(a, b, c, d, { gradients: true }).gradients);
  });
});
