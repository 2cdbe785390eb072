#!/usr/bin/env node
// The "install" script of npm: makes sure of the native CPU addon where that is possible, and never stands in the way where not.
//
//   a build or a prebuild that loads      nothing to do
//   else                                  node-gyp rebuild
//   no compiler, or it does not build     says why, in three lines, and exits 0: the TypeScript reference computes instead
//
// CONTRASTIVE_KERNELS_REQUIRE_NATIVE=1 makes the last case an error with the whole log. --build-from-source does so too, and
// builds whatever is there already (scripts/build-native.mjs and the `build` command run it so).
// Nothing is downloaded as long as the Node headers lie beside node or npm knows where they are.
'use strict';

const { spawnSync } = require('node:child_process');
const { existsSync, readFileSync, realpathSync, rmSync } = require('node:fs');
const { availableParallelism } = require('node:os');
const { dirname, join, resolve } = require('node:path');

const root = resolve(__dirname, '..');
const NAME = 'contrastive-kernels';

/** In a process of its own, because a file that was opened once cannot be opened afresh after a rebuild. Null: it loads. */
function loadFailure() {
  const program = 'require("node-gyp-build")(process.argv[1]).describe()';
  const child = spawnSync(process.execPath, ['-e', program, root], { cwd: root, encoding: 'utf8' });
  if (child.status === 0) return null;
  const error = /^\w*Error: .*/m.exec(child.stderr ?? '');
  return error ? error[0] : `loading it ended with ${child.signal ?? `status ${child.status}`}`;
}

function buildFromSource() {
  const value = process.env.npm_config_build_from_source;
  return process.argv.includes('--build-from-source') || value === 'true' || value === '' || value === NAME;
}

/** npm says where its node-gyp is; without npm, the one that came with this node. */
function findNodeGyp() {
  const beside = (prefix) => join(prefix, 'lib', 'node_modules', 'npm', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  const inWindows = join(dirname(process.execPath), 'node_modules', 'npm', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  return [process.env.npm_config_node_gyp, ...prefixes().map(beside), inWindows].find((path) => path && existsSync(path));
}

function prefixes() {
  return [process.execPath, realpathSync(process.execPath)].map((path) => dirname(dirname(path)));
}

/** `--nodedir` for the headers that lie beside this node, so that node-gyp does not download them. */
function headerArguments() {
  if (process.env.npm_config_nodedir) return [];
  const major = process.versions.node.split('.')[0];
  const prefix = prefixes().find((candidate) => {
    const include = join(candidate, 'include', 'node');
    if (!existsSync(join(include, 'common.gypi')) || !existsSync(join(include, 'node_version.h'))) return false;
    return new RegExp(`NODE_MAJOR_VERSION ${major}\\s`).test(readFileSync(join(include, 'node_version.h'), 'utf8'));
  });
  return prefix ? [`--nodedir=${prefix}`] : [];
}

/** The line of node-gyp's log that tells a person what is missing. */
function reasonFrom(log) {
  const known = [
    [/Could not find any Python installation/, 'no Python (node-gyp needs python3)'],
    [/not found: make\b/, 'no make'],
    [/(?:g\+\+|c\+\+|clang\+\+|cc|gcc): (?:command )?not found|(?:g\+\+|c\+\+|cc|gcc): No such file/, 'no C++ compiler'],
    [/Could not find any Visual Studio installation/, 'no Visual Studio with C++ tools'],
    [/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT/, 'the Node headers are not on this machine and could not be downloaded'],
  ];
  const match = known.find(([pattern]) => pattern.test(log));
  if (match) return match[1];
  const line = /^.*(?:fatal error|error|Error): .*$/m.exec(log);
  return line ? line[0].trim() : 'node-gyp failed';
}

/** Null: built, and it loads. Otherwise the reason. A build that failed or does not load is removed. */
function build(showLog) {
  const nodeGyp = findNodeGyp();
  if (!nodeGyp) return 'node-gyp was not found (it comes with npm)';
  const jobs = process.env.npm_config_jobs ? [] : ['--jobs', String(availableParallelism())];
  const args = [nodeGyp, 'rebuild', ...jobs, ...headerArguments()];
  const child = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: showLog ? 'inherit' : ['ignore', 'pipe', 'pipe'],
  });
  const failure = child.status === 0 ? loadFailure() : reasonFrom(`${child.stdout ?? ''}\n${child.stderr ?? ''}`);
  if (failure) rmSync(join(root, 'build'), { recursive: true, force: true });
  return failure;
}

function main() {
  const fromSource = buildFromSource();
  const required = fromSource || !['', '0', 'false'].includes(process.env.CONTRASTIVE_KERNELS_REQUIRE_NATIVE ?? '');
  if (!fromSource && loadFailure() === null) return 0;

  const failure = build(required);
  if (failure === null) {
    console.log(`${NAME}: native CPU backend built`);
    return 0;
  }
  if (required) {
    console.error(`${NAME}: the native CPU backend could not be built: see the log above`);
    return 1;
  }
  // A build that did not load stood before a prebuild that may.
  if (loadFailure() === null) return 0;
  const installed = root.split(/[\\/]/).includes('node_modules');
  console.warn(`${NAME}: the native CPU backend was not built: ${failure}`);
  console.warn(`${NAME}: it will compute with its TypeScript reference, which is exact but slower`);
  console.warn(
    `${NAME}: to have it later, install python3, make and a C++17 compiler and run: ${installed ? `npx ${NAME} build` : 'npm run build:native'}`,
  );
  return 0;
}

process.exitCode = main();
