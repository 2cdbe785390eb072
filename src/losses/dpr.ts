/** The loss of dense passage retrieval: InfoNCE by dot product, every context a candidate of every question. */
import { checkSameCols, readBoolean, readChoice, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readInput } from './device-call.js';
import { type NamedResult, planInfoNce } from './info-nce.js';
import { LOSS_OPTIONS, type LossOptions, type Plan } from './plan.js';
import { withNames } from './renamed.js';

export interface DprOptions extends LossOptions {
  /**
   * Where the positives are. 'interleaved' (default): [p0, n0, ..., p1, n1, ...], the same number of hard negatives after each positive.
   * 'listed': the N positives first, then any number of negatives.
   */
  readonly layout?: 'interleaved' | 'listed' | undefined;
  /** [questions]: the row of `context` that answers each question; instead of `layout`. */
  readonly positives?: Int32Array | readonly number[] | undefined;
  /** Arrays to fill instead of new ones: `question`, `context` with gradients; `perRow`, `rowLogSumExp` [N] with reduction 'none'. */
  readonly out?: { readonly [name in 'question' | 'context' | 'perRow' | 'rowLogSumExp']?: Float32Array | undefined } | undefined;
}

export interface DprGradients {
  /** As their inputs. */
  readonly question: Float32Array;
  readonly context: Float32Array;
  readonly temperature: number;
}

export type DprResult = NamedResult<DprGradients>;
type WithGradients = DprResult & { readonly gradients: DprGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS, 'layout', 'positives']);
const LAYOUTS = ['interleaved', 'listed'] as const;
const NAMES = { query: 'question', key: 'context', negatives: 'negatives' };

/**
 * DPR: the mean negative log-likelihood of each question's positive among all contexts of the batch, those of the other questions
 * and all hard negatives included. Dot products unless `normalize` is true. `stats.accuracy` times the questions is DPR's count
 * of correct predictions, with ties as misses.
 *
 * @param question [N, cols].
 * @param context [any, cols].
 * @param options `temperature` is 1 and `normalize` false by default.
 * @throws TypeError, RangeError (contexts that do not fit the layout, a positive out of range, ...), NonFiniteError,
 *   BackendUnavailableError. Nothing is written then.
 * @see Karpukhin et al.: Dense Passage Retrieval for Open-Domain Question Answering, EMNLP 2020.
 */
export function dpr(question: LossInput, context: LossInput, options: DprOptions & { readonly gradients: true }): WithGradients;
export function dpr(question: LossInput, context: LossInput, options: DeviceOptions<DprOptions>): DeviceResult<WithGradients>;
export function dpr(question: LossInput, context: LossInput, options?: DprOptions): DprResult;
export function dpr(question: LossInput, context: LossInput, options?: AnyOptions<DprOptions>): object {
  return plan(question, context, options, false).run();
}

/**
 * `dpr` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function dprAsync(
  question: LossInput,
  context: LossInput,
  options: DprOptions & { readonly gradients: true },
): Promise<WithGradients>;
export function dprAsync(question: LossInput, context: LossInput, options: DeviceOptions<DprOptions>): Promise<DeviceResult<WithGradients>>;
export function dprAsync(question: LossInput, context: LossInput, options?: DprOptions): Promise<DprResult>;
export async function dprAsync(question: LossInput, context: LossInput, options?: AnyOptions<DprOptions>): Promise<object> {
  return plan(question, context, options, true).runAsync();
}

function plan(
  question: LossInput,
  context: LossInput,
  optionsGiven: AnyOptions<DprOptions> | undefined,
  isAsync: boolean,
): Plan<DprResult> {
  const query = readInput('question', question, isAsync);
  const key = readInput('context', context, isAsync);
  checkSameCols('context', key, 'question', query);
  const { layout, ...options } = readOptions(optionsGiven, KNOWN);
  const scale = { temperature: readScale('temperature', options.temperature, 1), name: 'temperature' } as const;
  const normalize = readBoolean('normalize', options.normalize, false);
  const chosen = readChoice('layout', layout, LAYOUTS, 'interleaved');
  if (layout !== undefined && options.positives !== undefined) {
    throw new RangeError(`layout: expected layout or positives, got both ('${layout}' and positives)`);
  }
  const perQuestion = key.rows / query.rows;
  if (options.positives === undefined && chosen === 'interleaved' && !Number.isInteger(perQuestion)) {
    throw new RangeError(`context: expected a multiple of the ${query.rows} questions with layout 'interleaved', got ${key.rows} rows`);
  }
  const interleaved = chosen === 'interleaved' ? Array.from({ length: query.rows }, (_, i) => i * perQuestion) : undefined;
  const positives = options.positives ?? interleaved;
  return withNames(NAMES, () => planInfoNce({ query, key }, { ...options, positives, normalize }, scale, isAsync, NAMES));
}
