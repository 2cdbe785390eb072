/** CMC is the sum of both directions of InfoNCE over its pairs of views. */
import { test } from 'vitest';
import { cmc, infoNce, type Matrix, matrix } from '../../src/index.js';
import { describeKernel, expectBackend } from '../support/backend.js';
import { expectEach, expectNumber } from '../support/expect-close.js';
import { normals } from '../support/random.js';

const random = (seed: number): Matrix => matrix(normals(seed, 9 * 5), 9, 5);
const views = [random(1), random(2), random(3), random(4)];
const options = { temperature: 0.2, gradients: true } as const;

describeKernel('infoNce', 'CMC', () => {
  test.each(['full', 'core'] as const)("graph '%s': every ordered pair, by the reference", (graph) => {
    const sums = { loss: 0, temperature: 0, views: views.map(() => new Float64Array(45)) };
    for (const [a, x] of views.entries()) {
      for (const [b, y] of views.entries()) {
        if (a === b || (graph === 'core' && a > 0 && b > 0)) continue;
        const { loss, gradients } = infoNce(x, y, { ...options, backend: 'reference' });
        sums.loss += loss;
        sums.temperature += gradients.temperature as number;
        gradients.query.forEach((value, k) => {
          sums.views[a][k] += value;
          sums.views[b][k] += gradients.key[k];
        });
      }
    }
    const got = cmc(views, { ...options, graph });
    expectBackend(got);
    expectNumber('loss', got.loss, sums.loss, 1e-6, 0);
    expectNumber('temperature', got.gradients.temperature, sums.temperature, 2e-6, 1);
    for (const [v, gradient] of got.gradients.views.entries()) expectEach(`view ${v}`, gradient, sums.views[v], 2e-6, 1);
  });

  test('perRow adds up to the loss', () => {
    const { perRow, loss } = cmc(views, { reduction: 'none' });
    expectNumber(
      'sum',
      (perRow as Float32Array).reduce((sum, value) => sum + value, 0),
      loss,
      1e-6,
      0,
    );
    expectNumber('mean', cmc(views).loss, loss / 9, 1e-6, 0);
  });
});
