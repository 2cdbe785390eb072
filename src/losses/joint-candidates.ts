/**
 * One softmax over similarities of several kinds. Where row i is compared both by its anchor (a_i . y_j) and by its positive (p_i . y_j),
 * every logit is still one dot product, of rows put side by side:
 *
 *   query i   [ a_i | p_i ]          key of the first kind [ y_j | 0 ],   of the second [ 0 | y_j ]
 *
 * So InfoNCE over such rows is the joint loss, at the cost of the zeros. Rows are divided by their norms here, in float64, and
 * the gradients come back through the same parts. A part that is a constant (a stop-gradient) takes none.
 */
import { checkFinite } from '../finite.js';
import type { Rows } from '../matrix.js';

/** Rows divided by their norms, and the gradient that gathers for them. */
export class UnitRows {
  readonly rows: number;
  readonly cols: number;
  readonly u: Float32Array;
  private readonly norms: Float64Array | null;
  private readonly gradient: Float64Array;

  /** Throws NonFiniteError. `normalize` false: rows as they are. */
  constructor(
    private readonly argument: string,
    { data, rows, cols }: Rows,
    normalize: boolean,
  ) {
    checkFinite(argument, data, cols);
    this.rows = rows;
    this.cols = cols;
    this.gradient = new Float64Array(data.length);
    this.norms = normalize ? new Float64Array(rows) : null;
    this.u = data.slice();
    if (!this.norms) return;
    for (let i = 0; i < rows; i++) {
      let square = 0; // of float32, denormals included: a normal float64
      for (let k = i * cols; k < (i + 1) * cols; k++) square += data[k] * data[k];
      const norm = Math.sqrt(square);
      this.norms[i] = norm;
      if (norm > 0) for (let k = i * cols; k < (i + 1) * cols; k++) this.u[k] = data[k] / norm;
    }
  }

  /** Adds factor * `values` [cols] to the gradient by row i. */
  add(i: number, values: Float32Array, factor: number): void {
    for (let k = 0; k < this.cols; k++) this.gradient[i * this.cols + k] += factor * values[k];
  }

  /** The gradient by the rows as given. Throws RangeError where it does not fit float32. */
  byInput(): Float32Array {
    const { rows, cols, u, norms, gradient } = this;
    const result = new Float32Array(gradient.length);
    for (let i = 0; i < rows; i++) {
      if (norms?.[i] === 0) continue;
      let along = 0;
      if (norms) for (let k = i * cols; k < (i + 1) * cols; k++) along += gradient[k] * u[k];
      for (let k = i * cols; k < (i + 1) * cols; k++) {
        result[k] = (gradient[k] - along * u[k]) / (norms ? norms[i] : 1);
        if (!Number.isFinite(result[k])) {
          throw new RangeError(`${this.argument}: expected gradients that fit float32, got one that does not at row ${i}`);
        }
      }
    }
    return result;
  }
}

/** A part of the query: side by side they are row i. */
export interface Part {
  readonly of: UnitRows;
  readonly factor: number;
  /** false: a constant, on both sides of the product. */
  readonly differentiable: boolean;
}

/** Rows of the key: parts of it (by index) that hold `of`, the others zero. */
export interface Block {
  readonly of: UnitRows;
  readonly parts: readonly number[];
}

/** The two matrices of InfoNCE. */
export function sideBySide(parts: readonly Part[], blocks: readonly Block[]): { query: Rows; key: Rows } {
  const { rows, cols } = parts[0].of;
  const width = parts.length * cols;
  const query = new Float32Array(rows * width);
  const keyRows = blocks.reduce((sum, { of }) => sum + of.rows, 0);
  const key = new Float32Array(keyRows * width);
  forEachPiece(parts, blocks, (target, start, { u }, i, factor) => {
    const into = target === 'query' ? query : key;
    for (let k = 0; k < cols; k++) into[start + k] = factor * u[i * cols + k];
  });
  return { query: { data: query, rows, cols: width }, key: { data: key, rows: keyRows, cols: width } };
}

/** Hands the gradients of the two matrices back to the rows they were made of. */
export function takeGradients(parts: readonly Part[], blocks: readonly Block[], query: Float32Array, key: Float32Array): void {
  forEachPiece(parts, blocks, (target, start, of, i, factor, { differentiable }) => {
    const from = target === 'query' ? query : key;
    if (differentiable) of.add(i, from.subarray(start, start + of.cols), factor);
  });
}

type Use = (target: 'query' | 'key', start: number, of: UnitRows, row: number, factor: number, part: Part) => void;

function forEachPiece(parts: readonly Part[], blocks: readonly Block[], use: Use): void {
  const { cols } = parts[0].of;
  const width = parts.length * cols;
  for (const [p, part] of parts.entries()) {
    for (let i = 0; i < part.of.rows; i++) use('query', i * width + p * cols, part.of, i, part.factor, part);
  }
  let row = 0;
  for (const { of, parts: held } of blocks) {
    for (let j = 0; j < of.rows; j++, row++) {
      for (const p of held) use('key', row * width + p * cols, of, j, parts[p].factor, parts[p]);
    }
  }
}
