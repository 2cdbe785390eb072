/** The ranking loss of sentence-transformers: every positive and hard negative of the batch is a candidate of every anchor. */
import type { AlsoCompared, Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import type { MatrixLike, Rows } from '../matrix.js';
import { ownerOf } from '../reference/info-nce.js';
import { describe, readBoolean, readChoice, readNumber, readOptions } from '../validate.js';
import { planInfoNce } from './info-nce.js';
import { type Block, type Exclusions, factorOf, type Part, planJoint, UnitRows } from './joint-candidates.js';
import { chosenBackend, LOSS_OPTIONS, type LossOptions, type Plan } from './plan.js';
import { readTemperatureOrScale, type Scale, type ScaleName } from './scale.js';
import { addScaled, allOf } from './several-plans.js';
import { checkFiniteTexts, readTexts, readTextsOut, stacked, type Texts, type TextsOut } from './texts.js';

/** Whose similarities with what are logits: a query is an anchor, the docs are all positives and hard negatives. */
export type RankingDirection = 'queryToDoc' | 'docToQuery' | 'queryToQuery' | 'docToDoc';

export interface MultipleNegativesRankingOptions extends LossOptions {
  /** Multiplies the similarities; default 20. Or `temperature`, which then gets the gradient. */
  readonly logitScale?: number | undefined;
  /** Hard negatives [N, cols], any number of matrices: row i of each belongs to anchor i. */
  readonly negatives?: readonly MatrixLike[] | undefined;
  /** Default ['queryToDoc'], which must be among them: it holds the positive. */
  readonly directions?: readonly RankingDirection[] | undefined;
  /** 'joint' (default): one softmax over all directions. 'perDirection': the mean of 'queryToDoc' and 'docToQuery', each by itself. */
  readonly partition?: 'joint' | 'perDirection' | undefined;
  /** strength * similarity, as a constant, is added to the logits of 'queryToDoc' of these negatives: harder ones weigh more. */
  readonly hardness?: { readonly mode: 'inBatch' | 'hard' | 'all'; readonly strength: number } | undefined;
  readonly out?: TextsOut | undefined;
}

export interface MultipleNegativesRankingGradients {
  /** As their inputs, by the rows as given (before they are normalised). */
  readonly anchor: Float32Array;
  readonly positive: Float32Array;
  readonly negatives: readonly Float32Array[];
  /** By the scale that was given: `logitScale` when neither was. */
  readonly logitScale?: number;
  readonly temperature?: number;
}

export interface MultipleNegativesRankingResult {
  readonly loss: number;
  /** [N], with reduction 'none'. */
  readonly perRow?: Float32Array;
  readonly gradients?: MultipleNegativesRankingGradients;
  /**
   * Of the anchors' candidates. With 'docToQuery' in a joint softmax the own anchor is one of them, and accuracy has no meaning; with
   * hardness the mean similarity of negatives is not collected. Both are NaN then.
   */
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type Options = MultipleNegativesRankingOptions;
type Result = MultipleNegativesRankingResult;
type WithGradients = Result & { readonly gradients: MultipleNegativesRankingGradients };
type PlanGradients = { readonly anchor: Float32Array; readonly positive: Float32Array } & { readonly [scale in ScaleName]?: number };

const KNOWN = new Set<string>([...LOSS_OPTIONS, 'logitScale', 'negatives', 'directions', 'partition', 'hardness']);
const DIRECTIONS = ['queryToDoc', 'docToQuery', 'queryToQuery', 'docToDoc'] as const;
const PARTITIONS = ['joint', 'perDirection'] as const;
const HARDNESS = new Set(['mode', 'strength']);
const HARDNESS_MODES = ['inBatch', 'hard', 'all'] as const;
/** What InfoNCE calls its inputs, and what they are called here. */
const NAMES = { query: 'anchor', key: 'positive', negatives: 'negatives' };

/**
 * Multiple-negatives ranking: the mean over anchors of -z_ip + log of the sum of exp(z) over the chosen directions:
 *
 *   queryToDoc     anchor i with every positive and hard negative      queryToQuery   anchor i with the other anchors
 *   docToQuery     positive i with every anchor, its own included      docToDoc       positive i with the docs of other anchors
 *
 * With 'joint' and 'docToQuery' the own pair is in the sum twice, as in the library: the loss cannot fall below log 2.
 *
 * @param anchor [N, cols].
 * @param positive [N, cols], row by row.
 * @throws TypeError, RangeError (shapes that differ, a direction that does not fit the partition, ...), NonFiniteError,
 *   BackendUnavailableError.
 * @see Henderson et al.: Efficient Natural Language Response Suggestion for Smart Reply, 2017; Li et al.: Towards General Text Embeddings
 *   with Multi-stage Contrastive Learning, 2023 (all four directions); Lan et al., 2025 (hardness).
 */
export function multipleNegativesRanking(
  anchor: MatrixLike,
  positive: MatrixLike,
  options: Options & { readonly gradients: true },
): WithGradients;
export function multipleNegativesRanking(anchor: MatrixLike, positive: MatrixLike, options?: Options): Result;
export function multipleNegativesRanking(anchor: MatrixLike, positive: MatrixLike, options?: Options): Result {
  return plan(anchor, positive, options, false).run();
}

/** `multipleNegativesRanking` off the event loop. Inputs are copied before this returns. Every error is a rejection. */
export function multipleNegativesRankingAsync(
  anchor: MatrixLike,
  positive: MatrixLike,
  options: Options & { readonly gradients: true },
): Promise<WithGradients>;
export function multipleNegativesRankingAsync(anchor: MatrixLike, positive: MatrixLike, options?: Options): Promise<Result>;
export async function multipleNegativesRankingAsync(anchor: MatrixLike, positive: MatrixLike, options?: Options): Promise<Result> {
  return plan(anchor, positive, options, true).runAsync();
}

interface Settings {
  readonly directions: ReadonlySet<RankingDirection>;
  readonly perDirection: boolean;
  readonly hardness: Options['hardness'];
}

function plan(anchor: MatrixLike, positive: MatrixLike, optionsGiven: Options | undefined, isAsync: boolean): Plan<Result> {
  const options = readOptions(optionsGiven, KNOWN);
  const { negatives, directions: _, partition: __, hardness: ___, logitScale: ____, out, ...rest } = options;
  const texts = readTexts('', { anchor, positive, negatives }, isAsync);
  const settings = readSettings(options);
  const neither = options.temperature === undefined && options.logitScale === undefined;
  const scale = readTemperatureOrScale(neither ? { logitScale: 20 } : options, 0.05);
  const { directions, perDirection, hardness } = settings;
  const symmetric = perDirection && directions.has('docToQuery');
  const intoOut = readTextsOut<Result>(out, texts, options, ['perRow'], isAsync);
  const delivered = (made: Plan<Result>): Plan<Result> => allOf([made], ([result]) => intoOut(result));
  if (!hardness && (directions.size === 1 || symmetric)) return delivered(ofDocs(texts, { ...rest, symmetric }, scale, isAsync));
  if (!hardness && areWalks(texts, rest)) return delivered(ofWalks(texts, directions, rest, scale, isAsync));
  const joint = ofAllDirections(texts, symmetric ? { ...settings, directions: new Set(['queryToDoc']) } : settings, rest, scale, isAsync);
  if (!symmetric) return delivered(joint);
  // The columns have no hardness: a plan by itself, and half of each.
  const columns = ofDocs({ anchor: texts.positive, positive: texts.anchor, negatives: [] }, rest, scale, isAsync);
  return delivered(allOf([joint, columns], ([rows, back]) => halfOfBoth(rows, back, scale.name)));
}

function readSettings({ directions = ['queryToDoc'], partition, hardness }: Options): Settings {
  if (!Array.isArray(directions)) throw new TypeError(`directions: expected an array, got ${describe(directions)}`);
  const chosen = new Set(directions.map((each, n) => readChoice(`directions[${n}]`, each ?? null, DIRECTIONS, 'queryToDoc')));
  if (!chosen.has('queryToDoc')) throw new RangeError("directions: expected 'queryToDoc' among them, which holds the positive, got none");
  const perDirection = readChoice('partition', partition, PARTITIONS, 'joint') === 'perDirection';
  if (perDirection && (chosen.has('queryToQuery') || chosen.has('docToDoc'))) {
    throw new RangeError("partition: expected 'joint' with directions that do not hold the positive, got 'perDirection'");
  }
  if (hardness === undefined) return { directions: chosen, perDirection, hardness };
  readOptions(hardness, HARDNESS, 'hardness');
  const mode = readChoice('hardness.mode', hardness.mode ?? null, HARDNESS_MODES, 'all');
  const strength = readNumber('hardness.strength', hardness.strength ?? null, 0);
  if (strength < 0) throw new RangeError(`hardness.strength: expected a number of at least 0, got ${strength}`);
  return { directions: chosen, perDirection, hardness: strength === 0 ? undefined : { mode, strength } };
}

/** Anchors against docs, and docs against anchors when symmetric: InfoNCE as it is. */
function ofDocs(
  { anchor, positive, negatives }: Texts,
  options: LossOptions & { readonly symmetric?: boolean; readonly also?: readonly AlsoCompared[] },
  scale: Scale,
  isAsync: boolean,
): Plan<Result> {
  // Of the rows that are put together no error could say which matrix is meant.
  if (negatives.length > 0) checkFiniteTexts('', { anchor, positive, negatives });
  const docs = stacked([positive, ...negatives]);
  const single = planInfoNce<PlanGradients>({ query: anchor, key: docs }, options, scale, isAsync, NAMES);
  return allOf([single], ([{ gradients, rowLogSumExp: _, ...result }]) => {
    if (!gradients) return result;
    const ofDoc = (n: number): Float32Array => gradients.positive.slice(n * anchor.data.length, (n + 1) * anchor.data.length);
    const slope = { [scale.name]: gradients[scale.name] as number };
    return {
      ...result,
      gradients: { anchor: gradients.anchor, positive: ofDoc(0), negatives: negatives.map((_, n) => ofDoc(n + 1)), ...slope },
    };
  });
}

/** Whether the CPU computes it, whose kernels walk over the pairs of each direction, each pair once; they take no hard negatives so. */
function areWalks({ anchor: { rows, cols }, negatives }: Texts, options: LossOptions): boolean {
  return negatives.length === 0 && rows > 1 && chosenBackend('infoNce', options, 4 * rows * rows * cols) === 'cpu';
}

const WALKS: { readonly [D in RankingDirection]?: AlsoCompared } = {
  docToQuery: 'queriesOfKey',
  queryToQuery: 'queries',
  docToDoc: 'otherKeysOfKey',
};

function ofWalks(
  texts: Texts,
  directions: ReadonlySet<RankingDirection>,
  options: LossOptions,
  scale: Scale,
  isAsync: boolean,
): Plan<Result> {
  const also = [...directions].flatMap((direction) => WALKS[direction] ?? []);
  return allOf([ofDocs(texts, { ...options, also }, scale, isAsync)], ([result]) =>
    result.stats && directions.has('docToQuery') ? { ...result, stats: { ...result.stats, accuracy: Number.NaN } } : result,
  );
}

/** One softmax over logits of several kinds: rows put side by side, see joint-candidates.ts. */
function ofAllDirections(texts: Texts, settings: Settings, options: LossOptions, scale: Scale, isAsync: boolean): Plan<Result> {
  const { directions, hardness } = settings;
  const normalize = readBoolean('normalize', options.normalize, true);
  const unit = (name: string, rows: Rows): UnitRows => new UnitRows(name, rows, normalize);
  const anchor = unit('anchor', texts.anchor);
  const docs = [unit('positive', texts.positive), ...texts.negatives.map((rows, n) => unit(`negatives[${n}]`, rows))];
  const isDoubled = directions.has('docToQuery');
  const factor = factorOf(scale.temperature);
  const parts: Part[] = [];
  const addPart = (part: Part): number => parts.push(part) - 1;
  const byAnchor = addPart({ of: anchor, factor, differentiable: 1 });
  // Only where it is compared with something: every part makes rows longer, and their sums coarser.
  const byPositive = isDoubled || directions.has('docToDoc') ? addPart({ of: docs[0], factor, differentiable: 1 }) : -1;
  const raise = hardness && addPart(raisedPart(anchor, scale.temperature, hardness.strength));
  const blocks: (Block & { readonly sees: (own: boolean) => boolean })[] = [];
  const nobody = (): boolean => false;
  const other = (own: boolean): boolean => !own;
  if (isDoubled) {
    // The own pair, twice in the sum: exp(z) + exp(z) = exp(z + log 2), in units of log 2 a part whose product is 1. Kept as one, so
    // that nothing cancels at confident rows.
    const ones = unit('positive', onesColumn(anchor.rows));
    const double = addPart({ of: ones, alike: ones, factor: 1, differentiable: 0 });
    blocks.push({ of: docs[0], parts: [byAnchor, double], sees: nobody });
  }
  for (const [n, of] of docs.entries()) {
    const isHarder = (own: boolean): boolean => isRaised(hardness?.mode, own, n);
    const isSeen = (own: boolean): boolean => !(isDoubled && own && n === 0);
    blocks.push({ of, parts: [byAnchor], sees: (own) => isSeen(own) && !isHarder(own) });
    if (raise !== undefined) blocks.push({ of, parts: [raise], sees: isHarder });
  }
  if (directions.has('queryToQuery')) blocks.push({ of: anchor, parts: [byAnchor], sees: other });
  if (isDoubled) blocks.push({ of: anchor, parts: [byPositive], sees: other });
  if (directions.has('docToDoc')) for (const of of docs) blocks.push({ of, parts: [byPositive], sees: other });
  const joint = planJoint(parts, blocks, { ...options, ...exclusionsOf(anchor.rows, blocks) }, scale, isAsync);
  return allOf([joint], ([{ slope, rowLogSumExp: _, stats, ...single }]) => {
    const result = {
      ...(isDoubled && (anchor.rows > 1 || docs.length > 1) ? withLogTwo(single, anchor.rows, options.reduction) : single),
      ...(stats && { stats: statsOf(stats, isDoubled ? scale.temperature : 0, hardness !== undefined) }),
    };
    if (slope === undefined) return result;
    const [positive, ...negatives] = docs.map((each) => each.byInput());
    return { ...result, gradients: { anchor: anchor.byInput(), positive, negatives, [scale.name]: slope } };
  });
}

/** similarity / temperature, and strength * similarity as a constant, as one product: fewer roundings than the sum of two. */
function raisedPart(of: UnitRows, temperature: number, strength: number): Part {
  const total = 1 / temperature + strength;
  return { of, factor: factorOf(1 / total), differentiable: 1 / temperature / total };
}

function onesColumn(rows: number): Rows {
  return { data: new Float32Array(rows).fill(1), rows, cols: 1 };
}

/** The loss of rows whose positive is twice in the sum: log 2 each beside what InfoNCE with the doubled positive gives. */
function withLogTwo<R extends { readonly loss: number; readonly perRow?: Float32Array }>(result: R, rows: number, reduction: unknown): R {
  const { perRow } = result;
  if (perRow) for (let i = 0; i < rows; i++) perRow[i] += Math.LN2;
  return { ...result, loss: result.loss + (reduction === undefined || reduction === 'mean' ? 1 : rows) * Math.LN2 };
}

/** Without what the constant parts have added to the similarities; NaN where that is not known, or has no meaning. */
function statsOf(stats: Stats, doubledTemperature: number, raised: boolean): Stats {
  return {
    ...stats,
    positiveSimilarity: stats.positiveSimilarity - doubledTemperature * Math.LN2,
    ...(raised && { negativeSimilarity: Number.NaN }),
    ...(doubledTemperature > 0 && { accuracy: Number.NaN }),
  };
}

/** Whether the logit of a negative is raised: doc matrix 0 holds the positives. */
function isRaised(mode: 'inBatch' | 'hard' | 'all' | undefined, own: boolean, doc: number): boolean {
  if (mode === 'inBatch') return !own;
  if (mode === 'hard') return own && doc > 0;
  return mode === 'all' && !(own && doc === 0);
}

/** Who sees what of the blocks, by labels: an anchor's label is its number, -1 is nobody's. */
function exclusionsOf(anchors: number, blocks: readonly { readonly sees: (own: boolean) => boolean }[]): Exclusions {
  const queryLabels = Int32Array.from({ length: anchors }, (_, i) => i);
  const keyLabels = new Int32Array(anchors * blocks.length).fill(-1);
  for (const [block, { sees }] of blocks.entries()) {
    const labels = keyLabels.subarray(block * anchors, (block + 1) * anchors);
    if (sees(false) && !sees(true)) labels.set(queryLabels);
    if (!sees(false) && sees(true)) labels.set(queryLabels.map(ownerOf));
    if (!sees(false) && !sees(true)) labels.fill(ownerOf(anchors)); // there is no such anchor
  }
  return { queryLabels, keyLabels, ownedKeys: true };
}

/** `back` has anchors and positives the other way round. */
function halfOfBoth(rows: Result, back: Result, scale: ScaleName): Result {
  if (rows.perRow && back.perRow) addScaled(rows.perRow, 0.5, rows.perRow, back.perRow);
  const result = { ...rows, loss: (rows.loss + back.loss) / 2 };
  if (!rows.gradients || !back.gradients) return result;
  const { anchor, positive, negatives } = rows.gradients;
  addScaled(anchor, 0.5, anchor, back.gradients.positive);
  addScaled(positive, 0.5, positive, back.gradients.anchor);
  for (const each of negatives) addScaled(each, 0.5, each);
  const slope = ((rows.gradients[scale] as number) + (back.gradients[scale] as number)) / 2;
  return { ...result, gradients: { anchor, positive, negatives, [scale]: slope } };
}
