// What `scripts/test.mjs --sanitize` runs on: both addons built with g++'s sanitizers, and node with the sanitizer's runtime loaded before
// everything else, because node itself is not built with it. CI's C++ tests use the same build folders.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { threadReports, withLines } from './sanitizer-reports.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const compiler = process.env.CXX ?? 'g++';

const SANITIZERS = {
  address: {
    folder: 'build-asan',
    flags: 'address,undefined',
    runtime: 'libasan.so',
    // Leaks: what node leaves behind when it exits with calls in flight would drown ours. The C++ tests look for them.
    options: (log) => ({ ASAN_OPTIONS: `detect_leaks=0:log_path="${log}"`, UBSAN_OPTIONS: 'print_stacktrace=1' }),
    reports: (text) => [text],
  },
  thread: {
    folder: 'build-tsan',
    flags: 'thread',
    runtime: 'libtsan.so',
    // What node's own races may not decide: how a process ends.
    options: (log) => ({ TSAN_OPTIONS: `exitcode=0:log_path="${log}"` }),
    reports: threadReports,
  },
};

function mustRun(program, args, stdio = 'inherit') {
  const { status, error, stdout } = spawnSync(program, args, { cwd: root, stdio });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with status ${status}`);
  return stdout;
}

/** Builds both addons where they are older than their sources. `takeReports`: what the sanitizer said, in any process. */
export function sanitizedAddons(name) {
  const sanitizer = SANITIZERS[name];
  if (!sanitizer) throw new Error(`--sanitize: expected ${Object.keys(SANITIZERS).join(' or ')}, got ${name}`);
  const { folder, flags, runtime, options } = sanitizer;
  const library = mustRun(compiler, [`-print-file-name=${runtime}`], ['ignore', 'pipe', 'inherit'])
    .toString()
    .trim();
  if (!isAbsolute(library)) throw new Error(`--sanitize: ${compiler} has no ${runtime}; it needs g++ and its sanitizers`);
  const build = join(root, folder);
  const settings = ['-DCONTRASTIVE_KERNELS_SIMT=ON', `-DCONTRASTIVE_KERNELS_SANITIZE=${flags}`];
  mustRun('cmake', ['-S', root, '-B', build, ...settings], ['ignore', 'ignore', 'inherit']);
  const targets = ['contrastive_kernels_cpu', 'contrastive_kernels_cuda_simt'];
  mustRun('cmake', ['--build', build, '-j', `${availableParallelism()}`, '--target', ...targets]);
  const logs = mkdtempSync(join(tmpdir(), 'contrastive-kernels-sanitizer-'));
  return {
    environment: {
      ...options(join(logs, 'report')),
      CONTRASTIVE_KERNELS_TEST_SANITIZER: library, // vitest.config.mts preloads it in the processes that run tests
      CONTRASTIVE_KERNELS_TEST_RUNS: process.env.CONTRASTIVE_KERNELS_TEST_RUNS ?? '20', // properties: the same code, in fewer cases
      CONTRASTIVE_KERNELS_NATIVE_PATH: join(build, 'Release', 'contrastive_kernels_cpu.node'),
      CONTRASTIVE_KERNELS_CUDA_PATH: join(build, 'Release', 'contrastive_kernels_cuda_simt.node'),
    },
    takeReports: () => {
      const reports = readdirSync(logs).flatMap((file) => sanitizer.reports(readFileSync(join(logs, file), 'utf8')));
      rmSync(logs, { recursive: true });
      return reports.map((report) => withLines(report, join(build, 'Release')));
    },
  };
}
