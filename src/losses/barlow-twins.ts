/** Barlow Twins: checks the arguments, describes the call, shapes the result. The computation is the backends'. */
import { readOptions, readScale } from '../validate.js';
import {
  type ColumnLossGradients,
  type ColumnLossOptions,
  type ColumnLossResult,
  columnResult,
  readColumnOptions,
  readViews,
} from './columns.js';
import type { AnyOptions, DeviceOptions, DeviceResult, LossInput } from './device-call.js';
import { LOSS_OPTIONS, makePlan, type Plan } from './plan.js';

export interface BarlowTwinsOptions extends ColumnLossOptions {
  /** Weight of the redundancy between columns; default 0.0051. */
  readonly lambda?: number | undefined;
}

type WithGradients = ColumnLossResult & { readonly gradients: ColumnLossGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS, 'lambda']);

/**
 * Barlow Twins: sum_i (1 - c_ii)^2 + lambda sum_{i != j} c_ij^2, c = (1/rows) a^T b of columns standardised by mean and
 * sqrt(biased variance + 1e-5): the correlation of every column of one view with every column of the other. No negatives: what
 * keeps features from collapsing is that columns must differ from each other. Takes rows x cols memory, never cols x cols.
 *
 * It is one number of all rows, so only reduction 'mean' makes sense; rows are not normalised, so `normalize: false` is refused.
 *
 * @param a [rows, cols], one view of each item, at least two.
 * @param b [rows, cols], the other view, row by row.
 * @throws TypeError, RangeError (shapes that differ, lambda not positive, ...), NonFiniteError, BackendUnavailableError.
 *   Nothing is written then.
 * @see Zbontar, Jing, Misra, LeCun, Deny: Barlow Twins: Self-Supervised Learning via Redundancy Reduction, ICML 2021.
 */
export function barlowTwins(a: LossInput, b: LossInput, options: BarlowTwinsOptions & { readonly gradients: true }): WithGradients;
export function barlowTwins(a: LossInput, b: LossInput, options: DeviceOptions<BarlowTwinsOptions>): DeviceResult<WithGradients>;
export function barlowTwins(a: LossInput, b: LossInput, options?: BarlowTwinsOptions): ColumnLossResult;
export function barlowTwins(a: LossInput, b: LossInput, options?: AnyOptions<BarlowTwinsOptions>): object {
  return plan(a, b, options, false).run();
}

/**
 * `barlowTwins` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function barlowTwinsAsync(
  a: LossInput,
  b: LossInput,
  options: BarlowTwinsOptions & { readonly gradients: true },
): Promise<WithGradients>;
export function barlowTwinsAsync(
  a: LossInput,
  b: LossInput,
  options: DeviceOptions<BarlowTwinsOptions>,
): Promise<DeviceResult<WithGradients>>;
export function barlowTwinsAsync(a: LossInput, b: LossInput, options?: BarlowTwinsOptions): Promise<ColumnLossResult>;
export async function barlowTwinsAsync(a: LossInput, b: LossInput, options?: AnyOptions<BarlowTwinsOptions>): Promise<object> {
  return plan(a, b, options, true).runAsync();
}

function plan(
  aGiven: LossInput,
  bGiven: LossInput,
  optionsGiven: AnyOptions<BarlowTwinsOptions> | undefined,
  isAsync: boolean,
): Plan<ColumnLossResult> {
  const inputs = readViews(aGiven, bGiven, isAsync);
  const options = readOptions(optionsGiven, KNOWN);
  const lambda = readScale('lambda', options.lambda, 0.0051);
  const read = readColumnOptions('barlowTwins', options, inputs, isAsync);
  const call = { inputs, parameters: { lambda }, outputs: read.outputs, options: read.callOptions };
  const { rows, cols } = inputs.a;
  return makePlan('barlowTwins', call, options, cols * cols * rows, (result, backend) =>
    columnResult(result.loss, read, result.stats, backend),
  );
}
