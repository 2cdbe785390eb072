/**
 * The kernels that the CUDA library has for compute capability 9.0, on the emulation: it poses as such a device, and results are judged as
 * precision.test.ts judges those of the kernels for 8.0. test/native/simt/precision_test.cpp takes the same path on more shapes.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { backends, ntXent, uniformity } from '../../src/index.js';
import { BACKEND } from '../support/backend.js';
import { expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, layOut, makeViews } from '../support/families.js';
import { ntXentOracle, uniformityOracle } from '../support/oracle.js';
import { byInput, gradientTolerance, lossTolerance, roundedRows, TENSOR_PRECISIONS } from '../support/precisions.js';

const emulated = () => BACKEND === 'cuda' && /emulated/.test(backends().find(({ name }) => name === 'cuda')?.device ?? '');

function on<T>(capability: string, run: () => T, hopper = '1'): T {
  process.env.SIMT_COMPUTE_CAPABILITY = capability;
  process.env.CONTRASTIVE_KERNELS_HOPPER = hopper;
  return run();
}

describe('compute capability 9.0', () => {
  if (!emulated()) {
    test.skip(`no emulated device on ${BACKEND}`, () => {});
    return;
  }
  afterEach(() => {
    delete process.env.SIMT_COMPUTE_CAPABILITY;
    delete process.env.CONTRASTIVE_KERNELS_HOPPER;
  });

  // Up to 768 columns, 192 of bfloat16x3, the backward has a kernel of its own too.
  test.each(TENSOR_PRECISIONS)(
    '%s: losses and gradients agree with float64',
    (precision) => {
      const shapes = FAMILIES.map((family, turn) => ({ family, pairs: 12 + turn, cols: [129, 200, 257][turn % 3], turn }));
      const larger = [
        { family: 'confident', pairs: 101, cols: 256, turn: 0 },
        { family: 'correlated', pairs: 67, cols: 768, turn: 1 },
        { family: 'confident', pairs: 35, cols: 700, turn: 0 },
        { family: 'random', pairs: 130, cols: 130, turn: 2 },
      ] as const;
      for (const { family, pairs, cols, turn } of [...shapes, ...larger]) {
        const temperature = [0.005, 0.07, 10][turn % 3];
        const z = layOut(makeViews(family, pairs, cols, turn), 'halves');
        const { rows, norms } = roundedRows(z, precision, true);
        const run = () => ntXent(z, { precision, temperature, gradients: true, reduction: 'none' });
        const got = on('90', run);
        const oracle = ntXentOracle(rows, temperature, 'halves', norms.length === 0, 1);
        const tol = lossTolerance(precision, temperature);
        expectNumber('loss', got.loss, oracle.loss, tol, 0);
        const gradient = byInput(oracle.gradient, rows, norms, true);
        expectGradient('gradients.z', got.gradients.z, gradient.values, gradient, gradientTolerance(precision, temperature));
        expect(on('90', run).gradients.z).toEqual(got.gradients.z);
        const uniform = on('90', () => uniformity(z, { precision, t: 2, gradients: true }));
        const expected = uniformityOracle(rows, 2, norms.length === 0);
        expectNumber('uniformity', uniform.loss, expected.loss, lossTolerance(precision, 0.25), 1);
        const slope = byInput(expected.gradient, rows, norms, true);
        expectGradient('gradients.x', uniform.gradients.x, slope.values, slope, gradientTolerance(precision, 0.25));
      }
    },
    180_000,
  ); // half a minute where the machine is busy

  test('CONTRASTIVE_KERNELS_HOPPER=0 takes the kernels of 8.0', () => {
    const z = layOut(makeViews(FAMILIES[0], 40, 200, 1), 'halves');
    const rows = (capability: string, hopper: string) =>
      on(
        capability,
        () => ntXent(z, { precision: 'bfloat16x3', temperature: 0.02, reduction: 'none' }).rowLogSumExp,
        hopper,
      ) as Float32Array;
    expect(rows('90', '0')).toEqual(rows('80', '1'));
    expect(rows('90', '1')).not.toEqual(rows('80', '1'));
  });
});
