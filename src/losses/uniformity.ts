/** Uniformity: checks the arguments, describes the call, shapes the result. The computation is the backends'. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { readBoolean, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readGradients, readInput } from './device-call.js';
import { LOSS_OPTIONS, type LossOptions, makePlan, type Plan, readCallOptions, readOutputs, readReduction } from './plan.js';

export interface UniformityOptions extends LossOptions {
  /** Scale of the Gaussian kernel exp(-t distance^2); default 2. */
  readonly t?: number | undefined;
  /** An array to fill instead of a new one: `x` [rows * cols] with gradients. */
  readonly out?: { readonly x?: Float32Array | undefined } | undefined;
}

export interface UniformityGradients {
  /** [rows, cols], by the rows as given. */
  readonly x: Float32Array;
}

export interface UniformityResult {
  readonly loss: number;
  readonly gradients?: UniformityGradients;
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = UniformityResult & { readonly gradients: UniformityGradients };

const KNOWN = new Set([...LOSS_OPTIONS, 't']);

/**
 * Uniformity of rows on the sphere: log of the mean over pairs i < j of exp(-t |u_i - u_j|^2), u = x / |x|. 0 when all rows
 * are equal, lower the more evenly they are spread, and finite however far apart rows are. It is one number of all rows, so
 * only reduction 'mean' makes sense.
 *
 * @param x [rows, cols], at least two rows.
 * @throws TypeError, RangeError (fewer than two rows, t not positive, a reduction other than 'mean', ...), NonFiniteError,
 *   BackendUnavailableError. Nothing is written then.
 * @see Wang, Isola: Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere, ICML 2020.
 */
export function uniformity(x: LossInput, options: UniformityOptions & { readonly gradients: true }): WithGradients;
export function uniformity(x: LossInput, options: DeviceOptions<UniformityOptions>): DeviceResult<WithGradients>;
export function uniformity(x: LossInput, options?: UniformityOptions): UniformityResult;
export function uniformity(x: LossInput, options?: AnyOptions<UniformityOptions>): object {
  return plan(x, options, false).run();
}

/**
 * `uniformity` off the event loop. The input is copied before this returns; the output is written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function uniformityAsync(x: LossInput, options: UniformityOptions & { readonly gradients: true }): Promise<WithGradients>;
export function uniformityAsync(x: LossInput, options: DeviceOptions<UniformityOptions>): Promise<DeviceResult<WithGradients>>;
export function uniformityAsync(x: LossInput, options?: UniformityOptions): Promise<UniformityResult>;
export async function uniformityAsync(x: LossInput, options?: AnyOptions<UniformityOptions>): Promise<object> {
  return plan(x, options, true).runAsync();
}

function plan(xGiven: LossInput, optionsGiven: AnyOptions<UniformityOptions> | undefined, isAsync: boolean): Plan<UniformityResult> {
  const x = readInput('x', xGiven, isAsync);
  const { rows, cols, data } = x;
  if (rows < 2) throw new RangeError(`x: expected at least two rows to compare, got ${rows}`);
  const options = readOptions(optionsGiven, KNOWN);
  const t = readScale('t', options.t, 2);
  readScale('temperature', options.temperature, 1);
  const reduction = readReduction(options.reduction);
  if (reduction !== 'mean')
    throw new RangeError(`reduction: expected 'mean' for uniformity, which has no loss per row, got '${reduction}'`);
  const gradients = readGradients(options.gradients);
  const stats = readBoolean('stats', options.stats, true);
  const outputs = readOutputs(options.out, { x: gradients ? data.length : 0 }, { x: data }, isAsync, gradients);
  const call = { inputs: { x }, parameters: { t }, outputs, options: readCallOptions(options, stats, 1) };
  return makePlan('uniformity', call, options, rows * rows * cols, (result, backend) => ({
    loss: result.loss,
    ...(outputs.x && { gradients: { x: outputs.x } }),
    ...(stats && { stats: result.stats }),
    backend,
  }));
}
