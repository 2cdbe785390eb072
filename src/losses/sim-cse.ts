/** The losses of SimCSE: InfoNCE of two encodings of every sentence, unsupervised or with hard negatives. */
import { checkSameShape, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readInput } from './device-call.js';
import { type NamedResult, planInfoNce } from './info-nce.js';
import { LOSS_OPTIONS, type LossOptions, type Plan } from './plan.js';
import { withNames } from './renamed.js';

export interface SimCseOptions extends LossOptions {
  /** Supervised: hard negatives [any, cols], seen by every sentence. */
  readonly negatives?: LossInput | undefined;
  /** Added, after the temperature, to the logit of negative i for sentence i: the logarithm of its weight. Default 0. */
  readonly hardNegativeWeight?: number | undefined;
  /** Arrays to fill instead of new ones: `z1`, `z2`, `negatives` with gradients; `perRow`, `rowLogSumExp` [N] with reduction 'none'. */
  readonly out?: { readonly [name in 'z1' | 'z2' | 'negatives' | 'perRow' | 'rowLogSumExp']?: Float32Array | undefined } | undefined;
}

export interface SimCseGradients {
  /** As their inputs, by the rows as given (before they are normalised). */
  readonly z1: Float32Array;
  readonly z2: Float32Array;
  /** Where `negatives` were given. */
  readonly negatives?: Float32Array;
  readonly temperature: number;
}

export type SimCseResult = NamedResult<SimCseGradients>;
type WithGradients = SimCseResult & { readonly gradients: SimCseGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS, 'negatives', 'hardNegativeWeight']);
const NAMES = { query: 'z1', key: 'z2', negatives: 'negatives', ownNegativeLogit: 'hardNegativeWeight' };

/**
 * SimCSE: each row of z1 among the rows of z2, and among the hard negatives where there are any; one direction. Unsupervised, z1 and
 * z2 are the same sentences encoded twice with dropout; supervised, z2 holds the entailed sentences and `negatives` the
 * contradicted ones.
 *
 * @param z1 [N, cols].
 * @param z2 [N, cols], row by row.
 * @param options `temperature` is 0.05 by default.
 * @throws TypeError, RangeError (shapes that differ, fewer than N negatives with a weight, ...), NonFiniteError,
 *   BackendUnavailableError. Nothing is written then.
 * @see Gao, Yao, Chen: SimCSE: Simple Contrastive Learning of Sentence Embeddings, EMNLP 2021.
 */
export function simCse(z1: LossInput, z2: LossInput, options: SimCseOptions & { readonly gradients: true }): WithGradients;
export function simCse(z1: LossInput, z2: LossInput, options: DeviceOptions<SimCseOptions>): DeviceResult<WithGradients>;
export function simCse(z1: LossInput, z2: LossInput, options?: SimCseOptions): SimCseResult;
export function simCse(z1: LossInput, z2: LossInput, options?: AnyOptions<SimCseOptions>): object {
  return plan(z1, z2, options, false).run();
}

/**
 * `simCse` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function simCseAsync(z1: LossInput, z2: LossInput, options: SimCseOptions & { readonly gradients: true }): Promise<WithGradients>;
export function simCseAsync(z1: LossInput, z2: LossInput, options: DeviceOptions<SimCseOptions>): Promise<DeviceResult<WithGradients>>;
export function simCseAsync(z1: LossInput, z2: LossInput, options?: SimCseOptions): Promise<SimCseResult>;
export async function simCseAsync(z1: LossInput, z2: LossInput, options?: AnyOptions<SimCseOptions>): Promise<object> {
  return plan(z1, z2, options, true).runAsync();
}

function plan(z1: LossInput, z2: LossInput, optionsGiven: AnyOptions<SimCseOptions> | undefined, isAsync: boolean): Plan<SimCseResult> {
  const query = readInput('z1', z1, isAsync);
  const key = readInput('z2', z2, isAsync);
  checkSameShape('z2', key, 'z1', query);
  const { hardNegativeWeight, ...options } = readOptions(optionsGiven, KNOWN);
  const scale = { temperature: readScale('temperature', options.temperature, 0.05), name: 'temperature' } as const;
  return withNames(NAMES, () => planInfoNce({ query, key }, { ...options, ownNegativeLogit: hardNegativeWeight }, scale, isAsync, NAMES));
}
