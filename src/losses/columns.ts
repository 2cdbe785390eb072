/** What Barlow Twins and VICReg share: two views whose columns are compared, one number of all rows, and its gradients. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import type { Rows } from '../matrix.js';
import { checkSameShape, readBoolean, readScale } from '../validate.js';
import { type AnyOptions, type LossInput, readGradients, readInput } from './device-call.js';
import { type LossOptions, readCallOptions, readOutputs, readReduction } from './plan.js';

export interface ColumnLossOptions extends LossOptions {
  /** Arrays to fill instead of new ones: `a`, `b` [rows * cols] with gradients. */
  readonly out?: { readonly a?: Float32Array | undefined; readonly b?: Float32Array | undefined } | undefined;
}

export interface ColumnLossGradients {
  /** [rows, cols], by the values as given (before columns are standardised). */
  readonly a: Float32Array;
  readonly b: Float32Array;
}

export interface ColumnLossResult {
  readonly loss: number;
  readonly gradients?: ColumnLossGradients;
  /** All NaN: there are no positives and negatives among columns. */
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

/** Both views, at least two rows each. */
export function readViews(aGiven: LossInput, bGiven: LossInput, isAsync: boolean): { readonly a: Rows; readonly b: Rows } {
  const a = readInput('a', aGiven, isAsync);
  const b = readInput('b', bGiven, isAsync);
  checkSameShape('b', b, 'a', a);
  if (a.rows < 2) throw new RangeError(`a: expected at least two rows to take variances of, got ${a.rows}`);
  return { a, b };
}

/** The options that all losses have, with those refused that make no sense for columns. */
export function readColumnOptions(loss: string, options: AnyOptions<ColumnLossOptions>, { a, b }: { a: Rows; b: Rows }, isAsync: boolean) {
  readScale('temperature', options.temperature, 1);
  const reduction = readReduction(options.reduction);
  if (reduction !== 'mean') throw new RangeError(`reduction: expected 'mean' for ${loss}, which has no loss per row, got '${reduction}'`);
  if (!readBoolean('normalize', options.normalize, true)) {
    throw new RangeError(`normalize: expected true for ${loss}, which treats columns and never divides rows by their norms, got false`);
  }
  const gradients = readGradients(options.gradients);
  const stats = readBoolean('stats', options.stats, true);
  const length = gradients ? a.data.length : 0;
  const outputs = readOutputs(options.out, { a: length, b: length }, { a: a.data, b: b.data }, isAsync, gradients);
  return { outputs, stats, callOptions: readCallOptions(options, stats, 1) };
}

/** What the user gets. */
export function columnResult(
  loss: number,
  { outputs, stats }: { readonly outputs: { readonly a: Float32Array | null; readonly b: Float32Array | null }; readonly stats: boolean },
  measured: Stats,
  backend: BackendName,
): ColumnLossResult {
  return {
    loss,
    ...(outputs.a && outputs.b && { gradients: { a: outputs.a, b: outputs.b } }),
    ...(stats && { stats: measured }),
    backend,
  };
}
