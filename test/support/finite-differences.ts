/** Gradients from losses alone: the fourth-order central difference, on rows whose steps are exact in float32. */
import { expect } from 'vitest';
import { type Matrix, matrix } from '../../src/index.js';
import { normals } from './random.js';

const STEP = 2 ** -9;

/** Rows on a grid of 2^-7, so that the steps are exact in float32. */
export function onGrid(rows: number, cols: number, seed: number): Matrix {
  return matrix(
    normals(seed, rows * cols).map((value) => Math.round(value * 128) / 128),
    rows,
    cols,
  );
}

/** Its error is of order STEP^4. */
export function slope(loss: (shift: number) => number): number {
  return (8 * (loss(STEP) - loss(-STEP)) - (loss(2 * STEP) - loss(-2 * STEP))) / (12 * STEP);
}

/** `gradient` is that of `loss` by every element of `x`, which `loss` reads. */
export function expectSlopes(x: Matrix, gradient: Float32Array, loss: () => number): void {
  const largest = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let k = 0; k < x.data.length; k++) {
    const value = x.data[k];
    const expected = slope((shift) => {
      x.data[k] = value + shift;
      return loss();
    });
    x.data[k] = value;
    expect(Math.abs(gradient[k] - expected), `element ${k}: ${gradient[k]} and ${expected}`).toBeLessThan(2e-6 * largest + 1e-12);
  }
}
