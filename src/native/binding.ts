/**
 * What a `.node` file of this package exports, as one interface; and the table that gives every kernel's arguments their names
 * and order. The C++ side of both is native/addon/kernels.h: a kernel is one row there and one row here.
 */
import {
  type AlsoCompared,
  type BackendStatus,
  integersOf,
  type KernelCall,
  type KernelCalls,
  type KernelName,
  type NegativeMode,
  type PairLayout,
  type Precision,
  type SupConVariant,
} from '../backends/backend.js';

/** [loss, temperatureGradient, positiveSimilarity, negativeSimilarity, accuracy, skippedRows, biasGradient] */
export type NativeResult = readonly [number, number, number, number, number, number, number];

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
  /** The non-finite element; undefined where it is on a device. */
  readonly value: number | undefined;
}

type Argument = Float32Array | Int32Array | Uint8Array | number | boolean | null;

/** data, rows, cols of every input; the integer arrays; the parameters; the outputs; weight, normalize, stats, threads, precision. */
type KernelFunction<Result, Extra extends unknown[] = []> = (...args: [...Argument[], ...Extra]) => Result;

/** An Int32Array(1) that becomes non-zero to give the call up; null: cannot be given up. */
type CancelFlag = Int32Array | null;

/** The functions of kernels that the library lacks are missing (`supports` of the backend says so). */
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
    negativeRows: number,
    negativeMode: number,
    perQuery: number,
    k: number,
    weight: number,
    normalize: boolean,
    stats: boolean,
    threads: number,
    precision: number,
  ): number;
  /** FLOP/s of multiply-adds that this many threads reach, measured now; 0 where not known. For benchmarks. */
  measurePeak(threads: number): number;
};

/** The names of a kernel's inputs, integer arrays, parameters and outputs in the order of the binding. */
interface KernelRow<K extends KernelName> {
  readonly inputs: readonly (keyof KernelCalls[K]['inputs'] & string)[];
  readonly integers?: KernelCalls[K] extends { readonly integers: infer Integers } ? readonly (keyof Integers & string)[] : never;
  readonly parameters: (parameters: KernelCalls[K]['parameters']) => readonly number[];
  readonly outputs: readonly (keyof KernelCalls[K]['outputs'] & string)[];
}

/** enum ck_pairs, ck_negatives, ck_also, ck_sup_con_variant and ck_precision of the C ABI. */
const PAIRS: Record<PairLayout, number> = { halves: 0, interleaved: 1 };
export const NEGATIVES: Record<NegativeMode, number> = { shared: 0, paired: 1, indexed: 2 };
const ALSO: Record<AlsoCompared, number> = { queries: 1, queriesOfKey: 2, otherKeysOfKey: 4 };
const VARIANTS: Record<SupConVariant, number> = { out: 0, in: 1, pair: 2 };
export const PRECISIONS: Record<Precision, number> = { float32: 0, bfloat16x3: 1, bfloat16: 2 };

export const KERNELS: { readonly [K in KernelName]: KernelRow<K> } = {
  cosineSimilarity: { inputs: ['x', 'y'], parameters: () => [], outputs: ['out'] },
  cosineSimilarityBackward: { inputs: ['x', 'y', 'upstream'], parameters: () => [], outputs: ['x', 'y'] },
  ntXent: { inputs: ['z'], parameters: (p) => [p.temperature, PAIRS[p.pairs]], outputs: ['z', 'perRow', 'rowLogSumExp'] },
  uniformity: { inputs: ['x'], parameters: (p) => [p.t], outputs: ['x'] },
  alignment: { inputs: ['x', 'y'], parameters: (p) => [p.alpha], outputs: ['x', 'y', 'perRow'] },
  infoNce: {
    inputs: ['query', 'key', 'negatives', 'guideQuery', 'guideKey', 'guideSecondQuery'],
    integers: ['positives', 'negativeIndices', 'queryLabels', 'keyLabels', 'mask'],
    parameters: (p) => [
      p.temperature,
      Number(p.inBatch),
      Number(p.symmetric),
      NEGATIVES[p.negativeMode],
      p.perQuery,
      p.ownNegativeLogit,
      p.guideMargin,
      Number(p.guideRelative),
      p.guideSplit,
      Number(p.ownedKeys),
      Number(p.sparseKeys),
      p.also.reduce((bits, each) => bits | ALSO[each], 0),
    ],
    outputs: ['query', 'key', 'negatives', 'perRow', 'rowLogSumExp'],
  },
  supCon: {
    inputs: ['z'],
    integers: ['labels'],
    parameters: (p) => [p.temperature, VARIANTS[p.variant]],
    outputs: ['z', 'perRow', 'rowLogSumExp'],
  },
  dcl: { inputs: ['x', 'y'], parameters: (p) => [p.temperature, p.weightSigma], outputs: ['x', 'y', 'perRow', 'rowLogSumExp'] },
  sigLip: { inputs: ['x', 'y'], parameters: (p) => [p.temperature, p.bias], outputs: ['x', 'y', 'perRow'] },
  barlowTwins: { inputs: ['a', 'b'], parameters: (p) => [p.lambda], outputs: ['a', 'b'] },
  vicReg: { inputs: ['a', 'b'], parameters: (p) => [p.invariance, p.variance, p.covariance], outputs: ['a', 'b'] },
  crossUniformity: { inputs: ['x', 'y'], parameters: (p) => [p.t], outputs: ['x', 'y'] },
  nearest: { inputs: ['x', 'y'], parameters: (p) => [p.k, Number(p.excludeSameIndex)], outputs: ['indices', 'similarities'] },
};

/** Kernels that every library has: a file without one of them was built from other sources. */
export const ALWAYS_THERE: readonly KernelName[] = ['cosineSimilarity', 'cosineSimilarityBackward', 'ntXent', 'uniformity', 'alignment'];

/** The positional arguments of one call, without the cancel flag. */
export function nativeArguments<K extends KernelName>(kernel: K, call: KernelCall<K>): Argument[] {
  const row: KernelRow<K> = KERNELS[kernel];
  const inputs = call.inputs as Record<string, { data: Float32Array; rows: number; cols: number } | null>;
  const integers = integersOf(call);
  const outputs = call.outputs as Record<string, Float32Array | Int32Array | null>;
  const args: Argument[] = [];
  for (const name of row.inputs) {
    const input = inputs[name];
    if (input) args.push(input.data, input.rows, input.cols);
    else args.push(null, 0, 0);
  }
  for (const name of row.integers ?? []) args.push(integers[name]);
  for (const value of row.parameters(call.parameters)) args.push(value);
  for (const name of row.outputs) args.push(outputs[name]);
  const { weight, normalize, stats, threads, precision } = call.options;
  args.push(weight, normalize, stats, threads, PRECISIONS[precision]);
  return args;
}
