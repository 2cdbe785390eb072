/** Uniformity across two sets: checks the arguments, describes the call, shapes the result. The computation is the backends'. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { checkSameCols, readBoolean, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readGradients, readInput } from './device-call.js';
import { LOSS_OPTIONS, type LossOptions, makePlan, type Plan, readCallOptions, readOutputs, readReduction } from './plan.js';

export interface CrossUniformityOptions extends LossOptions {
  /** Scale of the Gaussian kernel exp(-t distance^2); default 2. */
  readonly t?: number | undefined;
  /** Arrays to fill instead of new ones: `x`, `y` with gradients, each as long as its input. */
  readonly out?: { readonly x?: Float32Array | undefined; readonly y?: Float32Array | undefined } | undefined;
}

export interface CrossUniformityGradients {
  /** As the inputs, by the rows as given. */
  readonly x: Float32Array;
  readonly y: Float32Array;
}

export interface CrossUniformityResult {
  readonly loss: number;
  readonly gradients?: CrossUniformityGradients;
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = CrossUniformityResult & { readonly gradients: CrossUniformityGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS, 't']);

/**
 * Uniformity across two sets of rows on the sphere, such as images and texts: log of the mean over all rows i of x and j of y of
 * exp(-t |u_i - v_j|^2), u = x / |x|, v = y / |y|. 0 when all rows of both are equal, lower the further the sets are spread from
 * each other; finite however far apart. Every pair counts, (i, i) too: what pulls partners together is `alignment`.
 *
 * It is one number of all rows, so only reduction 'mean' makes sense.
 *
 * @param x [rows, cols].
 * @param y [any, cols].
 * @throws TypeError, RangeError (columns that differ, t not positive, ...), NonFiniteError, BackendUnavailableError.
 *   Nothing is written then.
 * @see Wang, Isola, ICML 2020, whose uniformity this takes across two sets.
 */
export function crossUniformity(x: LossInput, y: LossInput, options: CrossUniformityOptions & { readonly gradients: true }): WithGradients;
export function crossUniformity(x: LossInput, y: LossInput, options: DeviceOptions<CrossUniformityOptions>): DeviceResult<WithGradients>;
export function crossUniformity(x: LossInput, y: LossInput, options?: CrossUniformityOptions): CrossUniformityResult;
export function crossUniformity(x: LossInput, y: LossInput, options?: AnyOptions<CrossUniformityOptions>): object {
  return plan(x, y, options, false).run();
}

/**
 * `crossUniformity` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function crossUniformityAsync(
  x: LossInput,
  y: LossInput,
  options: CrossUniformityOptions & { readonly gradients: true },
): Promise<WithGradients>;
export function crossUniformityAsync(
  x: LossInput,
  y: LossInput,
  options: DeviceOptions<CrossUniformityOptions>,
): Promise<DeviceResult<WithGradients>>;
export function crossUniformityAsync(x: LossInput, y: LossInput, options?: CrossUniformityOptions): Promise<CrossUniformityResult>;
export async function crossUniformityAsync(x: LossInput, y: LossInput, options?: AnyOptions<CrossUniformityOptions>): Promise<object> {
  return plan(x, y, options, true).runAsync();
}

function plan(
  xGiven: LossInput,
  yGiven: LossInput,
  optionsGiven: AnyOptions<CrossUniformityOptions> | undefined,
  isAsync: boolean,
): Plan<CrossUniformityResult> {
  const x = readInput('x', xGiven, isAsync);
  const y = readInput('y', yGiven, isAsync);
  checkSameCols('y', y, 'x', x);
  const options = readOptions(optionsGiven, KNOWN);
  const t = readScale('t', options.t, 2);
  readScale('temperature', options.temperature, 1);
  const reduction = readReduction(options.reduction);
  if (reduction !== 'mean')
    throw new RangeError(`reduction: expected 'mean' for crossUniformity, which has no loss per row, got '${reduction}'`);
  const gradients = readGradients(options.gradients);
  const stats = readBoolean('stats', options.stats, true);
  const lengths = { x: gradients ? x.data.length : 0, y: gradients ? y.data.length : 0 };
  const outputs = readOutputs(options.out, lengths, { x: x.data, y: y.data }, isAsync, gradients);
  const call = { inputs: { x, y }, parameters: { t }, outputs, options: readCallOptions(options, stats, 1) };
  return makePlan('crossUniformity', call, options, x.rows * y.rows * x.cols, (result, backend) => ({
    loss: result.loss,
    ...(outputs.x && outputs.y && { gradients: { x: outputs.x, y: outputs.y } }),
    ...(stats && { stats: result.stats }),
    backend,
  }));
}
