/** The loader reports what it tried and never throws. Each case loads the module afresh, as a new process would. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'contrastive-kernels-'));
  vi.resetModules();
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const loader = () => import('../../../src/native/loader.js');

test('the package root is the folder of package.json', async () => {
  expect((await loader()).packageRoot).toBe(resolve(__dirname, '..', '..', '..'));
});

test('a file named by the environment is the only one tried, and its absence is a reason', async () => {
  vi.stubEnv('CONTRASTIVE_KERNELS_NATIVE_PATH', join(folder, 'absent.node'));
  const { openCpuBackend } = await import('../../../src/backends/cpu.js');
  const { backend, status } = openCpuBackend();
  expect(backend).toBeNull();
  expect(status).toMatchObject({ name: 'cpu', available: false, reason: expect.stringContaining('CONTRASTIVE_KERNELS_NATIVE_PATH') });
  expect((await loader()).openAddon('cpu').attempts).toHaveLength(1);
});

test('a broken CUDA file gives a reason and leaves the CPU addon alone', async () => {
  const broken = join(folder, 'broken.node');
  writeFileSync(broken, 'not an addon');
  vi.stubEnv('CONTRASTIVE_KERNELS_CUDA_PATH', broken);
  const { openCudaBackend } = await import('../../../src/backends/cuda.js');
  const { openCpuBackend } = await import('../../../src/backends/cpu.js');
  expect(openCudaBackend().backend).toBeNull();
  expect(openCudaBackend().status).toMatchObject({ name: 'cuda', available: false, reason: expect.stringContaining(broken) });
  expect(openCpuBackend().status.name).toBe('cpu');
});

test('a module that is not this addon is refused', async () => {
  const other = join(folder, 'other.cjs');
  writeFileSync(other, 'module.exports = { describe: () => ({ available: true }) };');
  vi.stubEnv('CONTRASTIVE_KERNELS_NATIVE_PATH', other);
  const { attempts, binding } = (await loader()).openAddon('cpu');
  expect(binding).toBeNull();
  expect(attempts[0].error).toContain('built from another version');
});

test('a library that cannot run here keeps its own reason', async () => {
  const kernels = ['cosineSimilarity', 'cosineSimilarityBackward', 'ntXent', 'uniformity', 'alignment'];
  const file = join(folder, 'no-device.cjs');
  const functions = kernels.map((name) => `${name}() {}`).join(', ');
  writeFileSync(file, `module.exports = { ${functions}, describe: () => ({ available: false, reason: 'no CUDA device' }) };`);
  vi.stubEnv('CONTRASTIVE_KERNELS_CUDA_PATH', file);
  const { openCudaBackend } = await import('../../../src/backends/cuda.js');
  expect(openCudaBackend()).toEqual({ backend: null, status: { name: 'cuda', available: false, reason: 'no CUDA device' } });
});
