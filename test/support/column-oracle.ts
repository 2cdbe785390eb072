/**
 * Barlow Twins and VICReg in float64, as their definitions with the whole matrix of columns against columns; see oracle.ts.
 *
 * Gradients are given column by column, [cols, rows], and so are the sizes A they are compared by: what a rounding of 1e-7 in each
 * factor of the gradient by one column amounts to. A coefficient is linear in a correlation (a covariance), which comes out of a
 * float32 sum of products with an error of its own, however small it is itself; those errors add up like random numbers.
 */
import type { Matrix } from '../../src/index.js';
import type { OracleGradient } from './oracle.js';

export interface ColumnOracle {
  readonly loss: number;
  readonly a: OracleGradient;
  readonly b: OracleGradient;
  /** Of the loss: what the errors of the correlations amount to. */
  readonly lossSize: number;
}

/** [rows, cols] as [cols, rows]. */
export function byColumn(values: ArrayLike<number>, rows: number, cols: number): Float32Array {
  return Float32Array.from({ length: rows * cols }, (_, at) => values[(at % rows) * cols + Math.floor(at / rows)]);
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;
const dot = (x: readonly number[], y: readonly number[]): number => sum(x.map((value, n) => value * y[n]));

function centredColumns({ data, shape: [rows, cols] }: Matrix): number[][] {
  return Array.from({ length: cols }, (_, k) => {
    const column = Array.from({ length: rows }, (_, n) => data[n * cols + k]);
    // Relative to the first value: a constant column is exactly 0, also where its mean would be rounded.
    const shifted = column.map((value) => value - column[0]);
    const center = mean(shifted);
    return shifted.map((value) => value - center);
  });
}

function gradientOf(values: number[][], sizes: number[], norms: number[]): OracleGradient {
  return {
    values: Float64Array.from(values.flat()),
    sizes: Float64Array.from(sizes),
    norms: Float64Array.from(norms),
    cols: values[0].length,
  };
}

export function barlowTwinsOracle(a: Matrix, b: Matrix, lambda: number): ColumnOracle {
  const N = a.shape[0];
  const views = [a, b].map((view) => {
    const centred = centredColumns(view);
    const deviation = centred.map((column) => Math.sqrt(mean(column.map((value) => value * value)) + 1e-5));
    return { deviation, u: centred.map((column, k) => column.map((value) => value / deviation[k])) };
  });
  const c = views[0].u.map((x) => views[1].u.map((y) => dot(x, y) / N));
  const d = c.length;
  const slopes = c.map((row, i) => row.map((value, j) => (i === j ? -2 * (1 - value) : 2 * lambda * value)));
  const side = (own: number, slopesOfOwn: number[][]): OracleGradient => {
    const { u, deviation } = views[own];
    const other = views[1 - own].u;
    const values = u.map((column, i) => {
      const g = column.map((_, n) => sum(slopesOfOwn[i].map((slope, j) => (slope * other[j][n]) / N)));
      const [center, along] = [mean(g), dot(g, column) / N];
      return g.map((value, n) => (value - center - along * column[n]) / deviation[i]);
    });
    const sizes = slopesOfOwn.map((row, i) => (sum(row.map(Math.abs)) + 2 * lambda * Math.sqrt(d)) / (Math.sqrt(N) * deviation[i]));
    return gradientOf(values, sizes, deviation);
  };
  const off = sum(c.flatMap((row, i) => row.map((value, j) => (i === j ? 0 : value * value))));
  return {
    loss: sum(c.map((row, i) => (1 - row[i]) ** 2)) + lambda * off,
    lossSize: 2 * lambda * Math.sqrt(off),
    a: side(0, slopes),
    b: side(
      1,
      slopes.map((_, j) => slopes.map((row) => row[j])),
    ),
  };
}

export interface VicRegWeights {
  readonly invariance: number;
  readonly variance: number;
  readonly covariance: number;
}

export function vicRegOracle(a: Matrix, b: Matrix, { invariance, variance, covariance }: VicRegWeights): ColumnOracle {
  const [N, d] = a.shape;
  const raw = [a, b].map(({ data }) => Array.from({ length: d }, (_, k) => Array.from({ length: N }, (_, n) => data[n * d + k])));
  const differences = raw[0].map((column, k) => column.map((value, n) => value - raw[1][k][n]));
  const sides = [a, b].map((view, own) => {
    const u = centredColumns(view);
    const C = u.map((x) => u.map((y) => dot(x, y) / (N - 1)));
    const deviation = C.map((row, k) => Math.sqrt(row[k] + 1e-4));
    const scale = (4 * covariance) / (d * (N - 1));
    const toOther = own === 0 ? 1 : -1;
    const norm = u.map((column) => Math.sqrt(dot(column, column)));
    const hinge = deviation.map((value) => (value < 1 ? -variance / (2 * d * (N - 1) * value) : 0));
    const values = u.map((column, i) =>
      column.map((value, n) => {
        const pull = (2 * invariance * toOther * differences[i][n]) / (N * d);
        return pull + hinge[i] * value + scale * sum(C[i].map((c, j) => (j === i ? 0 : c * u[j][n])));
      }),
    );
    const sizes = u.map((_, i) => {
      const products = sum(C[i].map((c, j) => (j === i ? 0 : Math.abs(c) * norm[j])));
      const rounding = (norm[i] / (N - 1)) * Math.sqrt(sum(norm.map((value) => value ** 4)));
      const pull = (2 * invariance * Math.sqrt(dot(differences[i], differences[i]))) / (N * d);
      return scale * (products + rounding) + Math.abs(hinge[i]) * norm[i] + pull;
    });
    const off = sum(C.flatMap((row, i) => row.map((c, j) => (i === j ? 0 : c * c))));
    return {
      loss: (variance * mean(deviation.map((value) => Math.max(0, 1 - value)))) / 2 + (covariance * off) / d,
      gradient: gradientOf(
        values,
        sizes,
        u.map(() => 1),
      ),
      size: variance + ((2 * covariance) / d) * Math.sqrt(off) * Math.max(...C.map((row, k) => row[k])),
    };
  });
  return {
    loss: invariance * mean(differences.flat().map((value) => value * value)) + sides[0].loss + sides[1].loss,
    a: sides[0].gradient,
    b: sides[1].gradient,
    lossSize: sides[0].size + sides[1].size,
  };
}
