/** Calls of InfoNCE drawn at random, and the definition of what they should give. */
import { type InfoNceOptions, type Matrix, matrix } from '../../src/index.js';
import { type Candidate, type Comparison, comparisonOracle, mean } from './comparison-oracle.js';
import { type Family, makeViews } from './families.js';
import type { OracleGradient } from './oracle.js';
import { uniformStream } from './random.js';

export const NEGATIVE_KINDS = ['none', 'shared', 'paired', 'indexed'] as const;
export type NegativeKind = (typeof NEGATIVE_KINDS)[number];

export interface InfoNceCase {
  readonly query: Matrix;
  readonly key: Matrix;
  readonly options: InfoNceOptions;
}

export interface InfoNceShape extends Pick<InfoNceOptions, 'reduction' | 'normalize' | 'inBatch' | 'symmetric'> {
  readonly rows: number;
  readonly extraKeys: number;
  readonly cols: number;
  readonly seed: number;
  readonly kind: NegativeKind;
  readonly temperature: number;
  readonly perQuery?: number;
  readonly positives?: boolean;
  readonly labels?: boolean;
  readonly mask?: boolean;
  readonly logitScale?: boolean;
  readonly ownNegativeLogit?: number;
}

export function makeInfoNceCase(family: Family, shape: InfoNceShape): InfoNceCase {
  const { rows, extraKeys, cols, seed, kind, temperature, perQuery = 2, ownNegativeLogit = 0 } = shape;
  const uniform = uniformStream(seed + 7);
  const keys = rows + extraKeys;
  const pool = kind === 'paired' ? rows * perQuery : kind === 'shared' && ownNegativeLogit !== 0 ? rows + perQuery : perQuery + 4;
  const views = makeViews(family, Math.max(keys, pool), cols, seed);
  const part = (data: Float32Array, from: number, count: number): Matrix =>
    matrix(data.slice(from * cols, (from + count) * cols), count, cols);
  const inBatch = shape.symmetric || (shape.inBatch ?? true);
  const label = (): number => Math.floor(4 * uniform());
  const labelsOf = (count: number): number[] => Array.from({ length: count }, label);
  const options: InfoNceOptions = {
    ...(shape.logitScale ? { logitScale: 1 / temperature } : { temperature }),
    inBatch,
    symmetric: shape.symmetric ?? false,
    normalize: shape.normalize ?? true,
    reduction: shape.reduction ?? 'mean',
    ...(shape.positives && { positives: drawPositives(rows, keys, shape.symmetric ?? false, uniform) }),
    ...(shape.labels && { queryLabels: labelsOf(rows), keyLabels: Int32Array.from(labelsOf(keys)) }),
    ...(shape.mask && { mask: Uint8Array.from({ length: rows * keys }, () => (uniform() < 0.6 ? 1 : 0)) }),
    ...(kind !== 'none' && { negatives: part(views.second, Math.max(keys, pool) - pool, pool), negativeMode: kind }),
    ...(kind === 'indexed' && { negativeIndices: Int32Array.from({ length: rows * perQuery }, () => Math.floor(pool * uniform())) }),
    ...(kind === 'shared' && ownNegativeLogit !== 0 && { ownNegativeLogit }),
  };
  return { query: part(views.first, 0, rows), key: part(views.second, 0, keys), options };
}

/** Rows of key, distinct where they have to be. */
function drawPositives(rows: number, keys: number, distinct: boolean, uniform: () => number): number[] {
  const all = Array.from({ length: keys }, (_, j) => j);
  return Array.from({ length: rows }, () => {
    const at = Math.floor(all.length * uniform());
    return distinct ? all.splice(at, 1)[0] : all[at];
  });
}

export interface InfoNceOracle {
  readonly loss: number;
  readonly perRow: Float64Array;
  readonly rowLogSumExp: Float64Array;
  readonly counted: number;
  readonly gradients: OracleGradient[];
  readonly temperatureGradient: number;
  readonly temperatureSize: number;
  readonly temperatureFloor: number;
  readonly positiveSimilarity: number;
  readonly negativeSimilarity: number;
  /** Of the counted queries. */
  readonly margins: Float64Array;
}

export function infoNceOracle({ query, key, options }: InfoNceCase): InfoNceOracle {
  const N = query.shape[0];
  const K = key.shape[0];
  const { negatives, negativeMode = 'shared', negativeIndices, mask, queryLabels, keyLabels, ownNegativeLogit = 0 } = options;
  const positiveOf = (i: number): number => options.positives?.[i] ?? i;
  const compared = (i: number, j: number): boolean =>
    !(mask && !mask[i * K + j]) && !(queryLabels && keyLabels && queryLabels[i] === keyLabels[j]);
  const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, n) => from + n);
  const explicit = (i: number): Candidate[] => {
    if (!negatives) return [];
    const M = (negatives as Matrix).shape[0];
    const m = negativeMode === 'paired' ? M / N : (negativeIndices?.length ?? 0) / N;
    const rows =
      negativeMode === 'shared'
        ? range(0, M)
        : negativeMode === 'paired'
          ? range(i * m, m)
          : [...(negativeIndices ?? [])].slice(i * m, i * m + m);
    return rows.map((j) => ({ row: N + K + j, added: j === i && negativeMode === 'shared' ? ownNegativeLogit : 0 }));
  };
  const keysOf = (i: number): Candidate[] => {
    if (options.inBatch === false) return [];
    return range(0, K)
      .filter((j) => j !== positiveOf(i) && compared(i, j))
      .map((j) => ({ row: N + j }));
  };
  const rows = range(0, N).map((i) => ({ anchor: i, positive: N + positiveOf(i), negatives: [...keysOf(i), ...explicit(i)] }));
  const columns = !options.symmetric
    ? []
    : rows.map(({ anchor: i, positive: p }) => ({
        anchor: p,
        positive: i,
        negatives: range(0, N)
          .filter((j) => j !== i && compared(j, p - N))
          .map((row) => ({ row })),
      }));
  const isCounted = rows.map((row, i) => row.negatives.length > 0 || (columns[i]?.negatives.length ?? 0) > 0);
  const counted = isCounted.filter(Boolean).length;
  const share = options.symmetric ? 0.5 : 1;
  const weight = share * ((options.reduction ?? 'mean') === 'mean' && counted > 0 ? 1 / counted : 1);
  const comparisons = [...rows, ...columns].map((each): Comparison => ({ ...each, weight }));
  const matrices = [query, key, ...(negatives ? [negatives as Matrix] : [])];
  const temperature = options.temperature ?? 1 / (options.logitScale ?? 2);
  const oracle = comparisonOracle(matrices, comparisons, temperature, options.normalize ?? true);
  return {
    ...oracle,
    perRow: Float64Array.from(range(0, N), (i) => share * (oracle.losses[i] + (columns.length > 0 ? oracle.losses[N + i] : 0))),
    rowLogSumExp: oracle.logSumExps.slice(0, N),
    counted,
    positiveSimilarity: mean(oracle.positiveSimilarities.slice(0, N).filter((_, i) => isCounted[i])),
    negativeSimilarity: mean(oracle.negativeSimilarities.slice(0, N).flat()),
    margins: oracle.margins.slice(0, N).filter((_, i) => isCounted[i]),
  };
}
