/** How many directions a set of rows fills: effective rank and isotropy, from the products of its columns (or rows, if fewer). */
import type { MatrixLike } from '../matrix.js';
import { type Directions, readRows, rowProducts } from '../reference/rows.js';
import { readBoolean, readMatrix, readOptions } from '../validate.js';
import { symmetricEigenvalues } from './eigenvalues.js';

export interface SpectrumOptions {
  /** true (default): rows are divided by their norms first, as the losses do. */
  readonly normalize?: boolean | undefined;
}

export interface EffectiveRankOptions extends SpectrumOptions {
  /** true: the mean row is subtracted first, so a common offset is no direction. Default false. */
  readonly center?: boolean | undefined;
}

export interface Isotropy {
  /** 0 (one direction) to 1 (every direction alike): IsoScore of the centred rows. NaN for one column, or rows that are all equal. */
  readonly isoScore: number;
  /** Mean cosine of two different rows: near 1 all rows point one way. NaN for one row. */
  readonly meanCosine: number;
}

/**
 * exp of the entropy of the singular values, each divided by their sum: k for rows that fill k directions evenly, 1 for rows that
 * are all on one line. Takes rows x cols memory and min(rows, cols)^2.
 *
 * @param x [rows, cols]; all zero: 0.
 * @throws {TypeError | RangeError | NonFiniteError}
 * @see Roy, Vetterli: The effective rank, EUSIPCO 2007. Garrido et al. (RankMe, ICML 2023) take it of rows as they are
 *   (`normalize: false`).
 */
export function effectiveRank(x: MatrixLike, options?: EffectiveRankOptions): number {
  const { normalize, center } = readOptions(options, new Set(['normalize', 'center']));
  const rows = readRows('x', readMatrix('x', x, false), readBoolean('normalize', normalize, true));
  const rounding = readBoolean('center', center, false) ? subtractMean(rows) : 0;
  const few = rows.rows < rows.cols ? rows : transposed(rows);
  const n = few.rows;
  const products = new Float64Array(n * n);
  for (let i = 0; i < n; i++) rowProducts(few, i, few, products.subarray(i * n, (i + 1) * n));
  const squares = symmetricEigenvalues(products, n);
  // Singular values are roots of what is only known to 1e-16 of the largest: below that, or what a mean left, there is nothing.
  const least = Math.max(squares[n - 1] * n * 1e-15, rounding);
  const values = squares.filter((square) => square > least).map(Math.sqrt);
  const sum = values.reduce((total, value) => total + value, 0);
  if (sum === 0) return 0;
  return Math.exp(-values.reduce((entropy, value) => entropy + (value / sum) * Math.log(value / sum), 0));
}

/**
 * Two answers to whether rows use all directions alike. `isoScore` = (P - 1) / (cols - 1) with P = (trace C)^2 / |C|^2 of the
 * covariance C, the participation ratio of its eigenvalues. `meanCosine` also sees a common offset, which the covariance does not.
 *
 * @param x [rows, cols].
 * @throws {TypeError | RangeError | NonFiniteError}
 * @see Rudman, Gillman, Rayne, Eickhoff: IsoScore: Measuring the Uniformity of Embedding Space Utilization, ACL Findings 2022.
 * @see Ethayarajh: How Contextual are Contextualized Word Representations?, EMNLP 2019 (the mean cosine).
 */
export function isotropy(x: MatrixLike, options?: SpectrumOptions): Isotropy {
  const { normalize } = readOptions(options, new Set(['normalize']));
  const given = readMatrix('x', x, false);
  const meanCosine = meanOfCosines(readRows('x', given, true));
  const rows = readRows('x', given, readBoolean('normalize', normalize, true));
  const rounding = subtractMean(rows);
  const few = rows.rows < rows.cols ? rows : transposed(rows);
  const products = new Float64Array(few.rows);
  let trace = 0;
  let square = 0;
  for (let i = 0; i < few.rows; i++) {
    rowProducts(few, i, few, products);
    trace += products[i];
    for (const value of products) square += value * value;
  }
  const { cols } = given;
  return { isoScore: cols > 1 && trace > rounding ? ((trace * trace) / square - 1) / (cols - 1) : Number.NaN, meanCosine };
}

/** Of all pairs of different rows: (|sum u|^2 - sum |u|^2) / (n (n - 1)). */
function meanOfCosines({ rows, cols, u }: Directions): number {
  let all = 0;
  let own = 0;
  for (let k = 0; k < cols; k++) {
    let sum = 0;
    for (let i = 0; i < rows; i++) {
      sum += u[i * cols + k];
      own += u[i * cols + k] ** 2;
    }
    all += sum * sum;
  }
  return rows > 1 ? (all - own) / (rows * (rows - 1)) : Number.NaN;
}

/**
 * In place. Relative to the first row, so equal rows become exactly 0. Returns what the squares of all differences may add up to where rows
 * are equal but for the rounding of u.
 */
function subtractMean({ rows, cols, u }: Directions): number {
  const rounding = u.reduce((sum, value) => sum + value * value, 0) * 1e-30;
  const first = u.slice(0, cols);
  for (let k = 0; k < cols; k++) {
    let sum = 0;
    for (let i = 0; i < rows; i++) {
      u[i * cols + k] -= first[k];
      sum += u[i * cols + k];
    }
    for (let i = 0; i < rows; i++) u[i * cols + k] -= sum / rows;
  }
  return rounding;
}

function transposed({ rows, cols, u }: Directions): Directions {
  const data = Float64Array.from({ length: u.length }, (_, at) => u[(at % rows) * cols + Math.floor(at / rows)]);
  return { rows: cols, cols: rows, normalized: false, u: data, norm: new Float64Array(cols) };
}
