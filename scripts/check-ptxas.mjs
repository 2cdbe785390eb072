// Fails when a CUDA kernel spills registers on any architecture of the build, or is not compiled for it at all.
//
//   node scripts/check-ptxas.mjs             compiles the CUDA sources (device code only) with nvcc and reads what ptxas says
//   node scripts/check-ptxas.mjs --only 90a  for one architecture (or several: 75,80)
//   node scripts/check-ptxas.mjs build.log   reads the log of a build made with -Xptxas -v instead
//
// Sources come from native/sources.json, architectures from CMakeLists.txt. Without nvcc there is nothing to check, and it says so.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { missingKernels } from './cuda-kernels.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const { values: options, positionals: logs } = parseArgs({ options: { only: { type: 'string' } }, allowPositionals: true });

/** ['75', '80', '90a', ...]: those that CMake builds machine code for. */
function architectures() {
  if (options.only) return options.only.split(',');
  const list = /set\(CMAKE_CUDA_ARCHITECTURES ([^)]+)\)/.exec(readFileSync(join(root, 'CMakeLists.txt'), 'utf8'));
  if (!list) throw new Error('CMakeLists.txt: expected set(CMAKE_CUDA_ARCHITECTURES ...), found none');
  return list[1].split(/\s+/).flatMap((name) => /^(\w+)-real$/.exec(name)?.[1] ?? []);
}

function compile(source, folder) {
  const args = ['-x', 'cu', '-std=c++17', '-O3', '-Xptxas', '-v', '-I', 'native/include', '-I', 'native', '-fatbin', source];
  for (const name of architectures()) args.push(`-gencode=arch=compute_${name},code=sm_${name}`);
  return new Promise((resolve, reject) => {
    const nvcc = spawn('nvcc', [...args, '-o', join(folder, `${basename(source)}.fatbin`)], { cwd: root });
    let text = '';
    for (const stream of [nvcc.stdout, nvcc.stderr]) stream.on('data', (piece) => (text += piece));
    nvcc.on('error', reject);
    nvcc.on('close', (code) => (code === 0 ? resolve(text) : reject(new Error(`nvcc failed on ${source}:\n${text}`))));
  });
}

async function compileAll() {
  const sources = JSON.parse(readFileSync(join(root, 'native', 'sources.json'), 'utf8')).cuda;
  const folder = mkdtempSync(join(tmpdir(), 'contrastive-kernels-ptxas-'));
  try {
    const waiting = [...sources];
    const texts = [];
    const work = async () => {
      while (waiting.length > 0) texts.push(await compile(waiting.shift(), folder));
    };
    await Promise.all(Array.from({ length: Math.min(availableParallelism(), sources.length) }, work));
    return texts.join('');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** One entry for every kernel and architecture. */
function readKernels(text) {
  const kernels = [];
  let current;
  for (const line of text.split('\n')) {
    const entry = /Compiling entry function '(\S+)' for 'sm_(\w+)'/.exec(line);
    if (entry) {
      current = { name: entry[1], architecture: entry[2] };
      kernels.push(current);
    }
    const spills = /(\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    // Functions that are not kernels have such a line too; a spill there belongs to the kernel that calls them.
    if (spills && current) current.spilled = Math.max(current.spilled ?? 0, Number(spills[1]), Number(spills[2]));
    const registers = /Used (\d+) registers/.exec(line);
    if (registers && current) current.registers = Number(registers[1]);
  }
  return kernels;
}

/** Readable where c++filt is at hand. */
function demangle(name) {
  const { error, stdout } = spawnSync('c++filt', [name], { encoding: 'utf8' });
  return error ? name : stdout.trim().replace(/\(anonymous namespace\)::|ck::cuda::(detail::)?/g, '');
}

if (logs.length === 0 && spawnSync('nvcc', ['--version']).error) {
  console.log('check-ptxas: no nvcc on the PATH, nothing was checked');
  process.exit(0);
}
const kernels = readKernels(logs.length > 0 ? logs.map((log) => readFileSync(log, 'utf8')).join('\n') : await compileAll());
const problems = kernels
  .filter(({ spilled }) => spilled !== 0)
  .map(({ name, architecture, spilled }) => `sm_${architecture}: ${spilled ?? 'an unknown number of'} bytes spilled by ${demangle(name)}`);
for (const architecture of architectures()) {
  const own = kernels.filter((kernel) => kernel.architecture === architecture);
  problems.push(...missingKernels(own.map(({ name }) => name)).map((kernel) => `sm_${architecture}: no code for ${kernel}`));
  if (own.length > 0)
    console.log(`sm_${architecture}: ${own.length} kernels, at most ${Math.max(...own.map(({ registers }) => registers))} registers`);
}
for (const problem of problems) console.error(`check-ptxas: ${problem}`);
process.exitCode = problems.length > 0 ? 1 : 0;
