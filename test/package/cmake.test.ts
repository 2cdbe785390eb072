/** The addon that cmake-js builds passes the tests that the one of node-gyp passes (project `cpu`, run here a second time on it). */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cleanEnvironment, mustRun, root, run } from './support.js';

const MINUTES = 60_000;

test(
  'the CMake build of the CPU addon passes the kernel tests',
  () => {
    const npmRun = (script: string, ...args: string[]) => mustRun('npm', ['run', script, '--', ...args], { cwd: root });
    npmRun('build:native', '--cmake');
    const addon = join(root, 'build-cmake', 'Release', 'contrastive_kernels_cpu.node');
    const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
    const result = run(process.execPath, [vitest, 'run', '--project', 'cpu', '--reporter', 'json'], {
      cwd: root,
      env: cleanEnvironment({ CONTRASTIVE_KERNELS_NATIVE_PATH: addon }),
    });
    const report = JSON.parse(result.stdout.slice(result.stdout.indexOf('{')));
    expect(report.numPassedTests).toBeGreaterThan(50);
    expect(report.numFailedTests, result.stderr).toBe(0);
    expect(result.status).toBe(0);
  },
  10 * MINUTES,
);
