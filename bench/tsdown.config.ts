/** Bundles the benchmarks (TypeScript) into build-bench; everything from npm, and the package itself, stays outside. */
import { defineConfig } from 'tsdown';

export default defineConfig({
  entry: ['bench/run.ts'],
  format: 'esm',
  outDir: 'build-bench',
  dts: false,
  platform: 'node',
  target: 'node20',
  shims: true,
  external: [/^@tensorflow\//, 'tinybench', 'contrastive-kernels', 'onnxruntime-node', 'node-gyp-build'],
});
