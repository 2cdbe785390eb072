/** Anchors, positives and hard negatives, as the losses of text retrieval take them. */
import type { MatrixLike, Rows } from '../matrix.js';
import { checkSameShape, describe, readMatrix } from '../validate.js';

export interface Texts {
  readonly anchor: Rows;
  readonly positive: Rows;
  readonly negatives: readonly Rows[];
}

/** All of one shape. `prefix` stands before the names in errors. */
export function readTexts(
  prefix: string,
  given: { readonly anchor: MatrixLike; readonly positive: MatrixLike; readonly negatives?: readonly MatrixLike[] | undefined },
  isAsync: boolean,
): Texts {
  const anchor = readMatrix(`${prefix}anchor`, given.anchor, isAsync);
  const alike = (name: string, value: unknown): Rows => {
    const rows = readMatrix(name, value, isAsync);
    checkSameShape(name, rows, `${prefix}anchor`, anchor);
    return rows;
  };
  const { negatives = [] } = given;
  if (!Array.isArray(negatives)) throw new TypeError(`${prefix}negatives: expected an array of matrices, got ${describe(negatives)}`);
  return {
    anchor,
    positive: alike(`${prefix}positive`, given.positive),
    negatives: negatives.map((value, n) => alike(`${prefix}negatives[${n}]`, value)),
  };
}

/** The rows of several matrices, one after the other. */
export function stacked(matrices: readonly Rows[]): Rows {
  if (matrices.length === 1) return matrices[0];
  const { cols } = matrices[0];
  const rows = matrices.reduce((sum, each) => sum + each.rows, 0);
  const data = new Float32Array(rows * cols);
  let start = 0;
  for (const each of matrices) {
    data.set(each.data, start);
    start += each.data.length;
  }
  return { data, rows, cols };
}
