/** The loss of CLIP: symmetric InfoNCE over the images and texts of a batch, with a logit scale instead of a temperature. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { checkSameShape, describe, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readInput } from './device-call.js';
import { planInfoNce } from './info-nce.js';
import { LOSS_OPTIONS, type LossOptions, type Plan } from './plan.js';

export interface ClipOptions extends Omit<LossOptions, 'temperature'> {
  /** Multiplies the similarities; default 1 / 0.07, CLIP's own start. */
  readonly logitScale?: number | undefined;
  /**
   * Arrays to fill instead of new ones: `image`, `text` [N * cols] with gradients; `perRow`, `rowLogSumExp` [N] with reduction 'none'.
   */
  readonly out?:
    | {
        readonly image?: Float32Array | undefined;
        readonly text?: Float32Array | undefined;
        readonly perRow?: Float32Array | undefined;
        readonly rowLogSumExp?: Float32Array | undefined;
      }
    | undefined;
}

export interface ClipGradients {
  /** [N, cols], by the rows as given (before they are normalised). */
  readonly image: Float32Array;
  readonly text: Float32Array;
  /** By the scale itself. Of a learned logarithm of it: times the scale. */
  readonly logitScale: number;
}

export interface ClipResult {
  readonly loss: number;
  /** [N], with reduction 'none': half of the loss of image i and half of that of text i. */
  readonly perRow?: Float32Array;
  /** [N], with reduction 'none': log-sum-exp of the logits of each image. */
  readonly rowLogSumExp?: Float32Array;
  readonly gradients?: ClipGradients;
  /** Of the images among the texts. */
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = ClipResult & { readonly gradients: ClipGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS.filter((name) => name !== 'temperature'), 'logitScale']);
const NAMES = { query: 'image', key: 'text', negatives: 'negatives' };

/**
 * The loss of CLIP: half the mean cross-entropy of every image among the texts, half that of every text among the images, with
 * logits logitScale * cos(image_i, text_j). Both directions are computed from one pass over the similarities.
 *
 * CLIP learns the logarithm of the scale, whose gradient is `gradients.logitScale` times the scale, and clamps the scale after
 * the step of the optimiser: see `clampLogitScale`.
 *
 * @param image [N, cols].
 * @param text [N, cols], row by row.
 * @throws TypeError, RangeError (shapes that differ, logitScale not positive, ...), NonFiniteError, BackendUnavailableError.
 *   Nothing is written then.
 * @see Radford et al.: Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.
 */
export function clip(image: LossInput, text: LossInput, options: ClipOptions & { readonly gradients: true }): WithGradients;
export function clip(image: LossInput, text: LossInput, options: DeviceOptions<ClipOptions>): DeviceResult<WithGradients>;
export function clip(image: LossInput, text: LossInput, options?: ClipOptions): ClipResult;
export function clip(image: LossInput, text: LossInput, options?: AnyOptions<ClipOptions>): object {
  return plan(image, text, options, false).run();
}

/**
 * `clip` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function clipAsync(image: LossInput, text: LossInput, options: ClipOptions & { readonly gradients: true }): Promise<WithGradients>;
export function clipAsync(image: LossInput, text: LossInput, options: DeviceOptions<ClipOptions>): Promise<DeviceResult<WithGradients>>;
export function clipAsync(image: LossInput, text: LossInput, options?: ClipOptions): Promise<ClipResult>;
export async function clipAsync(image: LossInput, text: LossInput, options?: AnyOptions<ClipOptions>): Promise<object> {
  return plan(image, text, options, true).runAsync();
}

/**
 * The scale that CLIP goes on with after a step of the optimiser: no smaller than 1 and no larger than 100. The gradient is taken
 * without the clamp.
 *
 * @throws TypeError, RangeError if `logitScale` is below 0 or NaN; what exp() gave, 0 and Infinity too, is clamped.
 */
export function clampLogitScale(logitScale: number): number {
  if (typeof logitScale !== 'number') throw new TypeError(`logitScale: expected a number, got ${describe(logitScale)}`);
  if (!(logitScale >= 0)) throw new RangeError(`logitScale: expected a number of at least 0, got ${logitScale}`);
  return Math.min(100, Math.max(1, logitScale));
}

function plan(
  imageGiven: LossInput,
  textGiven: LossInput,
  optionsGiven: AnyOptions<ClipOptions> | undefined,
  isAsync: boolean,
): Plan<ClipResult> {
  const image = readInput('image', imageGiven, isAsync);
  const text = readInput('text', textGiven, isAsync);
  checkSameShape('text', text, 'image', image);
  const options = readOptions(optionsGiven, KNOWN);
  const scale = { temperature: 1 / readScale('logitScale', options.logitScale, 1 / 0.07), name: 'logitScale' } as const;
  const { logitScale: _, ...rest } = options;
  return planInfoNce({ query: image, key: text }, { ...rest, symmetric: true }, scale, isAsync, NAMES);
}
