/** Memory: rows x cols, never rows x rows. Looked at from outside (the peak of the process) and as the backend announces it. */
import { describe, expect, test } from 'vitest';
import { matrix, ntXent, uniformity, workspaceBytes } from '../../src/index.js';
import { expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';

const ROWS = 8192;
const COLS = 8;

/** Bytes; the largest the process has ever been. */
const peak = (): number => process.resourceUsage().maxRSS * 1024;

describe.each([
  ['ntXent', (rows: number) => ntXent(matrix(normals(1, rows * COLS), rows, COLS), { gradients: true, reduction: 'none' })],
  ['uniformity', (rows: number) => uniformity(matrix(normals(2, rows * COLS), rows, COLS), { gradients: true })],
] as const)('%s', (name, run) => {
  test('the process grows by far less than the matrix of similarities', () => {
    expectBackend(run(64)); // the code is loaded, threads and pools are there
    const before = peak();
    run(ROWS);
    expect(peak() - before).toBeLessThan((ROWS * ROWS * 4) / 4);
  });

  test('the workspace grows with the rows, and 16384 x 128 stays under 200 MB', () => {
    const bytes = (rows: number): number => workspaceBytes(name, rows, 128, { gradients: true });
    expect(bytes(16384)).toBeLessThan(200e6);
    expect(bytes(32768) / bytes(16384)).toBeLessThan(2.2);
  });
});
