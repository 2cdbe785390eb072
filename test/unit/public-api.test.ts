/** The smaller public functions, and the names that users import. */
import { describe, expect, test } from 'vitest';
import * as api from '../../src/index.js';
import { backends, matrix, mutualInformationBound, ntXent, workspaceBytes } from '../../src/index.js';
import { normals } from '../support/random.js';

describe('matrix', () => {
  test('names the shape of an array, without a copy', () => {
    const data = normals(1, 6);
    const rows = matrix(data, 2, 3);
    expect(rows.data).toBe(data);
    expect(rows.shape).toEqual([2, 3]);
  });

  test('refuses what does not fit', () => {
    expect(() => matrix(new Float32Array(6), 2, 4)).toThrow(RangeError);
    expect(() => matrix(new Float32Array(6), 2, 4)).toThrow(/expected 2 x 4 = 8 elements, got 6/);
    expect(() => matrix(new Float32Array(0), 0, 4)).toThrow(RangeError);
    expect(() => matrix([1, 2] as unknown as Float32Array, 1, 2)).toThrow(TypeError);
    expect(() => matrix(new Float32Array(6), '2' as unknown as number, 3)).toThrow(TypeError);
  });
});

describe('mutualInformationBound', () => {
  test('is log k - loss', () => {
    expect(mutualInformationBound(0, 2)).toBe(Math.log(2));
    expect(mutualInformationBound(1.5, 511)).toBeCloseTo(Math.log(511) - 1.5, 14);
    expect(mutualInformationBound(10, 3)).toBeLessThan(0);
  });

  test('is 0 for rows that are all equal: nothing is known', () => {
    const rows = matrix(new Float32Array(8 * 3).fill(1), 8, 3);
    expect(mutualInformationBound(ntXent(rows, { backend: 'reference' }).loss, 7)).toBeCloseTo(0, 12);
  });

  test.each([
    [Number.NaN, 5, RangeError, /^loss: .*got NaN/],
    [-0.1, 5, RangeError, /^loss: .*got -0\.1/],
    [Number.POSITIVE_INFINITY, 5, RangeError, /^loss: /],
    ['1', 5, TypeError, /^loss: /],
    [1, 1, RangeError, /^candidates: .*got 1/],
    [1, 2.5, RangeError, /^candidates: /],
    [1, Number.NaN, RangeError, /^candidates: /],
    [1, undefined, TypeError, /^candidates: /],
  ])('refuses (%s, %s)', (loss, candidates, type, message) => {
    const call = () => mutualInformationBound(loss as number, candidates as number);
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});

describe('workspaceBytes', () => {
  const backend = 'reference';

  test('grows with rows and columns, not with their product twice', () => {
    const small = workspaceBytes('ntXent', 1000, 64, { backend, gradients: true });
    expect(small).toBeGreaterThan(1000 * 64 * 4);
    const large = workspaceBytes('ntXent', 10_000, 64, { backend, gradients: true });
    expect(large / small).toBeLessThan(11);
    expect(workspaceBytes('ntXent', 1000, 64, { backend })).toBeLessThan(small);
    expect(workspaceBytes('cosineSimilarity', 1000, 64, { backend, otherRows: 10 })).toBeLessThan(
      workspaceBytes('cosineSimilarity', 1000, 64, { backend }),
    );
  });

  test('nearest: grows with k on the CPU, where candidates are kept; infoNce: with the negatives', () => {
    expect(workspaceBytes('infoNce', 100, 10, { backend, negativeRows: 50 })).toBeGreaterThan(
      workspaceBytes('infoNce', 100, 10, { backend }) + 50 * 10 * 8,
    );
    const cpu = { backend: 'cpu' } as const;
    if (backends().some(({ name, available }) => name === 'cpu' && available)) {
      expect(workspaceBytes('nearest', 1000, 64, { ...cpu, k: 100 })).toBeGreaterThan(
        workspaceBytes('nearest', 1000, 64, { ...cpu, k: 5 }),
      );
    }
  });

  test('answers for every kernel', () => {
    const one = ['ntXent', 'uniformity', 'supCon'] as const;
    const two = ['cosineSimilarity', 'cosineSimilarityBackward', 'alignment', 'infoNce', 'dcl', 'sigLip'] as const;
    const more = ['barlowTwins', 'vicReg', 'crossUniformity', 'nearest'] as const;
    for (const name of [...one, ...two, ...more]) {
      expect(workspaceBytes(name, 100, 10, { backend }), name).toBeGreaterThan(100 * 10 * 8);
    }
  });

  test.each([
    ['an unknown name', () => workspaceBytes('triplet' as 'ntXent', 10, 10), RangeError, /^name: /],
    ['no name', () => workspaceBytes(undefined as unknown as 'ntXent', 10, 10), TypeError, /^name: /],
    ['no rows', () => workspaceBytes('ntXent', 0, 10), RangeError, /^rows: /],
    ['a fraction of a column', () => workspaceBytes('ntXent', 10, 0.5), RangeError, /^cols: /],
    ['an unknown option', () => workspaceBytes('ntXent', 10, 10, { gradient: true } as object), TypeError, /^options: .*'gradient'/],
    ['k of a loss', () => workspaceBytes('ntXent', 10, 10, { k: 3 }), RangeError, /^k: expected with 'nearest' only, got 3 with 'ntXent'/],
    ['no neighbours', () => workspaceBytes('nearest', 10, 10, { k: 0 }), RangeError, /^k: expected an integer from 1 /],
    [
      'negatives of a loss without',
      () => workspaceBytes('sigLip', 10, 10, { negativeRows: 3 }),
      RangeError,
      /^negativeRows: .*'infoNce' only/,
    ],
    [
      'pairs that do not come out even',
      () => workspaceBytes('infoNce', 10, 10, { negativeRows: 15, negativeMode: 'paired' }),
      RangeError,
      /^negativeRows: /,
    ],
    [
      'indices of no number',
      () => workspaceBytes('infoNce', 10, 10, { negativeRows: 15, negativeMode: 'indexed' }),
      RangeError,
      /^perQuery: /,
    ],
  ])('refuses %s', (_, call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});

test('backends() always has the reference', () => {
  const list = backends();
  expect(list.map((status) => status.name)).toEqual(['cuda', 'cpu', 'reference']);
  expect(list[2]).toMatchObject({ name: 'reference', available: true });
  for (const { available, reason } of list) expect(available || (reason ?? '').length > 0).toBe(true);
});

test('every loss has a twin', () => {
  const names = Object.keys(api);
  const cosines = ['cosineSimilarity', 'cosineSimilarityBackward'];
  const rows = ['ntXent', 'uniformity', 'alignment', 'infoNce', 'supCon', 'dcl', 'clip', 'sigLip', 'negativeCosine', 'crossUniformity'];
  const others = ['barlowTwins', 'vicReg', 'alignmentUniformity', 'nearest', 'retrieval', 'gradientCache'];
  for (const name of [...cosines, ...rows, ...others]) {
    expect(names).toContain(name);
    expect(names).toContain(`${name}Async`);
  }
});

test('NonFiniteError and BackendUnavailableError are what the documentation says', () => {
  const nonFinite = new api.NonFiniteError('z', 3, 4, Number.NaN);
  expect(nonFinite).toBeInstanceOf(RangeError);
  expect(nonFinite.message).toBe('z: expected finite values, got NaN at row 3, column 4');
  const missing = new api.BackendUnavailableError('cuda', 'no driver', ['install one']);
  expect(missing.message).toBe("backend 'cuda' is not available: no driver\nPossible solutions:\n  - install one");
});
