// npm run test:gpu: the kernel tests on the GPU of this machine, with the CUDA addon and no emulation. Without a device it fails and says
// why; nothing is skipped. Arguments go to vitest. Ends with the line `N passed, N failed`, as npm test does.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deviceLine, findCudaDevice } from './cuda-addon.mjs';

const { path, description, reason } = findCudaDevice();
if (reason) {
  console.error(`test:gpu: no GPU to test on: ${reason}`);
  console.log('0 passed, 1 failed');
  process.exit(1);
}
console.log(`test:gpu: ${deviceLine(description)}`);
const script = join(dirname(fileURLToPath(import.meta.url)), 'test.mjs');
const { status } = spawnSync(process.execPath, [script, '--project', 'cuda', ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...process.env, CONTRASTIVE_KERNELS_CUDA_PATH: path },
});
process.exit(status ?? 1);
