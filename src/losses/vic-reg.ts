/** VICReg: checks the arguments, describes the call, shapes the result. The computation is the backends'. */
import { readNumber, readOptions } from '../validate.js';
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

export interface VicRegOptions extends ColumnLossOptions {
  /** Weight of the distance between the views, lambda in the paper; default 25. */
  readonly invariance?: number | undefined;
  /** Weight of the hinge that keeps every column's deviation at 1 or more, mu in the paper; default 25. */
  readonly variance?: number | undefined;
  /** Weight of the covariances between columns, nu in the paper; default 1. */
  readonly covariance?: number | undefined;
}

type WithGradients = ColumnLossResult & { readonly gradients: ColumnLossGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS, 'invariance', 'variance', 'covariance']);

/**
 * VICReg, the weighted sum of three terms: the mean over all values of (a - b)^2; the mean over both views and all columns of
 * max(0, 1 - sqrt(variance + 1e-4)); and the sum over both views of the squared covariances between different columns, divided
 * by cols. Variances and covariances are unbiased. Takes rows x cols memory, never cols x cols.
 *
 * It is one number of all rows, so only reduction 'mean' makes sense; rows are not normalised, so `normalize: false` is refused.
 *
 * @param a [rows, cols], one view of each item, at least two.
 * @param b [rows, cols], the other view, row by row.
 * @throws TypeError, RangeError (shapes that differ, a negative weight, ...), NonFiniteError, BackendUnavailableError.
 *   Nothing is written then.
 * @see Bardes, Ponce, LeCun: VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning, ICLR 2022.
 */
export function vicReg(a: LossInput, b: LossInput, options: VicRegOptions & { readonly gradients: true }): WithGradients;
export function vicReg(a: LossInput, b: LossInput, options: DeviceOptions<VicRegOptions>): DeviceResult<WithGradients>;
export function vicReg(a: LossInput, b: LossInput, options?: VicRegOptions): ColumnLossResult;
export function vicReg(a: LossInput, b: LossInput, options?: AnyOptions<VicRegOptions>): object {
  return plan(a, b, options, false).run();
}

/**
 * `vicReg` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function vicRegAsync(a: LossInput, b: LossInput, options: VicRegOptions & { readonly gradients: true }): Promise<WithGradients>;
export function vicRegAsync(a: LossInput, b: LossInput, options: DeviceOptions<VicRegOptions>): Promise<DeviceResult<WithGradients>>;
export function vicRegAsync(a: LossInput, b: LossInput, options?: VicRegOptions): Promise<ColumnLossResult>;
export async function vicRegAsync(a: LossInput, b: LossInput, options?: AnyOptions<VicRegOptions>): Promise<object> {
  return plan(a, b, options, true).runAsync();
}

function plan(
  aGiven: LossInput,
  bGiven: LossInput,
  optionsGiven: AnyOptions<VicRegOptions> | undefined,
  isAsync: boolean,
): Plan<ColumnLossResult> {
  const inputs = readViews(aGiven, bGiven, isAsync);
  const options = readOptions(optionsGiven, KNOWN);
  const parameters = {
    invariance: readWeight('invariance', options.invariance, 25),
    variance: readWeight('variance', options.variance, 25),
    covariance: readWeight('covariance', options.covariance, 1),
  };
  const read = readColumnOptions('vicReg', options, inputs, isAsync);
  const call = { inputs, parameters, outputs: read.outputs, options: read.callOptions };
  const { rows, cols } = inputs.a;
  return makePlan('vicReg', call, options, cols * cols * rows, (result, backend) => columnResult(result.loss, read, result.stats, backend));
}

/** 0 leaves a term out. */
function readWeight(option: string, value: unknown, otherwise: number): number {
  const weight = readNumber(option, value, otherwise);
  if (weight < 0 || weight > 1e30) throw new RangeError(`${option}: expected a number from 0 to 1e30, got ${weight}`);
  return weight;
}
