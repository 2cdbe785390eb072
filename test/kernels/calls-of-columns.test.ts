/**
 * How calls of SigLIP, Barlow Twins, VICReg and cross uniformity behave around the numbers, as calls.test.ts and bad-input.test.ts ask
 * of the first losses: twins, outputs of the caller's, views, signals, repeatable bits, refused values.
 */
import { expect, test } from 'vitest';
import type { KernelName } from '../../src/backends/backend.js';
import {
  barlowTwins,
  barlowTwinsAsync,
  crossUniformity,
  crossUniformityAsync,
  type Matrix,
  type MatrixLike,
  matrix,
  NonFiniteError,
  sigLip,
  sigLipAsync,
  vicReg,
  vicRegAsync,
} from '../../src/index.js';
import { describeKernel, expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';

interface Result {
  readonly loss: number;
  readonly backend: string;
  readonly perRow?: Float32Array;
  readonly gradients?: object;
}
type Loss = (x: MatrixLike, y: MatrixLike, options?: object) => Result;
type LossAsync = (x: MatrixLike, y: MatrixLike, options?: object) => Promise<Result>;

const random = (rows: number, cols: number, seed: number): Matrix => matrix(normals(seed, rows * cols), rows, cols);

const cases: [KernelName, Loss, LossAsync, [string, string], boolean][] = [
  ['sigLip', sigLip, sigLipAsync, ['x', 'y'], true],
  ['barlowTwins', barlowTwins, barlowTwinsAsync, ['a', 'b'], false],
  ['vicReg', vicReg, vicRegAsync, ['a', 'b'], false],
  ['crossUniformity', crossUniformity, crossUniformityAsync, ['x', 'y'], false],
];

for (const [kernel, loss, lossAsync, inputs, hasRows] of cases) {
  const everything = { gradients: true, ...(hasRows && { reduction: 'none' }) };

  describeKernel(kernel, kernel, () => {
    test('the twin gives the same bits, of the inputs as they were', async () => {
      for (const [rows, cols] of [
        [2, 1],
        [10, 3],
        [130, 21],
      ]) {
        const [x, y] = [random(rows, cols, 1), random(rows, cols, 2)];
        const expected = loss(x, y, everything);
        expectBackend(expected);
        const call = lossAsync(x, y, everything);
        x.data.fill(Number.NaN);
        y.data.fill(0);
        expect(await call).toEqual(expected);
      }
    });

    test('fills the arrays it is given, and nothing beside them', async () => {
      const [x, y] = [random(14, 5, 1), random(14, 5, 2)];
      const expected = loss(x, y, everything);
      for (const run of [loss, lossAsync]) {
        const memory = new Float32Array(3 * 80).fill(99);
        const [first, second, rows] = [memory.subarray(3, 73), memory.subarray(80, 150), memory.subarray(160, 174)];
        const out = { [inputs[0]]: first, [inputs[1]]: second, ...(hasRows && { perRow: rows }) };
        const got = await run(x, y, { ...everything, out });
        expect(got).toEqual(expected);
        expect((got.gradients as Record<string, Float32Array>)[inputs[1]]).toBe(second);
        const written = new Set(
          [...Array(70).keys()].flatMap((k) => [3 + k, 80 + k]).concat(hasRows ? [...Array(14).keys()].map((k) => 160 + k) : []),
        );
        expect(memory.every((value, k) => written.has(k) || value === 99)).toBe(true);
      }
    });

    test('views, dims for shape, shared memory in synchronous calls', async () => {
      const [x, y] = [random(11, 6, 1), random(11, 6, 2)];
      const expected = loss(x, y, everything);
      const offset = new Float32Array(80).fill(Number.NaN);
      offset.set(x.data, 5);
      expect(loss(matrix(offset.subarray(5, 71), 11, 6), y, everything)).toEqual(expected);
      expect(loss({ data: x.data, dims: [11, 6] }, y, everything)).toEqual(expected);
      const shared = new Float32Array(new SharedArrayBuffer(x.data.byteLength));
      shared.set(x.data);
      expect(loss(matrix(shared, 11, 6), y, everything)).toEqual(expected);
      await expect(lossAsync(matrix(shared, 11, 6), y)).rejects.toThrow(new RegExp(`^${inputs[0]}\\.data: .*SharedArrayBuffer`));
    });

    test('the same bits every time, for every number of threads, also at once', async () => {
      const [x, y] = [random(214, 33, 5), random(214, 33, 6)];
      const expected = loss(x, y, everything);
      for (const threads of [1, 2, 3]) {
        expect(loss(x, y, { ...everything, threads })).toEqual(expected);
        const atOnce = await Promise.all([1, 2, 3].map(() => lossAsync(x, y, { ...everything, threads })));
        for (const result of atOnce) expect(result).toEqual(expected);
      }
    });

    test('aborted before, and while it runs: the reason, outputs untouched', async () => {
      const reason = new Error('no longer wanted');
      const [x, y] = [random(600, 64, 1), random(600, 64, 2)];
      expect(() => loss(x, y, { signal: AbortSignal.abort(reason) })).toThrow(reason);
      const controller = new AbortController();
      const out = { [inputs[0]]: new Float32Array(600 * 64).fill(5) };
      const call = lossAsync(x, y, { gradients: true, out, signal: controller.signal });
      controller.abort(reason);
      await expect(call).rejects.toBe(reason);
      expect(out[inputs[0]].every((value) => value === 5)).toBe(true);
    });

    test('values that are not finite: the first, by its argument, and nothing is written', async () => {
      for (const [value, row, column] of [
        [Number.NaN, 0, 0],
        [Number.NEGATIVE_INFINITY, 12, 4],
        [Number.NaN, 69, 35],
      ]) {
        for (const which of [0, 1]) {
          const both = [random(70, 37, 1), random(70, 37, 2)];
          both[which].data[row * 37 + column] = value;
          both[which].data[70 * 37 - 1] = Number.NaN;
          const out = { [inputs[0]]: new Float32Array(70 * 37).fill(7), [inputs[1]]: new Float32Array(70 * 37).fill(7) };
          const [x, y] = both;
          const errors = [await lossAsync(x, y, { gradients: true, out }).catch((error) => error)];
          try {
            loss(x, y, { gradients: true, out });
          } catch (error) {
            errors.push(error);
          }
          expect(errors.length).toBe(2);
          for (const error of errors) {
            expect(error).toBeInstanceOf(NonFiniteError);
            expect(error).toMatchObject({ argument: inputs[which], row, column });
          }
          expect([...out[inputs[0]], ...out[inputs[1]]].every((element) => element === 7)).toBe(true);
        }
      }
    });

    test('arrays that do not fit, overlap, or are not asked for', () => {
      const [x, y] = [random(8, 5, 1), random(8, 5, 2)];
      const [first, second] = inputs;
      const give = (options: object) => () => loss(x, y, options);
      expect(give({ gradients: true, out: { [first]: new Float32Array(39) } })).toThrow(new RegExp(`^out\\.${first}: expected exactly 40`));
      expect(give({ gradients: true, out: { [second]: x.data } })).toThrow(new RegExp(`^out\\.${second}: .*overlaps ${first}`));
      expect(give({ out: { [first]: new Float32Array(40) } })).toThrow(new RegExp(`^out\\.${first}: .*gradients`));
      expect(give({ gradients: true, out: { other: new Float32Array(40) } })).toThrow(TypeError);
      expect(give({ gradients: 1 })).toThrow(/^gradients: expected a boolean/);
    });
  });
}

for (const [kernel, loss, , inputs] of cases.filter(([kernel]) => kernel === 'sigLip' || kernel === 'crossUniformity')) {
  describeKernel(kernel, `${kernel}, rows`, () => {
    test('so small that their gradient does not fit float32', () => {
      for (const which of [0, 1]) {
        const both = [random(12, 6, 3), random(12, 6, 4)];
        for (let k = 42; k < 48; k++) both[which].data[k] *= 1e-43;
        const [x, y] = both;
        expect(() => loss(x, y, { gradients: true })).toThrow(new RegExp(`^${inputs[which]}: .*row 7`));
        expect(Number.isFinite(loss(x, y).loss)).toBe(true);
      }
    });
  });
}
