/** The InfoNCE lower bound on mutual information, from a loss value. */
import { describe, MAX_ELEMENTS, readBoolean, readInteger, readOptions } from '../validate.js';

/**
 * log(candidates) - loss, in nats: a lower bound on the mutual information between the two views. It cannot exceed
 * log(candidates), so a large value needs a large batch. It holds for InfoNCE-like means only (NT-Xent with 2N - 1
 * candidates for 2N rows), not for losses whose denominator lacks the positive or whose negatives are mined; `boundCandidates` knows.
 * Of one batch it is an estimate: the average over batches is what stays below the mutual information.
 *
 * @param loss a mean loss, at least 0.
 * @param candidates how many candidates each row was compared with, its positive included; an integer of at least 2.
 * @throws TypeError, RangeError.
 * @see van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding, 2018.
 */
export function mutualInformationBound(loss: number, candidates: number): number {
  if (typeof loss !== 'number') throw new TypeError(`loss: expected a number, got ${describe(loss)}`);
  if (!(loss >= 0 && loss < Number.POSITIVE_INFINITY)) throw new RangeError(`loss: expected a finite number of at least 0, got ${loss}`);
  return Math.log(readInteger('candidates', candidates, 2, Number.MAX_SAFE_INTEGER)) - loss;
}

/** What the candidates of a row are counted from. */
export interface CandidateCounts {
  /** Rows of the loss's first input: 2N for `ntXent`, N for the others. */
  readonly rows: number;
  /** Rows of the second input; default `rows`. Without `inBatch` a row is compared with one of them only. */
  readonly keys?: number | undefined;
  /** Negatives that each row sees beside those, drawn at random, such as those of a queue; default 0. */
  readonly negatives?: number | undefined;
  /** As of `infoNce`; default true. */
  readonly inBatch?: boolean | undefined;
}

const KNOWN = new Set(['rows', 'keys', 'negatives', 'inBatch']);

/** Why there is no bound, for those that one may ask about. */
const WITHOUT_BOUND: ReadonlyMap<string, string> = new Map(
  Object.entries({
    dcl: 'its denominator lacks the positive',
    supCon: 'its positives are chosen by labels, not drawn from the joint distribution of one pair',
    sigLip: 'it judges each pair by itself',
    simCse: 'its hard negatives are mined; without them it is infoNce',
    dpr: 'its hard negatives are mined; without them it is infoNce',
    multipleNegativesRanking: 'its hard negatives are mined; without them it is infoNce',
    gist: 'its negatives are chosen by a guide',
    mocoV3: 'it is 2 temperature times a sum of two losses; ask infoNce for each',
    cmc: 'it is a sum over pairs of views; ask infoNce for each pair',
    alignment: 'it is no classification among candidates',
    uniformity: 'it is no classification among candidates',
    barlowTwins: 'it is no classification among candidates',
    vicReg: 'it is no classification among candidates',
    negativeCosine: 'it is no classification among candidates',
    alignmentUniformity: 'it is no classification among candidates',
    crossUniformity: 'it is no classification among candidates',
    memoryBankNce: 'it judges each candidate by itself',
  }),
);

/**
 * How many candidates a row of this loss is compared with, its positive included: the k of `mutualInformationBound`.
 *
 *   ntXent    rows - 1: all but the row itself, with two views of every item
 *   infoNce   its rows of `key` (one without `inBatch`), and the negatives; without labels or a mask
 *   clip      rows
 *
 * @throws TypeError; RangeError for other losses, with the reason why there is no bound, and for counts that leave nothing to compare.
 */
export function boundCandidates(loss: 'ntXent' | 'infoNce' | 'clip', counts: CandidateCounts): number {
  if (typeof loss !== 'string') throw new TypeError(`loss: expected the name of a loss, got ${describe(loss)}`);
  if (loss !== 'ntXent' && loss !== 'infoNce' && loss !== 'clip') {
    throw new RangeError(`loss: expected 'ntXent', 'infoNce' or 'clip', got '${loss}': ${WITHOUT_BOUND.get(loss) ?? 'no such loss'}`);
  }
  const { rows: rowsGiven, keys, negatives, inBatch } = readOptions(counts, KNOWN);
  const rows = readInteger('rows', rowsGiven, 1, MAX_ELEMENTS);
  if (loss !== 'infoNce' && (keys !== undefined || negatives !== undefined || inBatch !== undefined)) {
    throw new RangeError(`counts: expected rows alone for '${loss}', got more`);
  }
  if (loss === 'ntXent') return readInteger('candidates', rows - 1, 2, MAX_ELEMENTS);
  const keyRows = keys === undefined ? rows : readInteger('keys', keys, 1, MAX_ELEMENTS);
  const inKeys = readBoolean('inBatch', inBatch, true) ? keyRows : 1;
  const others = negatives === undefined ? 0 : readInteger('negatives', negatives, 0, MAX_ELEMENTS);
  return readInteger('candidates', inKeys + others, 2, MAX_ELEMENTS);
}
