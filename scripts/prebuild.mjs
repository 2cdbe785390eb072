// npm run prebuild: makes prebuilds/<platform>-<arch>/contrastive-kernels.node, which node-gyp-build finds in the packed tarball
// where nothing can be compiled. The file is this machine's build/Release, stripped; it is built first when it is missing or
// older than its sources. The name has no tag: Node-API makes one file right for every Node version.
//
// --out <folder>: instead of prebuilds/.
//
// npm also runs a script of this name before `npm run build`, as a hook. Then there is nothing to do.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const built = join(root, 'build', 'Release', 'contrastive_kernels_cpu.node');
const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'prebuilds') } } });
const folder = join(values.out, `${process.platform}-${process.arch}`);

/** npm sets its process title to its command line; the npm that runs us is our parent, or the parent of the shell between. */
function isHookOfBuild() {
  for (let pid = process.ppid, level = 0; pid > 1 && level < 3; level++) {
    const { status, stdout } = spawnSync('ps', ['-o', 'ppid=,args=', '-p', String(pid)], { encoding: 'utf8' });
    const match = status === 0 && /^\s*(\d+)\s+(.*)$/m.exec(stdout);
    if (!match) return false;
    if (match[2].startsWith('npm ')) return /^npm (run|run-script|rum|urn) build(\s|$)/.test(match[2]);
    pid = Number(match[1]);
  }
  return false;
}

function newestSource(path) {
  const stat = statSync(path);
  return stat.isDirectory() ? Math.max(0, ...readdirSync(path).map((name) => newestSource(join(path, name)))) : stat.mtimeMs;
}

function isStale() {
  if (!existsSync(built)) return true;
  const sources = ['binding.gyp', 'native/sources.json', 'native/include', 'native/policies', 'native/addon', 'native/cpu'];
  return sources.some((source) => newestSource(join(root, source)) > statSync(built).mtimeMs);
}

function run(command, args) {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status === 0;
}

function main() {
  if (isHookOfBuild()) return 0;
  if (isStale() && !run(process.execPath, [join(root, 'scripts', 'build-native.mjs')])) return 1;

  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const target = join(folder, 'contrastive-kernels.node');
  copyFileSync(built, target);
  if (process.platform !== 'win32' && !run('strip', process.platform === 'darwin' ? ['-x', target] : ['--strip-unneeded', target])) {
    console.warn('prebuild: no strip, the file keeps its symbols');
  }
  if (!run(process.execPath, ['-e', 'require(process.argv[1]).describe()', target])) return 1;
  console.log(`prebuilt ${target} (${Math.round(statSync(target).size / 1024)} KB)`);
  return 0;
}

process.exitCode = main();
