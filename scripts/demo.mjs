// `npm run demo`: makes dist if it is missing or older than its sources, then trains SimCLR on MNIST. Arguments are passed on.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The time of the last change of a file, or of the newest file in a folder. */
function newest(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return readdirSync(path).reduce((latest, name) => Math.max(latest, newest(join(path, name))), 0);
}

function distIsCurrent() {
  const built = ['index.mjs', 'tfjs.mjs'].map((name) => join(root, 'dist', name));
  if (!built.every((path) => existsSync(path))) return false;
  const sources = ['src', 'tsdown.config.ts', 'package.json'].map((name) => newest(join(root, name)));
  return Math.min(...built.map(newest)) >= Math.max(...sources);
}

function run(...script) {
  const { status } = spawnSync(process.execPath, script, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

if (!distIsCurrent()) run(join(root, 'scripts', 'build.mjs'));
run(join(root, 'examples', 'simclr-mnist', 'main.mjs'), ...process.argv.slice(2));
