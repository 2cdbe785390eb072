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
  /** What keys hold in this part, where it is not the rows of their block. */
  readonly alike?: UnitRows;
}

/** Rows of the key: parts of it (by index) that hold `of`, the others zero. */
export interface Block {
  readonly of: UnitRows;
  readonly parts: readonly number[];
}

/** The two matrices of InfoNCE. */
export function sideBySide(parts: readonly Part[], blocks: readonly Block[]): { query: Rows; key: Rows } {
  const { rows } = parts[0].of;
  const cols = parts.reduce((sum, { of }) => sum + of.cols, 0);
  const keyRows = blocks.reduce((sum, { of }) => sum + of.rows, 0);
  const query = { data: new Float32Array(rows * cols), rows, cols };
  const key = { data: new Float32Array(keyRows * cols), rows: keyRows, cols };
  forEachPiece(parts, blocks, (target, start, { u, cols: width }, i, { factor }) => {
    const { data } = target === 'query' ? query : key;
    for (let k = 0; k < width; k++) data[start + k] = factor * u[i * width + k];
  });
  return { query, key };
}

/** Hands the gradients of the two matrices back to the rows they were made of. */
export function takeGradients(parts: readonly Part[], blocks: readonly Block[], query: Float32Array, key: Float32Array): void {
  forEachPiece(parts, blocks, (target, start, of, i, { factor, differentiable }) => {
    const from = target === 'query' ? query : key;
    if (differentiable) of.add(i, from.subarray(start, start + of.cols), factor);
  });
}

/** The sum over all queries of their constant parts times the gradient by them. */
export function constantProduct(parts: readonly Part[], query: Rows, gradient: Float32Array): number {
  let product = 0;
  forEachPiece(parts, [], (_, start, { cols }, __, { differentiable }) => {
    if (!differentiable) for (let k = start; k < start + cols; k++) product += query.data[k] * gradient[k];
  });
  return product;
}

type Use = (target: 'query' | 'key', start: number, of: UnitRows, row: number, part: Part) => void;

function forEachPiece(parts: readonly Part[], blocks: readonly Block[], use: Use): void {
  const starts: number[] = [];
  let width = 0;
  for (const { of } of parts) {
    starts.push(width);
    width += of.cols;
  }
  for (const [p, part] of parts.entries()) {
    for (let i = 0; i < part.of.rows; i++) use('query', i * width + starts[p], part.of, i, part);
  }
  let row = 0;
  for (const { of, parts: held } of blocks) {
    for (let j = 0; j < of.rows; j++, row++) {
      for (const p of held) use('key', row * width + starts[p], parts[p].alike ?? of, j, parts[p]);
    }
  }
}
