/** How 'bfloat16' and 'bfloat16x3' are judged (docs/numerics.md): by which bounds, and against float64 on which rows. */
import { type Matrix, matrix } from '../../src/index.js';
import { type OracleGradient, Vectors } from './oracle.js';

export type TensorPrecision = 'bfloat16x3' | 'bfloat16';
export const TENSOR_PRECISIONS = ['bfloat16x3', 'bfloat16'] as const;

/** Of a loss, relative, and of a gradient: docs/numerics.md. */
export function lossTolerance(precision: TensorPrecision, temperature: number): number {
  return precision === 'bfloat16' ? 1e-2 : Math.max(1e-5, 4e-7 / temperature);
}
export function gradientTolerance(precision: TensorPrecision, temperature: number): number {
  return precision === 'bfloat16' ? 1e-2 : Math.max(1e-4, 1e-6 / temperature);
}

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

/** The nearest bfloat16, ties to even. */
function toBfloat16(value: number): number {
  FLOAT[0] = value;
  BITS[0] = ((BITS[0] + 0x7fff + ((BITS[0] >>> 16) & 1)) & 0xffff0000) >>> 0;
  return FLOAT[0];
}

/** Unit rows as the precision sees them, and the norms they were divided by. */
export interface Rounded {
  readonly rows: Matrix;
  readonly norms: number[];
}

export function roundedRows(x: Matrix, precision: TensorPrecision, normalize: boolean): Rounded {
  if (precision === 'bfloat16x3') return { rows: x, norms: [] };
  const { u, norm } = new Vectors(x, normalize);
  return { rows: matrix(Float32Array.from(u.flat(), toBfloat16), x.shape[0], x.shape[1]), norms: normalize ? norm : norm.map(() => 1) };
}

/** The oracle's gradient on rounded unit rows, taken on to the rows they came from. */
export function byInput(gradient: OracleGradient, rows: Matrix, norms: number[], normalize: boolean): OracleGradient {
  if (norms.length === 0 || !normalize) return gradient;
  const { cols } = gradient;
  const values = new Float64Array(gradient.values.length);
  norms.forEach((norm, i) => {
    if (norm === 0) return;
    let along = 0;
    for (let k = i * cols; k < (i + 1) * cols; k++) along += gradient.values[k] * rows.data[k];
    for (let k = i * cols; k < (i + 1) * cols; k++) values[k] = (gradient.values[k] - along * rows.data[k]) / norm;
  });
  const sizes = Float64Array.from(gradient.sizes, (size, i) => (norms[i] > 0 ? size / norms[i] : 0));
  return { values, sizes, norms: Float64Array.from(norms), cols };
}
