/** The loss of MoCo v3: InfoNCE of each view's queries among the other view's keys, times 2 temperature. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { checkSameShape, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readGradients, readInput } from './device-call.js';
import { type NamedResult, planInfoNce } from './info-nce.js';
import { LOSS_OPTIONS, type LossOptions, type Plan, readOutputs, readReduction } from './plan.js';
import { addScaled, allOf, deliver, meanStats } from './several-plans.js';

export interface MocoV3Options extends LossOptions {
  /** Arrays to fill instead of new ones: `q1`, `q2` [N * cols] with gradients; `perRow` [N] with reduction 'none'. */
  readonly out?: { readonly [name in 'q1' | 'q2' | 'perRow']?: Float32Array | undefined } | undefined;
}

export interface MocoV3Gradients {
  /** [N, cols], by the rows as given (before they are normalised). Keys are constants. */
  readonly q1: Float32Array;
  readonly q2: Float32Array;
  readonly temperature: number;
}

export interface MocoV3Result {
  readonly loss: number;
  /** [N], with reduction 'none': both terms of item i. */
  readonly perRow?: Float32Array;
  readonly gradients?: MocoV3Gradients;
  /** The mean of both directions. */
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = MocoV3Result & { readonly gradients: MocoV3Gradients };

const KNOWN = new Set<string>(LOSS_OPTIONS);

/**
 * MoCo v3: 2 temperature (L(q1, k2) + L(q2, k1)), L(q, k) the mean cross-entropy of each query among all keys of the batch. The factor
 * makes the size of the gradient nearly independent of the temperature. Keys come from the momentum encoder and get no gradient.
 *
 * @param q1 [N, cols], predictions of view 1; q2 those of view 2.
 * @param k1 [N, cols], keys of view 1 from the momentum encoder; k2 those of view 2.
 * @param options `temperature` is 1 by default, as in the paper's code.
 * @throws TypeError, RangeError (shapes that differ, temperature not positive, ...), NonFiniteError, BackendUnavailableError.
 *   Nothing is written then.
 * @see Chen, Xie, He: An Empirical Study of Training Self-Supervised Vision Transformers, ICCV 2021.
 */
export function mocoV3(
  q1: LossInput,
  q2: LossInput,
  k1: LossInput,
  k2: LossInput,
  options: MocoV3Options & { readonly gradients: true },
): WithGradients;
export function mocoV3(
  q1: LossInput,
  q2: LossInput,
  k1: LossInput,
  k2: LossInput,
  options: DeviceOptions<MocoV3Options>,
): DeviceResult<WithGradients>;
export function mocoV3(q1: LossInput, q2: LossInput, k1: LossInput, k2: LossInput, options?: MocoV3Options): MocoV3Result;
export function mocoV3(q1: LossInput, q2: LossInput, k1: LossInput, k2: LossInput, options?: AnyOptions<MocoV3Options>): object {
  return plan([q1, q2, k1, k2], options, false).run();
}

/**
 * `mocoV3` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function mocoV3Async(
  q1: LossInput,
  q2: LossInput,
  k1: LossInput,
  k2: LossInput,
  options: MocoV3Options & { readonly gradients: true },
): Promise<WithGradients>;
export function mocoV3Async(
  q1: LossInput,
  q2: LossInput,
  k1: LossInput,
  k2: LossInput,
  options: DeviceOptions<MocoV3Options>,
): Promise<DeviceResult<WithGradients>>;
export function mocoV3Async(q1: LossInput, q2: LossInput, k1: LossInput, k2: LossInput, options?: MocoV3Options): Promise<MocoV3Result>;
export async function mocoV3Async(
  q1: LossInput,
  q2: LossInput,
  k1: LossInput,
  k2: LossInput,
  options?: AnyOptions<MocoV3Options>,
): Promise<object> {
  return plan([q1, q2, k1, k2], options, true).runAsync();
}

interface QueryGradients {
  readonly q1: Float32Array;
  readonly q2: Float32Array;
  readonly temperature: number;
}

function plan(given: readonly LossInput[], optionsGiven: AnyOptions<MocoV3Options> | undefined, isAsync: boolean): Plan<MocoV3Result> {
  const names = ['q1', 'q2', 'k1', 'k2'];
  const [q1, q2, k1, k2] = given.map((value, i) => readInput(names[i], value, isAsync));
  for (const [i, rows] of [q1, q2, k1, k2].entries()) checkSameShape(names[i], rows, 'q1', q1);
  const options = readOptions(optionsGiven, KNOWN);
  const temperature = readScale('temperature', options.temperature, 1);
  const reduction = readReduction(options.reduction);
  const gradients = readGradients(options.gradients);
  const length = gradients ? q1.data.length : 0;
  const wanted = { q1: length, q2: length, perRow: reduction === 'none' ? q1.rows : 0 };
  const inputs = { q1: q1.data, q2: q2.data, k1: k1.data, k2: k2.data };
  const outputs = readOutputs(options.out, wanted, inputs, isAsync, gradients);
  const scale = { temperature, name: 'temperature' } as const;
  const factor = 2 * temperature;
  const own = { ...options, out: undefined, detachKeys: true };
  const both = [
    [q1, k2, 'q1', 'k2'],
    [q2, k1, 'q2', 'k1'],
  ] as const;
  const plans = both.map(([query, key, queryName, keyName]) =>
    planInfoNce<QueryGradients>({ query, key }, own, scale, isAsync, { query: queryName, key: keyName, negatives: 'negatives' }, factor),
  );
  return allOf(plans, ([one, two]: NamedResult<QueryGradients>[]) => {
    const sum = one.loss + two.loss;
    const perRow = one.perRow && two.perRow && addScaled(one.perRow, factor, one.perRow, two.perRow);
    const filled = deliver(outputs, { q1: one.gradients?.q1, q2: two.gradients?.q2, perRow });
    const slope = (one.gradients?.temperature ?? 0) + (two.gradients?.temperature ?? 0);
    return {
      loss: factor * sum,
      ...(filled.perRow && { perRow: filled.perRow }),
      ...(filled.q1 && filled.q2 && { gradients: { q1: filled.q1, q2: filled.q2, temperature: 2 * sum + slope } }),
      ...(one.stats && { stats: meanStats([one.stats, two.stats]) }),
      backend: one.backend,
    };
  });
}
