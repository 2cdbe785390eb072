/** The async twins on the native CPU backend: the event loop goes on, inputs are copied, outputs are written at the end or not at all. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import {
  alignmentAsync,
  cosineSimilarity,
  cosineSimilarityAsync,
  gistAsync,
  type Matrix,
  matrix,
  multipleNegativesRanking,
  multipleNegativesRankingAsync,
  NonFiniteError,
  ntXent,
  ntXentAsync,
  uniformity,
} from '../../src/index.js';
import { hasCompiler } from '../package/support.js';
import { measures, minutes } from '../support/sanitizer.js';

const cpu = { backend: 'cpu' } as const;

function rowsOf(rows: number, cols: number, seed = 1): Matrix {
  return matrix(
    Float32Array.from({ length: rows * cols }, (_, i) => Math.sin(seed + i * i)),
    rows,
    cols,
  );
}

function detach(array: Float32Array): void {
  structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
}

/** What a promise rejects with. Not `expect().rejects`, which prints the whole result when there is one. */
const outcome = (promise: Promise<unknown>) =>
  promise.then(
    () => 'it resolved',
    (reason) => reason,
  );

/** Ticks of a timer in the first half of the time that a call takes. */
async function earlyTicks(call: () => Promise<unknown>): Promise<number> {
  const ticks: number[] = [];
  const timer = setInterval(() => ticks.push(performance.now()), 1);
  const start = performance.now();
  await call();
  const half = (start + performance.now()) / 2;
  clearInterval(timer);
  return ticks.filter((tick) => tick < half).length;
}

const sameBits = (a: Float32Array, b: Float32Array) => a.length === b.length && a.every((value, i) => Object.is(value, b[i]));

describe.runIf(hasCompiler)('asynchronous calls of the native addon', () => {
  // One thread, so that there is a core for the event loop on any machine that has two.
  const z = rowsOf(6144, 256);
  const [left, right, guideLeft, guideRight] = [16, 16, 32, 32].map((cols, seed) => rowsOf(8192, cols, seed + 1));
  const guided = { ...cpu, threads: 1, gradients: true, guide: { anchor: guideLeft, positive: guideRight } } as const;
  test.each([
    ['ntXentAsync', () => ntXentAsync(z, { ...cpu, gradients: true, threads: 1 })],
    ['gistAsync', () => gistAsync(left, right, guided)],
  ])(
    'the event loop goes on during %s',
    async (_, call) => {
      let ticks = 0;
      let longestPause = 0;
      let last = performance.now();
      const timer = setInterval(() => {
        const now = performance.now();
        longestPause = Math.max(longestPause, now - last);
        last = now;
        ticks++;
      }, 2);
      const start = performance.now();
      const promise = call();
      const returned = performance.now() - start;
      await promise;
      const total = performance.now() - start;
      clearInterval(timer);
      expect(total).toBeGreaterThan(100);
      expect(returned).toBeLessThan(total / 4);
      expect(longestPause).toBeLessThan(total / 4);
      expect(ticks).toBeGreaterThan(total / 20);
    },
    minutes(1),
  );

  // The mask, for all pairs, comes first and is most of the work: a call that makes it in one go has its first ticks when more than half of
  // its time is over. The median of several: on a busy machine one may be anything.
  test(
    'the event loop goes on while multipleNegativesRanking makes its mask',
    async () => {
      const [anchor, positive] = [rowsOf(1024, 256, 5), rowsOf(1024, 256, 6)];
      const options = { ...cpu, threads: 1, gradients: true, directions: ['queryToDoc', 'docToQuery'] } as const;
      const twin = () => multipleNegativesRankingAsync(anchor, positive, options);
      const ticks: number[] = [];
      for (let i = 0; i < 5; i++) ticks.push(await earlyTicks(twin));
      expect(ticks.sort((a, b) => a - b)[2]).toBeGreaterThan(4);
      expect(await twin()).toEqual(multipleNegativesRanking(anchor, positive, options));
    },
    minutes(1),
  );

  test('inputs are copied before the call returns', async () => {
    const z = rowsOf(512, 64);
    const expected = ntXent(z, { ...cpu, gradients: true });
    const promise = ntXentAsync(z, { ...cpu, gradients: true });
    z.data.fill(Number.NaN);
    const result = await promise;
    expect(result.loss).toBe(expected.loss);
    expect(sameBits(result.gradients.z, expected.gradients.z)).toBe(true);
  });

  test(
    'outputs are written when the promise resolves, and not before',
    async () => {
      const z = rowsOf(2048, 128);
      const out = { z: new Float32Array(z.data.length).fill(7) };
      let early = false;
      const timer = setInterval(() => {
        early ||= out.z[0] !== 7 || out.z[out.z.length - 1] !== 7;
      }, 1);
      const result = await ntXentAsync(z, { ...cpu, gradients: true, out });
      const first = out.z[0];
      clearInterval(timer);
      expect(early).toBe(false);
      expect(first).not.toBe(7);
      expect(result.gradients.z).toBe(out.z);
    },
    minutes(1),
  );

  test('a failed call leaves the outputs alone', async () => {
    const z = rowsOf(512, 64);
    z.data[3 * 64 + 5] = Number.POSITIVE_INFINITY;
    const out = { z: new Float32Array(z.data.length).fill(7) };
    const error = await ntXentAsync(z, { ...cpu, gradients: true, out }).catch((reason) => reason);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect(error).toMatchObject({ argument: 'z', row: 3, column: 5, message: expect.stringContaining('Infinity') });
    expect(out.z.every((value) => value === 7)).toBe(true);
  });

  test(
    'an output that is detached in flight rejects with TypeError, and no other output is written',
    async () => {
      const z = rowsOf(1024, 64);
      const out = { z: new Float32Array(z.data.length).fill(7) };
      const promise = ntXentAsync(z, { ...cpu, gradients: true, out });
      detach(out.z);
      await expect(promise).rejects.toThrow(TypeError);
      await expect(promise).rejects.toThrow(/^out\.z: .*detached/);

      const x = rowsOf(1024, 64, 2);
      const both = { x: new Float32Array(x.data.length).fill(7), y: new Float32Array(x.data.length).fill(7) };
      const second = alignmentAsync(z, x, { ...cpu, gradients: true, out: both });
      detach(both.y);
      await expect(second).rejects.toThrow(/^out\.y: /);
      expect(both.x.every((value) => value === 7)).toBe(true);

      const cosines = new Float32Array(1024 * 1024);
      const third = cosineSimilarityAsync(z, x, { ...cpu, out: cosines });
      detach(cosines);
      await expect(third).rejects.toThrow(/^out: /);
    },
    minutes(1),
  );

  test(
    'an abort ends the call early, with the reason of the signal and nothing written',
    async () => {
      const z = rowsOf(8192, 256);
      const options = { ...cpu, gradients: true, threads: 1 };
      const start = performance.now();
      await ntXentAsync(z, options);
      const whole = performance.now() - start;

      const controller = new AbortController();
      const out = { z: new Float32Array(z.data.length).fill(7) };
      const reason = new Error('changed my mind');
      const again = performance.now();
      const promise = ntXentAsync(z, { ...options, out, signal: controller.signal });
      setTimeout(() => controller.abort(reason), 20);
      expect(await outcome(promise)).toBe(reason);
      expect(performance.now() - again).toBeLessThan(whole / 2);
      expect(out.z.every((value) => value === 7)).toBe(true);

      expect(await outcome(ntXentAsync(z, { ...options, signal: AbortSignal.abort(reason) }))).toBe(reason);
    },
    minutes(1),
  );

  test('an abort after the end changes nothing', async () => {
    const controller = new AbortController();
    const { loss } = await ntXentAsync(rowsOf(64, 8), { ...cpu, signal: controller.signal });
    controller.abort();
    await sleep(5);
    expect(loss).toBe(ntXent(rowsOf(64, 8), cpu).loss);
  });

  test(
    'calls that run at the same time give the bits of one call alone',
    async () => {
      const problems = Array.from({ length: 12 }, (_, i) => rowsOf(64 + 32 * i, 16 + i, i + 1));
      const expected = problems.map((z) => ntXent(z, { ...cpu, gradients: true }));
      const together = await Promise.all(problems.map((z) => ntXentAsync(z, { ...cpu, gradients: true })));
      for (const [i, { loss, gradients }] of together.entries()) {
        expect(loss).toBe(expected[i].loss);
        expect(sameBits(gradients.z, expected[i].gradients.z)).toBe(true);
      }
      const x = problems[3];
      const matrixAlone = cosineSimilarity(x, x, cpu);
      const matrixAsync = await cosineSimilarityAsync(x, x, cpu);
      expect(sameBits(matrixAsync.data, matrixAlone.data)).toBe(true);
    },
    minutes(1),
  );

  measures('arguments, checks and result of a synchronous call cost well under 15 microseconds', () => {
    const z = rowsOf(2, 2);
    const batch = 500;
    let best = Number.POSITIVE_INFINITY; // of many short batches: what the code costs, whatever else the machine does
    for (let i = 0; i < 100; i++) {
      const start = performance.now();
      for (let call = 0; call < batch; call++) uniformity(z, cpu);
      best = Math.min(best, ((performance.now() - start) / batch) * 1000);
    }
    expect(best).toBeLessThan(15);
  });
});
