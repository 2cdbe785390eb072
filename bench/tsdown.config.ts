/** Bundles the benchmarks (TypeScript) into build-bench; everything from npm, and the package itself, stays outside. */
import { join } from 'node:path';
import { defineConfig } from 'tsdown';

export default defineConfig({
  entry: [join(__dirname, 'run.ts'), join(__dirname, 'gpu.ts')],
  format: 'esm',
  outDir: join(__dirname, '..', 'build-bench'),
  dts: false,
  platform: 'node',
  target: 'node20',
  shims: true,
  deps: { neverBundle: [/^@tensorflow\//, 'tinybench', 'contrastive-kernels', 'onnxruntime-node', 'node-gyp-build'] },
});
