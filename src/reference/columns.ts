/**
 * The columns of a batch as rows, for the losses that compare columns instead of rows (Barlow Twins, VICReg): read into float64,
 * centred, and divided by a deviation where asked for; and the way back from a gradient by them.
 *
 * Values are taken relative to the first row before they are averaged, so a constant column is exactly 0.
 */
import type { Rows } from '../matrix.js';
import { checkFinite, type Directions } from './rows.js';

/** `u` is [columns of the batch, rows of the batch]. */
export interface Columns extends Directions {
  /** [columns of the batch]: the mean of the squared, centred values. */
  readonly variance: Float64Array;
}

/** Each column less its mean. Throws NonFiniteError at the first NaN or infinity. */
export function readCentredColumns(argument: string, batch: Rows): Columns {
  checkFinite(argument, batch);
  const { data, rows: items, cols: columns } = batch;
  const u = new Float64Array(columns * items);
  const variance = new Float64Array(columns);
  for (let k = 0; k < columns; k++) {
    const column = u.subarray(k * items, (k + 1) * items);
    let sum = 0;
    for (let n = 0; n < items; n++) {
      column[n] = data[n * columns + k] - data[k];
      sum += column[n];
    }
    const mean = sum / items;
    for (let n = 0; n < items; n++) {
      column[n] -= mean;
      variance[k] += column[n] * column[n];
    }
    variance[k] /= items;
  }
  return { rows: columns, cols: items, normalized: false, u, norm: new Float64Array(columns), variance };
}

/** In place: each column divided by sqrt(variance + epsilon), as batch normalisation does. */
export function standardise(columns: Columns, epsilon: number): void {
  const { rows, cols, u, variance } = columns;
  for (let k = 0; k < rows; k++) {
    const deviation = Math.sqrt(variance[k] + epsilon);
    for (let n = k * cols; n < (k + 1) * cols; n++) u[n] /= deviation;
  }
}

/**
 * In place: the gradient D by the standardised columns becomes the gradient by the batch's values,
 * (D - mean D - u mean(D u)) / sqrt(variance + epsilon), each mean over the column.
 */
export function gradientThroughStandardising(columns: Columns, gradient: Float64Array, epsilon: number): void {
  const { rows, cols, u, variance } = columns;
  for (let k = 0; k < rows; k++) {
    const start = k * cols;
    let mean = 0;
    let along = 0;
    for (let n = start; n < start + cols; n++) {
      mean += gradient[n] / cols;
      along += (gradient[n] * u[n]) / cols;
    }
    const deviation = Math.sqrt(variance[k] + epsilon);
    for (let n = start; n < start + cols; n++) gradient[n] = (gradient[n] - mean - along * u[n]) / deviation;
  }
}

/** A gradient by columns, times `factor`, as one by the batch's rows. Throws RangeError where a value does not fit float32. */
export function transposed(
  argument: string,
  { rows: columns, cols: items }: Columns,
  gradient: Float64Array,
  factor: number,
): Float32Array {
  const result = new Float32Array(gradient.length);
  for (let n = 0; n < items; n++) {
    for (let k = 0; k < columns; k++) {
      const value = factor * gradient[k * items + n];
      result[n * columns + k] = value;
      if (!Number.isFinite(result[n * columns + k])) {
        throw new RangeError(`${argument}: expected gradients that fit float32, got ${value} at row ${n}, column ${k}`);
      }
    }
  }
  return result;
}
