/** Arguments that are read in TypeScript, before any backend: what outputs may not overlap, nested options, the environment. */
import { describe, expect, test } from 'vitest';
import {
  boundCandidates,
  clampLogitScale,
  gist,
  infoNce,
  type Matrix,
  matrix,
  memoryBankNce,
  multipleNegativesRanking,
  NonFiniteError,
  ntXent,
  supCon,
} from '../../src/index.js';
import { normals } from '../support/random.js';

const rows = (seed: number, count = 8): Matrix => matrix(normals(seed, count * 4), count, 4);
const [x, y] = [rows(1), rows(2)];
const call = { backend: 'reference', gradients: true, reduction: 'none' } as const;

/** A Float32Array and an Int32Array or Uint8Array of the same memory. */
const shared = <View>(make: new (buffer: ArrayBuffer) => View): [Float32Array, View] => {
  const buffer = new ArrayBuffer(32);
  return [new Float32Array(buffer), new make(buffer)];
};

describe('out may not overlap what is read besides the matrices', () => {
  test('labels and a mask of infoNce', () => {
    const [perRow, labels] = shared(Int32Array);
    expect(() => infoNce(x, y, { ...call, queryLabels: labels, out: { perRow } })).toThrow(/^out\.perRow: .*overlaps queryLabels/);
    const mask = new Uint8Array(64).fill(1);
    const out = { perRow: new Float32Array(mask.buffer, 0, 8) };
    expect(() => infoNce(x, y, { ...call, mask, out })).toThrow(/^out\.perRow: .*overlaps mask/);
    expect(mask).toEqual(new Uint8Array(64).fill(1));
  });

  test('labels of supCon', () => {
    const [perRow, labels] = shared(Int32Array);
    labels.set([1, 1, 2, 2, 3, 3, 4, 4]);
    expect(() => supCon(x, labels, { ...call, out: { perRow } })).toThrow(RangeError);
    expect(labels).toEqual(Int32Array.of(1, 1, 2, 2, 3, 3, 4, 4));
  });

  test('indices of memoryBankNce', () => {
    const indices = Int32Array.from({ length: 16 }, (_, k) => (k % 2 === 0 ? k / 2 : 7 - (k - 1) / 2));
    const out = { perRow: new Float32Array(indices.buffer, 0, 8) };
    const before = indices.slice();
    expect(() => memoryBankNce(x, y, indices, { reduction: 'none', out })).toThrow(/^out\.perRow: .*overlaps indices/);
    expect(indices).toEqual(before);
  });

  test('the guide of gist', () => {
    const guide = { anchor: rows(3), positive: rows(4), negatives: [rows(5)] };
    const options = { ...call, guide, negatives: [rows(6)] };
    for (const [name, { data }] of [['anchor', guide.anchor] as const, ['negatives\\[0\\]', guide.negatives[0]] as const]) {
      const before = data.slice();
      expect(() => gist(x, y, { ...options, out: { anchor: data } })).toThrow(new RegExp(`^out\\.anchor: .*overlaps guide\\.${name}`));
      expect(data).toEqual(before);
    }
  });
});

test('a hard negative that is not finite is named, in every form of ranking', () => {
  const bad = rows(7);
  bad.data[13] = Number.NaN;
  const negatives = [rows(8), bad];
  for (const options of [{}, { partition: 'perDirection' }, { directions: ['queryToDoc', 'docToDoc'] }] as const) {
    const refused = () => multipleNegativesRanking(x, y, { backend: 'reference', negatives, ...options });
    expect(refused).toThrow(NonFiniteError);
    expect(refused).toThrow(/^negatives\[1\]: .*row 3, column 1/);
  }
});

test('unknown names inside options', () => {
  const hardness = { mode: 'all', strength: 1, strenght: 2 } as const;
  expect(() => multipleNegativesRanking(x, y, { hardness })).toThrow(/^hardness: expected only mode, strength, got 'strenght'/);
  const guide = { anchor: x, positive: y, negative: [x] };
  expect(() => gist(x, y, { guide })).toThrow(/^guide: expected only anchor, positive, negatives, got 'negative'/);
});

test.each(['abc', '0', '-1', '1.5', '99999', ' 2'])('CONTRASTIVE_KERNELS_THREADS=%s is refused where it would count', (value) => {
  const before = process.env.CONTRASTIVE_KERNELS_THREADS;
  process.env.CONTRASTIVE_KERNELS_THREADS = value;
  try {
    const refused = () => ntXent(x, { backend: 'reference' });
    expect(refused).toThrow(RangeError);
    expect(refused).toThrow(`CONTRASTIVE_KERNELS_THREADS: expected an integer from 1 to 1024, got '${value}'`);
    expect(ntXent(x, { backend: 'reference', threads: 1 }).loss).toBeGreaterThan(0);
    process.env.CONTRASTIVE_KERNELS_THREADS = '2';
    expect(ntXent(x, { backend: 'reference' }).loss).toBeGreaterThan(0);
  } finally {
    if (before === undefined) delete process.env.CONTRASTIVE_KERNELS_THREADS;
    else process.env.CONTRASTIVE_KERNELS_THREADS = before;
  }
});

test('clampLogitScale takes whatever exp() gives', () => {
  expect([Math.exp(1000), 250, 20, 0.5, Math.exp(-1000)].map(clampLogitScale)).toEqual([100, 100, 20, 1, 1]);
  expect(() => clampLogitScale(-1)).toThrow(/^logitScale: expected a number of at least 0, got -1/);
  expect(() => clampLogitScale(Number.NaN)).toThrow(RangeError);
  expect(() => clampLogitScale('3' as unknown as number)).toThrow(/^logitScale: expected a number, got '3'/);
});

test.each([
  ['crossUniformity', /no classification among candidates/],
  ['memoryBankNce', /judges each candidate by itself/],
  ['toString', /'toString': no such loss/],
])('boundCandidates of %s says why not', (loss, message) => {
  expect(() => boundCandidates(loss as 'clip', { rows: 4 })).toThrow(message);
});
