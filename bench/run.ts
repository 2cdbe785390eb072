/**
 * `npm run bench`: times our kernels beside the alternatives a Node user has, in one run on one machine.
 *
 *   --quick          fewer and smaller shapes; ends within two minutes
 *   --kernel TEXT    only kernels whose name holds TEXT
 *   --docs           also writes docs/benchmarks.md and docs/benchmarks.svg
 *   --own FILE       only our rows, as JSON into FILE (how the run asks itself for another instruction set)
 *
 * Results go to bench/results/latest.json. Close other programs first: ratios survive a busy machine, shares of peak do not.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type BackendName, backends, cosineSimilarity, ntXent, uniformity } from 'contrastive-kernels';
import { openAddon } from '../src/native/loader.js';
import { onnxRunner, openOnnxRuntime } from './alternatives/onnxruntime.js';
import { plainCosineSimilarity, plainNtXent, plainUniformity } from './alternatives/plain-js.js';
import { openTfjsWasm, tfjsRunner } from './alternatives/tfjs-wasm.js';
import { type TorchSetup, timeTorch } from './alternatives/torch.js';
import { type BenchCase, kernelIds, makeCase, normalRows, temperature, uniformityT } from './cases.js';
import { measureConditions } from './conditions.js';
import { measureDemoStep } from './demo-step.js';
import { type OwnRows, rowsOn } from './instruction-set.js';
import { measure } from './measure.js';
import { measurePrecision } from './precision.js';
import { chart, machineName, markdown, type Report, type Row, table } from './report.js';
import { measureStoring } from './storing.js';
import { measureSystems } from './systems.js';

const root = resolve(process.env.CONTRASTIVE_KERNELS_ROOT ?? '.');
const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    kernel: { type: 'string', default: '' },
    docs: { type: 'boolean', default: false },
    own: { type: 'string' },
  },
});

const allThreads = availableParallelism();
const seconds = options.quick ? 0.4 : 1.5;
const shapes: [number, number][] = options.quick
  ? [
      [512, 128],
      [2048, 128],
    ]
  : [
      [512, 128],
      [2048, 128],
      [8192, 128],
      [16384, 128],
      [4096, 768],
    ];
const cases = kernelIds
  .filter((kernel) => kernel.includes(options.kernel))
  .flatMap((kernel) => shapes.map(([rows, cols]) => makeCase(kernel, rows, cols)))
  .filter(({ kernel, rows }) => kernel !== 'cosineSimilarity' || rows <= 8192); // a result of 1 GiB is nobody's use

/** The slow contenders are only asked where a call takes seconds at most. */
const small = (benchCase: BenchCase) => benchCase.rows <= (options.quick ? 512 : 2048);
/** Matrices of rows x rows, several of them, must fit the memory of the contenders that store them. */
const storable = (benchCase: BenchCase) => benchCase.rows <= 8192;

/** One call of ours into buffers that are reused, as a training loop would. */
function oursRunner(benchCase: BenchCase, data: Float32Array, backend: BackendName, threads: number): () => unknown {
  const { kernel, rows, cols } = benchCase;
  const x = { data, shape: [rows, cols] };
  const backward = kernel.endsWith('backward');
  const common = { backend, threads, stats: false };
  if (kernel === 'cosineSimilarity') {
    const out = new Float32Array(rows * rows);
    return () => cosineSimilarity(x, undefined, { backend, threads, out });
  }
  const gradient = backward ? new Float32Array(data.length) : undefined;
  if (kernel.startsWith('ntXent')) {
    return () => ntXent(x, { ...common, temperature, gradients: backward, ...(gradient && { out: { z: gradient } }) });
  }
  return () => uniformity(x, { ...common, t: uniformityT, gradients: backward, ...(gradient && { out: { x: gradient } }) });
}

function plainRunner({ kernel, rows, cols }: BenchCase, data: Float32Array): () => unknown {
  if (kernel === 'cosineSimilarity') return () => plainCosineSimilarity(data, rows, cols);
  const backward = kernel.endsWith('backward');
  if (kernel.startsWith('ntXent')) return () => plainNtXent(data, rows, cols, temperature, backward);
  return () => plainUniformity(data, rows, cols, uniformityT, backward);
}

/** Our rows of a case on the CPU, one for each number of threads. */
async function ownRows(benchCase: BenchCase, threadCounts: readonly number[], peak: Record<string, number>): Promise<Row[]> {
  const data = normalRows(benchCase.rows, benchCase.cols);
  const rows: Row[] = [];
  for (const threads of threadCounts) {
    const timing = await measure(oursRunner(benchCase, data, 'cpu', threads), seconds * 1e3);
    const contender = `cpu, ${threads} thread${threads === 1 ? '' : 's'}`;
    rows.push({ ...benchCase, contender, threads, timing, shareOfPeak: benchCase.floor / (timing.median / 1e3) / peak[threads] });
    process.stderr.write(`${benchCase.kernel} ${benchCase.rows}x${benchCase.cols} ${contender}: ${timing.median.toFixed(3)} ms\n`);
  }
  return rows;
}

async function main() {
  const binding = openAddon('cpu').binding;
  const peak: Record<string, number> = {};
  const threadCounts = [...new Set([1, allThreads])];
  if (binding !== null) for (const threads of threadCounts) peak[threads] = binding.measurePeak(threads);

  if (options.own !== undefined) {
    const rows: Row[] = [];
    for (const benchCase of cases) rows.push(...(await ownRows(benchCase, threadCounts, peak)));
    const instructionSet = backends().find((entry) => entry.name === 'cpu')?.instructionSet ?? 'none';
    writeFileSync(options.own, JSON.stringify({ instructionSet, peak, rows } satisfies OwnRows));
    return;
  }

  const contenders: Record<string, string> = {};
  const absent: Record<string, string> = {};
  const status = Object.fromEntries(backends().map((entry) => [entry.name, entry]));
  for (const [name, entry] of Object.entries(status)) {
    if (!entry.available) absent[name] = entry.reason ?? 'not available';
  }
  contenders['plain JS'] = 'loops over Float32Array, the matrix stored; what one writes by hand';
  contenders.reference = 'our TypeScript fallback, float64 accumulation, nothing stored';
  if (status.cpu?.available) contenders.cpu = `our native CPU backend (${status.cpu.instructionSet}), float32`;
  contenders['tfjs-wasm'] = `${await openTfjsWasm()}, composed of tfjs operations with its own gradients`;

  const onnx = openOnnxRuntime(root);
  if (onnx === null) absent.onnxruntime = 'onnxruntime-node is not installed';
  else contenders.onnxruntime = `${onnx.version}, CPU, ${allThreads} threads, forward only (it has no backward)`;

  const rows: Row[] = [];
  const add = (benchCase: BenchCase, contender: string, threads: number, timing: Row['timing']) => {
    const top = peak[threads];
    rows.push({
      ...benchCase,
      contender,
      threads,
      timing,
      shareOfPeak: top === undefined ? null : benchCase.floor / (timing.median / 1e3) / top,
    });
    process.stderr.write(`${benchCase.kernel} ${benchCase.rows}x${benchCase.cols} ${contender}: ${timing.median.toFixed(3)} ms\n`);
  };
  for (const benchCase of cases) {
    const data = normalRows(benchCase.rows, benchCase.cols);
    if (status.cpu?.available) rows.push(...(await ownRows(benchCase, threadCounts, peak)));
    const session =
      onnx &&
      storable(benchCase) &&
      (await onnxRunner(onnx.runtime, benchCase, data, { threads: allThreads, temperature, t: uniformityT }));
    if (session) {
      add(benchCase, 'onnxruntime', allThreads, await measure(session.run, seconds * 1e3));
      await session.close();
    }
    if (small(benchCase)) {
      add(benchCase, 'reference', 1, await measure(oursRunner(benchCase, data, 'reference', 1), seconds * 1e3, 3));
      add(benchCase, 'plain JS', 1, await measure(plainRunner(benchCase, data), seconds * 1e3, 3));
      add(benchCase, 'tfjs-wasm', 1, await measure(tfjsRunner(benchCase, data, temperature, uniformityT), seconds * 1e3, 3));
    }
  }
  const torchCases = cases.filter(storable);
  for (const setup of ['plain', 'best'] satisfies TorchSetup[]) {
    const run = timeTorch(root, torchCases, setup, { threads: allThreads, temperature, t: uniformityT, seconds });
    const name = `torch, ${setup} set-up`;
    if ('reason' in run) absent[name] = run.reason;
    else {
      contenders[name] = run.what;
      for (const [index, benchCase] of torchCases.entries()) add(benchCase, name, allThreads, run.timings[index]);
    }
  }

  let otherPeak: Report['otherPeak'] = {};
  if (status.cpu?.instructionSet === 'avx512' || status.cpu?.instructionSet === 'amx') {
    const own = rowsOn('avx2', process.argv.slice(1));
    if (own === null) absent['cpu with AVX2'] = 'its run failed';
    else {
      contenders['cpu avx2'] = 'our native CPU backend held to AVX2 (CONTRASTIVE_KERNELS_ISA=avx2), shares of its own, lower peak';
      rows.push(...own.rows.map((row) => ({ ...row, contender: row.contender.replace('cpu', 'cpu avx2') })));
      otherPeak = { avx2: own.peak };
    }
  }
  const figures = status.cpu?.available
    ? [
        ...(await measureSystems({ threads: allThreads, peak: peak[allThreads], seconds }, options.quick)),
        await measureStoring(options.quick ? 2048 : 8192, 128, allThreads, peak[allThreads], seconds),
        ...(await measurePrecision(options.quick ? 2048 : 4096, options.quick ? 128 : 768, allThreads, seconds)),
        ...(await measureConditions(allThreads, seconds)),
        ...(await measureDemoStep(root, options.quick ? 8 : 40)),
      ]
    : [];

  const order = new Map(cases.map((benchCase, index) => [`${benchCase.kernel}${benchCase.rows}${benchCase.cols}`, index]));
  rows.sort((a, b) => order.get(`${a.kernel}${a.rows}${a.cols}`)! - order.get(`${b.kernel}${b.rows}${b.cols}`)!);
  const report: Report = {
    date: new Date().toISOString(),
    machine: machineName(),
    node: process.version,
    instructionSet: status.cpu?.instructionSet ?? 'none',
    peak,
    otherPeak,
    figures,
    contenders,
    absent,
    rows,
    peakMemory: process.resourceUsage().maxRSS * 1024,
  };
  mkdirSync(join(root, 'bench', 'results'), { recursive: true });
  writeFileSync(join(root, 'bench', 'results', 'latest.json'), `${JSON.stringify(report, null, 2)}\n`);
  process.stdout.write(`${table(report)}\n`);
  if (options.docs) {
    writeFileSync(join(root, 'docs', 'benchmarks.md'), markdown(report, 'npm run bench -- --docs'));
    writeFileSync(join(root, 'docs', 'benchmarks.svg'), chart(report));
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
});
