/**
 * The one interface between the losses and whatever computes them. A loss (src/losses) checks its arguments, describes the
 * work as a `KernelCall`, and shapes the `KernelResult`; a backend only computes. All three backends take the same calls.
 */
import type { BackendName } from '../errors.js';
import type { Rows } from '../matrix.js';

export type Precision = 'float32' | 'bfloat16x3' | 'bfloat16';
export type PairLayout = 'halves' | 'interleaved';
/** Whose negatives the rows of `negatives` are: everybody's, rows i*m .. i*m+m-1 query i's, or query i's by index. */
export type NegativeMode = 'shared' | 'paired' | 'indexed';
/** With the positive p of a query: the query with the other queries, p with every query (the own one once more), p with the other keys. */
export type AlsoCompared = 'queries' | 'queriesOfKey' | 'otherKeysOfKey';
export type SupConVariant = 'out' | 'in' | 'pair';

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

/**
 * Every kernel: its matrices and its integer arrays in the order of the C ABI (null: not given), its parameters, and the arrays
 * it fills (null: not wanted). Lengths and ranges of integers have been checked. Gradients are called as the input they belong to.
 */
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
  infoNce: {
    readonly inputs: {
      /** query [N, d]; key [K, d], K at least N where `positives` is null; negatives [any, d]. */
      readonly query: Rows;
      readonly key: Rows;
      readonly negatives: Rows | null;
      /**
       * A guide, [N, g] and [K, g], both or neither: key row j is no negative of query i where the cosine of their rows here exceeds the
       * threshold that `guideMargin` makes of the cosine of the query and its positive. Never removes a positive. See reference/guide.ts.
       */
      readonly guideQuery: Rows | null;
      readonly guideKey: Rows | null;
      /** [N, g], or null: what keys from row `guideSplit` on are compared with instead. */
      readonly guideSecondQuery: Rows | null;
    };
    readonly integers: {
      /** [N]: the key row that is the positive of each query; null: row i. Distinct where symmetric. */
      readonly positives: Int32Array | null;
      /** [N * perQuery]: rows of `negatives`, with mode 'indexed' only; a row may come twice and then counts twice. */
      readonly negativeIndices: Int32Array | null;
      /** [N] and [K], both or neither: a key row of the query's label is no negative of it (and not the other way round). */
      readonly queryLabels: Int32Array | null;
      readonly keyLabels: Int32Array | null;
      /** [N * K]: 0 where key row j is no negative of query i (nor query i one of key j's). Never removes a positive. */
      readonly mask: Uint8Array | null;
    };
    readonly parameters: {
      readonly temperature: number;
      /** The other rows of `key` are negatives. */
      readonly inBatch: boolean;
      /** Half the row loss plus half the column loss; column i: positive query i, key row positives[i], candidates all queries. */
      readonly symmetric: boolean;
      /** A key row of label L below -1 is a negative of the queries of label -2 - L alone. */
      readonly ownedKeys: boolean;
      readonly negativeMode: NegativeMode;
      /** Negatives of each query with 'paired' and 'indexed'; 0 with 'shared'. */
      readonly perQuery: number;
      /** Added, after division by the temperature, to the logit of shared negative i for query i; 0: nothing. */
      readonly ownNegativeLogit: number;
      /** The threshold is s - margin, or, relative, s (1 - margin). */
      readonly guideMargin: number;
      readonly guideRelative: boolean;
      readonly guideSplit: number;
      /** Zeros at both ends of the keys may be left out of the products; where they are, the gradient of `key` is undefined. */
      readonly sparseKeys: boolean;
      /** Further candidates of each query, on 'cpu' alone: see ck_also in contrastive_kernels.h. */
      readonly also: readonly AlsoCompared[];
    };
    readonly outputs: {
      readonly query: Float32Array | null;
      readonly key: Float32Array | null;
      readonly negatives: Float32Array | null;
      /** [N]; symmetric: half of row i and half of column i. */
      readonly perRow: Float32Array | null;
      /** [N], of row i's candidates, symmetric or not. */
      readonly rowLogSumExp: Float32Array | null;
    };
  };
  supCon: {
    readonly inputs: { readonly z: Rows };
    /** [rows] */
    readonly integers: { readonly labels: Int32Array };
    readonly parameters: { readonly temperature: number; readonly variant: SupConVariant };
    readonly outputs: {
      readonly z: Float32Array | null;
      /** [rows]: 0 for a skipped row; variant 'pair': the sum over the row's pairs. */
      readonly perRow: Float32Array | null;
      /** [rows], over all k != i. */
      readonly rowLogSumExp: Float32Array | null;
    };
  };
  dcl: {
    readonly inputs: { readonly x: Rows; readonly y: Rows };
    /** weightSigma 0: every weight is 1. */
    readonly parameters: { readonly temperature: number; readonly weightSigma: number };
    readonly outputs: {
      readonly x: Float32Array | null;
      readonly y: Float32Array | null;
      /** [2N]: the rows of x, then those of y. */
      readonly perRow: Float32Array | null;
      /** [2N], over k neither i nor its positive. */
      readonly rowLogSumExp: Float32Array | null;
    };
  };
  sigLip: {
    readonly inputs: { readonly x: Rows; readonly y: Rows };
    /** temperature: 1 / logit scale. */
    readonly parameters: { readonly temperature: number; readonly bias: number };
    readonly outputs: {
      readonly x: Float32Array | null;
      readonly y: Float32Array | null;
      /** [N]: the sum over row i's pairs. */
      readonly perRow: Float32Array | null;
    };
  };
  barlowTwins: {
    readonly inputs: { readonly a: Rows; readonly b: Rows };
    readonly parameters: { readonly lambda: number };
    readonly outputs: { readonly a: Float32Array | null; readonly b: Float32Array | null };
  };
  vicReg: {
    readonly inputs: { readonly a: Rows; readonly b: Rows };
    /** The weights of the three terms. */
    readonly parameters: { readonly invariance: number; readonly variance: number; readonly covariance: number };
    readonly outputs: { readonly a: Float32Array | null; readonly b: Float32Array | null };
  };
  crossUniformity: {
    readonly inputs: { readonly x: Rows; readonly y: Rows };
    readonly parameters: { readonly t: number };
    readonly outputs: { readonly x: Float32Array | null; readonly y: Float32Array | null };
  };
  nearest: {
    readonly inputs: { readonly x: Rows; readonly y: Rows };
    /** excludeSameIndex: row i of y is no neighbour of row i of x. */
    readonly parameters: { readonly k: number; readonly excludeSameIndex: boolean };
    /** [x.rows * k] each, the most similar first, of equals the lower row. */
    readonly outputs: { readonly indices: Int32Array; readonly similarities: Float32Array };
  };
}

export type KernelName = keyof KernelCalls;

/** One call: everything checked but the values of the inputs, which the backend checks for NaN and infinities as it reads them. */
export type KernelCall<K extends KernelName = KernelName> = KernelCalls[K] & { readonly options: CallOptions };

/** The integer arrays of any call; none for most kernels. */
export function integersOf(call: KernelCall): Readonly<Record<string, Int32Array | Uint8Array | null>> {
  return 'integers' in call ? { ...call.integers } : {};
}

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
  /** d(weight * loss)/d bias, likewise; NaN for a loss without bias. */
  readonly biasGradient: number;
  readonly stats: Stats;
}

/** What the working memory of a call depends on; the last four are infoNce's and nearest's. */
export interface WorkspaceSizes {
  readonly rowsX: number;
  readonly rowsY: number;
  readonly cols: number;
  readonly negativeRows: number;
  readonly negativeMode: NegativeMode;
  readonly perQuery: number;
  readonly k: number;
}

export interface Backend {
  readonly name: BackendName;
  /** Precisions that `run` accepts of a kernel it has. */
  precisions(kernel: KernelName): readonly Precision[];
  /** Whether it has this kernel; only then may it be run. */
  supports(kernel: KernelName): boolean;
  /** Computes now. Throws NonFiniteError or RangeError before any output is written. */
  run<K extends KernelName>(kernel: K, call: KernelCall<K>): KernelResult;
  /**
   * Computes off the event loop (the reference: in slices on it). Inputs have been copied before this returns; outputs are
   * written when the promise resolves, and only then.
   */
  runAsync<K extends KernelName>(kernel: K, call: KernelCall<K>, signal: AbortSignal | undefined): Promise<KernelResult>;
  /** Bytes of working memory beyond inputs and outputs. */
  workspaceBytes(kernel: KernelName, sizes: WorkspaceSizes, gradients: boolean, options: CallOptions): number;
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
  /** On the CPU: 'amx' (avx512, with bfloat16 on AMX), 'avx512', 'avx2', 'neon' or 'portable'. */
  readonly instructionSet?: string;
  /** On the CPU: the kernels that have precision 'bfloat16' here; absent where none has. */
  readonly bfloat16?: readonly string[];
  readonly threads?: number;
}
