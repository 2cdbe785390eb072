/**
 * PyTorch on the CPU, in a process of its own (python3 with torch; skipped with a word where there is none). Two set-ups: as it
 * comes, and its best (AVX-512 element-wise kernels where the processor has them, and huge-page malloc).
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { BenchCase } from '../cases.js';
import type { Timing } from '../measure.js';

export type TorchSetup = 'plain' | 'best';

export interface TorchRun {
  /** Version and settings. */
  readonly what: string;
  readonly timings: readonly Timing[];
}

function environment(setup: TorchSetup, threads: number, avx512: boolean): NodeJS.ProcessEnv {
  const base: NodeJS.ProcessEnv = { ...process.env, OMP_NUM_THREADS: String(threads), OPENBLAS_NUM_THREADS: String(threads) };
  // Settings of this shell that pin OpenBLAS to other kernels than it would choose.
  delete base.OPENBLAS_CORETYPE;
  delete base.OPENBLAS_L2_SIZE;
  if (setup === 'plain') return base;
  return {
    ...base,
    ...(avx512 && { ATEN_CPU_CAPABILITY: 'avx512' }),
    GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296',
  };
}

/** Timings of the cases in order, or the reason there are none. */
export function timeTorch(
  root: string,
  cases: readonly BenchCase[],
  setup: TorchSetup,
  options: { threads: number; temperature: number; t: number; seconds: number },
): TorchRun | { readonly reason: string } {
  const python = process.platform === 'win32' ? 'python' : '/usr/bin/python3';
  const spec = { ...options, cases: cases.map(({ kernel, rows, cols }) => [kernel, rows, cols]) };
  for (const executable of [python, 'python3']) {
    for (const avx512 of setup === 'best' ? [true, false] : [false]) {
      const child = spawnSync(executable, [join(root, 'bench', 'alternatives', 'torch_bench.py')], {
        input: JSON.stringify(spec),
        env: environment(setup, options.threads, avx512),
        encoding: 'utf8',
        maxBuffer: 1 << 26,
      });
      if (child.status !== 0) continue; // torch takes AVX-512 as told, and dies of an illegal instruction on a processor without
      const { version, results } = JSON.parse(child.stdout) as { version: string; results: Timing[] };
      const settings = setup === 'best' ? `${avx512 ? ', AVX-512 element-wise kernels' : ''}, huge-page malloc` : '';
      return { what: `torch ${version} on the CPU, ${options.threads} threads${settings}`, timings: results };
    }
  }
  return { reason: 'python3 with torch was not found' };
}
