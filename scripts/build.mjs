// npm run build: dist/ from src/. tsdown makes the CommonJS files and their types (tsdown.config.ts); the ES module side is made
// here: each .mjs names what its .cjs exports and re-exports it. So `require` and `import` in one process get the same functions,
// the same addon and the same error classes.
// npm runs this after an install in a checkout and before it packs (prepare.mjs).
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');
// Everything is made here and then takes the place of dist/ at once, so that whoever imports it meanwhile finds it whole.
const made = join(root, `build-dist-${process.pid}`);
const require = createRequire(import.meta.url);

function facade(entry) {
  const names = Object.keys(require(join(made, `${entry}.cjs`))).sort();
  const lines = names.map((name) => `export const ${name} = exports.${name};`);
  writeFileSync(join(made, `${entry}.mjs`), [`import exports from './${entry}.cjs';`, ...lines, ''].join('\n'));
  writeFileSync(join(made, `${entry}.d.mts`), `export * from './${entry}.cjs';\n`);
}

function main() {
  const tsdown = join(root, 'node_modules', 'tsdown', 'dist', 'run.mjs');
  const { status } = spawnSync(process.execPath, [tsdown, '--log-level', 'error', '--out-dir', made], { cwd: root, stdio: 'inherit' });
  if (status !== 0) return status ?? 1;
  for (const entry of ['index', 'tfjs']) facade(entry);
  chmodSync(join(made, 'cli.cjs'), 0o755);
  const old = `${made}-old`;
  if (existsSync(dist)) renameSync(dist, old);
  renameSync(made, dist);
  rmSync(old, { recursive: true, force: true });
  console.log(`dist: ${readdirSync(dist).sort().join(' ')}`);
  return 0;
}

try {
  process.exitCode = main();
} finally {
  rmSync(made, { recursive: true, force: true });
}
