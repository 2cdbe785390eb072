/** The decoupled contrastive loss: checks the arguments, describes the call, shapes the result. The computation is the backends'. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { checkSameShape, readBoolean, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readGradients, readInput } from './device-call.js';
import { LOSS_OPTIONS, type LossOptions, makePlan, type Plan, readCallOptions, readOutputs, readReduction } from './plan.js';
import { withNames, withNamesOf } from './renamed.js';

export interface DclOptions extends LossOptions {
  /** Given: DCLW, the positives weighted by 2 - N softmax_i(<u1_i, u2_i> / weightSigma); lightly's is 0.5. Default: weights 1. */
  readonly weightSigma?: number | undefined;
  /**
   * Arrays to fill instead of new ones: `z1`, `z2` [N * cols] with gradients; `perRow`, `rowLogSumExp` [2N] with reduction 'none'.
   */
  readonly out?:
    | {
        readonly z1?: Float32Array | undefined;
        readonly z2?: Float32Array | undefined;
        readonly perRow?: Float32Array | undefined;
        readonly rowLogSumExp?: Float32Array | undefined;
      }
    | undefined;
}

export interface DclGradients {
  /** [N, cols], by the rows as given (before they are normalised). */
  readonly z1: Float32Array;
  readonly z2: Float32Array;
  readonly temperature: number;
}

export interface DclResult {
  readonly loss: number;
  /** [2N], with reduction 'none': the losses of the rows of z1, then of z2. */
  readonly perRow?: Float32Array;
  /** [2N], with reduction 'none': log sum over the negatives of exp(z_ik); -Infinity where there is none. */
  readonly rowLogSumExp?: Float32Array;
  readonly gradients?: DclGradients;
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = DclResult & { readonly gradients: DclGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS, 'weightSigma']);
/** What the kernel calls its inputs, and what they are called here. */
const NAMES = { x: 'z1', y: 'z2' };

/**
 * DCL: the mean over all 2N rows of -w_i z_ip + log sum over k neither i nor p of exp(z_ik), with z_ij = cos(x_i, x_j) / temperature
 * and p the other view of row i. As the positive is not in the denominator, the loss can be negative, and rows that are already
 * right keep pulling. With `weightSigma` it is DCLW; its weights are constants to the gradient.
 *
 * With one pair alone there is nothing to compare: loss 0, gradient 0, `stats.skippedRows` 2.
 *
 * @param z1 [N, cols], one view of each item.
 * @param z2 [N, cols], the other view, row by row.
 * @throws TypeError, RangeError (shapes that differ, temperature not positive, ...), NonFiniteError, BackendUnavailableError.
 *   Nothing is written then.
 * @see Yeh et al.: Decoupled Contrastive Learning, ECCV 2022.
 */
export function dcl(z1: LossInput, z2: LossInput, options: DclOptions & { readonly gradients: true }): WithGradients;
export function dcl(z1: LossInput, z2: LossInput, options: DeviceOptions<DclOptions>): DeviceResult<WithGradients>;
export function dcl(z1: LossInput, z2: LossInput, options?: DclOptions): DclResult;
export function dcl(z1: LossInput, z2: LossInput, options?: AnyOptions<DclOptions>): object {
  return plan(z1, z2, options, false).run();
}

/**
 * `dcl` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function dclAsync(z1: LossInput, z2: LossInput, options: DclOptions & { readonly gradients: true }): Promise<WithGradients>;
export function dclAsync(z1: LossInput, z2: LossInput, options: DeviceOptions<DclOptions>): Promise<DeviceResult<WithGradients>>;
export function dclAsync(z1: LossInput, z2: LossInput, options?: DclOptions): Promise<DclResult>;
export async function dclAsync(z1: LossInput, z2: LossInput, options?: AnyOptions<DclOptions>): Promise<object> {
  return plan(z1, z2, options, true).runAsync();
}

function plan(z1Given: LossInput, z2Given: LossInput, optionsGiven: AnyOptions<DclOptions> | undefined, isAsync: boolean): Plan<DclResult> {
  const x = readInput('z1', z1Given, isAsync);
  const y = readInput('z2', z2Given, isAsync);
  checkSameShape('z2', y, 'z1', x);
  const options = readOptions(optionsGiven, KNOWN);
  const temperature = readScale('temperature', options.temperature, 0.5);
  const weightSigma = readScale('weightSigma', options.weightSigma, 0);
  const reduction = readReduction(options.reduction);
  const gradients = readGradients(options.gradients);
  const stats = readBoolean('stats', options.stats, true);
  const rows = 2 * x.rows;
  const weight = reduction === 'mean' && x.rows > 1 ? 1 / rows : 1;
  const length = gradients ? x.data.length : 0;
  const perRow = reduction === 'none' ? rows : 0;
  const wanted = { z1: length, z2: length, perRow, rowLogSumExp: perRow };
  const outputs = readOutputs(options.out, wanted, { z1: x.data, z2: y.data }, isAsync, gradients);
  const call = {
    inputs: { x, y },
    parameters: { temperature, weightSigma },
    outputs: { x: outputs.z1, y: outputs.z2, perRow: outputs.perRow, rowLogSumExp: outputs.rowLogSumExp },
    options: readCallOptions(options, stats, weight),
  };
  const shaped = withNames(NAMES, () =>
    makePlan('dcl', call, options, rows * rows * x.cols, (result, backend) => ({
      loss: result.loss * weight,
      ...(outputs.perRow && { perRow: outputs.perRow }),
      ...(outputs.rowLogSumExp && { rowLogSumExp: outputs.rowLogSumExp }),
      ...(outputs.z1 && outputs.z2 && { gradients: { z1: outputs.z1, z2: outputs.z2, temperature: result.temperatureGradient } }),
      ...(stats && { stats: result.stats }),
      backend,
    })),
  );
  return withNamesOf(shaped, NAMES);
}
