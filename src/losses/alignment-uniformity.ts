/** Alignment and uniformity as one loss: two losses of this package, added. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { checkSameShape, readNumber, readOptions } from '../validate.js';
import { type AlignmentResult, alignment, alignmentAsync } from './alignment.js';
import {
  type AnyOptions,
  type DeviceOptions,
  type DeviceResult,
  type LossInput,
  readGradients,
  readInput,
  summedOnHost,
} from './device-call.js';
import { LOSS_OPTIONS, type LossOptions, readOutputs, readReduction } from './plan.js';
import { renamed, withNames } from './renamed.js';
import { deliver } from './several-plans.js';
import { type UniformityResult, uniformity, uniformityAsync } from './uniformity.js';

export interface AlignmentUniformityOptions extends LossOptions {
  /** Power of the distance of a pair; default 2. */
  readonly alpha?: number | undefined;
  /** Scale of the Gaussian kernel of uniformity; default 2. */
  readonly t?: number | undefined;
  /** Weight of the uniformity; default 1. */
  readonly weight?: number | undefined;
  /** Arrays to fill instead of new ones: `x`, `y` [rows * cols] with gradients. */
  readonly out?: { readonly x?: Float32Array | undefined; readonly y?: Float32Array | undefined } | undefined;
}

export interface AlignmentUniformityResult {
  /** alignment + weight * uniformity. */
  readonly loss: number;
  readonly alignment: number;
  /** The mean of both views'. */
  readonly uniformity: number;
  readonly gradients?: { readonly x: Float32Array; readonly y: Float32Array };
  readonly stats?: Stats;
  /** What computed the alignment and the uniformities; they may differ where 'auto' takes a GPU for the larger work. */
  readonly backend: BackendName;
}

type WithGradients = AlignmentUniformityResult & Required<Pick<AlignmentUniformityResult, 'gradients'>>;

const KNOWN = new Set<string>([...LOSS_OPTIONS, 'alpha', 't', 'weight']);

/**
 * The mean of |u_i - v_i|^alpha plus `weight` times the mean of both views' uniformities: what the contrastive loss optimises in
 * the limit of many negatives, as a loss of its own. Only reduction 'mean'.
 *
 * @param x [rows, cols], one view of each item, at least two.
 * @param y [rows, cols], the other view, row by row.
 * @throws TypeError, RangeError, NonFiniteError, BackendUnavailableError. Nothing is written then.
 * @see Wang, Isola: Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere, ICML 2020.
 */
export function alignmentUniformity(
  x: LossInput,
  y: LossInput,
  options: AlignmentUniformityOptions & { readonly gradients: true },
): WithGradients;
export function alignmentUniformity(
  x: LossInput,
  y: LossInput,
  options: DeviceOptions<AlignmentUniformityOptions>,
): DeviceResult<WithGradients>;
export function alignmentUniformity(x: LossInput, y: LossInput, options?: AlignmentUniformityOptions): AlignmentUniformityResult;
export function alignmentUniformity(x: LossInput, y: LossInput, options?: AnyOptions<AlignmentUniformityOptions>): object {
  const { forAlignment, forUniformity, join } = plan(x, y, options, false);
  return join(
    alignment(x, y, forAlignment),
    uniformity(x, forUniformity),
    withNames({ x: 'y' }, () => uniformity(y, forUniformity)),
  );
}

/**
 * `alignmentUniformity` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function alignmentUniformityAsync(
  x: LossInput,
  y: LossInput,
  options: AlignmentUniformityOptions & { readonly gradients: true },
): Promise<WithGradients>;
export function alignmentUniformityAsync(
  x: LossInput,
  y: LossInput,
  options: DeviceOptions<AlignmentUniformityOptions>,
): Promise<DeviceResult<WithGradients>>;
export function alignmentUniformityAsync(
  x: LossInput,
  y: LossInput,
  options?: AlignmentUniformityOptions,
): Promise<AlignmentUniformityResult>;
export async function alignmentUniformityAsync(
  x: LossInput,
  y: LossInput,
  options?: AnyOptions<AlignmentUniformityOptions>,
): Promise<object> {
  const { forAlignment, forUniformity, join } = plan(x, y, options, true);
  // All three have copied their inputs when they have been called. The first of them in this order that fails is the error.
  const [aligned, spreadX, spreadY] = await Promise.allSettled([
    alignmentAsync(x, y, forAlignment),
    uniformityAsync(x, forUniformity),
    uniformityAsync(y, forUniformity),
  ]);
  if (aligned.status === 'rejected') throw aligned.reason;
  if (spreadX.status === 'rejected') throw spreadX.reason;
  if (spreadY.status === 'rejected') throw renamed(spreadY.reason, { x: 'y' });
  return join(aligned.value, spreadX.value, spreadY.value);
}

function plan(xGiven: LossInput, yGiven: LossInput, optionsGiven: AnyOptions<AlignmentUniformityOptions> | undefined, isAsync: boolean) {
  const x = readInput('x', xGiven, isAsync);
  const y = readInput('y', yGiven, isAsync);
  checkSameShape('y', y, 'x', x);
  if (x.rows < 2) throw new RangeError(`x: expected at least two rows to compare, got ${x.rows}`);
  const { alpha, t, weight: weightGiven, out, ...common } = readOptions(optionsGiven, KNOWN);
  const weight = readNumber('weight', weightGiven, 1);
  const reduction = readReduction(common.reduction);
  if (reduction !== 'mean')
    throw new RangeError(`reduction: expected 'mean' for alignmentUniformity, as uniformity has no loss per row, got '${reduction}'`);
  const gradients = readGradients(common.gradients);
  const { ofCalls, place } = summedOnHost(common);
  const length = gradients ? x.data.length : 0;
  const outputs = readOutputs(out, { x: length, y: length }, { x: x.data, y: y.data }, isAsync, gradients);

  const join = (aligned: AlignmentResult, spreadX: UniformityResult, spreadY: UniformityResult): AlignmentUniformityResult => {
    const uniformityLoss = (spreadX.loss + spreadY.loss) / 2;
    const sums = deliver(outputs, {
      x: place(sumOf(aligned.gradients?.x, weight / 2, spreadX.gradients?.x), x),
      y: place(sumOf(aligned.gradients?.y, weight / 2, spreadY.gradients?.x), y),
    });
    return {
      loss: aligned.loss + weight * uniformityLoss,
      alignment: aligned.loss,
      uniformity: uniformityLoss,
      ...(sums.x && sums.y && { gradients: { x: sums.x, y: sums.y } }),
      ...(aligned.stats && { stats: aligned.stats }),
      backend: spreadX.backend,
    };
  };
  return { forAlignment: { ...ofCalls, alpha }, forUniformity: { ...ofCalls, t }, join };
}

/** aligned + factor * spread, in `aligned`. */
function sumOf(aligned: Float32Array | undefined, factor: number, spread: Float32Array | undefined): Float32Array | undefined {
  if (!aligned || !spread) return undefined;
  for (let k = 0; k < aligned.length; k++) aligned[k] += factor * spread[k];
  return aligned;
}
