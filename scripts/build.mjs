// npm run build: dist/ from src/. tsdown makes the CommonJS files and their types (tsdown.config.ts); the ES module side is made
// here: each .mjs names what its .cjs exports and re-exports it. So `require` and `import` in one process get the same functions,
// the same addon and the same error classes.
// npm runs this before it packs.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');
const require = createRequire(import.meta.url);

function facade(entry) {
  const names = Object.keys(require(join(dist, `${entry}.cjs`))).sort();
  const lines = names.map((name) => `export const ${name} = exports.${name};`);
  writeFileSync(join(dist, `${entry}.mjs`), [`import exports from './${entry}.cjs';`, ...lines, ''].join('\n'));
  writeFileSync(join(dist, `${entry}.d.mts`), `export * from './${entry}.cjs';\n`);
}

function main() {
  rmSync(dist, { recursive: true, force: true });
  const tsdown = join(root, 'node_modules', 'tsdown', 'dist', 'run.mjs');
  const { status } = spawnSync(process.execPath, [tsdown, '--log-level', 'warn'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) return status ?? 1;
  for (const entry of ['index', 'tfjs']) {
    if (existsSync(join(dist, `${entry}.cjs`))) facade(entry);
  }
  chmodSync(join(dist, 'cli.cjs'), 0o755);
  console.log(`dist: ${readdirSync(dist).sort().join(' ')}`);
  return 0;
}

process.exitCode = main();
