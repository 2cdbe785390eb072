/**
 * What a `.node` file of this package exports, as one interface; and the table that gives every kernel's arguments their names
 * and order. The C++ side of both is native/addon/kernels.h: a kernel is one row there and one row here.
 */
import type { BackendStatus, KernelCall, KernelCalls, KernelName, PairLayout, Precision } from '../backends/backend.js';

/** [loss, temperatureGradient, positiveSimilarity, negativeSimilarity, accuracy, skippedRows] */
export type NativeResult = readonly [number, number, number, number, number, number];

/** What `ck_describe` reports: whether the library can run on this machine, and on what. */
export type NativeDescription = Omit<BackendStatus, 'name'>;

/** The error a native call throws or rejects with; src/native/errors.ts makes the typed error from it. */
export interface NativeFailure extends Error {
  /** ck_status, or `OUTPUT_DETACHED`. */
  readonly status: number;
  /** Index among the inputs (of `OUTPUT_DETACHED`: among the outputs); -1: none. */
  readonly argument: number;
  readonly row: number;
  readonly column: number;
  /** The non-finite element. */
  readonly value: number;
}

/** data, rows, cols of every input; the parameters; the outputs; weight, normalize, stats, threads, precision. */
type KernelFunction<Result, Extra extends unknown[] = []> = (...args: [...(Float32Array | number | boolean | null)[], ...Extra]) => Result;

/** An Int32Array(1) that becomes non-zero to give the call up; null: cannot be given up. */
type CancelFlag = Int32Array | null;

export type NativeBinding = { readonly [K in KernelName]: KernelFunction<NativeResult> } & {
  readonly [K in KernelName as `${K}Async`]: KernelFunction<Promise<NativeResult>, [CancelFlag]>;
} & {
  describe(): NativeDescription;
  workspaceBytes(
    kernel: KernelName,
    rowsX: number,
    rowsY: number,
    cols: number,
    gradients: boolean,
    weight: number,
    normalize: boolean,
    stats: boolean,
    threads: number,
    precision: number,
  ): number;
  /** FLOP/s of multiply-adds that this many threads reach, measured now; 0 where not known. For benchmarks. */
  measurePeak(threads: number): number;
};

/** The names of a kernel's inputs, parameters and outputs in the order of the binding. */
interface KernelRow<K extends KernelName> {
  readonly inputs: readonly (keyof KernelCalls[K]['inputs'] & string)[];
  readonly parameters: (parameters: KernelCalls[K]['parameters']) => readonly number[];
  readonly outputs: readonly (keyof KernelCalls[K]['outputs'] & string)[];
}

/** enum ck_pairs and enum ck_precision of the C ABI. */
const PAIRS: Record<PairLayout, number> = { halves: 0, interleaved: 1 };
export const PRECISIONS: Record<Precision, number> = { float32: 0, bfloat16x3: 1, bfloat16: 2 };

/** Kernels without a row are not in the native libraries. */
export const KERNELS: { readonly [K in KernelName]?: KernelRow<K> } = {
  cosineSimilarity: { inputs: ['x', 'y'], parameters: () => [], outputs: ['out'] },
  cosineSimilarityBackward: { inputs: ['x', 'y', 'upstream'], parameters: () => [], outputs: ['x', 'y'] },
  ntXent: { inputs: ['z'], parameters: (p) => [p.temperature, PAIRS[p.pairs]], outputs: ['z', 'perRow', 'rowLogSumExp'] },
  uniformity: { inputs: ['x'], parameters: (p) => [p.t], outputs: ['x'] },
  alignment: { inputs: ['x', 'y'], parameters: (p) => [p.alpha], outputs: ['x', 'y', 'perRow'] },
};

/** The positional arguments of one call, without the cancel flag. */
export function nativeArguments<K extends KernelName>(kernel: K, call: KernelCall<K>): (Float32Array | number | boolean | null)[] {
  const row = KERNELS[kernel] as KernelRow<K>;
  const inputs = call.inputs as Record<string, { data: Float32Array; rows: number; cols: number } | null>;
  const outputs = call.outputs as Record<string, Float32Array | null>;
  const args: (Float32Array | number | boolean | null)[] = [];
  for (const name of row.inputs) {
    const input = inputs[name];
    if (input) args.push(input.data, input.rows, input.cols);
    else args.push(null, 0, 0);
  }
  for (const value of row.parameters(call.parameters)) args.push(value);
  for (const name of row.outputs) args.push(outputs[name]);
  const { weight, normalize, stats, threads, precision } = call.options;
  args.push(weight, normalize, stats, threads, PRECISIONS[precision]);
  return args;
}
