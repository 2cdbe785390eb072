/**
 * The backend that this vitest project tests. Every kernel test asserts that its results come from it, so a backend that is
 * missing fails the tests instead of passing them on another one.
 */
import { expect } from 'vitest';

/** In project `fallback` no backend is named: 'auto' has to arrive at the reference by itself. */
export const BACKEND = process.env.CONTRASTIVE_KERNELS_TEST_BACKEND ?? process.env.CONTRASTIVE_KERNELS_BACKEND ?? 'reference';

export function expectBackend(result: { readonly backend: string }): void {
  expect(result.backend).toBe(BACKEND);
}

/** Cases that a property is tried on, and where the generator starts: fixed, so that a failure repeats; the environment widens it. */
export const PROPERTY = {
  numRuns: Number(process.env.CONTRASTIVE_KERNELS_TEST_RUNS ?? 100),
  seed: Number(process.env.CONTRASTIVE_KERNELS_TEST_SEED ?? 20250),
};
