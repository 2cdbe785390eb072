// `npm run bench`: makes dist and the bench bundle when they are older than their sources, then runs the benchmarks.
import { spawnSync } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const run = (command, args, env = {}) => {
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...env },
    shell: process.platform === 'win32',
  });
  if (status !== 0) process.exit(status ?? 1);
};

run(process.execPath, ['scripts/build.mjs']);
run('npx', ['--no-install', 'tsdown', '--config', 'bench/tsdown.config.ts', '--logLevel', 'warn']);
run(process.execPath, ['build-bench/run.mjs', ...process.argv.slice(2)], { CONTRASTIVE_KERNELS_ROOT: root });
