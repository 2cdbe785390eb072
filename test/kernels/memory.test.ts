/** Memory: rows x cols, never rows x rows. Looked at from outside (the peak of the process) and as the backend announces it. */
import { expect, test } from 'vitest';
import type { KernelName } from '../../src/backends/backend.js';
import {
  barlowTwins,
  crossUniformity,
  gist,
  type Matrix,
  matrix,
  nearest,
  ntXent,
  sigLip,
  trimDeviceMemory,
  uniformity,
  workspaceBytes,
} from '../../src/index.js';
import { BACKEND, describeKernel, expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';
import { measures } from '../support/sanitizer.js';

const ROWS = 8192;
const COLS = 8;

/** Bytes; the largest the process has ever been. */
const peak = (): number => process.resourceUsage().maxRSS * 1024;

const random = (seed: number, rows: number, cols = COLS): Matrix => matrix(normals(seed, rows * cols), rows, cols);

// First: what the process took before hides what it takes here.
describeKernel('infoNce', 'gist', () => {
  const run = (rows: number) => {
    const [anchor, positive] = [random(1, rows), random(2, rows)];
    return gist(anchor, positive, { guide: { anchor: random(3, rows), positive: random(4, rows) }, gradients: true });
  };
  // From a call that is large enough for every buffer of limited size, so that growth is what rows and pairs take.
  measures('the process grows by less than a byte for every anchor and candidate', () => {
    expectBackend(run(ROWS / 4));
    trimDeviceMemory(); // what is kept between calls would count twice
    const before = peak();
    run(ROWS / 2);
    expect(peak() - before).toBeLessThan(0.75 * (ROWS / 2) * (3 * (ROWS / 2)));
  });
});

/** Every kernel on so many rows; columns, where it compares columns. */
const cases: [KernelName, (size: number) => { readonly backend: string }][] = [
  ['ntXent', (rows) => ntXent(random(1, rows), { gradients: true, reduction: 'none' })],
  ['uniformity', (rows) => uniformity(random(2, rows), { gradients: true })],
  ['sigLip', (rows) => sigLip(random(1, rows), random(2, rows), { gradients: true, reduction: 'none' })],
  ['crossUniformity', (rows) => crossUniformity(random(1, rows), random(2, rows), { gradients: true })],
  ['barlowTwins', (cols) => barlowTwins(random(1, COLS, cols), random(2, COLS, cols), { gradients: true })],
  ['nearest', (rows) => ({ ...nearest(random(1, rows), random(2, rows), 5), backend: BACKEND })],
];

for (const [kernel, run] of cases) {
  describeKernel(kernel, kernel, () => {
    measures('the process grows by far less than the matrix of similarities', () => {
      expectBackend(run(64)); // the code is loaded, threads and pools are there
      const before = peak();
      run(ROWS);
      expect(peak() - before).toBeLessThan((ROWS * ROWS * 4) / 4);
    });
  });
}

const KERNELS: KernelName[] = [
  'cosineSimilarity',
  'cosineSimilarityBackward',
  'ntXent',
  'uniformity',
  'alignment',
  'infoNce',
  'supCon',
  'dcl',
  'sigLip',
  'barlowTwins',
  'vicReg',
  'crossUniformity',
  'nearest',
];

for (const kernel of KERNELS) {
  describeKernel(kernel, `the workspace of ${kernel}`, () => {
    test('twice the rows take at most 2.1 times the bytes, and 16384 x 128 stays under 200 MB', () => {
      const bytes = (rows: number): number => workspaceBytes(kernel, rows, 128, { gradients: true });
      expect(bytes(16384)).toBeLessThan(200e6);
      expect(bytes(32768) / bytes(16384)).toBeLessThan(2.1);
    });
  });
}

describeKernel('infoNce', 'explicit negatives are in the workspace of infoNce', () => {
  const bytes = (rows: number, options: object): number => workspaceBytes('infoNce', rows, 64, { gradients: true, ...options });
  const kinds = {
    shared: (rows: number) => ({ negativeRows: 4 * rows }),
    paired: (rows: number) => ({ negativeRows: 4 * rows, negativeMode: 'paired' }),
    indexed: (rows: number) => ({ negativeRows: 4 * rows, negativeMode: 'indexed', perQuery: 8 }),
  };
  test.each(Object.entries(kinds))('%s: more than without, and in proportion to the rows', (_, of) => {
    // So many that what the workspace is rounded up to does not matter.
    expect(bytes(2 ** 20, of(2 ** 20))).toBeGreaterThan(bytes(2 ** 20, {}) + 2 ** 20 * 3 * 8);
    expect(bytes(16384, of(16384)) / bytes(8192, of(8192))).toBeLessThan(2.1);
  });

  test('indexed: the more for each query, the more bytes', () => {
    const of = (perQuery: number) => bytes(2 ** 20, { negativeRows: 500, negativeMode: 'indexed', perQuery });
    expect(of(64)).toBeGreaterThanOrEqual(of(32) + 2 ** 20 * 31 * 4);
  });
});
