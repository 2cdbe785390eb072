/**
 * What every reference kernel does with its rows: read them into float64 (u_i = x_i / |x_i|, or x_i), take products of one
 * row with all others, and turn the gradient by u into the gradient by x.
 *
 * The square of any float32, denormals included, is a normal float64, and so is a sum of them: no scaling is needed here.
 */
import { NonFiniteError } from '../errors.js';
import type { Rows } from '../matrix.js';

export interface Directions {
  readonly rows: number;
  readonly cols: number;
  readonly normalized: boolean;
  /** [rows, cols]: u, zero for a zero row; x itself where not normalised. */
  readonly u: Float64Array;
  /** [rows]: |x_i|, in either case. */
  readonly norm: Float64Array;
}

/** Throws NonFiniteError at the first NaN or infinity. */
export function readRows(argument: string, { data, rows, cols }: Rows, normalize: boolean): Directions {
  const u = new Float64Array(rows * cols);
  const norm = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    const start = i * cols;
    let square = 0;
    for (let k = start; k < start + cols; k++) square += data[k] * data[k];
    if (!Number.isFinite(square)) throw firstNonFinite(argument, data, i, cols);
    norm[i] = Math.sqrt(square);
    const divisor = normalize && square > 0 ? norm[i] : 1;
    for (let k = start; k < start + cols; k++) u[k] = data[k] / divisor;
  }
  return { rows, cols, normalized: normalize, u, norm };
}

/** Rows start .. start + count - 1, as a view. */
export function rowsBetween(x: Directions, start: number, count: number): Directions {
  const end = start + count;
  return { ...x, rows: count, u: x.u.subarray(start * x.cols, end * x.cols), norm: x.norm.subarray(start, end) };
}

/** For inputs that are not normalised, such as an upstream gradient. */
export function checkFinite(argument: string, { data, rows, cols }: Rows): void {
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let k = i * cols; k < (i + 1) * cols; k++) sum += data[k];
    if (!Number.isFinite(sum)) throw firstNonFinite(argument, data, i, cols);
  }
}

function firstNonFinite(argument: string, data: Float32Array, row: number, cols: number): NonFiniteError {
  const values = data.subarray(row * cols, (row + 1) * cols);
  const column = values.findIndex((value) => !Number.isFinite(value));
  return new NonFiniteError(argument, row, column, values[column]);
}

/**
 * products[j] = x_i . y_j for all rows j of y. Four rows at a time, so that four additions are in flight; each sum runs
 * over the columns in order, so equal rows give equal bits.
 */
export function rowProducts(x: Directions, i: number, y: Directions, products: Float64Array): void {
  const { cols } = x;
  const a = x.u.subarray(i * cols, (i + 1) * cols);
  const b = y.u;
  let j = 0;
  for (; j + 4 <= y.rows; j += 4) {
    const b0 = j * cols;
    const b1 = b0 + cols;
    const b2 = b1 + cols;
    const b3 = b2 + cols;
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    for (let k = 0; k < cols; k++) {
      const value = a[k];
      s0 += value * b[b0 + k];
      s1 += value * b[b1 + k];
      s2 += value * b[b2 + k];
      s3 += value * b[b3 + k];
    }
    products[j] = s0;
    products[j + 1] = s1;
    products[j + 2] = s2;
    products[j + 3] = s3;
  }
  for (; j < y.rows; j++) {
    let sum = 0;
    for (let k = 0; k < cols; k++) sum += a[k] * b[j * cols + k];
    products[j] = sum;
  }
}

/**
 * One row of coefficients, applied to both sides: gradientX_i += sum_j c_j y_j, and gradientY_j += c_j x_i for every j. The two
 * gradients may be one array, as for a matrix compared with itself. Four rows at a time, as in `rowProducts`.
 */
export function addRowOfPairs(
  x: Directions,
  i: number,
  y: Directions,
  coefficients: ArrayLike<number>,
  gradientX: Float64Array,
  gradientY: Float64Array,
): void {
  const { cols } = x;
  const a = i * cols;
  let j = 0;
  for (; j + 4 <= y.rows; j += 4) {
    const b0 = j * cols;
    const b1 = b0 + cols;
    const b2 = b1 + cols;
    const b3 = b2 + cols;
    const c0 = coefficients[j];
    const c1 = coefficients[j + 1];
    const c2 = coefficients[j + 2];
    const c3 = coefficients[j + 3];
    if (c0 === 0 && c1 === 0 && c2 === 0 && c3 === 0) continue;
    for (let k = 0; k < cols; k++) {
      const value = x.u[a + k];
      gradientY[b0 + k] += c0 * value;
      gradientY[b1 + k] += c1 * value;
      gradientY[b2 + k] += c2 * value;
      gradientY[b3 + k] += c3 * value;
      gradientX[a + k] += c0 * y.u[b0 + k] + c1 * y.u[b1 + k] + c2 * y.u[b2 + k] + c3 * y.u[b3 + k];
    }
  }
  for (; j < y.rows; j++) {
    const b = j * cols;
    const c = coefficients[j];
    for (let k = 0; k < cols; k++) {
      gradientY[b + k] += c * x.u[a + k];
      gradientX[a + k] += c * y.u[b + k];
    }
  }
}

/**
 * In place: the gradient D by u becomes the gradient by x, factor * (D_i - (D_i . u_i) u_i) / |x_i|; 0 at a zero row.
 * Where rows are not normalised only the factor applies. Throws RangeError where a value does not fit float32.
 */
export function gradientByInput(argument: string, x: Directions, gradient: Float64Array, factor: number): void {
  const { rows, cols, u, norm } = x;
  for (let i = 0; i < rows; i++) {
    const start = i * cols;
    if (x.normalized && norm[i] === 0) {
      gradient.fill(0, start, start + cols);
      continue;
    }
    let along = 0;
    if (x.normalized) for (let k = start; k < start + cols; k++) along += gradient[k] * u[k];
    const scale = x.normalized ? factor / norm[i] : factor;
    for (let k = start; k < start + cols; k++) {
      gradient[k] = (gradient[k] - along * u[k]) * scale;
      if (!Number.isFinite(Math.fround(gradient[k]))) {
        throw new RangeError(
          `${argument}: expected gradients that fit float32, got ${gradient[k]} at row ${i}, column ${k - start} (norm of the row: ${norm[i]})`,
        );
      }
    }
  }
}

/** Throws RangeError where a value of an output that has one number a row does not fit float32. */
export function checkFitsFloat32(argument: string, what: string, values: Float64Array): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(Math.fround(values[i]))) {
      throw new RangeError(`${argument}: expected ${what} that fits float32, got ${values[i]} at row ${i}`);
    }
  }
}
