/** Anchors, positives and hard negatives, as the losses of text retrieval take them. */
import { checkFinite } from '../finite.js';
import type { MatrixLike, Rows } from '../matrix.js';
import { checkSameShape, describe, readMatrix } from '../validate.js';
import { type LossOptions, readOutputs } from './plan.js';

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

/** Throws NonFiniteError. */
export function checkFiniteTexts(prefix: string, { anchor, positive, negatives }: Texts): void {
  checkFinite(`${prefix}anchor`, anchor.data, anchor.cols);
  checkFinite(`${prefix}positive`, positive.data, positive.cols);
  for (const [n, { data, cols }] of negatives.entries()) checkFinite(`${prefix}negatives[${n}]`, data, cols);
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

/** Arrays to fill instead of new ones. */
export interface TextsOut {
  /** With gradients, each as long as its input; of `negatives` one for each matrix. */
  readonly anchor?: Float32Array | undefined;
  readonly positive?: Float32Array | undefined;
  readonly negatives?: readonly Float32Array[] | undefined;
  /** [N], with reduction 'none'. */
  readonly perRow?: Float32Array | undefined;
}

interface TextsResult {
  readonly perRow?: Float32Array;
  readonly rowLogSumExp?: Float32Array;
  readonly gradients?: { readonly anchor: Float32Array; readonly positive: Float32Array; readonly negatives: readonly Float32Array[] };
}

const nameOf = (n: number): string => `negatives[${n}]`;

/**
 * Checks `out`, and returns what puts a result into it. Nothing is written before the whole result is there.
 *
 * @param rowOutputs what there is with reduction 'none'.
 * @param besides what else outputs must not overlap.
 */
export function readTextsOut<R extends TextsResult>(
  out: unknown,
  { anchor, positive, negatives }: Texts,
  { gradients, reduction }: LossOptions,
  rowOutputs: readonly ('perRow' | 'rowLogSumExp')[],
  isAsync: boolean,
  besides: Readonly<Record<string, unknown>> = {},
): (result: R) => R {
  if (out === undefined) return (result) => result;
  if (typeof out !== 'object' || out === null) throw new TypeError(`out: expected an object of Float32Arrays, got ${describe(out)}`);
  const { negatives: many = [], ...others } = out as TextsOut;
  if (!Array.isArray(many)) throw new TypeError(`out.negatives: expected an array of Float32Arrays, got ${describe(many)}`);
  if (many.length > 0 && many.length !== negatives.length) {
    throw new RangeError(`out.negatives: expected ${negatives.length} arrays, one for each matrix, got ${many.length}`);
  }
  const given: Record<string, Float32Array | undefined> = { ...others };
  for (const [n, array] of many.entries()) given[nameOf(n)] = array;
  const inputs: Record<string, Float32Array> = { anchor: anchor.data, positive: positive.data };
  for (const [n, { data }] of negatives.entries()) inputs[nameOf(n)] = data;
  const lengths = Object.keys(inputs).map((name) => [name, gradients ? anchor.data.length : 0] as const);
  const ofRows = rowOutputs.map((name) => [name, reduction === 'none' ? anchor.rows : 0] as const);
  readOutputs<string>(given, Object.fromEntries([...lengths, ...ofRows]), inputs, isAsync, true, besides);
  return (result) => {
    const { perRow, rowLogSumExp, gradients: all } = result;
    const computed: Record<string, Float32Array | undefined> = { perRow, rowLogSumExp, anchor: all?.anchor, positive: all?.positive };
    for (const [n, values] of (all?.negatives ?? []).entries()) computed[nameOf(n)] = values;
    const filled = Object.entries(given).flatMap(([name, array]) =>
      array ? [[name, array, computed[name] as Float32Array] as const] : [],
    );
    for (const [name, { length }, values] of filled) {
      if (length !== values.length) {
        throw new TypeError(`out.${name}: expected ${values.length} elements, got a buffer that was detached while the call was running`);
      }
    }
    for (const [, array, values] of filled) array.set(values);
    const of = <V extends Float32Array | undefined>(name: string, values: V): V => (given[name] ?? values) as V;
    return {
      ...result,
      ...(perRow && { perRow: of('perRow', perRow) }),
      ...(rowLogSumExp && { rowLogSumExp: of('rowLogSumExp', rowLogSumExp) }),
      ...(all && {
        gradients: {
          ...all,
          anchor: of('anchor', all.anchor),
          positive: of('positive', all.positive),
          negatives: all.negatives.map((values, n) => of(nameOf(n), values)),
        },
      }),
    };
  };
}
