/**
 * The backend that this vitest project tests. Every kernel test asserts that its results come from it, so a backend that is
 * missing fails the tests instead of passing them on another one.
 */
import { describe, expect, test } from 'vitest';
import type { KernelName, Precision } from '../../src/backends/backend.js';
import { openCpuBackend } from '../../src/backends/cpu.js';
import { openCudaBackend } from '../../src/backends/cuda.js';
import { referenceBackend } from '../../src/backends/reference.js';

/** In project `fallback` no backend is named: 'auto' has to arrive at the reference by itself. */
export const BACKEND = process.env.CONTRASTIVE_KERNELS_TEST_BACKEND ?? process.env.CONTRASTIVE_KERNELS_BACKEND ?? 'reference';

export function expectBackend(result: { readonly backend: string }): void {
  expect(result.backend).toBe(BACKEND);
}

function openedBackend() {
  const open = { cpu: openCpuBackend, cuda: openCudaBackend }[BACKEND];
  return open ? open().backend : referenceBackend;
}

/** False for a kernel that this project's backend lacks. A backend that is not there at all has them all: its tests must fail. */
export function backendHas(kernel: KernelName): boolean {
  return openedBackend()?.supports(kernel) ?? true;
}

/** Those of a kernel on this project's backend, on this machine; likewise. */
export function backendPrecisions(kernel: KernelName): readonly Precision[] {
  return openedBackend()?.precisions(kernel) ?? ['float32', 'bfloat16x3', 'bfloat16'];
}

/**
 * The tests of a kernel. Where the backend lacks it, what is listed instead is one test `not on <backend>`, which is reported as
 * skipped: it is seen, and never counted as passed.
 */
export function describeKernel(kernel: KernelName, name: string, body: () => void): void {
  if (backendHas(kernel)) describe(name, body);
  else describe(name, () => test.skip(`${kernel}: not on ${BACKEND}`, () => {}));
}

/** Cases that a property is tried on, and where the generator starts: fixed, so that a failure repeats; the environment widens it. */
export const PROPERTY = {
  numRuns: Number(process.env.CONTRASTIVE_KERNELS_TEST_RUNS ?? 100),
  seed: Number(process.env.CONTRASTIVE_KERNELS_TEST_SEED ?? 20250),
};
