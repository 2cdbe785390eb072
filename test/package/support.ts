/** Packs the package, installs it into temporary projects, and runs things there. Nothing is fetched: npm runs offline. */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { afterAll } from 'vitest';

export const root = resolve(__dirname, '..', '..');
export const manifest = JSON.parse(run(process.execPath, ['-p', 'JSON.stringify(require("./package.json"))'], { cwd: root }).stdout);

export interface Run {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout, then stderr. */
  readonly log: string;
}

interface RunOptions {
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Without what npm and vitest put into the environment of this process, and without this project's own variables. */
export function cleanEnvironment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(npm_(?!config_(cache|userconfig|registry))|VITEST|CONTRASTIVE_KERNELS_|NODE_ENV|TEST|PYTHON$)/i.test(name),
  );
  return { ...Object.fromEntries(kept), ...extra };
}

export function run(command: string, args: readonly string[], { cwd, env = cleanEnvironment() }: RunOptions): Run {
  const child = spawnSync(command, args, { cwd, env, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (child.error) throw child.error;
  return { status: child.status ?? -1, stdout: child.stdout, stderr: child.stderr, log: `${child.stdout}\n${child.stderr}` };
}

/** Like `run`, but the command has to succeed. */
export function mustRun(command: string, args: readonly string[], options: RunOptions): Run {
  const result = run(command, args, options);
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')} in ${options.cwd} ended with ${result.status}:\n${result.log}`);
  return result;
}

/** The compiler that scripts/test.mjs looks for too. Without one, tests that need native code cannot run and say so as skipped. */
export const hasCompiler = (process.env.CXX ? [process.env.CXX.split(' ')[0]] : ['c++', 'g++', 'clang++']).some(works);

export function works(command: string): boolean {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

const temporary: string[] = [];

/** A folder that is removed after the file's tests. Its name has a space, as users' folders have. */
export function temporaryFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'contrastive kernels ')));
  temporary.push(folder);
  return folder;
}
afterAll(() => {
  for (const folder of temporary.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** What the package ships, unpacked, without prebuilds; and the list of its files. */
export function unpack(): { folder: string; files: string[] } {
  if (!existsSync(join(root, 'dist', 'index.cjs'))) throw new Error('dist/ is missing: run `npm run build` first');
  const folder = temporaryFolder();
  const packed = mustRun('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: root });
  const [{ filename, files }] = JSON.parse(packed.stdout);
  mustRun('tar', ['xzf', filename], { cwd: folder });
  rmSync(join(folder, filename));
  rmSync(join(folder, 'package', 'prebuilds'), { recursive: true, force: true });
  return { folder, files: files.map(({ path }: { path: string }) => path).filter((path: string) => !path.startsWith('prebuilds/')) };
}

/** The tarball; with this platform's prebuild, or without any. */
export function tarball({ prebuild }: { prebuild: boolean }): string {
  const { folder } = unpack();
  if (prebuild)
    mustRun(process.execPath, [join(root, 'scripts', 'prebuild.mjs'), '--out', join(folder, 'package', 'prebuilds')], { cwd: root });
  mustRun('tar', ['czf', 'package.tgz', 'package'], { cwd: folder });
  return join(folder, 'package.tgz');
}

/**
 * A project that depends on the tarball, and on copies of its runtime dependencies taken from this repository, so that npm
 * needs no registry. Nothing is installed yet.
 */
export function project(packageTarball: string): string {
  const folder = temporaryFolder();
  const dependencies: Record<string, string> = { [manifest.name]: `file:${packageTarball}` };
  for (const name of Object.keys(manifest.dependencies)) dependencies[name] = `file:${join(root, 'node_modules', name)}`;
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', version: '1.0.0', private: true, dependencies }));
  for (const name of ['train.cjs', 'train.mjs']) copyFileSync(join(__dirname, 'scripts', name), join(folder, name));
  return folder;
}

export function npmInstall(folder: string, args: readonly string[] = [], env?: NodeJS.ProcessEnv): Run & { cpuSeconds: number } {
  const always = ['install', '--offline', '--install-links', '--no-audit', '--no-fund', '--foreground-scripts'];
  // The shell's `times` ends with the processor time of npm and everything it started: unlike the clock's, not a busy machine's.
  const timed = 'npm "$@"; status=$?; times >&2; exit $status';
  const result = run('sh', ['-c', timed, 'npm', ...always, ...args], { cwd: folder, env: cleanEnvironment(env) });
  const [minutesUser, secondsUser, minutesSystem, secondsSystem] = (
    result.stderr
      .trim()
      .split('\n')
      .at(-1)
      ?.match(/[\d.]+/g) ?? []
  ).map(Number);
  return { ...result, cpuSeconds: 60 * (minutesUser + minutesSystem) + secondsUser + secondsSystem };
}

/** Where the package lies in a project. */
export function installed(folder: string): string {
  return join(folder, 'node_modules', manifest.name);
}

/** The commands of the package in a project, as npx runs them. */
export function npx(folder: string, args: readonly string[], env?: NodeJS.ProcessEnv): Run {
  return run('npx', ['--offline', manifest.name, ...args], { cwd: folder, env: cleanEnvironment(env) });
}

/** A PATH on which there are node, npm, a shell and the commands named: no compiler, no make and no Python unless asked for. */
export function pathWith(commands: readonly string[] = []): string {
  const folder = join(temporaryFolder(), 'bin');
  mkdirSync(folder);
  for (const name of ['node', 'npm', 'npx', 'sh', 'env', 'uname', 'dirname', 'sed', 'ps', ...commands]) {
    symlinkSync(name === 'python3' ? python() : realpathSync(whereIs(name)), join(folder, name));
  }
  return folder;
}

function whereIs(command: string): string {
  const path = (process.env.PATH ?? '')
    .split(delimiter)
    .map((entry) => join(entry, command))
    .find((file) => existsSync(file));
  if (!path) throw new Error(`this test needs ${command} on PATH`);
  return path;
}

/** The interpreter itself: what is on PATH may be a script that looks for it. */
function python(): string {
  return mustRun('python3', ['-c', 'import sys; print(sys.executable)'], { cwd: root }).stdout.trim();
}

/** What the training scripts print. */
export function train(folder: string, script: 'train.cjs' | 'train.mjs', env?: NodeJS.ProcessEnv) {
  const result = mustRun(process.execPath, [script], { cwd: folder, env: cleanEnvironment(env) });
  return { ...JSON.parse(result.stdout), stderr: result.stderr };
}

/** A clone of the sources as git would make it, without node_modules (linked from here), dist and builds. */
export function clone(): string {
  const folder = join(temporaryFolder(), 'clone');
  mkdirSync(folder);
  const skipped = /^(\.git|node_modules|dist|build|build-.*|prebuilds|reports|coverage)$/;
  for (const name of readdirSync(root)) {
    if (!skipped.test(name))
      cpSync(join(root, name), join(folder, name), {
        recursive: true,
        filter: (source) => !source.startsWith(join(root, 'native', 'simt', 'build')),
      });
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'dir');
  return folder;
}
