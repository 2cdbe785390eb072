/** Memory: rows x cols, never rows x rows. Looked at from outside (the peak of the process) and as the backend announces it. */
import { expect, test } from 'vitest';
import type { KernelName } from '../../src/backends/backend.js';
import { barlowTwins, crossUniformity, type Matrix, matrix, nearest, ntXent, sigLip, uniformity, workspaceBytes } from '../../src/index.js';
import { BACKEND, describeKernel, expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';

const ROWS = 8192;
const COLS = 8;

/** Bytes; the largest the process has ever been. */
const peak = (): number => process.resourceUsage().maxRSS * 1024;

const random = (seed: number, rows: number, cols = COLS): Matrix => matrix(normals(seed, rows * cols), rows, cols);

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
    test('the process grows by far less than the matrix of similarities', () => {
      expectBackend(run(64)); // the code is loaded, threads and pools are there
      const before = peak();
      run(ROWS);
      expect(peak() - before).toBeLessThan((ROWS * ROWS * 4) / 4);
    });

    test('the workspace grows with the rows, and 16384 x 128 stays under 200 MB', () => {
      const bytes = (rows: number): number => workspaceBytes(kernel, rows, 128, { gradients: true });
      expect(bytes(16384)).toBeLessThan(200e6);
      expect(bytes(32768) / bytes(16384)).toBeLessThan(2.2);
    });
  });
}
