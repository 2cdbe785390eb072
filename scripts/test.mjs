// npm test: builds what the tests need and is missing or older than its sources, runs vitest, and ends with the line
// `N passed, N failed` alone. Arguments go to vitest: file names, -t, --project, ...
//
//   (nothing)    every project: the reference, the CPU addon, the CUDA sources on the emulation of native/simt, unit, package
//                and workers
//   --fallback   the kernel and unit tests with both addons absent: 'auto' has to arrive at the reference
//   --sanitize address|thread   the kernel tests on both addons, and those of threads, with AddressSanitizer and
//                               UndefinedBehaviorSanitizer, or with ThreadSanitizer; each report is a failure (Linux, g++, cmake)
//
// Without a C++ compiler the native projects cannot run. Then the others do, and the end says so; nothing is counted as passed.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sanitizedAddons } from './sanitized-addons.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const nativeSources = ['native/sources.json', 'native/include', 'native/policies', 'native/addon'];

const DIST = { file: 'dist/index.cjs', sources: ['src', 'package.json', 'tsdown.config.ts', 'scripts/build.mjs'] };
const CPU = { file: 'build/Release/contrastive_kernels_cpu.node', sources: ['binding.gyp', ...nativeSources, 'native/cpu'] };
const CUDA = {
  file: 'native/simt/build/Release/contrastive_kernels_cuda_simt.node',
  sources: ['native/simt/binding.gyp', ...nativeSources, 'native/cuda', 'native/simt'],
};

function newest(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  const names = readdirSync(path).filter((name) => name !== 'build' && name !== 'node_modules');
  return Math.max(0, ...names.map((name) => newest(join(path, name))));
}

function isFresh({ file, sources }) {
  const built = join(root, file);
  const present = sources.map((source) => join(root, source)).filter(existsSync);
  return existsSync(built) && present.every((source) => newest(source) <= statSync(built).mtimeMs);
}

function node(script, args = [], options = {}) {
  return spawnSync(process.execPath, [script, ...args], { cwd: root, stdio: 'inherit', ...options }).status ?? 1;
}

function hasCompiler() {
  const names = process.env.CXX ? [process.env.CXX.split(' ')[0]] : process.platform === 'win32' ? ['cl'] : ['c++', 'g++', 'clang++'];
  return names.some((name) => !spawnSync(name, ['--version'], { stdio: 'ignore' }).error);
}

function end(passed, failed) {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed > 0 ? 1 : 0);
}

/** Builds with this command unless the file is fresh. A build that fails although there is a compiler fails the run. */
function build(what, target, command) {
  if (isFresh(target)) return;
  console.log(`test: building ${what}`);
  if (command() === 0 && existsSync(join(root, target.file))) return;
  console.error(`test: building ${what} failed`);
  end(0, 1);
}

/** The emulated CUDA addon, with the node-gyp and the headers that an install would use. */
function buildEmulatedCuda() {
  const [program, ...args] = nodeGyp();
  return spawnSync(program, [...args, 'rebuild', '-C', join(root, 'native', 'simt'), '--jobs', 'max', '--loglevel', 'warn'], {
    cwd: root,
    stdio: 'inherit',
  }).status;
}

function nodeGyp() {
  const prefix = dirname(dirname(process.execPath));
  const bundled = join(prefix, 'lib', 'node_modules', 'npm', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  const script = [process.env.npm_config_node_gyp, bundled].find((path) => path && existsSync(path));
  const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? [`--nodedir=${prefix}`] : [];
  return script ? [process.execPath, script, ...headers] : ['node-gyp', ...headers];
}

/** Runs vitest on these projects; counts from its JSON report, where a file that cannot be loaded is one failure. */
function runVitest(projects, args, environment = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'contrastive-kernels-test-'));
  const report = join(folder, 'report.json');
  const chosen = args.some((arg) => arg === '--project' || arg.startsWith('--project='));
  const vitest = [
    'run',
    ...(chosen ? [] : projects.flatMap((name) => ['--project', name])),
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...args,
  ];
  const status = node(join(root, 'node_modules', 'vitest', 'vitest.mjs'), vitest, { env: { ...process.env, ...environment } });
  let counts = { passed: 0, failed: 1 };
  if (existsSync(report)) {
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'));
    const unloadable = testResults.filter(({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0).length;
    counts = { passed: numPassedTests, failed: numFailedTests + unloadable };
    // An error outside of any test, or no test at all.
    if (status !== 0 && counts.failed === 0) counts.failed = 1;
  }
  rmSync(folder, { recursive: true });
  return counts;
}

const args = process.argv.slice(2);
const sanitizeAt = args.indexOf('--sanitize');
const [, sanitizer] = sanitizeAt < 0 ? [] : args.splice(sanitizeAt, 2);
const fallback = args.includes('--fallback');
const vitestArgs = args.filter((arg) => arg !== '--fallback');

build('dist', DIST, () => node(join(root, 'scripts', 'build.mjs')));
if (fallback) {
  const nothing = join(root, 'test', 'no-such-addon.node');
  Object.assign(process.env, { CONTRASTIVE_KERNELS_NATIVE_PATH: nothing, CONTRASTIVE_KERNELS_CUDA_PATH: nothing });
  const { passed, failed } = runVitest(['fallback', 'unit'], vitestArgs);
  end(passed, failed);
}
if (sanitizeAt >= 0) {
  const { environment, takeReports } = sanitizedAddons(sanitizer);
  const { passed, failed } = runVitest(['cpu', 'cuda', 'workers'], vitestArgs, environment);
  const reports = takeReports();
  for (const report of reports) console.error(`test: a report of the sanitizer:\n${report}`);
  end(passed, failed + reports.length);
}

const native = { cpu: CPU, cuda: CUDA };
const given = { cpu: process.env.CONTRASTIVE_KERNELS_NATIVE_PATH, cuda: process.env.CONTRASTIVE_KERNELS_CUDA_PATH };
let missing = [];
if (hasCompiler()) {
  if (!given.cpu) build('the CPU addon', CPU, () => node(join(root, 'scripts', 'build-native.mjs')));
  if (!given.cuda) build('the CUDA sources on the emulation', CUDA, buildEmulatedCuda);
} else {
  missing = Object.keys(native).filter((name) => !given[name] && !existsSync(join(root, native[name].file)));
}
const { passed, failed } = runVitest(
  ['reference', 'cpu', 'cuda', 'unit', 'package', 'workers'].filter((name) => !missing.includes(name)),
  vitestArgs,
);
if (missing.length > 0) console.log(`test: no C++ compiler here, so these backends were NOT tested: ${missing.join(', ')}`);
end(passed, failed);
