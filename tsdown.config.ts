/**
 * Bundles src/ to CommonJS in dist/: the library's entries together, so that they share one loader and one set of error classes,
 * and the command line by itself. scripts/build.mjs adds the ES module side, which re-exports these files.
 */
import { defineConfig, type UserConfig } from 'tsdown';

const shared: UserConfig = { format: 'cjs', platform: 'node', target: 'node20', outDir: 'dist', clean: false, fixedExtension: true };

export default defineConfig([
  {
    ...shared,
    entry: { index: 'src/index.ts', tfjs: 'src/adapters/tfjs.ts' },
    dts: true,
    // The bundler's own helpers get a file of their own. Left to itself it may put them into the adapter, and then the library
    // would need the adapter's peer.
    outputOptions: { codeSplitting: { groups: [{ name: 'runtime', test: /rolldown[/:]runtime/ }] } },
  },
  { ...shared, entry: { cli: 'src/cli/main.ts' }, dts: false },
]);
