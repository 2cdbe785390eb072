// For the scripts that need a GPU (test:gpu, bench:gpu): the CUDA addon, built where it is missing or older than its sources, and asked
// whether it has a device. CONTRASTIVE_KERNELS_CUDA_PATH names another file, which is taken as it is.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const SOURCES = ['CMakeLists.txt', 'native/sources.json', 'native/include', 'native/policies', 'native/addon', 'native/cuda'];

function newest(path) {
  const stat = statSync(path);
  return stat.isDirectory() ? Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name)))) : stat.mtimeMs;
}

function isFresh(file) {
  return existsSync(file) && SOURCES.every((source) => newest(join(root, source)) <= statSync(file).mtimeMs);
}

function build(file) {
  if (spawnSync('nvcc', ['--version'], { stdio: 'ignore' }).error) {
    return existsSync(file) ? undefined : 'the CUDA addon is not built, and there is no nvcc on PATH to build it with';
  }
  console.log('building the CUDA addon (npm run build:cuda)');
  const { status } = spawnSync('npm', ['run', 'build:cuda', '--', '--target', 'contrastive_kernels_cuda'], {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
  return status === 0 && existsSync(file) ? undefined : 'npm run build:cuda failed';
}

/** { path, description } of an addon that has a device, or { reason } why there is none. */
export function findCudaDevice() {
  const given = process.env.CONTRASTIVE_KERNELS_CUDA_PATH;
  const path = given ?? join(root, 'build-cuda', 'Release', 'contrastive_kernels_cuda.node');
  const failed = given || isFresh(path) ? undefined : build(path);
  if (failed) return { reason: failed };
  // In a process of its own: a file that cannot be loaded, or a driver that crashes, must not end the caller.
  const source = `console.log(JSON.stringify(require(${JSON.stringify(path)}).describe()))`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', source], { encoding: 'utf8' });
  if (status !== 0) return { reason: `${path} could not be opened: ${stderr.split('\n').find((line) => /Error/.test(line)) ?? stderr}` };
  const description = JSON.parse(stdout);
  return description.available ? { path, description } : { reason: description.reason };
}

export function deviceLine({ device, computeCapability, driverVersion, runtimeVersion }) {
  return `${device}, compute capability ${computeCapability}, driver for CUDA ${driverVersion}, runtime ${runtimeVersion}`;
}
