/**
 * The test projects. `reference`, `cpu`, `cuda` and `fallback` run the same files, test/kernels, each on its backend; every
 * test there asserts that its results come from it. `cuda` runs the CUDA sources on the emulation of native/simt unless
 * CONTRASTIVE_KERNELS_CUDA_PATH names another addon. `npm test` (scripts/test.mjs) builds what they need and picks projects.
 */
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

const kernels = ['test/kernels/**/*.test.ts'];
const nothing = join(import.meta.dirname, 'test', 'no-such-addon.node');
const emulatedCuda = join(import.meta.dirname, 'native', 'simt', 'build', 'Release', 'contrastive_kernels_cuda_simt.node');
// `npm test -- --sanitize`: the runtime that the processes of the tests load before everything else. Calls take many times as long there.
const sanitizer = process.env.CONTRASTIVE_KERNELS_TEST_SANITIZER;

export default defineConfig({
  test: {
    // Native code reads the environment of the process, which only a process of its own has to itself.
    pool: 'forks',
    // Vitest leaves a processor to itself, which is half of a machine of two.
    maxWorkers: '100%',
    testTimeout: sanitizer ? 1_200_000 : 60_000,
    env: sanitizer ? { LD_PRELOAD: sanitizer } : {},
    projects: [
      {
        extends: true,
        test: { name: 'reference', include: kernels, env: { CONTRASTIVE_KERNELS_BACKEND: 'reference' } },
      },
      {
        extends: true,
        test: { name: 'cpu', include: kernels, env: { CONTRASTIVE_KERNELS_BACKEND: 'cpu' } },
      },
      {
        extends: true,
        test: {
          name: 'cuda',
          include: kernels,
          env: {
            CONTRASTIVE_KERNELS_BACKEND: 'cuda',
            CONTRASTIVE_KERNELS_CUDA_PATH: process.env.CONTRASTIVE_KERNELS_CUDA_PATH ?? emulatedCuda,
          },
        },
      },
      {
        // Both addons absent, no backend named: 'auto' has to arrive at the reference.
        extends: true,
        test: {
          name: 'fallback',
          include: kernels,
          env: {
            CONTRASTIVE_KERNELS_TEST_BACKEND: 'reference',
            CONTRASTIVE_KERNELS_NATIVE_PATH: nothing,
            CONTRASTIVE_KERNELS_CUDA_PATH: nothing,
            CONTRASTIVE_KERNELS_FALLBACK_WARNING: '0',
          },
        },
      },
      { extends: true, test: { name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        extends: true,
        test: { name: 'package', include: ['test/package/**/*.test.ts', 'test/cli/**/*.test.ts'] },
      },
      { extends: true, test: { name: 'workers', include: ['test/workers/**/*.test.ts'] } },
    ],
  },
});
