// `npm run lint`: biome over TypeScript and JSON, tsc over the types, clang-format over the native sources. `--write` formats.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

const write = process.argv.includes('--write');

function files(folder, pattern) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .filter((path) => !/(^|\/)(build|build-[^/]*|node_modules)\//.test(path));
}

const native = ['native', 'test/native', 'bench/native'].flatMap((folder) => {
  try {
    return files(folder, /\.(h|hpp|cc|cpp|cu|cuh|inc)$/);
  } catch {
    return [];
  }
});
const steps = [
  ['biome', [write ? 'check' : 'ci', ...(write ? ['--write'] : [])]],
  ['tsc', []],
  ['clang-format', write ? ['-i', ...native] : ['--dry-run', '--Werror', ...native]],
];
let failed = 0;
for (const [tool, args] of steps) {
  const { status } = spawnSync('npx', ['--no-install', tool, ...args], { stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) failed += 1;
  console.log(`${tool}: ${status === 0 ? 'clean' : 'see above'}`);
}
process.exitCode = failed === 0 ? 0 : 1;
