/** The command line: help, version, misuse, and what doctor reports in this checkout. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cleanEnvironment, manifest, root, run } from '../package/support.js';

const cli = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  run(process.execPath, [join(root, 'dist', 'cli.cjs'), ...args], { cwd: root, env: cleanEnvironment(env) });

test.each([['--help'], ['-h']])('%s prints the commands', (flag) => {
  const result = cli([flag]);
  expect([result.status, result.stderr]).toEqual([0, '']);
  for (const command of ['doctor', 'build', '--cuda']) expect(result.stdout).toContain(command);
});

test('--version prints the version', () => {
  expect(cli(['--version']).stdout.trim()).toBe(manifest.version);
});

test.each([
  [[], 'no command'],
  [['fly'], "unknown command 'fly'"],
  [['doctor', 'now'], "unexpected argument 'now'"],
  [['doctor', '--loud'], '--loud'],
  [['doctor', '--cuda'], "belongs to 'build'"],
  [['build', '--json'], "belongs to 'doctor'"],
])('%j: exit 2 with the help', (args, message) => {
  const result = cli(args);
  expect([result.status, result.stdout]).toEqual([2, '']);
  expect(result.stderr).toContain(message);
  expect(result.stderr).toContain('usage: contrastive-kernels');
});

test('doctor --json lists the three backends, what was tried and how to mend it', () => {
  const nothing = { CONTRASTIVE_KERNELS_NATIVE_PATH: '/nowhere/cpu.node', CONTRASTIVE_KERNELS_CUDA_PATH: '/nowhere/cuda.node' };
  const result = cli(['doctor', '--json'], nothing);
  expect(result.status).toBe(0);
  const report = JSON.parse(result.stdout);
  expect(report).toMatchObject({ version: manifest.version, node: process.version, root, environment: nothing });
  expect(report.backends).toMatchObject([
    {
      name: 'cuda',
      available: false,
      tried: [{ path: '/nowhere/cuda.node', error: expect.stringContaining('not there') }],
      mend: expect.stringContaining('CUDA_PATH'),
    },
    {
      name: 'cpu',
      available: false,
      tried: [{ path: '/nowhere/cpu.node', error: expect.stringContaining('not there') }],
      mend: expect.stringContaining('NATIVE_PATH'),
    },
    { name: 'reference', available: true, check: 'ok' },
  ]);
});

test('doctor as text says the same to a person', () => {
  const { stdout, status } = cli(['doctor'], { CONTRASTIVE_KERNELS_CUDA_PATH: '/nowhere/cuda.node' });
  expect(status).toBe(0);
  expect(stdout).toContain('cuda: not available');
  expect(stdout).toContain('tried: /nowhere/cuda.node: not there, but CONTRASTIVE_KERNELS_CUDA_PATH names it');
  expect(stdout).toMatch(/cpu: available[\s\S]*check: ok[\s\S]*reference: available/);
});
