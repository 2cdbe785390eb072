/**
 * Bad input: each a typed error that names the argument, from the synchronous call as from its twin, and nothing is written.
 * Every case that can hand over output arrays does, and looks at them afterwards.
 */
import { describe, expect, test } from 'vitest';
import { BackendUnavailableError, infoNce, type Matrix, matrix, memoryBankNce, NonFiniteError, supCon } from '../../src/index.js';
import { normals } from '../support/random.js';
import { callAsync, callSync, type FunctionName } from '../support/twins.js';

const SENTINEL = 7.25;

const untouched = (length: number): Float32Array => new Float32Array(length).fill(SENTINEL);
const random = (rows: number, cols: number, seed = 1): Matrix => matrix(normals(seed, rows * cols), rows, cols);
const without = (good: Matrix, change: Record<string, unknown>): Record<string, unknown> => ({ ...good, ...change });

type ErrorClass = new (...args: never[]) => Error;

/** Both twins refuse with this error; `outputs` stay as they are. */
async function expectRefused(
  name: FunctionName,
  args: unknown[],
  type: ErrorClass,
  message: RegExp,
  outputs: Float32Array[] = [],
): Promise<Error[]> {
  const errors: Error[] = [];
  try {
    callSync(name, ...args);
  } catch (error) {
    errors.push(error as Error);
  }
  expect(errors.length, `${name} did not throw`).toBe(1);
  await callAsync(name, ...args).then(
    () => expect.fail(`${name}Async did not reject`),
    (error) => errors.push(error),
  );
  for (const error of errors) {
    expect(error).toBeInstanceOf(type);
    expect(error.message).toMatch(message);
  }
  for (const output of outputs) expect(output.every((value) => value === SENTINEL)).toBe(true);
  return errors;
}

/** ntXent with these arguments, all its outputs handed over. */
async function expectNtXentRefused(change: unknown, options: unknown, type: ErrorClass, message: RegExp): Promise<void> {
  const out = { z: untouched(8 * 5), perRow: untouched(8), rowLogSumExp: untouched(8) };
  const known = typeof options === 'object' && options !== null && !Array.isArray(options);
  const given = known ? { gradients: true, reduction: 'none', out, ...options } : options;
  await expectRefused('ntXent', [change, given], type, message, [out.z, out.perRow, out.rowLogSumExp]);
}

describe('a matrix', () => {
  const good = random(8, 5);
  test.each([
    ['undefined', undefined, TypeError, /^z: expected \{ data.*got undefined/],
    ['null', null, TypeError, /^z: .*got null/],
    ['a number', 3, TypeError, /^z: .*got number 3/],
    ['a bare Float32Array', good.data, TypeError, /^z\.data: expected a Float32Array, got undefined/],
    ['an array of arrays', [[1, 2]], TypeError, /^z\.data: /],
    ['data of another type', without(good, { data: Float64Array.from(good.data) }), TypeError, /^z\.data: .*got Float64Array/],
    ['data in a plain array', without(good, { data: [...good.data] }), TypeError, /^z\.data: .*got an array of 40/],
    ['no shape', { data: good.data }, TypeError, /^z\.dims: expected an array \[rows, cols\], got undefined/],
    ['a shape that is no array', without(good, { shape: '8x5' }), TypeError, /^z\.shape: .*got '8x5'/],
    ['a shape of strings', without(good, { shape: ['8', '5'] }), TypeError, /^z\.shape: .*got '8'/],
    ['one dimension', without(good, { shape: [40] }), RangeError, /^z\.shape: .*got 1 dimensions/],
    ['three dimensions', without(good, { shape: [2, 4, 5] }), RangeError, /^z\.shape: .*got 3 dimensions/],
    ['zero rows', { data: new Float32Array(0), shape: [0, 5] }, RangeError, /^z\.shape: .*at least 1.*\[0, 5\]/],
    ['zero columns', { data: new Float32Array(0), shape: [8, 0] }, RangeError, /^z\.shape: .*at least 1.*\[8, 0\]/],
    ['a fraction of a row', without(good, { shape: [2.5, 16] }), RangeError, /^z\.shape: .*\[2\.5, 16\]/],
    ['a negative size', without(good, { shape: [-8, -5] }), RangeError, /^z\.shape: .*\[-8, -5\]/],
    ['NaN rows', without(good, { shape: [Number.NaN, 5] }), RangeError, /^z\.shape: .*\[NaN, 5\]/],
    ['too little data', without(good, { shape: [8, 6] }), RangeError, /^z\.data: expected 8 x 6 = 48 elements, got 40/],
    ['too much data', without(good, { shape: [8, 4] }), RangeError, /^z\.data: expected 8 x 4 = 32 elements, got 40/],
    ['dims that differ from shape', without(good, { dims: [5, 8] }), RangeError, /^z\.dims: expected \[8, 5\].*got \[5, 8\]/],
    ['more elements than fit', without(good, { shape: [2 ** 20, 2 ** 11] }), RangeError, /^z\.shape: expected at most 2147483647 elements/],
    ['an odd number of rows', random(7, 5), RangeError, /^z: expected an even number of rows.*got 7/],
  ] as const)('%s', async (_, z, type, message) => {
    await expectNtXentRefused(z, {}, type, message);
  });

  test('detached', async () => {
    const gone = random(8, 5);
    structuredClone(gone.data.buffer, { transfer: [gone.data.buffer as ArrayBuffer] });
    await expectNtXentRefused(gone, {}, TypeError, /^z\.data: .*detached/);
  });

  test.each([
    ['labels', new Int32Array(8), (gone: Int32Array) => supCon(good, gone)],
    ['queryLabels', new Int32Array(8), (gone: Int32Array) => infoNce(good, good, { queryLabels: gone, keyLabels: new Int32Array(8) })],
    ['indices', new Int32Array(16), (gone: Int32Array) => memoryBankNce(good, good, gone)],
    ['mask', new Uint8Array(64), (gone: Uint8Array) => infoNce(good, good, { mask: gone })],
  ] as [string, Int32Array, (gone: never) => unknown][])('detached %s', (argument, array, call) => {
    structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
    expect(() => call(array as never)).toThrow(TypeError);
    expect(() => call(array as never)).toThrow(new RegExp(`^${argument}: expected an? .*, got one whose buffer is detached$`));
  });

  test('the argument is named as the function names it', async () => {
    const wrong = { data: [1], shape: [1, 1] };
    await expectRefused('uniformity', [wrong], TypeError, /^x\.data: /);
    await expectRefused('alignment', [wrong, good], TypeError, /^x\.data: /);
    await expectRefused('alignment', [good, wrong], TypeError, /^y\.data: /);
    await expectRefused('cosineSimilarity', [wrong], TypeError, /^x\.data: /);
    await expectRefused('cosineSimilarity', [good, wrong], TypeError, /^y\.data: /);
    await expectRefused('cosineSimilarityBackward', [good, good, wrong], TypeError, /^upstream\.data: /);
  });

  test('shapes that do not match', async () => {
    await expectRefused('alignment', [good, random(7, 5)], RangeError, /^y: expected the shape \[8, 5\] of x, got \[7, 5\]/);
    await expectRefused('alignment', [good, random(8, 4)], RangeError, /^y: .*got \[8, 4\]/);
    await expectRefused('cosineSimilarity', [good, random(8, 4)], RangeError, /^y: expected rows of 5 columns as x has, got 4/);
    await expectRefused('cosineSimilarityBackward', [good, random(3, 4), random(8, 3)], RangeError, /^y: expected rows of 5/);
    await expectRefused('cosineSimilarityBackward', [good, random(3, 5), random(3, 8)], RangeError, /^upstream: .*\[8, 3\].*got \[3, 8\]/);
  });

  test('one row has nothing to be uniform with', async () => {
    await expectRefused('uniformity', [random(1, 5)], RangeError, /^x: expected at least two rows.*got 1/);
  });

  test('options where y belongs', async () => {
    await expectRefused(
      'cosineSimilarity',
      [good, { normalize: false }],
      TypeError,
      /^y: expected a matrix, or undefined before the options/,
    );
  });
});

describe('an option', () => {
  const z = random(8, 5);
  test.each([
    ['temperature 0', { temperature: 0 }, RangeError, /^temperature: .*got 0/],
    ['temperature below 0', { temperature: -0.1 }, RangeError, /^temperature: .*got -0\.1/],
    ['temperature NaN', { temperature: Number.NaN }, RangeError, /^temperature: .*got NaN/],
    ['temperature Infinity', { temperature: Number.POSITIVE_INFINITY }, RangeError, /^temperature: .*got Infinity/],
    ['temperature too small to divide by', { temperature: 1e-300 }, RangeError, /^temperature: /],
    ['temperature in a string', { temperature: '0.5' }, TypeError, /^temperature: expected a number, got '0\.5'/],
    ['temperature null', { temperature: null }, TypeError, /^temperature: .*got null/],
    ['an unknown layout', { pairs: 'thirds' }, RangeError, /^pairs: expected one of 'halves', 'interleaved', got 'thirds'/],
    ['a layout of another type', { pairs: 2 }, TypeError, /^pairs: .*got number 2/],
    ['an unknown reduction', { reduction: 'average' }, RangeError, /^reduction: expected one of 'mean', 'sum', 'none'/],
    ['gradients in a string', { gradients: 'yes' }, TypeError, /^gradients: expected a boolean or 'device', got 'yes'/],
    ['normalize a number', { normalize: 1 }, TypeError, /^normalize: /],
    ['stats a number', { stats: 0 }, TypeError, /^stats: /],
    ['threads 0', { threads: 0 }, RangeError, /^threads: expected an integer from 1 to \d+, got 0/],
    ['threads a fraction', { threads: 1.5 }, RangeError, /^threads: .*got 1\.5/],
    ['threads beyond reason', { threads: 1e9 }, RangeError, /^threads: /],
    ['threads in a string', { threads: '2' }, TypeError, /^threads: /],
    ['an unknown backend', { backend: 'gpu' }, RangeError, /^backend: expected one of 'auto', 'cuda', 'cpu', 'reference', got 'gpu'/],
    ['a backend of another type', { backend: {} }, TypeError, /^backend: /],
    ['an unknown precision', { precision: 'float64' }, RangeError, /^precision: /],
    ['a signal that is none', { signal: {} }, TypeError, /^signal: expected an AbortSignal/],
    ['fallbackWarning a number', { fallbackWarning: 0 }, TypeError, /^fallbackWarning: /],
    ['a mistyped name', { temprature: 0.1 }, TypeError, /^options: expected only .*temperature.*got 'temprature'/],
    ['null', null, TypeError, /^options: expected an object, got null/],
    ['a number', 0.1, TypeError, /^options: expected an object, got number 0\.1/],
    ['an array', [0.1], TypeError, /^options: /],
  ] as const)('%s', async (_, options, type, message) => {
    await expectNtXentRefused(z, options, type, message);
  });

  test('options of the other functions', async () => {
    for (const t of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) await expectRefused('uniformity', [z, { t }], RangeError, /^t: /);
    await expectRefused('uniformity', [z, { t: '2' }], TypeError, /^t: /);
    for (const reduction of ['sum', 'none'])
      await expectRefused('uniformity', [z, { reduction }], RangeError, /^reduction: expected 'mean'/);
    for (const alpha of [0, -2, Number.NaN]) await expectRefused('alignment', [z, z, { alpha }], RangeError, /^alpha: /);
    await expectRefused('uniformity', [z, { pairs: 'halves' }], TypeError, /^options: .*got 'pairs'/);
    await expectRefused('alignment', [z, z, { t: 2 }], TypeError, /^options: .*got 't'/);
    await expectRefused('cosineSimilarity', [z, z, { temperature: 0.1 }], TypeError, /^options: .*got 'temperature'/);
    await expectRefused('cosineSimilarityBackward', [z, z, random(8, 8), { gradients: true }], TypeError, /^options: .*got 'gradients'/);
  });
});

describe('out', () => {
  const z = random(8, 5);
  const detached = (): Float32Array => {
    const array = untouched(40);
    structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
    return array;
  };

  test.each<[string, () => unknown, ErrorClass, RegExp]>([
    ['no object', () => 5, TypeError, /^out: expected an object/],
    ['null', () => null, TypeError, /^out: .*got null/],
    ['an unknown name', () => ({ x: untouched(40) }), TypeError, /^out: expected only z, perRow, rowLogSumExp, got 'x'/],
    ['too small', () => ({ z: untouched(39) }), RangeError, /^out\.z: expected exactly 40 elements, got 39/],
    ['too large', () => ({ z: untouched(41) }), RangeError, /^out\.z: expected exactly 40 elements, got 41/],
    ['of another type', () => ({ z: new Float64Array(40) }), TypeError, /^out\.z: expected a Float32Array, got Float64Array/],
    ['detached', () => ({ z: detached() }), TypeError, /^out\.z: .*detached/],
    ['perRow too small', () => ({ perRow: untouched(7) }), RangeError, /^out\.perRow: expected exactly 8/],
    ['the input itself', () => ({ z: z.data }), RangeError, /^out\.z: .*overlaps z/],
  ])('%s', async (_, make, type, message) => {
    const before = z.data.slice();
    await expectRefused('ntXent', [z, { gradients: true, reduction: 'none', out: make() }], type, message);
    expect(z.data).toEqual(before);
  });

  test('partly overlapping memory', async () => {
    const memory = untouched(100);
    const input = matrix(memory.subarray(0, 40), 8, 5);
    const options = { gradients: true, reduction: 'none' };
    await expectRefused('ntXent', [input, { ...options, out: { z: memory.subarray(39, 79) } }], RangeError, /^out\.z: .*overlaps z/, [
      memory,
    ]);
    const out = { z: memory.subarray(50, 90), perRow: memory.subarray(89, 97) };
    await expectRefused('ntXent', [input, { ...options, out }], RangeError, /^out\.perRow: .*overlaps out\.z/, [memory]);
    expect(
      callSync('ntXent', z, { ...options, out: { z: memory.subarray(40, 80), perRow: memory.subarray(80, 88) } }).loss,
    ).toBeGreaterThan(0);
  });

  test('for what is not asked for', async () => {
    const out = untouched(40);
    await expectRefused('ntXent', [z, { out: { z: out } }], RangeError, /^out\.z: .*gradients/, [out]);
    const perRow = untouched(8);
    await expectRefused('ntXent', [z, { out: { perRow } }], RangeError, /^out\.perRow: .*reduction/, [perRow]);
  });

  test('of the other functions', async () => {
    await expectRefused('uniformity', [z, { gradients: true, out: { x: untouched(3) } }], RangeError, /^out\.x: expected exactly 40/);
    await expectRefused('alignment', [z, random(8, 5, 2), { gradients: true, out: { y: untouched(3) } }], RangeError, /^out\.y: /);
    await expectRefused('cosineSimilarity', [z, z, { out: untouched(63) }], RangeError, /^out: expected exactly 64 elements, got 63/);
    await expectRefused('cosineSimilarity', [z, z, { out: {} }], TypeError, /^out: expected a Float32Array/);
    const square = random(8, 8);
    await expectRefused('cosineSimilarity', [square, square, { out: square.data }], RangeError, /^out: .*overlaps x/);
    const upstream = random(8, 8);
    const out = { x: upstream.data.subarray(0, 40) };
    await expectRefused('cosineSimilarityBackward', [z, z, upstream, { out }], RangeError, /^out\.x: .*overlaps upstream/);
  });
});

describe('values', () => {
  /** A function's arguments around this bad matrix, with every output handed over. */
  const callsWith = (bad: Matrix): [FunctionName, string, unknown[], Float32Array[]][] => {
    const [rows, cols] = bad.shape;
    const good = random(rows, cols, 9);
    const out = { x: untouched(rows * cols), y: untouched(rows * cols), z: untouched(rows * cols) };
    const square = untouched(rows * rows);
    const gradients = true;
    return [
      ['ntXent', 'z', [bad, { gradients, out: { z: out.z } }], [out.z]],
      ['uniformity', 'x', [bad, { gradients, out: { x: out.x } }], [out.x]],
      ['alignment', 'x', [bad, good, { gradients, out: { x: out.x, y: out.y } }], [out.x, out.y]],
      ['alignment', 'y', [good, bad, { gradients, out: { x: out.x, y: out.y } }], [out.x, out.y]],
      ['cosineSimilarity', 'x', [bad, good, { out: square }], [square]],
      ['cosineSimilarity', 'y', [good, bad, { out: square }], [square]],
      ['cosineSimilarity', 'x', [bad, undefined, { out: square }], [square]],
      ['cosineSimilarityBackward', 'x', [bad, good, random(rows, rows), { out: { x: out.x, y: out.y } }], [out.x, out.y]],
      ['cosineSimilarityBackward', 'y', [good, bad, random(rows, rows), { out: { x: out.x, y: out.y } }], [out.x, out.y]],
    ];
  };

  test.each([
    ['NaN', Number.NaN, 0, 0],
    ['Infinity', Number.POSITIVE_INFINITY, 5, 18],
    ['-Infinity', Number.NEGATIVE_INFINITY, 3, 17],
    ['NaN in a later row', Number.NaN, 69, 36],
  ])('%s: NonFiniteError with its row and column', async (_, value, row, column) => {
    const [rows, cols] = [70, 37];
    for (const normalize of [true, false]) {
      const bad = random(rows, cols, 3);
      bad.data[row * cols + column] = value;
      bad.data[rows * cols - 1] = Number.NaN; // a second one, never the first
      for (const [name, argument, args, outputs] of callsWith(bad)) {
        const options = { ...(args.at(-1) as object), normalize };
        const message = new RegExp(`^${argument}: expected finite values, got ${value} at row ${row}, column ${column}`);
        const errors = await expectRefused(name, [...args.slice(0, -1), options], NonFiniteError, message, outputs);
        for (const error of errors) {
          expect(error).toBeInstanceOf(RangeError);
          expect(error).toMatchObject({ name: 'NonFiniteError', code: 'CONTRASTIVE_KERNELS_NON_FINITE', argument, row, column });
        }
      }
    }
  });

  test('the first argument that has one is named', async () => {
    const bad = random(4, 4);
    bad.data[7] = Number.NaN;
    const also = random(4, 4);
    also.data[0] = Number.NaN;
    await expectRefused('alignment', [bad, also], NonFiniteError, /^x: .*row 1, column 3/);
  });

  test('in upstream', async () => {
    const upstream = random(6, 4);
    upstream.data[9] = Number.POSITIVE_INFINITY;
    const out = { x: untouched(30), y: untouched(20) };
    const args = [random(6, 5), random(4, 5), upstream, { out }];
    await expectRefused('cosineSimilarityBackward', args, NonFiniteError, /^upstream: .*row 2, column 1/, [out.x, out.y]);
  });

  test('rows so small that their gradient does not fit float32', async () => {
    const bad = random(12, 6, 4);
    for (let k = 0; k < 6; k++) bad.data[7 * 6 + k] *= 1e-43;
    for (const [name, argument, args, outputs] of callsWith(bad)) {
      if (name === 'cosineSimilarity') {
        expect(callSync(name, ...args).data.every(Number.isFinite)).toBe(true);
      } else {
        await expectRefused(name, args, RangeError, new RegExp(`^${argument}: .*row 7`), outputs);
      }
    }
    expect(callSync('ntXent', bad).loss).toBeGreaterThan(0); // without gradients nothing overflows
  });

  test('dot products that do not fit float32', async () => {
    const large = matrix(
      normals(5, 40).map((value) => value * 1e25),
      8,
      5,
    );
    const out = untouched(64);
    await expectRefused('cosineSimilarity', [large, large, { normalize: false, out }], RangeError, /^x: /, [out]);
  });
});

test('a precision the backend lacks is unavailable, not replaced', async () => {
  const z = random(8, 5);
  await expectRefused('ntXent', [z, { backend: 'reference', precision: 'bfloat16' }], BackendUnavailableError, /bfloat16/);
});
