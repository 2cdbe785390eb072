// The CUDA kernels as the sources define them, and which of them a list of compiled symbols lacks.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'native', 'cuda');

/** [{ file, name }] of every `__global__` function in native/cuda. */
export function sourceKernels() {
  return readdirSync(folder)
    .filter((file) => /\.[ch]pp$/.test(file))
    .flatMap((file) => {
      const text = readFileSync(join(folder, file), 'utf8').replace(/\/\/.*$/gm, '');
      const kernels = text.matchAll(/__global__\s+void\s+(?:__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)\s*)?(\w+)\s*\(/g);
      const names = Array.from(kernels, ([, name]) => name);
      if (names.length !== text.split('__global__').length - 1) throw new Error(`${file}: a __global__ function could not be read`);
      return names.map((name) => ({ file, name }));
    });
}

/** Whether a mangled symbol is that kernel. Kernels of a .cpp file lie in its unnamed namespace, which nvcc names after the file. */
function isKernel(symbol, { file, name }) {
  const unit = file.replace('.', '_');
  const before = file.endsWith('.cpp') ? `_${unit.length}_${unit}_[0-9a-f]{8}` : '(?<!\\d)';
  return new RegExp(`${before}${name.length}${name}`).test(symbol);
}

/** ['file: name']: kernels of the sources that are not among the symbols. */
export function missingKernels(symbols) {
  return sourceKernels()
    .filter((kernel) => !symbols.some((symbol) => isKernel(symbol, kernel)))
    .map(({ file, name }) => `${file}: ${name}`);
}
