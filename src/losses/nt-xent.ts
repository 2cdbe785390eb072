/** NT-Xent: checks the arguments, describes the call, shapes the result. The computation is the backends'. */
import type { PairLayout, Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { MAX_ELEMENTS, readBoolean, readChoice, readInteger, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readGradients, readInput } from './device-call.js';
import { LOSS_OPTIONS, type LossOptions, makePlan, type Plan, readCallOptions, readOutputs, readReduction } from './plan.js';
import { planSupCon } from './sup-con.js';

export interface NtXentOptions extends LossOptions {
  /** 'halves' (default): row i with row i + N of the 2N rows. 'interleaved': row 2k with row 2k + 1. More views likewise. */
  readonly pairs?: PairLayout | undefined;
  /** Views of each item; default 2. With V of them the other V - 1 are the positives of a row, averaged outside the logarithm. */
  readonly views?: number | undefined;
  /** Arrays to fill instead of new ones: `z` [rows * cols] with gradients; `perRow`, `rowLogSumExp` [rows] with reduction 'none'. */
  readonly out?:
    | {
        readonly z?: Float32Array | undefined;
        readonly perRow?: Float32Array | undefined;
        readonly rowLogSumExp?: Float32Array | undefined;
      }
    | undefined;
}

export interface NtXentGradients {
  /** [rows, cols], by the rows as given (before they are normalised). */
  readonly z: Float32Array;
  readonly temperature: number;
}

export interface NtXentResult {
  readonly loss: number;
  /** [rows], with reduction 'none': the loss of each row. */
  readonly perRow?: Float32Array;
  /** [rows], with reduction 'none': log sum over k != i of exp(z_ik), so that log-probabilities are z_ik minus it. */
  readonly rowLogSumExp?: Float32Array;
  readonly gradients?: NtXentGradients;
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = NtXentResult & { readonly gradients: NtXentGradients };

const KNOWN = new Set([...LOSS_OPTIONS, 'pairs', 'views']);
const PAIR_LAYOUTS = ['halves', 'interleaved'] as const;

/**
 * NT-Xent, the loss of SimCLR: the mean over all rows i of -z_ip + log sum over k != i of exp(z_ik), with
 * z_ij = cos(x_i, x_j) / temperature and p the other view of row i. Only k = i is excluded: a duplicate of a row is one of its
 * negatives. The rows x rows matrix is never stored, and confident rows keep their full relative accuracy.
 *
 * With more than two `views` a row has several positives, and its loss is the mean over them of the same term, all k != i in the
 * denominator: the 'out' variant of `supCon` with the items as labels.
 *
 * With one pair alone there is nothing to compare: loss 0, gradient 0, `stats.skippedRows` 2. A zero row counts as the zero
 * vector and gets gradient 0.
 *
 * @param z [2N, cols]: the two views of N items, laid out as `options.pairs` says; [views * N, cols].
 * @throws TypeError, RangeError (an odd number of rows, temperature not positive, a gradient too large for float32, ...),
 *   NonFiniteError, BackendUnavailableError. Nothing is written then.
 * @see Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020,
 *   whose own code returns twice this value.
 */
export function ntXent(z: LossInput, options: NtXentOptions & { readonly gradients: true }): WithGradients;
export function ntXent(z: LossInput, options: DeviceOptions<NtXentOptions>): DeviceResult<WithGradients>;
export function ntXent(z: LossInput, options?: NtXentOptions): NtXentResult;
export function ntXent(z: LossInput, options?: AnyOptions<NtXentOptions>): object {
  return plan(z, options, false).run();
}

/**
 * `ntXent` off the event loop. The input is copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function ntXentAsync(z: LossInput, options: NtXentOptions & { readonly gradients: true }): Promise<WithGradients>;
export function ntXentAsync(z: LossInput, options: DeviceOptions<NtXentOptions>): Promise<DeviceResult<WithGradients>>;
export function ntXentAsync(z: LossInput, options?: NtXentOptions): Promise<NtXentResult>;
export async function ntXentAsync(z: LossInput, options?: AnyOptions<NtXentOptions>): Promise<object> {
  return plan(z, options, true).runAsync();
}

function plan(zGiven: LossInput, optionsGiven: AnyOptions<NtXentOptions> | undefined, isAsync: boolean): Plan<NtXentResult> {
  const z = readInput('z', zGiven, isAsync);
  const { rows, cols, data } = z;
  const options = readOptions(optionsGiven, KNOWN);
  const views = options.views === undefined ? 2 : readInteger('views', options.views, 2, MAX_ELEMENTS);
  if (rows % views !== 0) {
    const what = views === 2 ? 'an even number of rows, two views' : `a multiple of ${views} rows, ${views} views`;
    throw new RangeError(`z: expected ${what} of each item, got ${rows}`);
  }
  const temperature = readScale('temperature', options.temperature, 0.5);
  const pairs = readChoice('pairs', options.pairs, PAIR_LAYOUTS, 'halves');
  if (views > 2) {
    const { pairs: _, views: __, ...rest } = options;
    return planSupCon(zGiven, itemOfEachRow(rows, views, pairs), rest, isAsync);
  }
  const reduction = readReduction(options.reduction);
  const gradients = readGradients(options.gradients);
  const stats = readBoolean('stats', options.stats, true);
  const counted = rows > 2 ? rows : 0;
  const weight = reduction === 'mean' && counted > 0 ? 1 / counted : 1;
  const perRow = reduction === 'none' ? rows : 0;
  const outputs = readOutputs(
    options.out,
    { z: gradients ? data.length : 0, perRow, rowLogSumExp: perRow },
    { z: data },
    isAsync,
    gradients,
  );
  const call = { inputs: { z }, parameters: { temperature, pairs }, outputs, options: readCallOptions(options, stats, weight) };
  return makePlan('ntXent', call, options, rows * rows * cols, (result, backend) => ({
    loss: result.loss * weight,
    ...(outputs.perRow && { perRow: outputs.perRow }),
    ...(outputs.rowLogSumExp && { rowLogSumExp: outputs.rowLogSumExp }),
    ...(outputs.z && { gradients: { z: outputs.z, temperature: result.temperatureGradient } }),
    ...(stats && { stats: result.stats }),
    backend,
  }));
}

function itemOfEachRow(rows: number, views: number, pairs: PairLayout): Int32Array {
  return Int32Array.from({ length: rows }, (_, row) => (pairs === 'halves' ? row % (rows / views) : Math.floor(row / views)));
}
