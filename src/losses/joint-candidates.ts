/**
 * One softmax over similarities of several kinds. Where row i is compared both by its anchor (a_i . y_j) and by its positive (p_i . y_j),
 * every logit is still one dot product, of rows put side by side:
 *
 *   query i   [ a_i | p_i ]          key of the first kind [ y_j | 0 ],   of the second [ 0 | y_j ]
 *
 * So InfoNCE over such rows is the joint loss, at the cost of the zeros, which the CPU's kernels leave out. Rows are divided by their norms
 * and multiplied by sqrt(log2(e) / temperature) here, in float64: a product is a logit in units of log 2, and a number is rounded once.
 * The kernel is given the temperature log2(e), at which it multiplies rows by exactly 1. Gradients come back through the same parts. A
 * part that is a constant (a stop-gradient) takes none.
 */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { checkFinite } from '../finite.js';
import type { Rows } from '../matrix.js';
import { type NamedOptions, planInfoNce } from './info-nce.js';
import { type LossOptions, type Plan, readReduction } from './plan.js';
import type { Scale } from './scale.js';
import { allOf } from './several-plans.js';

/** Rows by their directions, and the gradient that gathers for them. */
export class UnitRows {
  readonly rows: number;
  readonly cols: number;
  /** A copy: the caller's may change before the gradient is taken. */
  private readonly data: Float32Array;
  private readonly norms: Float64Array | null;
  private readonly gradient: Float64Array;
  private readonly scaled = new Map<number, Float32Array>();

  /** Throws NonFiniteError. `normalize` false: rows as they are. */
  constructor(
    private readonly argument: string,
    { data, rows, cols }: Rows,
    normalize: boolean,
  ) {
    checkFinite(argument, data, cols);
    this.rows = rows;
    this.cols = cols;
    this.data = data.slice();
    this.gradient = new Float64Array(data.length);
    this.norms = normalize ? new Float64Array(rows) : null;
    for (let i = 0; this.norms && i < rows; i++) {
      let square = 0; // of float32, denormals included: a normal float64
      for (let k = i * cols; k < (i + 1) * cols; k++) square += data[k] * data[k];
      this.norms[i] = Math.sqrt(square);
    }
  }

  /** What row i is divided by; a zero row stays zero. */
  private divisor(i: number): number {
    return this.norms?.[i] || 1;
  }

  /** factor * the directions, [rows, cols]; the same array for the same factor. Throws RangeError where one does not fit float32. */
  times(factor: number): Float32Array {
    const known = this.scaled.get(factor);
    if (known) return known;
    const { rows, cols, data } = this;
    const result = new Float32Array(data.length);
    for (let i = 0; i < rows; i++) {
      const norm = this.divisor(i);
      for (let k = i * cols; k < (i + 1) * cols; k++) {
        const value = (factor * data[k]) / norm;
        result[k] = value;
        if (Math.abs(value) >= OVERFLOW) {
          throw new RangeError(
            `${this.argument}: expected products, divided by the temperature, that fit float32, got ${value} at row ${i}`,
          );
        }
      }
    }
    this.scaled.set(factor, result);
    return result;
  }

  /** Adds factor * values[start .. start + cols) to the gradient by the direction of row i. */
  add(i: number, values: Float32Array, start: number, factor: number): void {
    const { cols, gradient } = this;
    const own = i * cols;
    for (let k = 0; k < cols; k++) gradient[own + k] += factor * values[start + k];
  }

  /** The gradient by the rows as given. Throws RangeError where it does not fit float32. */
  byInput(): Float32Array {
    const { rows, cols, data, norms, gradient } = this;
    const result = new Float32Array(gradient.length);
    for (let i = 0; i < rows; i++) {
      if (norms?.[i] === 0) continue;
      const norm = this.divisor(i);
      let along = 0;
      if (norms) for (let k = i * cols; k < (i + 1) * cols; k++) along += gradient[k] * (data[k] / norm);
      for (let k = i * cols; k < (i + 1) * cols; k++) {
        const value = (gradient[k] - along * (data[k] / norm)) / norm;
        result[k] = value;
        if (!(Math.abs(value) < OVERFLOW)) {
          throw new RangeError(`${this.argument}: expected gradients that fit float32, got one that does not at row ${i}`);
        }
      }
    }
    return result;
  }
}

/** What does not round to a float32: half a unit beyond the largest one. */
const OVERFLOW = 2 ** 128 - 2 ** 103;

/** A part of the query: side by side they are row i. */
export interface Part {
  readonly of: UnitRows;
  /** Multiplies the rows of both sides: the logits of the part, in units of log 2, are its square times the products of directions. */
  readonly factor: number;
  /** The share of the product that is differentiated, 0 to 1; the rest is a constant, on both sides of the product. */
  readonly differentiable: number;
  /** What keys hold in this part, where it is not the rows of their block. */
  readonly alike?: UnitRows;
}

/** Rows of the key: parts of it (by index) that hold `of`, the others zero. */
export interface Block {
  readonly of: UnitRows;
  readonly parts: readonly number[];
}

/** The factor of parts whose logits are similarity / temperature. */
export function factorOf(temperature: number): number {
  return Math.sqrt(Math.LOG2E / temperature);
}

export interface JointResult {
  readonly loss: number;
  readonly perRow?: Float32Array;
  readonly rowLogSumExp?: Float32Array;
  /** With gradients: by the scale. Those by the rows are with the `UnitRows`. */
  readonly slope?: number;
  /** Similarities are logits (all parts of them) times the temperature. */
  readonly stats?: Stats;
  readonly backend: BackendName;
}

export type Exclusions = Pick<NamedOptions, 'queryLabels' | 'keyLabels' | 'ownedKeys' | 'ownGuide'>;
type JointGradients = { readonly anchor: Float32Array; readonly positive: Float32Array; readonly temperature: number };

const KERNEL_SCALE: Scale = { temperature: Math.LOG2E, name: 'temperature' };
/** What InfoNCE calls its inputs, in errors about them. */
const NAMES = { query: 'anchor', key: 'positive', negatives: 'negatives' };

/** The call of InfoNCE, whose positives are the rows of the first block. */
export function planJoint(
  parts: readonly Part[],
  blocks: readonly Block[],
  options: LossOptions & Exclusions,
  scale: Scale,
  isAsync: boolean,
): Plan<JointResult> {
  const matrices = sideBySide(parts, blocks);
  const lift = liftOf(parts, blocks);
  const reduction = readReduction(options.reduction);
  // Under a guide only the result says how many rows count: a sum is made the mean then.
  const isSum = options.ownGuide !== undefined && reduction === 'mean';
  const given = { ...options, sparseKeys: true, reduction: isSum ? 'sum' : reduction, normalize: false };
  const single = planInfoNce<JointGradients>(matrices, given, KERNEL_SCALE, isAsync, NAMES, lift);
  const { temperature } = scale;
  return allOf([single], ([{ gradients, stats, counted = 1, ...result }]) => {
    const weight = isSum ? 1 / Math.max(1, counted) : 1;
    const shaped = { ...result, loss: result.loss * weight, ...(stats && { stats: withSimilarities(stats, temperature * Math.LN2) }) };
    if (!gradients) return shaped;
    takeGradients(parts, blocks, gradients, weight / lift);
    // Logits of the constant parts do not depend on the scale. Where there are none, the kernel's own sum is in float64.
    const sum = parts.every(({ differentiable }) => differentiable === 1)
      ? -Math.LOG2E * gradients.temperature
      : variableProduct(parts, matrices.query, gradients.anchor);
    return { ...shaped, slope: ((scale.name === 'temperature' ? -sum / temperature : sum * temperature) * weight) / lift };
  });
}

function withSimilarities(stats: Stats, factor: number): Stats {
  return {
    ...stats,
    positiveSimilarity: factor * stats.positiveSimilarity,
    negativeSimilarity: factor * stats.negativeSimilarity,
  };
}

/** The two matrices of InfoNCE. */
function sideBySide(parts: readonly Part[], blocks: readonly Block[]): { query: Rows; key: Rows } {
  const { rows } = parts[0].of;
  const cols = parts.reduce((sum, { of }) => sum + of.cols, 0);
  const keyRows = blocks.reduce((sum, { of }) => sum + of.rows, 0);
  const query = { data: new Float32Array(rows * cols), rows, cols };
  const key = { data: new Float32Array(keyRows * cols), rows: keyRows, cols };
  forEachPiece(parts, blocks, (target, start, of, i, { factor }) => {
    const row = of.times(factor).subarray(i * of.cols, (i + 1) * of.cols);
    (target === 'query' ? query : key).data.set(row, start);
  });
  return { query, key };
}

/** What the kernel's gradients may be: float32 ends at 2^128, and sums inside it take some of what is left. */
const LARGEST_LIFTED = 2 ** 100;

/**
 * A power of two, at least 1, by which the kernel's gradients are larger than they are: they are multiplied by factors and divided by
 * norms once more, and float32's smallest numbers would be too coarse for that.
 */
function liftOf(parts: readonly Part[], blocks: readonly Block[]): number {
  const scaled = new Set(parts.map(({ of, factor }) => of.times(factor)));
  for (const { of, parts: held } of blocks) for (const p of held) scaled.add((parts[p].alike ?? of).times(parts[p].factor));
  let largest = 1;
  for (const data of scaled) for (let k = 0; k < data.length; k++) largest = Math.max(largest, Math.abs(data[k]));
  // The coefficients of a row sum to 2 at most, and of a column as well for each query, weights are at most 1.
  const bound = 2 * (parts[0].of.rows + 1) * largest;
  return 2 ** Math.max(0, Math.floor(Math.log2(LARGEST_LIFTED / bound)));
}

/** Hands the gradients of the two matrices, times `unlift`, back to the rows they were made of. */
function takeGradients(parts: readonly Part[], blocks: readonly Block[], { anchor, positive }: JointGradients, unlift: number): void {
  forEachPiece(parts, blocks, (target, start, of, i, { factor, differentiable }) => {
    const from = target === 'query' ? anchor : positive;
    if (differentiable > 0) of.add(i, from, start, factor * differentiable * unlift);
  });
}

/** The sum over all pairs of coefficient times logit, those of constant parts left out. */
function variableProduct(parts: readonly Part[], { data }: Rows, gradient: Float32Array): number {
  let product = 0;
  forEachPiece(parts, [], (_, start, { cols }, __, { differentiable }) => {
    let sum = 0;
    for (let k = start; k < start + cols; k++) sum += data[k] * gradient[k];
    product += differentiable * sum;
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
