/**
 * `npm run bench:gpu`: our kernels on the GPU beside our CPU backend, with data in host memory (every call copies) and on the device
 * (DeviceMatrix in, gradients left there).
 *
 *   --quick          fewer and smaller shapes
 *   --kernel TEXT    only kernels whose name holds TEXT
 *
 * Results go to bench/results/gpu.json. gpu/check.py times the kernels alone, beside torch.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import {
  BackendUnavailableError,
  backends,
  cosineSimilarity,
  DeviceMatrix,
  type Matrix,
  matrix,
  ntXent,
  type Precision,
  uniformity,
} from 'contrastive-kernels';
import { type BenchCase, kernelIds, makeCase, normalRows, temperature, uniformityT } from './cases.js';
import { measure, type Timing } from './measure.js';
import { machineName } from './report.js';

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, kernel: { type: 'string', default: '' } },
});
const seconds = options.quick ? 0.2 : 1;
const shapes: [number, number][] = options.quick
  ? [
      [512, 128],
      [2048, 128],
    ]
  : [
      [512, 128],
      [2048, 128],
      [8192, 128],
      [8192, 768],
      [32768, 256],
    ];
/** The stored cosine matrix is rows x rows: 4 GiB at 32768 rows, which would time the copy alone. */
const fits = ({ kernel, rows }: BenchCase) => kernel !== 'cosineSimilarity' || rows <= 8192;
const cases = kernelIds
  .filter((kernel) => kernel.includes(options.kernel))
  .flatMap((kernel) => shapes.map(([rows, cols]) => makeCase(kernel, rows, cols)))
  .filter(fits);

interface Row extends BenchCase {
  readonly contender: string;
  readonly timing: Timing;
}

/** One call into buffers that are reused. */
function onHost({ kernel, rows }: BenchCase, x: Matrix, backend: 'cpu' | 'cuda', precision: Precision): () => unknown {
  const common = { backend, precision, stats: false };
  if (kernel === 'cosineSimilarity') {
    const out = new Float32Array(rows * rows);
    return () => cosineSimilarity(x, undefined, { backend, precision, out });
  }
  const gradients = kernel.endsWith('backward');
  const gradient = gradients ? new Float32Array(x.data.length) : undefined;
  if (kernel.startsWith('ntXent')) return () => ntXent(x, { ...common, temperature, gradients, ...(gradient && { out: { z: gradient } }) });
  return () => uniformity(x, { ...common, t: uniformityT, gradients, ...(gradient && { out: { x: gradient } }) });
}

/** One call whose data stays on the device; null for the cosine matrix, whose output is host memory. */
function onDevice({ kernel }: BenchCase, x: DeviceMatrix, precision: Precision): (() => unknown) | null {
  const common = { precision, stats: false };
  switch (kernel) {
    case 'ntXent forward':
      return () => ntXent(x, { ...common, temperature });
    case 'ntXent forward+backward':
      return () => ntXent(x, { ...common, temperature, gradients: 'device' }).gradients.z.dispose();
    case 'uniformity forward':
      return () => uniformity(x, { ...common, t: uniformityT });
    case 'uniformity forward+backward':
      return () => uniformity(x, { ...common, t: uniformityT, gradients: 'device' }).gradients.x.dispose();
    default:
      return null;
  }
}

async function main() {
  const status = Object.fromEntries(backends().map((entry) => [entry.name, entry]));
  if (!status.cuda?.available) throw new Error(`no GPU: ${status.cuda?.reason}`);
  const rows: Row[] = [];
  const absent = new Set<string>();
  const add = async (benchCase: BenchCase, contender: string, run: (() => unknown) | null) => {
    if (run === null || absent.has(contender)) return;
    try {
      const timing = await measure(run, seconds * 1e3);
      rows.push({ ...benchCase, contender, timing });
      const rate = (benchCase.floor / timing.median / 1e9).toFixed(2);
      const shape = `${benchCase.rows} x ${benchCase.cols}`;
      console.log(
        `${benchCase.kernel.padEnd(28)}${shape.padEnd(14)}${contender.padEnd(30)}${timing.median.toFixed(3).padStart(11)} ms${rate.padStart(9)} TFLOP/s`,
      );
    } catch (error) {
      if (!(error instanceof BackendUnavailableError)) throw error;
      absent.add(contender);
      console.log(`${contender}: ${error.reason}`);
    }
  };
  for (const benchCase of cases) {
    const x = matrix(normalRows(benchCase.rows, benchCase.cols), benchCase.rows, benchCase.cols);
    await add(benchCase, 'cpu', status.cpu?.available ? onHost(benchCase, x, 'cpu', 'float32') : null);
    using device = DeviceMatrix.from(x);
    for (const precision of ['float32', 'bfloat16x3', 'bfloat16'] as const) {
      await add(benchCase, `cuda ${precision}, host memory`, onHost(benchCase, x, 'cuda', precision));
      await add(benchCase, `cuda ${precision}, on device`, onDevice(benchCase, device, precision));
    }
  }
  const folder = join(resolve(process.env.CONTRASTIVE_KERNELS_ROOT ?? '.'), 'bench', 'results');
  mkdirSync(folder, { recursive: true });
  const report = {
    date: new Date().toISOString(),
    machine: machineName(),
    node: process.version,
    cuda: status.cuda,
    cpu: status.cpu,
    rows,
  };
  writeFileSync(join(folder, 'gpu.json'), `${JSON.stringify(report, null, 2)}\n`);
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.stack : String(error));
  process.exitCode = 1;
});
