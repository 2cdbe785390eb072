/** InfoNCE: checks the arguments, describes the call, shapes the result. The computation is the backends'. */
import type { AlsoCompared, NegativeMode, Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import type { Rows } from '../matrix.js';
import { checkSameCols, readBoolean, readChoice, readIntegers, readLabels, readMask, readNumber, readOptions } from '../validate.js';
import {
  type AnyOptions,
  type DeviceOptions,
  type DeviceResult,
  type GradientsOption,
  type LossInput,
  readGradients,
  readInput,
} from './device-call.js';
import { countedRows } from './info-nce-rows.js';
import { guideInputs, guideParameters, type OwnGuide } from './own-guide.js';
import { LOSS_OPTIONS, type LossOptions, makePlan, type Plan, readCallOptions, readOutputs, readReduction } from './plan.js';
import { withNames, withNamesOf } from './renamed.js';
import { readTemperatureOrScale, type Scale, scaleGradient } from './scale.js';

export interface InfoNceOptions extends LossOptions {
  /** Multiplies the similarities; instead of `temperature`, and then the gradient is by it. */
  readonly logitScale?: number | undefined;
  /** [query.rows]: the row of `key` that is each query's positive. Default: row i. */
  readonly positives?: Int32Array | readonly number[] | undefined;
  /** Negatives beside the other rows of `key`: [any, cols], see `negativeMode`. */
  readonly negatives?: LossInput | undefined;
  /**
   * 'shared' (default): every query sees every row. 'paired': rows i * m to i * m + m - 1 are query i's. 'indexed': query i sees the
   * rows that `negativeIndices` names; it is the default when they are given.
   */
  readonly negativeMode?: NegativeMode | undefined;
  /** [query.rows * m]: rows of `negatives`, m for each query; see `sampleNegatives`. A row named twice counts twice. */
  readonly negativeIndices?: Int32Array | readonly number[] | undefined;
  /** true (default): the other rows of `key` are negatives. */
  readonly inBatch?: boolean | undefined;
  /** true: half of the loss of the rows and half of that of the columns. Needs `inBatch` and distinct `positives`. */
  readonly symmetric?: boolean | undefined;
  /** 'cosine' (default), or 'dot': not normalised. */
  readonly similarity?: 'cosine' | 'dot' | undefined;
  /** Added, after division by the temperature, to the logit of negative i for query i. 'shared' with at least query.rows negatives. */
  readonly ownNegativeLogit?: number | undefined;
  /** [query.rows]: with labels, a row of `key` with the query's own label is none of its negatives. */
  readonly queryLabels?: Int32Array | readonly number[] | undefined;
  /** [key.rows]; default `queryLabels` where there are as many rows of `key`. */
  readonly keyLabels?: Int32Array | readonly number[] | undefined;
  /** true: `key` and `negatives` are constants, as in MoCo, and no gradient of them is computed. Default false. */
  readonly detachKeys?: boolean | undefined;
  /** [query.rows * key.rows]: false (0) where a query and a row of `key` are not compared. Never removes a positive. */
  readonly mask?: Uint8Array | readonly boolean[] | undefined;
  /**
   * Arrays to fill instead of new ones: `query`, `key`, `negatives` with gradients, each as long as its input; `perRow`,
   * `rowLogSumExp` [query.rows] with reduction 'none'.
   */
  readonly out?:
    | {
        readonly query?: Float32Array | undefined;
        readonly key?: Float32Array | undefined;
        readonly negatives?: Float32Array | undefined;
        readonly perRow?: Float32Array | undefined;
        readonly rowLogSumExp?: Float32Array | undefined;
      }
    | undefined;
}

export interface InfoNceGradients {
  /** As their inputs, by the rows as given (before they are normalised). */
  readonly query: Float32Array;
  readonly key: Float32Array;
  /** Where `negatives` were given. */
  readonly negatives?: Float32Array;
  /** By the scale that was given: `temperature` when neither was. */
  readonly temperature?: number;
  readonly logitScale?: number;
}

export interface InfoNceResult {
  readonly loss: number;
  /** [query.rows], with reduction 'none': the loss of each query; symmetric: half of its row and half of its column. */
  readonly perRow?: Float32Array;
  /** [query.rows], with reduction 'none': log-sum-exp of the logits of all candidates of each query. */
  readonly rowLogSumExp?: Float32Array;
  /** Without `key` and `negatives` with `detachKeys`. */
  readonly gradients?: Omit<InfoNceGradients, 'key'> & { readonly key?: Float32Array };
  /** Of the queries' own candidates, symmetric or not. */
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = InfoNceResult & { readonly gradients: InfoNceGradients };
type ConstantKeys = { readonly detachKeys: true };
type OfQuery<Result extends { readonly gradients: InfoNceGradientNames }> = Omit<Result, 'gradients'> & {
  readonly gradients: Omit<Result['gradients'], 'key' | 'negatives'>;
};
type InfoNceGradientNames = { readonly [Name in keyof InfoNceGradients]?: unknown };

const OWN_OPTIONS = [
  'logitScale',
  'positives',
  'negatives',
  'negativeMode',
  'negativeIndices',
  'inBatch',
  'symmetric',
  'similarity',
  'ownNegativeLogit',
  'queryLabels',
  'keyLabels',
  'mask',
  'detachKeys',
] as const;
const KNOWN = new Set<string>([...LOSS_OPTIONS, ...OWN_OPTIONS]);
const NEGATIVE_MODES = ['shared', 'paired', 'indexed'] as const;
const NAMES: InfoNceNames = { query: 'query', key: 'key', negatives: 'negatives' };
const SIMILARITIES = ['cosine', 'dot'] as const;

/**
 * InfoNCE: the mean over queries i of -z_ip + log(exp(z_ip) + sum over negatives of exp(z)), z = similarity / temperature. Its
 * positive p is row i of `key` (or row positives[i]); its negatives are the other rows of `key` and those of `negatives`. The matrix
 * of similarities is never stored, and confident rows keep their full relative accuracy.
 *
 * A query without any negative has nothing to compare: loss 0, gradient 0, counted in `stats.skippedRows`, not in the mean.
 *
 * @param query [N, cols].
 * @param key [at least N, cols]; with `positives` any number of rows.
 * @throws TypeError, RangeError (shapes that do not match, an index out of range, both scales, a gradient too large for float32, ...),
 *   NonFiniteError, BackendUnavailableError. Nothing is written then.
 * @see van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding, 2018.
 * @see Wang, Isola, ICML 2020: with M uniformly drawn negatives, loss - log M settles as M grows.
 */
export function infoNce(
  query: LossInput,
  key: LossInput,
  options: InfoNceOptions & ConstantKeys & { readonly gradients: true },
): OfQuery<WithGradients>;
export function infoNce(
  query: LossInput,
  key: LossInput,
  options: DeviceOptions<InfoNceOptions> & ConstantKeys,
): OfQuery<DeviceResult<WithGradients>>;
export function infoNce(query: LossInput, key: LossInput, options: InfoNceOptions & { readonly gradients: true }): WithGradients;
export function infoNce(query: LossInput, key: LossInput, options: DeviceOptions<InfoNceOptions>): DeviceResult<WithGradients>;
export function infoNce(query: LossInput, key: LossInput, options?: InfoNceOptions): InfoNceResult;
export function infoNce(query: LossInput, key: LossInput, options?: AnyOptions<InfoNceOptions>): object {
  return plan(query, key, options, false).run();
}

/**
 * `infoNce` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function infoNceAsync(
  query: LossInput,
  key: LossInput,
  options: InfoNceOptions & ConstantKeys & { readonly gradients: true },
): Promise<OfQuery<WithGradients>>;
export function infoNceAsync(
  query: LossInput,
  key: LossInput,
  options: DeviceOptions<InfoNceOptions> & ConstantKeys,
): Promise<OfQuery<DeviceResult<WithGradients>>>;
export function infoNceAsync(
  query: LossInput,
  key: LossInput,
  options: InfoNceOptions & { readonly gradients: true },
): Promise<WithGradients>;
export function infoNceAsync(
  query: LossInput,
  key: LossInput,
  options: DeviceOptions<InfoNceOptions>,
): Promise<DeviceResult<WithGradients>>;
export function infoNceAsync(query: LossInput, key: LossInput, options?: InfoNceOptions): Promise<InfoNceResult>;
export async function infoNceAsync(query: LossInput, key: LossInput, options?: AnyOptions<InfoNceOptions>): Promise<object> {
  return plan(query, key, options, true).runAsync();
}

function plan(
  queryGiven: LossInput,
  keyGiven: LossInput,
  optionsGiven: AnyOptions<InfoNceOptions> | undefined,
  isAsync: boolean,
): Plan<InfoNceResult> {
  const query = readInput('query', queryGiven, isAsync);
  const key = readInput('key', keyGiven, isAsync);
  checkSameCols('key', key, 'query', query);
  const options = readOptions(optionsGiven, KNOWN);
  const scale = readTemperatureOrScale(options, 0.5);
  return planInfoNce({ query, key }, options, scale, isAsync, NAMES);
}

/** The matrices of InfoNCE as the caller of a loss knows them. */
export interface InfoNceNames {
  readonly query: string;
  readonly key: string;
  readonly negatives: string;
}

/** As `InfoNceResult`, with the gradients under the caller's names. */
export interface NamedResult<Gradients> extends Omit<InfoNceResult, 'gradients'> {
  readonly gradients?: Gradients;
  /** With a guide: rows that have something to be compared with. */
  readonly counted?: number;
}

/** As `InfoNceOptions`, with the outputs under the caller's names; gradients anywhere. */
export interface NamedOptions extends Omit<InfoNceOptions, 'out' | 'gradients'> {
  /** With labels: a key of label L below -1 is a negative of the queries of label -2 - L alone. */
  readonly ownedKeys?: boolean | undefined;
  /** The gradient of the keys' zeros at both ends is not wanted. */
  readonly sparseKeys?: boolean | undefined;
  /** On 'cpu' alone, by a loss that has checked what goes with it. */
  readonly also?: readonly AlsoCompared[] | undefined;
  /** By a loss that has checked it. Which rows count is then known only afterwards: not with reduction 'mean', see `counted`. */
  readonly ownGuide?: OwnGuide | undefined;
  readonly gradients?: GradientsOption | undefined;
  readonly out?: Readonly<Record<string, Float32Array | undefined>> | undefined;
}

/**
 * The plan of InfoNCE and of the losses that are InfoNCE under another name. The two matrices and the scale are read already;
 * `options.out`, the gradients and every error go by `names`.
 *
 * @param lift multiplies the gradients.
 */
export function planInfoNce<Gradients>(
  inputs: { readonly query: Rows; readonly key: Rows },
  options: NamedOptions,
  scale: Scale,
  isAsync: boolean,
  names: InfoNceNames,
  lift = 1,
): Plan<NamedResult<Gradients>> {
  const { query, key } = inputs;
  const positives = readPositives(options.positives, query, key);
  const explicit = readNegatives(options, query, isAsync);
  const { negatives, negativeMode, perQuery, negativeIndices } = explicit;
  const inBatch = readBoolean('inBatch', options.inBatch, true);
  const symmetric = readBoolean('symmetric', options.symmetric, false);
  const comparisons = { inBatch, symmetric, positives, ...readExclusions(options, query, key) };
  if (symmetric) checkSymmetric(comparisons);
  const ownNegativeLogit = readOwnNegativeLogit(options.ownNegativeLogit, explicit, query);
  const reduction = readReduction(options.reduction);
  const gradients = readGradients(options.gradients);
  const ofKeys = readBoolean('detachKeys', options.detachKeys, false) ? false : gradients;
  const stats = readBoolean('stats', options.stats, true);
  const perRow = reduction === 'none' ? query.rows : 0;
  const outputs: Record<string, Float32Array | null> = readOutputs<string>(
    options.out,
    {
      [names.query]: gradients ? query.data.length : 0,
      [names.key]: ofKeys ? key.data.length : 0,
      ...(negatives && { [names.negatives]: ofKeys ? negatives.data.length : 0 }),
      perRow,
      rowLogSumExp: perRow,
    },
    { [names.query]: query.data, [names.key]: key.data, ...(negatives && { [names.negatives]: negatives.data }) },
    isAsync,
    gradients,
    {
      positives: options.positives,
      negativeIndices: options.negativeIndices,
      queryLabels: options.queryLabels,
      keyLabels: options.keyLabels,
      mask: options.mask,
    },
  );
  const negativesSeen = negativeMode === 'shared' ? (negatives?.rows ?? 0) : perQuery;
  const counted = reduction === 'mean' ? countedRows(query.rows, key.rows, negativesSeen, comparisons) : 1;
  const weight = counted > 0 ? 1 / counted : 1;
  const { queryLabels, keyLabels, ownedKeys, mask } = comparisons;
  const { temperature } = scale;
  const { ownGuide: guide } = options;
  const call = {
    inputs: { query, key, negatives, ...guideInputs(guide) },
    integers: { positives, negativeIndices, queryLabels, keyLabels, mask },
    parameters: {
      temperature,
      inBatch,
      symmetric,
      ownedKeys,
      negativeMode,
      perQuery,
      ownNegativeLogit,
      sparseKeys: options.sparseKeys ?? false,
      also: options.also ?? [],
      ...guideParameters(guide),
    },
    outputs: {
      query: outputs[names.query],
      key: outputs[names.key],
      negatives: outputs[names.negatives] ?? null,
      perRow: outputs.perRow,
      rowLogSumExp: outputs.rowLogSumExp,
    },
    options: { ...readCallOptions(options, stats, weight * lift), normalize: readNormalize(options) },
  };
  const work = query.rows * (query.cols * (key.rows + negativesSeen) + (guide ? guide.query.cols * key.rows : 0));
  const plan = withNames({ ...names }, () =>
    makePlan('infoNce', call, options, work, (result, backend): NamedResult<Gradients> => {
      const ofScale = { [scale.name]: scaleGradient(scale, result.temperatureGradient) };
      return {
        loss: result.loss * weight,
        ...(outputs.perRow && { perRow: outputs.perRow }),
        ...(outputs.rowLogSumExp && { rowLogSumExp: outputs.rowLogSumExp }),
        ...(gradients && { gradients: { ...gradientsOf(outputs, names), ...ofScale } as Gradients }),
        ...(stats && { stats: result.stats }),
        ...(guide && { counted: query.rows - result.stats.skippedRows }),
        backend,
      };
    }),
  );
  return withNamesOf(plan, { ...names });
}

function gradientsOf(outputs: Readonly<Record<string, Float32Array | null>>, names: InfoNceNames): Record<string, Float32Array> {
  const all: Record<string, Float32Array> = {};
  for (const name of Object.values(names)) if (outputs[name]) all[name] = outputs[name];
  return all;
}

function readPositives(value: unknown, query: Rows, key: Rows): Int32Array | null {
  if (value !== undefined) return readIntegers('positives', value, query.rows, 0, key.rows - 1);
  if (key.rows < query.rows) {
    throw new RangeError(`key: expected at least ${query.rows} rows, one for each query, or positives, got ${key.rows} rows`);
  }
  return null;
}

interface ExplicitNegatives {
  readonly negatives: Rows | null;
  readonly negativeMode: NegativeMode;
  readonly perQuery: number;
  readonly negativeIndices: Int32Array | null;
}

function readNegatives(options: NamedOptions, query: Rows, isAsync: boolean): ExplicitNegatives {
  const indices = options.negativeIndices;
  const negativeMode = readChoice('negativeMode', options.negativeMode, NEGATIVE_MODES, indices === undefined ? 'shared' : 'indexed');
  if ((negativeMode === 'indexed') !== (indices !== undefined)) {
    throw new RangeError(
      `negativeIndices: expected with negativeMode 'indexed' and only then, got ${indices === undefined ? 'none' : 'some'} with '${negativeMode}'`,
    );
  }
  if (options.negatives === undefined) {
    if (negativeMode !== 'shared') throw new RangeError(`negatives: expected a matrix with negativeMode '${negativeMode}', got undefined`);
    return { negatives: null, negativeMode, perQuery: 0, negativeIndices: null };
  }
  const negatives = readInput('negatives', options.negatives, isAsync);
  checkSameCols('negatives', negatives, 'query', query);
  if (negativeMode === 'shared') return { negatives, negativeMode, perQuery: 0, negativeIndices: null };
  const count = negativeMode === 'paired' ? negatives.rows : (indices as { readonly length: number }).length;
  if (!(count > 0 && count % query.rows === 0)) {
    const what = negativeMode === 'paired' ? 'negatives: expected a multiple' : 'negativeIndices: expected a positive multiple';
    throw new RangeError(`${what} of the ${query.rows} queries, the same number for each, got ${count}`);
  }
  const negativeIndices = negativeMode === 'indexed' ? readIntegers('negativeIndices', indices, count, 0, negatives.rows - 1) : null;
  return { negatives, negativeMode, perQuery: count / query.rows, negativeIndices };
}

function readExclusions(options: NamedOptions, query: Rows, key: Rows) {
  const { queryLabels: ofQuery, keyLabels: ofKey } = options;
  if (ofQuery === undefined && ofKey !== undefined) throw new RangeError('queryLabels: expected with keyLabels, got undefined');
  if (ofQuery !== undefined && ofKey === undefined && key.rows !== query.rows) {
    throw new RangeError(`keyLabels: expected ${key.rows} labels, as key has more rows than query, got undefined`);
  }
  const queryLabels = ofQuery === undefined ? null : readLabels('queryLabels', ofQuery, query.rows);
  const keyLabels = ofKey === undefined ? queryLabels : readLabels('keyLabels', ofKey, key.rows);
  const mask = options.mask === undefined ? null : readMask('mask', options.mask, query.rows, key.rows);
  return { queryLabels, keyLabels, ownedKeys: options.ownedKeys ?? false, mask };
}

function checkSymmetric({ inBatch, positives }: { readonly inBatch: boolean; readonly positives: Int32Array | null }): void {
  if (!inBatch) throw new RangeError('symmetric: expected inBatch with it, which the columns are made of, got inBatch false');
  if (!positives) return;
  const seen = new Map<number, number>();
  for (const [i, p] of positives.entries()) {
    const other = seen.get(p);
    if (other !== undefined) {
      throw new RangeError(`positives: expected distinct rows of key with symmetric, got row ${p} for queries ${other} and ${i}`);
    }
    seen.set(p, i);
  }
}

function readOwnNegativeLogit(value: unknown, { negatives, negativeMode }: ExplicitNegatives, query: Rows): number {
  const logit = readNumber('ownNegativeLogit', value, 0);
  if (logit === 0) return 0;
  if (!negatives || negativeMode !== 'shared' || negatives.rows < query.rows) {
    const got = negatives ? `${negatives.rows} with negativeMode '${negativeMode}'` : 'none';
    throw new RangeError(`ownNegativeLogit: expected at least ${query.rows} shared negatives, one for each query, got ${got}`);
  }
  return logit;
}

function readNormalize({ similarity, normalize }: NamedOptions): boolean {
  const chosen = readChoice('similarity', similarity, SIMILARITIES, 'cosine');
  if (chosen === 'dot' && normalize === true) throw new RangeError("normalize: expected false with similarity 'dot', got true");
  return chosen === 'cosine' && readBoolean('normalize', normalize, true);
}
