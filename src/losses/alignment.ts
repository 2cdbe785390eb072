/** Alignment: checks the arguments, describes the call, shapes the result. The computation is the backends'. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { checkSameShape, readBoolean, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readGradients, readInput } from './device-call.js';
import { LOSS_OPTIONS, type LossOptions, makePlan, type Plan, readCallOptions, readOutputs, readReduction } from './plan.js';

export interface AlignmentOptions extends LossOptions {
  /** Power of the distance; default 2. */
  readonly alpha?: number | undefined;
  /** Arrays to fill instead of new ones: `x`, `y` [rows * cols] with gradients; `perRow` [rows] with reduction 'none'. */
  readonly out?:
    | {
        readonly x?: Float32Array | undefined;
        readonly y?: Float32Array | undefined;
        readonly perRow?: Float32Array | undefined;
      }
    | undefined;
}

export interface AlignmentGradients {
  /** [rows, cols], by the rows as given. */
  readonly x: Float32Array;
  readonly y: Float32Array;
}

export interface AlignmentResult {
  readonly loss: number;
  /** [rows], with reduction 'none': |u_i - v_i|^alpha. */
  readonly perRow?: Float32Array;
  readonly gradients?: AlignmentGradients;
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = AlignmentResult & { readonly gradients: AlignmentGradients };

const KNOWN = new Set([...LOSS_OPTIONS, 'alpha']);

/**
 * Alignment of pairs: the mean over rows i of |u_i - v_i|^alpha, u = x / |x| and v = y / |y|. 0 when both views of every item
 * coincide; its gradient is 0 there too, also for alpha <= 1, where there is none.
 *
 * @param x [rows, cols], one view of each item.
 * @param y [rows, cols], the other view, row by row.
 * @throws TypeError, RangeError (shapes that differ, alpha not positive, ...), NonFiniteError, BackendUnavailableError.
 *   Nothing is written then.
 * @see Wang, Isola: Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere, ICML 2020.
 */
export function alignment(x: LossInput, y: LossInput, options: AlignmentOptions & { readonly gradients: true }): WithGradients;
export function alignment(x: LossInput, y: LossInput, options: DeviceOptions<AlignmentOptions>): DeviceResult<WithGradients>;
export function alignment(x: LossInput, y: LossInput, options?: AlignmentOptions): AlignmentResult;
export function alignment(x: LossInput, y: LossInput, options?: AnyOptions<AlignmentOptions>): object {
  return plan(x, y, options, false).run();
}

/**
 * `alignment` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function alignmentAsync(
  x: LossInput,
  y: LossInput,
  options: AlignmentOptions & { readonly gradients: true },
): Promise<WithGradients>;
export function alignmentAsync(x: LossInput, y: LossInput, options: DeviceOptions<AlignmentOptions>): Promise<DeviceResult<WithGradients>>;
export function alignmentAsync(x: LossInput, y: LossInput, options?: AlignmentOptions): Promise<AlignmentResult>;
export async function alignmentAsync(x: LossInput, y: LossInput, options?: AnyOptions<AlignmentOptions>): Promise<object> {
  return plan(x, y, options, true).runAsync();
}

function plan(
  xGiven: LossInput,
  yGiven: LossInput,
  optionsGiven: AnyOptions<AlignmentOptions> | undefined,
  isAsync: boolean,
): Plan<AlignmentResult> {
  const x = readInput('x', xGiven, isAsync);
  const y = readInput('y', yGiven, isAsync);
  checkSameShape('y', y, 'x', x);
  const options = readOptions(optionsGiven, KNOWN);
  const alpha = readScale('alpha', options.alpha, 2);
  readScale('temperature', options.temperature, 1);
  const reduction = readReduction(options.reduction);
  const gradients = readGradients(options.gradients);
  const stats = readBoolean('stats', options.stats, true);
  const weight = reduction === 'mean' ? 1 / x.rows : 1;
  const gradientLength = gradients ? x.data.length : 0;
  const outputs = readOutputs(
    options.out,
    { x: gradientLength, y: gradientLength, perRow: reduction === 'none' ? x.rows : 0 },
    { x: x.data, y: y.data },
    isAsync,
    gradients,
  );
  const call = { inputs: { x, y }, parameters: { alpha }, outputs, options: readCallOptions(options, stats, weight) };
  return makePlan('alignment', call, options, x.data.length, (result, backend) => ({
    loss: result.loss * weight,
    ...(outputs.perRow && { perRow: outputs.perRow }),
    ...(outputs.x && outputs.y && { gradients: { x: outputs.x, y: outputs.y } }),
    ...(stats && { stats: result.stats }),
    backend,
  }));
}
