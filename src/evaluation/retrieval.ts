/** Retrieval: at which rank each query finds what belongs to it. */
import { forEachRow, forEachRowAsync, SIMILARITY_OPTIONS, type SimilarityOptions } from '../losses/similarity-rows.js';
import { copied, type MatrixLike } from '../matrix.js';
import { describe, readBoolean, readInteger, readIntegers, readLabels, readOptions } from '../validate.js';
import { readFeatures } from './labelled.js';

export interface RetrievalOptions extends SimilarityOptions {
  /** [query.rows]: the row of `key` that belongs to each query. Default: row i. */
  readonly positives?: Int32Array | readonly number[] | undefined;
  /** [query.rows] and [key.rows], instead of `positives`: every row of `key` with the query's label belongs to it. */
  readonly queryLabels?: Int32Array | readonly number[] | undefined;
  readonly keyLabels?: Int32Array | readonly number[] | undefined;
  /** true: row i of `key` is no candidate of query i, as for labelled rows searched among themselves. Default false. */
  readonly excludeSameIndex?: boolean | undefined;
  /** The k of recall@k; default 1, 5, 10. */
  readonly k?: readonly number[] | undefined;
}

export interface RetrievalResult {
  /** recall[k]: the share of counted queries that have something of theirs among the k most similar rows. */
  readonly recall: Readonly<Record<number, number>>;
  /** The mean over counted queries of 1 / rank. */
  readonly meanReciprocalRank: number;
  readonly medianRank: number;
  /** [query.rows]: the rank of the best row that belongs to the query, from 1; 0 where none does. */
  readonly ranks: Int32Array;
  /** Queries to which nothing belongs. They are left out of the means. */
  readonly skippedRows: number;
}

const RETRIEVAL_OPTIONS: ReadonlySet<string> = new Set([
  ...SIMILARITY_OPTIONS,
  'positives',
  'queryLabels',
  'keyLabels',
  'excludeSameIndex',
  'k',
]);

/**
 * Recall@k and the mean reciprocal rank. A row's rank is one more than the rows that do not belong to the query and are at least as
 * similar: a tie is a miss. query.rows x key.rows similarities are never stored at once.
 *
 * @param query [rows, dim].
 * @param key what is searched [any, dim].
 * @throws {TypeError | RangeError} for wrong types, shapes and options; {NonFiniteError}; {BackendUnavailableError}.
 */
export function retrieval(query: MatrixLike, key: MatrixLike, options?: RetrievalOptions): RetrievalResult {
  const { x, y, where, visit, result } = plan(query, key, options);
  forEachRow(x, y, where, visit);
  return result();
}

/** `retrieval` off the event loop; ranks are counted in slices on it. Inputs are copied before this returns. Every error is a rejection. */
export async function retrievalAsync(query: MatrixLike, key: MatrixLike, options?: RetrievalOptions): Promise<RetrievalResult> {
  const { x, y, where, visit, result } = plan(query, key, options);
  await forEachRowAsync(copied(x), copied(y), where, visit);
  return result();
}

function plan(query: MatrixLike, key: MatrixLike, optionsGiven: RetrievalOptions | undefined) {
  const x = readFeatures('query', query);
  const y = readFeatures('key', key);
  if (x.cols !== y.cols) throw new RangeError(`key: expected ${x.cols} columns as in query, got ${y.cols}`);
  const { positives, queryLabels, keyLabels, excludeSameIndex, k, ...where } = readOptions(optionsGiven, RETRIEVAL_OPTIONS);
  const excludes = readBoolean('excludeSameIndex', excludeSameIndex, false);
  const belongs = readBelonging({ positives, queryLabels, keyLabels }, x.rows, y.rows, excludes);
  const ks = readKs(k);
  const ranks = new Int32Array(x.rows);
  const visit = (i: number, similarities: Float32Array): void => {
    ranks[i] = rankOf(similarities, (j) => belongs(i, j), excludes ? i : -1);
  };
  return { x, y, where, visit, result: () => summary(ranks, ks) };
}

function readBelonging(
  { positives, queryLabels, keyLabels }: Pick<RetrievalOptions, 'positives' | 'queryLabels' | 'keyLabels'>,
  queries: number,
  keys: number,
  excludes: boolean,
): (i: number, j: number) => boolean {
  if (queryLabels !== undefined || keyLabels !== undefined) {
    if (positives !== undefined) throw new RangeError('positives: expected positives or labels, got both');
    const ofQuery = readLabels('queryLabels', queryLabels, queries);
    const ofKey = readLabels('keyLabels', keyLabels, keys);
    return (i, j) => ofQuery[i] === ofKey[j];
  }
  if (excludes) throw new RangeError('excludeSameIndex: expected false, or labels, got true with positives by index');
  if (positives !== undefined) {
    const rows = readIntegers('positives', positives, queries, 0, keys - 1);
    return (i, j) => rows[i] === j;
  }
  if (keys < queries) throw new RangeError(`key: expected at least ${queries} rows, one for each query, or positives, got ${keys} rows`);
  return (i, j) => i === j;
}

function readKs(value: unknown): readonly number[] {
  if (value === undefined) return [1, 5, 10];
  if (!Array.isArray(value)) throw new TypeError(`k: expected an array of integers, got ${describe(value)}`);
  return value.map((k, n) => readInteger(`k[${n}]`, k, 1, Number.MAX_SAFE_INTEGER));
}

/** The rank of the most similar row that belongs; 0 where none does. */
function rankOf(similarities: Float32Array, belongs: (j: number) => boolean, excluded: number): number {
  let best = Number.NEGATIVE_INFINITY;
  for (let j = 0; j < similarities.length; j++) {
    if (similarities[j] > best && j !== excluded && belongs(j)) best = similarities[j];
  }
  if (best === Number.NEGATIVE_INFINITY) return 0;
  let ahead = 0;
  for (let j = 0; j < similarities.length; j++) {
    if (similarities[j] >= best && j !== excluded && !belongs(j)) ahead++;
  }
  return ahead + 1;
}

function summary(ranks: Int32Array, ks: readonly number[]): RetrievalResult {
  const counted = ranks.filter((rank) => rank > 0).sort();
  const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const middle = counted.length / 2;
  return {
    recall: Object.fromEntries(ks.map((k) => [k, counted.filter((rank) => rank <= k).length / counted.length])),
    meanReciprocalRank: mean(Float64Array.from(counted, (rank) => 1 / rank)),
    medianRank: counted.length === 0 ? Number.NaN : (counted[Math.ceil(middle) - 1] + counted[Math.floor(middle)]) / 2,
    ranks,
    skippedRows: ranks.length - counted.length,
  };
}
