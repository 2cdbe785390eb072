/** Seeded choice of negatives, as indices into a shared matrix: nothing is copied. */
import { MAX_ELEMENTS, readInteger, readIntegers, readOptions } from '../validate.js';
import { checkSeed, randomStream } from './random.js';

export interface SampleNegativesOptions {
  /** [queries]: a row that is never drawn for each query, its positive as a rule; -1: none. */
  readonly exclude?: Int32Array | readonly number[] | undefined;
}

const KNOWN = new Set(['exclude']);

/**
 * Draws `perQuery` different rows for every query, uniformly among `rows`: the `negativeIndices` of `infoNce`. Each query has a stream
 * of its own, so its rows depend on the seed and its number alone.
 *
 * @param queries how many queries.
 * @param perQuery how many rows for each; at most those that there are to draw from.
 * @param rows rows of the shared matrix.
 * @param seed any safe integer; a new one for each step of training.
 * @returns [queries * perQuery].
 * @throws TypeError, RangeError.
 */
export function sampleNegatives(
  queries: number,
  perQuery: number,
  rows: number,
  seed: number,
  options?: SampleNegativesOptions,
): Int32Array {
  readInteger('queries', queries, 1, MAX_ELEMENTS);
  readInteger('rows', rows, 1, MAX_ELEMENTS);
  const { exclude: excludeGiven } = readOptions(options, KNOWN);
  const exclude = excludeGiven === undefined ? null : readIntegers('exclude', excludeGiven, queries, -1, rows - 1);
  readInteger('perQuery', perQuery, 1, exclude?.some((row) => row >= 0) ? rows - 1 : rows);
  if (queries * perQuery > MAX_ELEMENTS) {
    throw new RangeError(`perQuery: expected at most ${MAX_ELEMENTS} indices in all, got ${queries} x ${perQuery}`);
  }
  checkSeed(seed);
  const indices = new Int32Array(queries * perQuery);
  for (let i = 0; i < queries; i++)
    draw(indices.subarray(i * perQuery, (i + 1) * perQuery), rows, exclude?.[i] ?? -1, randomStream(seed, i));
  return indices;
}

/** Floyd's algorithm: as many draws as there are rows to choose, every subset equally likely. */
function draw(into: Int32Array, rows: number, excluded: number, random: () => number): void {
  const candidates = excluded < 0 ? rows : rows - 1;
  const chosen = new Set<number>();
  for (let last = candidates - into.length, n = 0; n < into.length; last++, n++) {
    const drawn = Math.floor(random() * (last + 1));
    const row = chosen.has(drawn) ? last : drawn;
    chosen.add(row);
    // The rows after the excluded one move up to fill its place.
    into[n] = excluded >= 0 && row >= excluded ? row + 1 : row;
  }
}
