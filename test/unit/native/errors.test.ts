/** Every status of the C ABI becomes the typed error the user was promised, with the name the user gave the argument. */
import { describe, expect, test } from 'vitest';
import type { KernelCall } from '../../../src/backends/backend.js';
import { BackendUnavailableError, NonFiniteError } from '../../../src/errors.js';
import { KERNELS, nativeArguments } from '../../../src/native/binding.js';
import { typedError } from '../../../src/native/errors.js';

const rows = (count: number, cols: number) => ({ data: new Float32Array(count * cols), rows: count, cols });
const options = { normalize: true, precision: 'bfloat16', threads: 3, stats: false, weight: 0.5 } as const;
const backward: KernelCall<'cosineSimilarityBackward'> = {
  inputs: { x: rows(2, 3), y: rows(4, 3), upstream: rows(2, 4) },
  parameters: {},
  outputs: { x: new Float32Array(6), y: null },
  options,
};

function failure(status: number, fields: { argument?: number; row?: number; column?: number; value?: number; message?: string } = {}) {
  const { message = '', ...rest } = fields;
  return Object.assign(new Error(message), { status, argument: -1, row: 0, column: 0, value: Number.NaN, ...rest });
}
const typed = (error: unknown, signal?: AbortSignal) => typedError(error, 'cuda', 'cosineSimilarityBackward', backward, signal);

describe('typedError', () => {
  test('non-finite values name the argument, the place and the value', () => {
    const error = typed(failure(1, { argument: 2, row: 1, column: 3, value: Number.NEGATIVE_INFINITY }));
    expect(error).toBeInstanceOf(NonFiniteError);
    expect(error).toMatchObject({ argument: 'upstream', row: 1, column: 3 });
    expect((error as Error).message).toBe('upstream: expected finite values, got -Infinity at row 1, column 3');
  });

  test.each([
    [2, { argument: 1, row: 7 }, RangeError, /^y: the gradient of row 7 /],
    [3, { argument: 0, message: 'too large' }, RangeError, /^x: too large/],
    [3, {}, RangeError, /^cosineSimilarityBackward: .*'cuda'/],
    [4, {}, RangeError, /could not allocate/],
    [5, { message: 'no device' }, BackendUnavailableError, /'cuda' is not available: no device/],
    [5, {}, BackendUnavailableError, /no precision 'bfloat16'/],
    [7, { message: 'launch failed' }, Error, /device .*failed: launch failed/],
    [100, { argument: 0 }, TypeError, /^out\.x: .*detached/],
  ])('status %i with %j', (status, fields, type, message) => {
    const error = typed(failure(status, fields));
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
  });

  test('a cancelled call ends with the reason of its signal, whatever that is', () => {
    for (const reason of [new Error('stop'), 'stop', null]) {
      expect(typed(failure(6), AbortSignal.abort(reason))).toBe(reason);
    }
  });

  test('any other error stays what it is', () => {
    const error = new TypeError('native ntXent: argument 0 must be a Float32Array');
    expect(typed(error)).toBe(error);
  });
});

describe('nativeArguments', () => {
  test('inputs, parameters, outputs, options, in this order', () => {
    const { x, y, upstream } = backward.inputs;
    expect(nativeArguments('cosineSimilarityBackward', backward)).toEqual([
      ...[x.data, 2, 3, y.data, 4, 3, upstream.data, 2, 4],
      ...[backward.outputs.x, null],
      ...[0.5, true, false, 3, 2],
    ]);
  });

  test('an absent second input is null', () => {
    const x = rows(2, 3);
    const out = new Float32Array(4);
    const call = { inputs: { x, y: null }, parameters: {}, outputs: { out }, options };
    expect(nativeArguments('cosineSimilarity', call).slice(0, 7)).toEqual([x.data, 2, 3, null, 0, 0, out]);
  });

  test('integer arrays stand between the inputs and the parameters, absent ones as null', () => {
    const queryLabels = Int32Array.of(1, 2);
    const keyLabels = Int32Array.of(1, 2, 3);
    const mask = new Uint8Array(6);
    const [query, key, perRow] = [rows(2, 4), rows(3, 4), new Float32Array(2)];
    const [guideQuery, guideKey] = [rows(2, 5), rows(3, 5)];
    const call: KernelCall<'infoNce'> = {
      inputs: { query, key, negatives: null, guideQuery, guideKey, guideSecondQuery: null },
      integers: { positives: null, negativeIndices: null, queryLabels, keyLabels, mask },
      parameters: {
        temperature: 0.1,
        inBatch: true,
        symmetric: false,
        ownedKeys: true,
        negativeMode: 'paired',
        perQuery: 5,
        ownNegativeLogit: 2,
        guideMargin: 0.25,
        guideRelative: true,
        guideSplit: 3,
        sparseKeys: true,
        also: ['queries', 'otherKeysOfKey'],
      },
      outputs: { query: null, key: null, negatives: null, perRow, rowLogSumExp: null },
      options,
    };
    const matrices = [query.data, 2, 4, key.data, 3, 4, null, 0, 0, guideQuery.data, 2, 5, guideKey.data, 3, 5, null, 0, 0];
    const parameters = [0.1, 1, 0, 1, 5, 2, 0.25, 1, 3, 1, 1, 5];
    const outputs = [null, null, null, perRow, null];
    expect(nativeArguments('infoNce', call)).toEqual([
      ...matrices,
      ...[null, null, queryLabels, keyLabels, mask],
      ...parameters,
      ...outputs,
      ...[0.5, true, false, 3, 2],
    ]);
  });

  test('every kernel has a row', () => {
    expect(Object.keys(KERNELS).sort()).toEqual([
      'alignment',
      'barlowTwins',
      'cosineSimilarity',
      'cosineSimilarityBackward',
      'crossUniformity',
      'dcl',
      'infoNce',
      'nearest',
      'ntXent',
      'sigLip',
      'supCon',
      'uniformity',
      'vicReg',
    ]);
  });
});
