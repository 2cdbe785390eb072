// npm run build:native: builds the native CPU addon.
//
//   (nothing)   node-gyp, into build/Release, as an install does
//   --cmake     cmake-js, into build-cmake/Release; CONTRASTIVE_KERNELS_NATIVE_PATH points the tests at it
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [option, ...rest] = process.argv.slice(2);
if (rest.length > 0 || (option !== undefined && option !== '--cmake')) {
  console.error('usage: build-native.mjs [--cmake]');
  process.exit(2);
}

const args =
  option === '--cmake'
    ? [
        createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js'),
        'compile',
        '--out=build-cmake',
        '--target=contrastive_kernels_cpu',
        `--parallel=${availableParallelism()}`,
      ]
    : [join(root, 'scripts', 'install.cjs'), '--build-from-source'];
process.exitCode = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status ?? 1;
