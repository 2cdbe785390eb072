/**
 * The regression of SimSiam and BYOL: checks the arguments, describes the call, shapes the result.
 *
 * -cos(u, v) = |u - v|^2 / 2 - 1 for unit vectors, and on the tangent space the gradients are equal too, so every backend computes
 * it as alignment with alpha 2. The loss is minus the mean cosine, which alignment counts beside it. Losses of rows come from distances, and
 * a zero row is the origin, at distance 1 from the sphere: (1 - |u|^2) / 2 is added for each.
 */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import type { Rows } from '../matrix.js';
import { checkSameShape, readBoolean, readOptions, readScale } from '../validate.js';
import {
  type AnyOptions,
  type DeviceOptions,
  type DeviceResult,
  hostValues,
  type LossInput,
  readGradients,
  readInput,
} from './device-call.js';
import { LOSS_OPTIONS, type LossOptions, makePlan, type Plan, readCallOptions, readOutputs, readReduction } from './plan.js';
import { withNamesOf } from './renamed.js';

export interface NegativeCosineOptions extends LossOptions {
  /** true (default): the target is a constant, as in SimSiam and BYOL. false: it gets a gradient as well. */
  readonly detachTarget?: boolean | undefined;
  /**
   * Arrays to fill instead of new ones: `p` [rows * cols] with gradients, `target` when it is not detached; `perRow` [rows] with
   * reduction 'none'.
   */
  readonly out?:
    | {
        readonly p?: Float32Array | undefined;
        readonly target?: Float32Array | undefined;
        readonly perRow?: Float32Array | undefined;
      }
    | undefined;
}

export interface NegativeCosineGradients {
  /** [rows, cols], by the rows as given (before they are normalised). */
  readonly p: Float32Array;
  /** With `detachTarget: false`. */
  readonly target?: Float32Array;
}

export interface NegativeCosineResult {
  readonly loss: number;
  /** [rows], with reduction 'none': minus the cosine of each pair. */
  readonly perRow?: Float32Array;
  readonly gradients?: NegativeCosineGradients;
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = NegativeCosineResult & { readonly gradients: NegativeCosineGradients };

/** What alignment calls them, and what they are called here. */
const NAMES = { x: 'p', y: 'target' };
const KNOWN = new Set<string>([...LOSS_OPTIONS, 'detachTarget']);

/**
 * The mean over rows of -cos(p_i, target_i), from -1 to 1. SimSiam averages it over both directions, with the predictor's output
 * as `p` and the other view's projection as `target`; BYOL's loss is 2 + 2 of it, with the target from the moving average. A zero
 * row has cosine 0.
 *
 * @param p [rows, cols], predictions.
 * @param target [rows, cols], what they should point to.
 * @throws TypeError, RangeError (shapes that differ, `normalize: false`, ...), NonFiniteError, BackendUnavailableError.
 *   Nothing is written then.
 * @see Chen, He: Exploring Simple Siamese Representation Learning, CVPR 2021.
 * @see Grill et al.: Bootstrap Your Own Latent, NeurIPS 2020.
 */
export function negativeCosine(
  p: LossInput,
  target: LossInput,
  options: NegativeCosineOptions & { readonly gradients: true },
): WithGradients;
export function negativeCosine(p: LossInput, target: LossInput, options: DeviceOptions<NegativeCosineOptions>): DeviceResult<WithGradients>;
export function negativeCosine(p: LossInput, target: LossInput, options?: NegativeCosineOptions): NegativeCosineResult;
export function negativeCosine(p: LossInput, target: LossInput, options?: AnyOptions<NegativeCosineOptions>): object {
  return plan(p, target, options, false).run();
}

/**
 * `negativeCosine` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function negativeCosineAsync(
  p: LossInput,
  target: LossInput,
  options: NegativeCosineOptions & { readonly gradients: true },
): Promise<WithGradients>;
export function negativeCosineAsync(
  p: LossInput,
  target: LossInput,
  options: DeviceOptions<NegativeCosineOptions>,
): Promise<DeviceResult<WithGradients>>;
export function negativeCosineAsync(p: LossInput, target: LossInput, options?: NegativeCosineOptions): Promise<NegativeCosineResult>;
export async function negativeCosineAsync(p: LossInput, target: LossInput, options?: AnyOptions<NegativeCosineOptions>): Promise<object> {
  return plan(p, target, options, true).runAsync();
}

function plan(
  pGiven: LossInput,
  targetGiven: LossInput,
  optionsGiven: AnyOptions<NegativeCosineOptions> | undefined,
  isAsync: boolean,
): Plan<NegativeCosineResult> {
  const p = readInput('p', pGiven, isAsync);
  const target = readInput('target', targetGiven, isAsync);
  checkSameShape('target', target, 'p', p);
  const options = readOptions(optionsGiven, KNOWN);
  readScale('temperature', options.temperature, 1);
  const detachTarget = readBoolean('detachTarget', options.detachTarget, true);
  const reduction = readReduction(options.reduction);
  const gradients = readGradients(options.gradients);
  const stats = readBoolean('stats', options.stats, true);
  if (!readBoolean('normalize', options.normalize, true)) {
    throw new RangeError('normalize: expected true for negativeCosine, which is a cosine, got false');
  }
  const weight = reduction === 'mean' ? 1 / p.rows : 1;
  const length = gradients ? p.data.length : 0;
  const outputs = readOutputs(
    options.out,
    { p: length, target: detachTarget ? 0 : length, perRow: reduction === 'none' ? p.rows : 0 },
    { p: p.data, target: target.data },
    isAsync,
    gradients,
  );
  const lifts = outputs.perRow ? zeroRowLifts(p, target) : new Map<number, number>();
  const call = {
    inputs: { x: p, y: target },
    parameters: { alpha: 2 },
    outputs: { x: outputs.p, y: outputs.target, perRow: outputs.perRow },
    options: readCallOptions(options, true, weight / 2),
  };
  const aligned = makePlan('alignment', call, options, p.data.length, (result, backend) => {
    const { perRow } = outputs;
    if (perRow) for (let i = 0; i < perRow.length; i++) perRow[i] = perRow[i] / 2 - 1 + (lifts.get(i) ?? 0);
    return {
      loss: 0 - result.stats.positiveSimilarity * p.rows * weight, // never -0
      ...(perRow && { perRow }),
      ...(outputs.p && { gradients: { p: outputs.p, ...(outputs.target && { target: outputs.target }) } }),
      ...(stats && { stats: result.stats }),
      backend,
    };
  });
  return withNamesOf(aligned, NAMES);
}

/** (2 - |u|^2 - |v|^2) / 2 of the rows where it is not 0: half for each of the two that is a zero row. */
function zeroRowLifts(p: Rows, target: Rows): Map<number, number> {
  const lifts = new Map<number, number>();
  for (const { rows, cols, ...of } of [p, target]) {
    const data = hostValues(of.data);
    for (let i = 0; i < rows; i++) {
      let k = i * cols;
      const end = k + cols;
      while (k < end && data[k] === 0) k++;
      if (k === end) lifts.set(i, (lifts.get(i) ?? 0) + 0.5);
    }
  }
  return lifts;
}
