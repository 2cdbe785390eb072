/**
 * Several processes (docs/distributed.md): rows of all ranks gathered, the loss on all of them, each rank keeping the gradients of its
 * own rows. What lightly gave in a real run of several processes is W times our gradient of the mean over all rows, on every rank.
 */
import { describe, expect, test } from 'vitest';
import { type Matrix, matrix, ntXent } from '../../src/index.js';
import { expectBackend } from '../support/backend.js';
import { expectGradient, expectNumber, tolerance } from '../support/expect-close.js';
import { goldens, gradients, stacked } from '../support/golden.js';
import { ntXentOracle } from '../support/oracle.js';
import { normals } from '../support/random.js';

describe('NT-Xent over the rows of all ranks', () => {
  test.each(goldens('NTXentLoss(gather_distributed=True)').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const { world_size: W, N_per_rank: N, temperature } = golden.params as Record<string, number>;
    const z = stacked(golden, 'out0', 'out1'); // 'halves': first views of all ranks, then second views
    const got = ntXent(z, { temperature, gradients: true });
    expectBackend(got);
    const { perRow } = ntXent(z, { temperature, reduction: 'none' });
    (golden.expected.loss as number[]).forEach((loss, rank) => {
      const rows = [0, 1].flatMap((view) =>
        Array.from((perRow as Float32Array).subarray((view * W + rank) * N, (view * W + rank + 1) * N)),
      );
      const own = rows.reduce((sum, value) => sum + value, 0) / (2 * N);
      expectNumber(`loss of rank ${rank}`, own, loss, tolerance(temperature), 0);
    });
    const oracle = ntXentOracle(z, temperature, 'halves', true, 1 / z.shape[0]);
    expectGradient('z', got.gradients.z, gradients(golden, 1 / W, 'out0', 'out1'), oracle.gradient, tolerance(temperature));
  });

  test('a linear encoder on every rank, its gradients averaged over W ranks of W times the gradient: that of one process', () => {
    const [W, N, inputs, outputs] = [3, 4, 6, 5];
    const weights = normals(1, inputs * outputs);
    const encode = ({ data, shape: [rows] }: Matrix): Matrix =>
      matrix(
        Float32Array.from({ length: rows * outputs }, (_, at) => {
          let sum = 0;
          for (let k = 0; k < inputs; k++) sum += data[Math.floor(at / outputs) * inputs + k] * weights[k * outputs + (at % outputs)];
          return sum;
        }),
        rows,
        outputs,
      );
    const byWeights = (x: Float32Array, G: Float32Array): Float64Array => {
      const gradient = new Float64Array(weights.length);
      for (let at = 0; at < G.length; at++) {
        const row = Math.floor(at / outputs);
        for (let k = 0; k < inputs; k++) gradient[k * outputs + (at % outputs)] += G[at] * x[row * inputs + k];
      }
      return gradient;
    };
    const all = matrix(normals(2, 2 * W * N * inputs), 2 * W * N, inputs);
    const options = { temperature: 0.3, gradients: true } as const;
    const plain = byWeights(all.data, ntXent(encode(all), options).gradients.z);

    const ranks = Array.from({ length: W }, (_, rank) => {
      // Every rank: gathers, computes the loss on all rows, keeps its own rows of the gradient, times W.
      const { z } = ntXent(encode(all), options).gradients;
      const blocks = [0, 1].map((view) => (view * W + rank) * N);
      const own = (values: Float32Array, cols: number) =>
        Float32Array.from(blocks.flatMap((from) => Array.from(values.subarray(from * cols, (from + N) * cols))));
      return byWeights(
        own(all.data, inputs),
        own(z, outputs).map((value) => W * value),
      );
    });
    const averaged = plain.map((_, k) => ranks.reduce((sum, gradient) => sum + gradient[k] / W, 0));
    const size = Math.hypot(...plain);
    expect(Math.hypot(...averaged.map((value, k) => value - plain[k])) / size).toBeLessThan(1e-6);
  });
});
