// npm run bench:gpu: bundles bench/gpu.ts and runs it with the CUDA addon. Without a device it fails and says why. Arguments go to it.
import { spawnSync } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deviceLine, findCudaDevice } from './cuda-addon.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const { path, description, reason } = findCudaDevice();
if (reason) {
  console.error(`bench:gpu: no GPU to measure: ${reason}`);
  process.exit(1);
}
console.log(deviceLine(description));
const environment = { ...process.env, CONTRASTIVE_KERNELS_CUDA_PATH: path, CONTRASTIVE_KERNELS_ROOT: root };
for (const [command, ...args] of [
  [process.execPath, 'scripts/build.mjs'],
  ['npx', '--no-install', 'tsdown', '--config', 'bench/tsdown.config.ts', '--logLevel', 'warn'],
  [process.execPath, 'build-bench/gpu.mjs', ...process.argv.slice(2)],
]) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: environment, shell: process.platform === 'win32' });
  if (status !== 0) process.exit(status ?? 1);
}
