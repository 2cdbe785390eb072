/**
 * The kernels that the CUDA library has for compute capability 9.0, on the emulation: it poses as such a device, and results are compared
 * with those of the kernels for 8.0, which precision.test.ts compares with float64. The C++ tests take the same path on all families
 * (test/native/simt/precision_test.cpp).
 */
import { afterEach, describe, expect, test } from 'vitest';
import { backends, type Matrix, ntXent, uniformity } from '../../src/index.js';
import { BACKEND } from '../support/backend.js';
import { FAMILIES, layOut, makeViews } from '../support/families.js';
import { gradientTolerance, lossTolerance, TENSOR_PRECISIONS, type TensorPrecision } from '../support/precisions.js';

const emulated = () => BACKEND === 'cuda' && /emulated/.test(backends().find(({ name }) => name === 'cuda')?.device ?? '');

function on<T>(capability: string, run: () => T, hopper = '1'): T {
  process.env.SIMT_COMPUTE_CAPABILITY = capability;
  process.env.CONTRASTIVE_KERNELS_HOPPER = hopper;
  return run();
}

function relativeDifference(got: Float32Array, want: Float32Array): number {
  const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return got.reduce((most, value, i) => Math.max(most, Math.abs(value - want[i])), 0) / (largest || 1);
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

  const run = (z: Matrix, precision: TensorPrecision, temperature: number) => ({
    nt: ntXent(z, { precision, temperature, gradients: true, reduction: 'none' }),
    uniform: uniformity(z, { precision, t: 2, gradients: true }),
  });

  test.each(TENSOR_PRECISIONS)('%s: the same losses and gradients as on 8.0', (precision) => {
    for (const [turn, family] of FAMILIES.entries()) {
      const cols = [64, 129, 200, 257, 320][turn % 5];
      const temperature = [0.005, 0.07, 10][turn % 3];
      const z = layOut(makeViews(family, 65 + turn, cols, turn), 'halves');
      const want = on('80', () => run(z, precision, temperature));
      const got = on('90', () => run(z, precision, temperature));
      const tol = 2 * lossTolerance(precision, temperature);
      expect(Math.abs(got.nt.loss - want.nt.loss)).toBeLessThanOrEqual(tol * Math.max(1e-3, Math.abs(want.nt.loss)));
      expect(Math.abs(got.uniform.loss - want.uniform.loss)).toBeLessThanOrEqual(tol * Math.max(1, Math.abs(want.uniform.loss)));
      const gradientTol = 2 * gradientTolerance(precision, temperature);
      expect(relativeDifference(got.nt.gradients.z, want.nt.gradients.z)).toBeLessThanOrEqual(gradientTol);
      expect(relativeDifference(got.uniform.gradients.x, want.uniform.gradients.x)).toBeLessThanOrEqual(gradientTol);
      expect(on('90', () => run(z, precision, temperature)).nt.gradients.z).toEqual(got.nt.gradients.z);
    }
  });

  test('CONTRASTIVE_KERNELS_HOPPER=0 takes the kernels of 8.0', () => {
    const z = layOut(makeViews(FAMILIES[0], 40, 200, 1), 'halves');
    const rows = (capability: string, hopper: string) =>
      on(capability, () => run(z, 'bfloat16x3', 0.02).nt.rowLogSumExp, hopper) as Float32Array;
    expect(rows('90', '0')).toEqual(rows('80', '1'));
    expect(rows('90', '1')).not.toEqual(rows('80', '1'));
  });
});
