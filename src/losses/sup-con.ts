/** The supervised contrastive loss: checks the arguments, describes the call, shapes the result. The computation is the backends'. */
import type { Stats, SupConVariant } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { readBoolean, readChoice, readLabels, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readGradients, readInput } from './device-call.js';
import { LOSS_OPTIONS, type LossOptions, makePlan, type Plan, readCallOptions, readOutputs, readReduction } from './plan.js';

export interface SupConOptions extends LossOptions {
  /** 'out' (default): the mean over positives outside the logarithm; 'in': inside; 'pair': every ordered pair by itself. */
  readonly variant?: SupConVariant | undefined;
  /** Rows without a positive: 'skip' (default) leaves them out of the mean, 'zero' keeps them in it with loss 0. Not with 'pair'. */
  readonly noPositive?: 'skip' | 'zero' | undefined;
  /** Arrays to fill instead of new ones: `z` [rows * cols] with gradients; `perRow`, `rowLogSumExp` [rows] with reduction 'none'. */
  readonly out?:
    | {
        readonly z?: Float32Array | undefined;
        readonly perRow?: Float32Array | undefined;
        readonly rowLogSumExp?: Float32Array | undefined;
      }
    | undefined;
}

export interface SupConGradients {
  /** [rows, cols], by the rows as given (before they are normalised). */
  readonly z: Float32Array;
  readonly temperature: number;
}

export interface SupConResult {
  readonly loss: number;
  /** [rows], with reduction 'none': the loss of each row, 0 where it is skipped; variant 'pair': the sum over its pairs. */
  readonly perRow?: Float32Array;
  /** [rows], with reduction 'none': log sum over k != i of exp(z_ik). */
  readonly rowLogSumExp?: Float32Array;
  readonly gradients?: SupConGradients;
  /** Positives and negatives averaged over (row, positive) and (row, negative); accuracy by the best positive of each row. */
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = SupConResult & { readonly gradients: SupConGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS, 'variant', 'noPositive']);
const VARIANTS = ['out', 'in', 'pair'] as const;
const NO_POSITIVE = ['skip', 'zero'] as const;

/**
 * The supervised contrastive loss. P(i) are the other rows with row i's label, and softmax_ik is over all k != i with
 * z_ik = cos(x_i, x_k) / temperature:
 *
 *   'out'   mean over i of -(1/|P(i)|) sum over p in P(i) of log softmax_ip
 *   'in'    mean over i of -log((1/|P(i)|) sum over p in P(i) of softmax_ip)
 *   'pair'  mean over ordered positive pairs (i, p) of -log(exp(z_ip) / (exp(z_ip) + sum over other labels of exp(z_ij)))
 *
 * Rows that have nothing to compare (no positive; one positive and nothing else; with 'pair' no negative) are counted in
 * `stats.skippedRows`. With labels that say which rows are views of one item it is NT-Xent for any number of views.
 *
 * @param z [rows, cols], at least two rows.
 * @param labels [rows], integers: an Int32Array or an array.
 * @throws TypeError, RangeError (a wrong number of labels, temperature not positive, ...), NonFiniteError, BackendUnavailableError.
 *   Nothing is written then.
 * @see Khosla et al.: Supervised Contrastive Learning, NeurIPS 2020, whose own code multiplies 'out' by temperature / 0.07.
 */
export function supCon(
  z: LossInput,
  labels: Int32Array | readonly number[],
  options: SupConOptions & { readonly gradients: true },
): WithGradients;
export function supCon(
  z: LossInput,
  labels: Int32Array | readonly number[],
  options: DeviceOptions<SupConOptions>,
): DeviceResult<WithGradients>;
export function supCon(z: LossInput, labels: Int32Array | readonly number[], options?: SupConOptions): SupConResult;
export function supCon(z: LossInput, labels: Int32Array | readonly number[], options?: AnyOptions<SupConOptions>): object {
  return planSupCon(z, labels, options, false).run();
}

/**
 * `supCon` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function supConAsync(
  z: LossInput,
  labels: Int32Array | readonly number[],
  options: SupConOptions & { readonly gradients: true },
): Promise<WithGradients>;
export function supConAsync(
  z: LossInput,
  labels: Int32Array | readonly number[],
  options: DeviceOptions<SupConOptions>,
): Promise<DeviceResult<WithGradients>>;
export function supConAsync(z: LossInput, labels: Int32Array | readonly number[], options?: SupConOptions): Promise<SupConResult>;
export async function supConAsync(
  z: LossInput,
  labels: Int32Array | readonly number[],
  options?: AnyOptions<SupConOptions>,
): Promise<object> {
  return planSupCon(z, labels, options, true).runAsync();
}

export function planSupCon(
  zGiven: LossInput,
  labelsGiven: Int32Array | readonly number[],
  optionsGiven: AnyOptions<SupConOptions> | undefined,
  isAsync: boolean,
): Plan<SupConResult> {
  const z = readInput('z', zGiven, isAsync);
  const { rows, cols, data } = z;
  if (rows < 2) throw new RangeError(`z: expected at least two rows to compare, got ${rows}`);
  const labels = readLabels('labels', labelsGiven, rows);
  const options = readOptions(optionsGiven, KNOWN);
  const temperature = readScale('temperature', options.temperature, 0.5);
  const variant = readChoice('variant', options.variant, VARIANTS, 'out');
  const noPositive = readChoice('noPositive', options.noPositive, NO_POSITIVE, 'skip');
  if (noPositive === 'zero' && variant === 'pair') {
    throw new RangeError("noPositive: expected 'skip' with variant 'pair', whose mean is over pairs, got 'zero'");
  }
  const reduction = readReduction(options.reduction);
  const gradients = readGradients(options.gradients);
  const stats = readBoolean('stats', options.stats, true);
  const divisor = reduction !== 'mean' ? 1 : noPositive === 'zero' ? rows : countTerms(labels, variant);
  const weight = divisor > 0 ? 1 / divisor : 1;
  const perRow = reduction === 'none' ? rows : 0;
  const outputs = readOutputs(
    options.out,
    { z: gradients ? data.length : 0, perRow, rowLogSumExp: perRow },
    { z: data },
    isAsync,
    gradients,
    { labels: labelsGiven },
  );
  const call = {
    inputs: { z },
    integers: { labels },
    parameters: { temperature, variant },
    outputs,
    options: readCallOptions(options, stats, weight),
  };
  return makePlan('supCon', call, options, rows * rows * cols, (result, backend) => ({
    loss: result.loss * weight,
    ...(outputs.perRow && { perRow: outputs.perRow }),
    ...(outputs.rowLogSumExp && { rowLogSumExp: outputs.rowLogSumExp }),
    ...(outputs.z && { gradients: { z: outputs.z, temperature: result.temperatureGradient } }),
    ...(stats && { stats: result.stats }),
    backend,
  }));
}

/** What a mean divides by: the rows that count, or with 'pair' the ordered pairs. */
function countTerms(labels: Int32Array, variant: SupConVariant): number {
  const rows = labels.length;
  const sizes = new Map<number, number>();
  for (const label of labels) sizes.set(label, (sizes.get(label) ?? 0) + 1);
  let terms = 0;
  for (const size of sizes.values()) {
    if (variant === 'pair') terms += size < rows ? size * (size - 1) : 0;
    else if (size > 1 && rows > 2) terms += size;
  }
  return terms;
}
