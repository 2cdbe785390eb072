/** The check that values are finite, for what no kernel reads: in a queue or an average a NaN would stay for good. */
import { NonFiniteError } from './errors.js';

/** Throws NonFiniteError at the first NaN or infinity of `data`, rows of `cols` values. */
export function checkFinite(argument: string, data: ArrayLike<number>, cols: number): void {
  for (let k = 0; k < data.length; k++) {
    if (!Number.isFinite(data[k])) throw new NonFiniteError(argument, Math.floor(k / cols), k % cols, data[k]);
  }
}
