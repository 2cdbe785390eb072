/** A feature of every item of the data, as it was when the item was last seen: the negatives of instance discrimination and CMC. */
import type { Matrix, MatrixLike } from '../matrix.js';
import { readRows } from '../reference/rows.js';
import { describe, readIntegers, readMatrix } from '../validate.js';

/**
 * One unit row for every item, a matrix itself: it goes into `memoryBankNce` without a copy.
 *
 * @see Wu, Xiong, Yu, Lin: Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018.
 */
export class MemoryBank implements Matrix {
  readonly data: Float32Array;
  readonly shape: readonly [items: number, cols: number];

  /**
   * @param initial [items, cols], copied and divided by their norms: random rows, or features of an untrained encoder.
   * @throws TypeError, RangeError, NonFiniteError.
   */
  constructor(initial: MatrixLike) {
    const matrix = readMatrix('initial', initial, false);
    this.data = Float32Array.from(readRows('initial', matrix, true).u);
    this.shape = [matrix.rows, matrix.cols];
  }

  /**
   * Moves the rows of these items: row = unit(momentum * row + (1 - momentum) * unit(feature)). An item that comes twice is moved twice.
   *
   * @param items [features.rows]: which rows.
   * @param features [any, cols].
   * @param momentum 0 (replace) to 1 (keep); 0.5 in CMC.
   * @throws TypeError, RangeError, NonFiniteError; the bank is as before then.
   */
  update(items: Int32Array | readonly number[], features: MatrixLike, momentum = 0.5): void {
    const { rows, cols, data } = readMatrix('features', features, false);
    const [count, own] = this.shape;
    if (cols !== own) throw new RangeError(`features: expected ${own} columns as in the bank, got ${cols}`);
    if (typeof momentum !== 'number') throw new TypeError(`momentum: expected a number, got ${describe(momentum)}`);
    if (!(momentum >= 0 && momentum <= 1)) throw new RangeError(`momentum: expected a number from 0 to 1, got ${momentum}`);
    const which = readIntegers('items', items, rows, 0, count - 1);
    const { u } = readRows('features', { data, rows, cols }, true);
    which.forEach((item, i) => {
      const row = this.data.subarray(item * cols, (item + 1) * cols);
      const moved = Float64Array.from(row, (value, k) => momentum * value + (1 - momentum) * u[i * cols + k]);
      const norm = Math.hypot(...moved);
      if (norm > 0) row.set(moved.map((value) => value / norm));
    });
  }
}
