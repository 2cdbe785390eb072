// Line coverage of native/cuda under the C++ tests on the emulation; fails below 95 %. Needs cmake, g++ and its gcov. A line counts as run
// when it ran in any instantiation. Two minutes on two cores: the tests of the small calls take every path, so the long comparison with the
// float64 reference (simt_kernels_test) and the second order of warps are left out.
//
//   node scripts/cuda-coverage.mjs                builds into build-coverage, runs the tests, counts
//   node scripts/cuda-coverage.mjs --count DIR    only counts what the .gcda files below DIR hold
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const GOAL = 95;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const args = process.argv.slice(2);
const folder = resolve(root, args[0] === '--count' ? args[1] : 'build-coverage');

function run(program, programArgs, options = {}) {
  const { status, error, stdout } = spawnSync(program, programArgs, { cwd: root, stdio: 'inherit', maxBuffer: 2 ** 30, ...options });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${programArgs.join(' ')} ended with status ${status}`);
  return stdout;
}

function countsBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.gcda'))
    .map((entry) => join(entry.parentPath, entry.name));
}

if (args[0] !== '--count') {
  const switches = ['SIMT', 'NATIVE_TESTS', 'COVERAGE'].map((name) => `-DCONTRASTIVE_KERNELS_${name}=ON`);
  run('cmake', ['-S', '.', '-B', folder, ...switches], { stdio: ['ignore', 'ignore', 'inherit'] });
  const list = readFileSync(join(root, 'test', 'native', 'simt', 'CMakeLists.txt'), 'utf8').matchAll(/add_executable\((simt_\w+)/g);
  const tests = Array.from(list, ([, name]) => name).filter((name) => name !== 'simt_kernels_test');
  run('cmake', ['--build', folder, '-j', '2', '--target', ...tests]);
  for (const name of countsBelow(folder)) rmSync(name); // of an earlier run
  run('ctest', ['--test-dir', folder, '--output-on-failure', '-j', '2', '-R', '^simt_', '-E', 'reverse|kernels']);
}

/** file -> line -> times it ran, in any object: a template's lines lie in several. */
const files = new Map();
const data = countsBelow(folder);
if (data.length === 0) throw new Error(`expected .gcda files below ${folder}, found none`);
for (const name of data) {
  const reports = run('gcov', ['--json-format', '--stdout', name], { cwd: dirname(name), stdio: ['ignore', 'pipe', 'ignore'] }).toString();
  for (const report of reports
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))) {
    for (const { file, lines } of report.files) {
      const path = relative(root, resolve(report.current_working_directory, file));
      if (!/(^|\/)native\/cuda\//.test(path)) continue;
      const counts = files.get(path) ?? new Map();
      files.set(path, counts);
      for (const { line_number: line, count } of lines) counts.set(line, Math.max(counts.get(line) ?? 0, count));
    }
  }
}

let all = 0;
let covered = 0;
for (const [path, counts] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
  const missed = [...counts].flatMap(([line, count]) => (count === 0 ? [line] : [])).sort((a, b) => a - b);
  all += counts.size;
  covered += counts.size - missed.length;
  const share = (100 * (counts.size - missed.length)) / counts.size;
  console.log(`${share.toFixed(1).padStart(5)} %  ${path}${missed.length > 0 ? `  not run: ${missed.join(' ')}` : ''}`);
}
const share = (100 * covered) / all;
console.log(`${share.toFixed(1)} % of ${all} lines of native/cuda ran`);
process.exitCode = share < GOAL ? 1 : 0;
