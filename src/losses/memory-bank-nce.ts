/**
 * NCE against a memory bank: checks the arguments, runs the reference, shapes the result. It gathers a few rows for each query, which
 * memory bounds and not arithmetic, so there is no native kernel.
 */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import type { MatrixLike, Rows } from '../matrix.js';
import { memoryBankNce as nce } from '../reference/memory-bank-nce.js';
import { checkFitsFloat32, gradientByInput, readRows } from '../reference/rows.js';
import { runInSlices, runToEnd } from '../reference/steps.js';
import {
  checkSameCols,
  describe,
  readBoolean,
  readIntegers,
  readMatrix,
  readNumber,
  readOptions,
  readScale,
  readSignal,
  refuseDetached,
} from '../validate.js';
import { type LossOptions, readOutputs, readReduction } from './plan.js';

export interface MemoryBankNceOptions
  extends Pick<LossOptions, 'temperature' | 'normalize' | 'reduction' | 'gradients' | 'stats' | 'signal'> {
  /**
   * Z, by which exp(similarity / temperature) is divided. Default: estimated from this call. Give the first call's `normalizer` to the
   * later ones, as it must not follow the batch.
   */
  readonly normalizer?: number | undefined;
  /** Added to p + m/n; default 0. 1e-7 in the code of CMC. */
  readonly epsilon?: number | undefined;
  /** Arrays to fill instead of new ones: `query` [rows * cols] with gradients; `perRow` [rows] with reduction 'none'. */
  readonly out?: { readonly query?: Float32Array | undefined; readonly perRow?: Float32Array | undefined } | undefined;
}

export interface MemoryBankNceGradients {
  /** [rows, cols], by the rows as given. The bank is a memory: it has no gradient. */
  readonly query: Float32Array;
  /** With Z held constant. */
  readonly temperature: number;
}

export interface MemoryBankNceResult {
  readonly loss: number;
  /** [rows], with reduction 'none'. */
  readonly perRow?: Float32Array;
  readonly gradients?: MemoryBankNceGradients;
  readonly stats?: Stats;
  /** Z: what was given, or the estimate. */
  readonly normalizer: number;
  readonly backend: BackendName;
}

type WithGradients = MemoryBankNceResult & { readonly gradients: MemoryBankNceGradients };

const KNOWN = new Set(['temperature', 'normalize', 'reduction', 'gradients', 'stats', 'signal', 'normalizer', 'epsilon', 'out']);

/**
 * Noise-contrastive estimation against a memory bank of n rows: the mean over queries of -log(p_0 / (p_0 + m/n)) - sum over m rows
 * drawn at random of log((m/n) / (p_j + m/n)), p = exp(similarity / temperature) / Z. The loss of instance discrimination, and, of two
 * views against each other's bank and added, that of CMC. Runs in TypeScript, in float64, on every machine.
 *
 * @param query [rows, cols].
 * @param bank [n, cols], a feature of every item; see `MemoryBank`.
 * @param indices [rows * (m + 1)]: of each query its own row of the bank, then m drawn ones; m at least 1.
 * @throws TypeError, RangeError, NonFiniteError. Nothing is written then.
 * @see Wu, Xiong, Yu, Lin: Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018.
 * @see Tian, Krishnan, Isola: Contrastive Multiview Coding, ECCV 2020.
 */
export function memoryBankNce(
  query: MatrixLike,
  bank: MatrixLike,
  indices: Int32Array | readonly number[],
  options: MemoryBankNceOptions & { readonly gradients: true },
): WithGradients;
export function memoryBankNce(
  query: MatrixLike,
  bank: MatrixLike,
  indices: Int32Array | readonly number[],
  options?: MemoryBankNceOptions,
): MemoryBankNceResult;
export function memoryBankNce(
  query: MatrixLike,
  bank: MatrixLike,
  indices: Int32Array | readonly number[],
  options?: MemoryBankNceOptions,
): MemoryBankNceResult {
  const { signal, steps } = plan(query, bank, indices, options, false);
  signal?.throwIfAborted();
  return runToEnd(steps);
}

/** `memoryBankNce` in slices on the event loop. Inputs are copied before this returns. Every error is a rejection. */
export function memoryBankNceAsync(
  query: MatrixLike,
  bank: MatrixLike,
  indices: Int32Array | readonly number[],
  options: MemoryBankNceOptions & { readonly gradients: true },
): Promise<WithGradients>;
export function memoryBankNceAsync(
  query: MatrixLike,
  bank: MatrixLike,
  indices: Int32Array | readonly number[],
  options?: MemoryBankNceOptions,
): Promise<MemoryBankNceResult>;
export async function memoryBankNceAsync(
  query: MatrixLike,
  bank: MatrixLike,
  indices: Int32Array | readonly number[],
  options?: MemoryBankNceOptions,
): Promise<MemoryBankNceResult> {
  const { signal, steps } = plan(query, bank, indices, options, true);
  return runInSlices(steps, signal);
}

function plan(
  queryGiven: MatrixLike,
  bankGiven: MatrixLike,
  indicesGiven: unknown,
  optionsGiven: MemoryBankNceOptions | undefined,
  isAsync: boolean,
) {
  const query = readMatrix('query', queryGiven, isAsync);
  const bank = readMatrix('bank', bankGiven, isAsync);
  checkSameCols('bank', bank, 'query', query);
  const indices = readDrawn(indicesGiven, query, bank);
  const options = readOptions(optionsGiven, KNOWN);
  const temperature = readScale('temperature', options.temperature, 0.07);
  const logZ = options.normalizer === undefined ? Number.NaN : Math.log(readScale('normalizer', options.normalizer, 1));
  const epsilon = readNumber('epsilon', options.epsilon, 0);
  if (epsilon < 0) throw new RangeError(`epsilon: expected a number of at least 0, got ${epsilon}`);
  const reduction = readReduction(options.reduction);
  const normalize = readBoolean('normalize', options.normalize, true);
  const gradients = readBoolean('gradients', options.gradients, false);
  const wanted = { query: gradients ? query.data.length : 0, perRow: reduction === 'none' ? query.rows : 0 };
  const outputs = readOutputs(options.out, wanted, { query: query.data, bank: bank.data }, isAsync, true, { indices: indicesGiven });
  const comparison = {
    query: readRows('query', query, normalize),
    bank: isAsync ? { ...bank, data: bank.data.slice() } : bank,
    indices,
    temperature,
    logZ,
    epsilon,
  };
  const weight = reduction === 'mean' ? 1 / query.rows : 1;
  const stats = readBoolean('stats', options.stats, true);
  return { signal: readSignal(options.signal), steps: run(comparison, outputs, weight, stats) };
}

/** The reference, and what the user gets. Written when everything is computed. */
function* run(
  comparison: Parameters<typeof nce>[0],
  outputs: { readonly query: Float32Array | null; readonly perRow: Float32Array | null },
  weight: number,
  stats: boolean,
): Generator<void, MemoryBankNceResult, void> {
  const { query, indices, temperature } = comparison;
  const got = yield* nce(comparison, outputs.query !== null);
  if (got.gradient) gradientByInput('query', query, got.gradient, weight / temperature);
  checkFitsFloat32('query', 'a loss', got.perRow);
  for (const [name, output, length] of [
    ['query', outputs.query, query.u.length],
    ['perRow', outputs.perRow, query.rows],
  ] as const) {
    if (output && output.length !== length) {
      throw new TypeError(`out.${name}: expected ${length} elements, got a buffer that was detached while the call was running`);
    }
  }
  if (got.gradient) outputs.query?.set(got.gradient);
  outputs.perRow?.set(got.perRow);
  const others = indices.length - query.rows;
  const temperatureGradient = (-weight * got.scaleSum) / (temperature * temperature);
  return {
    loss: weight * got.perRow.reduce((sum, value) => sum + value, 0),
    ...(outputs.perRow && { perRow: outputs.perRow }),
    ...(outputs.query && { gradients: { query: outputs.query, temperature: temperatureGradient } }),
    ...(stats && {
      stats: {
        positiveSimilarity: got.positive / query.rows,
        negativeSimilarity: got.negative / others,
        accuracy: got.hits / query.rows,
        skippedRows: 0,
      },
    }),
    normalizer: Math.exp(got.logZ),
    backend: 'reference',
  };
}

function readDrawn(value: unknown, query: Rows, bank: Rows): Int32Array {
  const length = (value as { readonly length?: unknown } | null | undefined)?.length;
  refuseDetached('indices', value);
  if (typeof length !== 'number') throw new TypeError(`indices: expected an Int32Array or an array of integers, got ${describe(value)}`);
  if (length % query.rows !== 0 || length < 2 * query.rows) {
    throw new RangeError(`indices: expected a multiple of the ${query.rows} queries, at least two for each, got ${length}`);
  }
  return readIntegers('indices', value, length, 0, bank.rows - 1);
}
