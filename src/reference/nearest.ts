/**
 * The nearest rows, the specification: for each row of x the k rows of y of largest similarity, compared as the float32 that come
 * out, the largest first, of equals the lower row first.
 */
import type { KernelCall } from '../backends/backend.js';
import { readRows, rowProducts } from './rows.js';
import { NO_STATS, type Steps } from './steps.js';

export function* nearest({ inputs, parameters, outputs, options }: KernelCall<'nearest'>): Steps {
  const { k, excludeSameIndex } = parameters;
  const x = readRows('x', inputs.x, options.normalize);
  const y = readRows('y', inputs.y, options.normalize);
  const products = new Float64Array(y.rows);
  const rounded = new Float32Array(y.rows);
  const indices = new Int32Array(x.rows * k);
  const similarities = new Float32Array(x.rows * k);
  for (let i = 0; i < x.rows; i++) {
    rowProducts(x, i, y, products);
    rounded.set(products);
    const overflow = rounded.findIndex((value) => !Number.isFinite(value));
    if (overflow >= 0) {
      throw new RangeError(`x: expected products that fit float32, got ${products[overflow]} at row ${i} of x, row ${overflow} of y`);
    }
    keepLargest(rounded, excludeSameIndex ? i : -1, indices.subarray(i * k, (i + 1) * k), similarities.subarray(i * k, (i + 1) * k));
    yield;
  }
  outputs.indices.set(indices);
  outputs.similarities.set(similarities);
  return { loss: 0, temperatureGradient: Number.NaN, biasGradient: Number.NaN, stats: NO_STATS };
}

/**
 * The largest of `values` but for the one at `excluded`, in falling order, by insertion: k is small and most values fail the
 * first test.
 */
function keepLargest(values: Float32Array, excluded: number, indices: Int32Array, kept: Float32Array): void {
  const k = kept.length;
  let filled = 0;
  let least = Number.NEGATIVE_INFINITY;
  for (let j = 0; j < values.length; j++) {
    const value = values[j];
    if ((filled === k && value <= least) || j === excluded) continue;
    let place = filled < k ? filled++ : k - 1;
    for (; place > 0 && kept[place - 1] < value; place--) {
      kept[place] = kept[place - 1];
      indices[place] = indices[place - 1];
    }
    kept[place] = value;
    indices[place] = j;
    least = kept[filled - 1];
  }
}
