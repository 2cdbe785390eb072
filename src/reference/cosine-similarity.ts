/**
 * The matrix of similarities s_ij = u_i . v_j (u from x, v from y), and the gradients of sum_ij upstream_ij s_ij:
 * by u_i it is sum_j upstream_ij v_j, by v_j it is sum_i upstream_ij u_i. One row of the matrix at a time.
 */
import type { KernelCall } from '../backends/backend.js';
import { addRowOfPairs, checkFinite, type Directions, gradientByInput, readRows, rowProducts } from './rows.js';
import { NO_STATS, type Steps } from './steps.js';

const LARGEST_FLOAT32 = 3.4028234663852886e38;

export function* cosineSimilarity({ inputs, outputs, options }: KernelCall<'cosineSimilarity'>): Steps {
  const x = readRows('x', inputs.x, options.normalize);
  const y = inputs.y ? readRows('y', inputs.y, options.normalize) : x;
  const products = new Float64Array(y.rows);
  const fill = function* (use: (i: number) => void): Generator<void, void, void> {
    for (let i = 0; i < x.rows; i++) {
      rowProducts(x, i, y, products);
      use(i);
      yield;
    }
  };
  // |x . y| <= |x| |y|: only where that bound does not fit must every product be looked at before the first is written.
  if (!options.normalize && largestNorm(x) * largestNorm(y) >= LARGEST_FLOAT32) {
    yield* fill((i) => {
      for (let j = 0; j < y.rows; j++) {
        if (!Number.isFinite(Math.fround(products[j]))) {
          throw new RangeError(`x: expected products that fit float32, got ${products[j]} at row ${i} of x, row ${j} of y`);
        }
      }
    });
  }
  yield* fill((i) => outputs.out.set(products, i * y.rows));
  return { loss: 0, temperatureGradient: Number.NaN, biasGradient: Number.NaN, stats: NO_STATS };
}

export function* cosineSimilarityBackward({ inputs, outputs, options }: KernelCall<'cosineSimilarityBackward'>): Steps {
  const x = readRows('x', inputs.x, options.normalize);
  const y = readRows('y', inputs.y, options.normalize);
  const { data: upstream } = inputs.upstream;
  checkFinite('upstream', inputs.upstream);
  const gradientX = new Float64Array(x.u.length);
  const gradientY = new Float64Array(y.u.length);
  for (let i = 0; i < x.rows; i++) {
    addRowOfPairs(x, i, y, upstream.subarray(i * y.rows, (i + 1) * y.rows), gradientX, gradientY);
    yield;
  }
  gradientByInput('x', x, gradientX, options.weight);
  gradientByInput('y', y, gradientY, options.weight);
  outputs.x?.set(gradientX);
  outputs.y?.set(gradientY);
  return { loss: 0, temperatureGradient: Number.NaN, biasGradient: Number.NaN, stats: NO_STATS };
}

function largestNorm({ norm }: Directions): number {
  return norm.reduce((largest, value) => Math.max(largest, value), 0);
}
