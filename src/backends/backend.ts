/**
 * The one interface between the losses and whatever computes them. A loss (src/losses) checks its arguments, describes the
 * work as a `KernelCall`, and shapes the `KernelResult`; a backend only computes. All three backends take the same calls.
 */
import type { BackendName } from '../errors.js';
import type { Rows } from '../matrix.js';

export type Precision = 'float32' | 'bfloat16x3' | 'bfloat16';
export type PairLayout = 'halves' | 'interleaved';

/** What every call carries, already checked. */
export interface CallOptions {
  /** 1: cosine similarities; false: dot products. */
  readonly normalize: boolean;
  readonly precision: Precision;
  /** 0: the backend's default. */
  readonly threads: number;
  /** Fill `KernelResult.stats`. */
  readonly stats: boolean;
  /** Multiplies each row's loss in the gradients: 1/rows for a mean, 1 for a sum. */
  readonly weight: number;
}

/** Every kernel, its inputs in the order of the C ABI, and the arrays it fills (null: not wanted). */
export interface KernelCalls {
  cosineSimilarity: {
    /** `y` null: x with itself. */
    readonly inputs: { readonly x: Rows; readonly y: Rows | null };
    readonly parameters: Record<string, never>;
    readonly outputs: { readonly out: Float32Array };
  };
  cosineSimilarityBackward: {
    readonly inputs: { readonly x: Rows; readonly y: Rows; readonly upstream: Rows };
    readonly parameters: Record<string, never>;
    readonly outputs: { readonly x: Float32Array | null; readonly y: Float32Array | null };
  };
  ntXent: {
    readonly inputs: { readonly z: Rows };
    readonly parameters: { readonly temperature: number; readonly pairs: PairLayout };
    readonly outputs: {
      readonly z: Float32Array | null;
      readonly perRow: Float32Array | null;
      readonly rowLogSumExp: Float32Array | null;
    };
  };
  uniformity: {
    readonly inputs: { readonly x: Rows };
    readonly parameters: { readonly t: number };
    readonly outputs: { readonly x: Float32Array | null };
  };
  alignment: {
    readonly inputs: { readonly x: Rows; readonly y: Rows };
    readonly parameters: { readonly alpha: number };
    readonly outputs: {
      readonly x: Float32Array | null;
      readonly y: Float32Array | null;
      readonly perRow: Float32Array | null;
    };
  };
}

export type KernelName = keyof KernelCalls;

/** One call: everything checked but the values of the inputs, which the backend checks for NaN and infinities as it reads them. */
export type KernelCall<K extends KernelName = KernelName> = KernelCalls[K] & { readonly options: CallOptions };

/** Cosines (dots where not normalised) before temperature; NaN where a field has no meaning for the loss. */
export interface Stats {
  /** Mean over counted rows of the similarity with the positive. */
  readonly positiveSimilarity: number;
  /** Mean over (row, negative). */
  readonly negativeSimilarity: number;
  /** Share of counted rows whose positive's logit exceeds every other candidate's; a tie is a miss. */
  readonly accuracy: number;
  /** Rows that had nothing to compare with. */
  readonly skippedRows: number;
}

export interface KernelResult {
  /** Sum over rows, not multiplied by `weight` (uniformity: the loss itself; the cosine kernels: 0). */
  readonly loss: number;
  /** d(weight * loss)/d temperature, when a gradient was asked for; else NaN. */
  readonly temperatureGradient: number;
  readonly stats: Stats;
}

export interface Backend {
  readonly name: BackendName;
  /** Precisions `run` accepts. */
  readonly precisions: readonly Precision[];
  /** Computes now. Throws NonFiniteError or RangeError before any output is written. */
  run<K extends KernelName>(kernel: K, call: KernelCall<K>): KernelResult;
  /**
   * Computes off the event loop (the reference: in slices on it). Inputs have been copied before this returns; outputs are
   * written when the promise resolves, and only then.
   */
  runAsync<K extends KernelName>(kernel: K, call: KernelCall<K>, signal: AbortSignal | undefined): Promise<KernelResult>;
  /** Bytes of working memory beyond inputs and outputs. */
  workspaceBytes(kernel: KernelName, rowsX: number, rowsY: number, cols: number, gradients: boolean, options: CallOptions): number;
}

/** One row of `backends()`. */
export interface BackendStatus {
  readonly name: BackendName;
  readonly available: boolean;
  /** Why it is not available. */
  readonly reason?: string;
  readonly device?: string;
  readonly computeCapability?: string;
  readonly memoryBytes?: number;
  readonly driverVersion?: string;
  readonly runtimeVersion?: string;
  readonly instructionSet?: string;
  readonly threads?: number;
}
