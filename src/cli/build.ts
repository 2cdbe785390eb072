/**
 * `build`: compiles an addon in the installed package, with what is on the machine and without a download. cmake works in a
 * temporary folder and only a file that loads is moved into the package, so a failed build changes nothing there.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../native/loader.js';

/** @returns the exit status. */
export function build(cuda: boolean): number {
  const cmake = works('cmake');
  if (!cuda && !cmake) {
    console.log('no cmake here: building with node-gyp, as an install does');
    return run(process.execPath, [join(packageRoot, 'scripts', 'install.cjs'), '--build-from-source']) ? 0 : 1;
  }
  const nvcc = cuda ? findNvcc() : undefined;
  if (cuda && (!nvcc || !cmake)) {
    if (!nvcc)
      console.error('build --cuda needs nvcc of the CUDA toolkit (12 or later): not found on PATH, in $CUDA_PATH or /usr/local/cuda');
    if (!cmake) console.error('build --cuda needs cmake (3.20 or later): not found on PATH');
    return 1;
  }
  const target = cuda ? 'contrastive_kernels_cuda' : 'contrastive_kernels_cpu';
  const folder = mkdtempSync(join(tmpdir(), 'contrastive-kernels-'));
  try {
    const node = `-DCONTRASTIVE_KERNELS_NODE=${process.execPath}`;
    const cudaOptions = nvcc ? ['-DCONTRASTIVE_KERNELS_CUDA=ON', `-DCMAKE_CUDA_COMPILER=${nvcc}`] : [];
    const generator = process.env.CMAKE_GENERATOR || !works('ninja') ? [] : ['-G', 'Ninja'];
    const jobs = String(availableParallelism());
    const built =
      run('cmake', ['-S', packageRoot, '-B', folder, '-DCMAKE_BUILD_TYPE=Release', node, ...generator, ...cudaOptions]) &&
      run('cmake', ['--build', folder, '--target', target, '--config', 'Release', '--parallel', jobs]);
    if (!built) {
      console.error(`${target} could not be built: see the log above`);
      return 1;
    }
    return install(join(folder, 'Release', `${target}.node`), join(packageRoot, cuda ? 'build-cuda' : 'build', 'Release'), target);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Moves the file into place if it loads. A process that has the old file open keeps it: the new one is another inode. */
function install(file: string, folder: string, target: string): number {
  const program = 'console.log(JSON.stringify(require(process.argv[1]).describe()))';
  const child = spawnSync(process.execPath, ['-e', program, file], { encoding: 'utf8' });
  if (child.status !== 0) {
    console.error(`${target} was built but does not load:\n${child.stderr}`);
    return 1;
  }
  mkdirSync(folder, { recursive: true });
  const destination = join(folder, `${target}.node`);
  copyFileSync(file, `${destination}.new`);
  renameSync(`${destination}.new`, destination);
  console.log(`built ${destination}\n${child.stdout.trim()}`);
  return 0;
}

function findNvcc(): string | undefined {
  if (works('nvcc')) return 'nvcc';
  const toolkits = [process.env.CUDA_PATH, process.env.CUDA_HOME, '/usr/local/cuda'];
  const name = process.platform === 'win32' ? 'nvcc.exe' : 'nvcc';
  return toolkits.flatMap((toolkit) => (toolkit ? [join(toolkit, 'bin', name)] : [])).find((path) => existsSync(path));
}

function works(command: string): boolean {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

function run(command: string, args: string[]): boolean {
  return spawnSync(command, args, { stdio: 'inherit' }).status === 0;
}
