/** GISTEmbed: in-batch negatives that a guide model finds closer than the positive are left out of the softmax. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import type { MatrixLike } from '../matrix.js';
import { describe, readBoolean, readChoice, readNumber, readOptions, readScale } from '../validate.js';
import { planInfoNce } from './info-nce.js';
import { type Block, factorOf, type Part, planJoint, UnitRows } from './joint-candidates.js';
import { chosenBackend, LOSS_OPTIONS, type LossOptions, type Plan, readReduction } from './plan.js';
import type { Scale } from './scale.js';
import { addScaled, allOf } from './several-plans.js';
import { checkFiniteTexts, readTexts, readTextsOut, stacked, type Texts, type TextsOut } from './texts.js';

export interface GistOptions extends LossOptions {
  /** Hard negatives [N, cols], any number of matrices: each is a candidate of every anchor. */
  readonly negatives?: readonly MatrixLike[] | undefined;
  /** The guide's embeddings of the same texts: all [N, any cols], `negatives` as many as above. */
  readonly guide: { readonly anchor: MatrixLike; readonly positive: MatrixLike; readonly negatives?: readonly MatrixLike[] | undefined };
  /** 'absolute' (default): left out above guided positive - margin. 'relative': above guided positive * (1 - margin). */
  readonly marginStrategy?: 'absolute' | 'relative' | undefined;
  /** Default 0. */
  readonly margin?: number | undefined;
  /** true (default): the other anchors are candidates as well. */
  readonly contrastAnchors?: boolean | undefined;
  /** true (default): the other positives compared with the own positive are candidates as well. */
  readonly contrastPositives?: boolean | undefined;
  readonly out?: (TextsOut & { readonly rowLogSumExp?: Float32Array | undefined }) | undefined;
}

export interface GistGradients {
  /** As their inputs, by the rows as given (before they are normalised). */
  readonly anchor: Float32Array;
  readonly positive: Float32Array;
  readonly negatives: readonly Float32Array[];
  readonly temperature: number;
}

export interface GistResult {
  readonly loss: number;
  /** [N], with reduction 'none'. */
  readonly perRow?: Float32Array;
  /** [N], with reduction 'none': log-sum-exp of the logits of all candidates that are left. */
  readonly rowLogSumExp?: Float32Array;
  readonly gradients?: GistGradients;
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = GistResult & { readonly gradients: GistGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS, 'negatives', 'guide', 'marginStrategy', 'margin', 'contrastAnchors', 'contrastPositives']);
const GUIDE = new Set(['anchor', 'positive', 'negatives']);
const STRATEGIES = ['absolute', 'relative'] as const;
/** What InfoNCE calls its inputs, and what they are called here. */
const NAMES = { query: 'anchor', key: 'positive', negatives: 'negatives' };

/**
 * GISTEmbed: multiple-negatives ranking with false negatives left out. The candidates of anchor i are its positive, the other
 * positives, the other anchors, the other positives compared with positive i, and all hard negatives; one whose similarity by the guide
 * exceeds the guide's similarity of anchor i and positive i (less the margin) is no candidate. A row is never its own negative.
 *
 * The guide's similarities are taken tile by tile beside the loss's own and never stored; on CUDA its decisions are, a bit each, as many as
 * fit half the memory of the rows.
 *
 * @param anchor [N, cols].
 * @param positive [N, cols], row by row.
 * @param options `temperature` is 0.01 by default.
 * @throws TypeError, RangeError (shapes that differ, ...), NonFiniteError, BackendUnavailableError.
 * @see Solatorio: GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning, 2024.
 */
export function gist(anchor: MatrixLike, positive: MatrixLike, options: GistOptions & { readonly gradients: true }): WithGradients;
export function gist(anchor: MatrixLike, positive: MatrixLike, options: GistOptions): GistResult;
export function gist(anchor: MatrixLike, positive: MatrixLike, options: GistOptions): GistResult {
  return plan(anchor, positive, options, false).run();
}

/** `gist` off the event loop. Inputs are copied before this returns. Every error, those of the arguments too, is a rejection. */
export function gistAsync(
  anchor: MatrixLike,
  positive: MatrixLike,
  options: GistOptions & { readonly gradients: true },
): Promise<WithGradients>;
export function gistAsync(anchor: MatrixLike, positive: MatrixLike, options: GistOptions): Promise<GistResult>;
export async function gistAsync(anchor: MatrixLike, positive: MatrixLike, options: GistOptions): Promise<GistResult> {
  return plan(anchor, positive, options, true).runAsync();
}

function plan(anchorGiven: MatrixLike, positiveGiven: MatrixLike, optionsGiven: GistOptions, isAsync: boolean): Plan<GistResult> {
  const options = readOptions(optionsGiven, KNOWN);
  const { negatives: _, guide, marginStrategy, margin: marginGiven, contrastAnchors, contrastPositives, out, ...rest } = options;
  const rows = readTexts('', { anchor: anchorGiven, positive: positiveGiven, negatives: options.negatives }, isAsync);
  if (typeof guide !== 'object' || guide === null) throw new TypeError(`guide: expected an object of matrices, got ${describe(guide)}`);
  const guided = readTexts('guide.', readOptions(guide, GUIDE, 'guide'), isAsync);
  if (guided.anchor.rows !== rows.anchor.rows || guided.negatives.length !== rows.negatives.length) {
    throw new RangeError(
      `guide: expected ${rows.anchor.rows} rows and ${rows.negatives.length} negatives, got ${guided.anchor.rows} and ${guided.negatives.length}`,
    );
  }
  const N = rows.anchor.rows;
  const intoOut = readTextsOut<GistResult>(out, rows, options, ['perRow', 'rowLogSumExp'], isAsync, {
    'guide.anchor': guided.anchor.data,
    'guide.positive': guided.positive.data,
    ...Object.fromEntries(guided.negatives.map(({ data }, n) => [`guide.negatives[${n}]`, data])),
  });
  const margin = readNumber('margin', marginGiven, 0);
  const strategy = readChoice('marginStrategy', marginStrategy, STRATEGIES, 'absolute');
  const kinds = {
    anchors: readBoolean('contrastAnchors', contrastAnchors, true),
    positives: readBoolean('contrastPositives', contrastPositives, true),
  };
  const scale = { temperature: readScale('temperature', options.temperature, 0.01), name: 'temperature' } as const;
  const normalize = readBoolean('normalize', options.normalize, true);

  checkFiniteTexts('', rows);
  checkFiniteTexts('guide.', guided);
  const relative = strategy === 'relative';
  if (areWalks(rows, guided.anchor.cols, rest)) {
    const also = [...(kinds.anchors ? (['queries'] as const) : []), ...(kinds.positives ? (['otherKeysOfKey'] as const) : [])];
    const ownGuide = { query: guided.anchor, key: guided.positive, second: null, split: N, margin, relative };
    return allOf([ofWalks(rows, { ...rest, also, ownGuide }, scale, isAsync)], ([result]) => intoOut(result));
  }

  // Those of the positives last: the guide, too, compares them with positives and the others with anchors.
  const blocksOf = <R>(of: { anchor: R; positive: R; negatives: readonly R[] }) => [
    { right: of.positive, parts: [0], withItself: false },
    ...(kinds.anchors ? [{ right: of.anchor, parts: [0], withItself: true }] : []),
    ...of.negatives.map((right) => ({ right, parts: [0], withItself: false })),
    ...(kinds.positives ? [{ right: of.positive, parts: [1], withItself: true }] : []),
  ];
  const units = {
    anchor: new UnitRows('anchor', rows.anchor, normalize),
    positive: new UnitRows('positive', rows.positive, normalize),
    negatives: rows.negatives.map((each, n) => new UnitRows(`negatives[${n}]`, each, normalize)),
  };
  const factor = factorOf(scale.temperature);
  const part = (of: UnitRows): Part => ({ of, factor, differentiable: 1 });
  const parts = kinds.positives ? [part(units.anchor), part(units.positive)] : [part(units.anchor)];
  const blocks: Block[] = blocksOf(units).map(({ right, parts }) => ({ of: right, parts }));
  const guideBlocks = blocksOf(guided);
  const ownGuide = {
    query: guided.anchor,
    key: stacked(guideBlocks.map(({ right }) => right)),
    second: kinds.positives ? guided.positive : null,
    split: N * guideBlocks.filter(({ parts }) => parts[0] === 0).length,
    margin,
    relative,
  };
  // A row is never its own negative, and nobody has label -1.
  const queryLabels = Int32Array.from({ length: N }, (_, i) => i);
  const keyLabels = new Int32Array(ownGuide.key.rows).fill(-1);
  for (const [block, { withItself }] of guideBlocks.entries()) if (withItself) keyLabels.set(queryLabels, block * N);
  const joint = planJoint(parts, blocks, { ...rest, ownGuide, queryLabels, keyLabels }, scale, isAsync);
  return allOf([joint], ([{ slope, ...result }]) => {
    if (slope === undefined) return intoOut(result);
    return intoOut({
      ...result,
      gradients: {
        anchor: units.anchor.byInput(),
        positive: units.positive.byInput(),
        negatives: units.negatives.map((each) => each.byInput()),
        temperature: slope,
      },
    });
  });
}

/** Whether the CPU computes it, whose kernels walk over the pairs of each kind, each pair once; they take no hard negatives so. */
function areWalks({ anchor: { rows, cols }, negatives }: Texts, guideCols: number, options: LossOptions): boolean {
  return negatives.length === 0 && rows > 1 && chosenBackend('infoNce', options, 3 * rows * rows * (cols + guideCols)) === 'cpu';
}

function ofWalks(
  { anchor, positive }: Texts,
  options: Parameters<typeof planInfoNce>[1],
  scale: Scale,
  isAsync: boolean,
): Plan<GistResult> {
  const reduction = readReduction(options.reduction);
  // Only the result says how many rows count: a sum is made the mean then.
  const isSum = reduction === 'mean';
  const given = { ...options, reduction: isSum ? 'sum' : reduction };
  const single = planInfoNce<Omit<GistGradients, 'negatives'>>({ query: anchor, key: positive }, given, scale, isAsync, NAMES);
  return allOf([single], ([{ gradients, counted = 1, ...result }]) => {
    const weight = isSum ? 1 / Math.max(1, counted) : 1;
    const shaped = { ...result, loss: result.loss * weight };
    if (!gradients) return shaped;
    for (const each of [gradients.anchor, gradients.positive]) addScaled(each, weight, each);
    return { ...shaped, gradients: { ...gradients, negatives: [], temperature: gradients.temperature * weight } };
  });
}
