/** What the package ships, that its exports resolve for every kind of user, and that packing and `npm run build` do what they say. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { clone, manifest, mustRun, root, run, tarball, temporaryFolder, unpack } from './support.js';

const MINUTES = 60_000;

let files: string[];
beforeAll(() => {
  files = unpack().files;
}, MINUTES);

test('the tarball holds what a build needs and no tests', () => {
  const sources = JSON.parse(readFileSync(join(root, 'native', 'sources.json'), 'utf8')) as Record<string, string[]>;
  const listed = Object.entries(sources).flatMap(([key, paths]) => (key === 'simt' ? [] : paths));
  expect(files).toEqual(expect.arrayContaining([...listed, 'binding.gyp', 'CMakeLists.txt', 'native/sources.json', 'scripts/install.cjs']));
  expect(files).toEqual(expect.arrayContaining(['README.md', 'LICENSE', 'dist/index.cjs', 'dist/index.mjs', 'dist/cli.cjs']));
  expect(files.filter((path) => /^(src|test|bench|native\/simt|build)/.test(path))).toEqual([]);
});

test('every file the manifest names is there', () => {
  const named = JSON.stringify([manifest.main, manifest.types, manifest.exports, manifest.bin]).match(/\.\/dist\/[\w.-]+/g) ?? [];
  expect(named.length).toBeGreaterThan(8);
  expect(named.map((path) => path.slice(2)).filter((path) => !files.includes(path))).toEqual([]);
});

test('there are at most three runtime dependencies', () => {
  expect(Object.keys(manifest.dependencies).length).toBeLessThanOrEqual(3);
});

test(
  'publint and attw find nothing',
  () => {
    const packed = tarball({ prebuild: false });
    for (const [tool, ...args] of [
      ['publint', 'run', packed, '--strict'],
      ['attw', packed],
    ]) {
      const result = run(process.execPath, [join(root, 'node_modules', '.bin', tool), ...args], { cwd: root });
      expect(result.status, result.log).toBe(0);
    }
  },
  MINUTES,
);

test(
  'packing builds dist when there is none',
  () => {
    const folder = clone();
    mustRun('npm', ['pack', '--pack-destination', temporaryFolder()], { cwd: folder });
    expect(existsSync(join(folder, 'dist', 'index.mjs'))).toBe(true);
  },
  MINUTES,
);

test(
  'the prebuild hook that npm runs before `npm run build` does nothing',
  () => {
    const folder = clone();
    const result = mustRun('npm', ['run', 'build'], { cwd: folder });
    expect(result.log).toContain('> node scripts/prebuild.mjs');
    expect(existsSync(join(folder, 'dist', 'index.mjs'))).toBe(true);
    for (const made of ['build', 'prebuilds']) expect(existsSync(join(folder, made))).toBe(false);
    rmSync(join(folder, 'binding.gyp'));
    // Run by its own name it does its work, which fails here for want of a binding.gyp.
    expect(run('npm', ['run', 'prebuild'], { cwd: folder }).status).not.toBe(0);
  },
  MINUTES,
);
