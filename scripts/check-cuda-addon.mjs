// Fails unless the CUDA addon holds the machine code of every kernel for every architecture it was built for, and can be opened here:
// backends() then reports a device, or says why there is none.
//
//   node scripts/check-cuda-addon.mjs [addon]     default build-cuda/Release/contrastive_kernels_cuda.node; wants dist/ (npm run build)
//
// The kernels expected are the __global__ functions of native/cuda, and every instance of a template that the host code registers. They are
// looked for in the ELF images of the fat binary, so no tool of the CUDA toolkit is needed.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { missingKernels } from './cuda-kernels.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const FAT_BINARY = 0xba55ed50; // starts a container of images; `header` bytes, then entries
const ELF = 2;
const SYMBOLS = 2; // the section type SHT_SYMTAB
const FUNCTION = 2; // the symbol type STT_FUNC
const ENTRY = 0x10; // STO_CUDA_ENTRY among a symbol's other bits: a kernel, not a function that kernels call

/** [{ name, type, data, link }] of an ELF file in 64 bits; link is the section that it refers to. */
function elfSections(image) {
  const table = Number(image.readBigUInt64LE(0x28));
  const [size, count, names] = [0x3a, 0x3c, 0x3e].map((field) => image.readUInt16LE(field));
  const sections = Array.from({ length: count }, (_, index) => {
    const at = table + index * size;
    const [offset, bytes] = [0x18, 0x20].map((field) => Number(image.readBigUInt64LE(at + field)));
    const [name, type, link] = [0, 4, 0x28].map((field) => image.readUInt32LE(at + field));
    return { name, type, link, data: image.subarray(offset, offset + bytes) };
  });
  return sections.map((section) => ({ ...section, name: textAt(sections[names].data, section.name), link: sections[section.link]?.data }));
}

function textAt(data, start) {
  return data.toString('latin1', start, data.indexOf(0, start));
}

/** The names of the kernels in a device image. */
function elfKernels(image) {
  const kernels = [];
  for (const { type, link, data } of elfSections(image)) {
    if (type !== SYMBOLS) continue;
    for (let at = 0; at < data.length; at += 24) {
      if ((data[at + 4] & 0xf) === FUNCTION && (data[at + 5] & ENTRY) !== 0) kernels.push(textAt(link, data.readUInt32LE(at)));
    }
  }
  return kernels;
}

/** 'sm_90' -> the kernels in its images. PTX is compiled when it is loaded, and not looked into. */
function deviceKernels(file) {
  const start = Buffer.alloc(4);
  start.writeUInt32LE(FAT_BINARY);
  const kernels = new Map();
  for (let at = file.indexOf(start); at >= 0; at = file.indexOf(start, at + 4)) {
    const header = file.readUInt16LE(at + 6);
    if (header !== 16) continue; // the number by chance
    const end = at + header + Number(file.readBigUInt64LE(at + 8));
    for (let entry = at + header; entry < end; ) {
      const begin = entry + file.readUInt32LE(entry + 4);
      const next = begin + Number(file.readBigUInt64LE(entry + 8));
      const architecture = `sm_${file.readUInt32LE(entry + 28)}`;
      if (file.readUInt16LE(entry) === ELF) {
        if (file.readUInt32BE(begin) !== 0x7f454c46) throw new Error(`expected an uncompressed ELF image for ${architecture}`);
        kernels.set(architecture, [...(kernels.get(architecture) ?? []), ...elfKernels(file.subarray(begin, next))]);
      }
      entry = next;
    }
  }
  return kernels;
}

/** The kernels that the host code registers with the CUDA runtime, by name: the only mangled names of ours among the constants. */
function registered(file) {
  const constants = elfSections(file)
    .find(({ name }) => name === '.rodata')
    .data.toString('latin1');
  return [...new Set(constants.match(/_ZN2ck4cuda\w+(?=\0)/g))];
}

/** What backends() says of the CUDA addon, in a process of its own: an addon that crashes must not end this one. */
function status(path) {
  const source = `console.log(JSON.stringify(require(${JSON.stringify(join(root, 'dist', 'index.cjs'))}).backends()))`;
  const env = { ...process.env, CONTRASTIVE_KERNELS_CUDA_PATH: path };
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, ['-e', source], { encoding: 'utf8', env });
  if (status !== 0) return { problem: `opening it ended with ${signal ?? `status ${status}`}: ${stderr}` };
  const row = JSON.parse(stdout).find(({ name }) => name === 'cuda');
  if (!row) return { problem: 'backends() does not list cuda' };
  if (row.available) return { text: `opened: ${row.device}` };
  // Only the CUDA runtime's own reason will do: a file that could not be opened is unavailable, too.
  return /\(cudaError\w+/.test(row.reason)
    ? { text: `opened: ${row.reason}` }
    : { problem: `no device, and not for a reason of CUDA's: ${row.reason}` };
}

const path = resolve(process.argv[2] ?? join(root, 'build-cuda', 'Release', 'contrastive_kernels_cuda.node'));
const file = readFileSync(path);
const wanted = registered(file);
const problems = missingKernels(wanted).map((kernel) => `the host code does not know ${kernel}`);
const images = deviceKernels(file);
if (images.size === 0) problems.push('no machine code in it');
for (const [architecture, kernels] of [...images].sort()) {
  const present = new Set(kernels);
  problems.push(...wanted.filter((name) => !present.has(name)).map((name) => `${architecture} lacks ${name}`));
  console.log(`${architecture}: ${present.size} kernels, ${wanted.length} that the host code knows`);
}
const { text, problem } = status(path);
if (problem) problems.push(problem);
else console.log(text);
for (const line of problems) console.error(`check-cuda-addon: ${line}`);
process.exitCode = problems.length > 0 ? 1 : 0;
