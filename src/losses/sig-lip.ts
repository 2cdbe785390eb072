/** SigLIP: checks the arguments, describes the call, shapes the result. The computation is the backends'. */
import type { Stats } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { checkSameShape, readBoolean, readNumber, readOptions, readScale } from '../validate.js';
import { type AnyOptions, type DeviceOptions, type DeviceResult, type LossInput, readGradients, readInput } from './device-call.js';
import { LOSS_OPTIONS, type LossOptions, makePlan, type Plan, readCallOptions, readOutputs, readReduction } from './plan.js';
import { scaleGradient } from './scale.js';

export interface SigLipOptions extends Omit<LossOptions, 'temperature'> {
  /** Multiplies the similarities; default 10. */
  readonly logitScale?: number | undefined;
  /** Added to the logits; default -10, which says that most pairs do not belong together. */
  readonly bias?: number | undefined;
  /** Arrays to fill instead of new ones: `x`, `y` [rows * cols] with gradients; `perRow` [rows] with reduction 'none'. */
  readonly out?:
    | {
        readonly x?: Float32Array | undefined;
        readonly y?: Float32Array | undefined;
        readonly perRow?: Float32Array | undefined;
      }
    | undefined;
}

export interface SigLipGradients {
  /** [rows, cols], by the rows as given (before they are normalised). */
  readonly x: Float32Array;
  readonly y: Float32Array;
  /** By the scale itself. Of a learned logarithm of it: times the scale. */
  readonly logitScale: number;
  readonly bias: number;
}

export interface SigLipResult {
  readonly loss: number;
  /** [rows], with reduction 'none': the sum over the pairs of row i of x. */
  readonly perRow?: Float32Array;
  readonly gradients?: SigLipGradients;
  readonly stats?: Stats;
  /** What computed it. */
  readonly backend: BackendName;
}

type WithGradients = SigLipResult & { readonly gradients: SigLipGradients };

const KNOWN = new Set<string>([...LOSS_OPTIONS.filter((name) => name !== 'temperature'), 'logitScale', 'bias']);

/**
 * SigLIP: (1/N) sum over all pairs (i, j) of -log sigmoid(y_ij (logitScale s_ij + bias)), y_ij = 1 for i = j and -1 elsewhere.
 * Each pair is judged by itself: no softmax, so no row depends on the size of the batch. The mean is over the N rows of x, not
 * over the N^2 pairs, and one pair alone has a loss too.
 *
 * @param x [rows, cols], such as images.
 * @param y [rows, cols], the text of each.
 * @throws TypeError, RangeError (shapes that differ, logitScale not positive, ...), NonFiniteError, BackendUnavailableError.
 *   Nothing is written then.
 * @see Zhai, Mustafa, Kolesnikov, Beyer: Sigmoid Loss for Language Image Pre-Training, ICCV 2023.
 */
export function sigLip(x: LossInput, y: LossInput, options: SigLipOptions & { readonly gradients: true }): WithGradients;
export function sigLip(x: LossInput, y: LossInput, options: DeviceOptions<SigLipOptions>): DeviceResult<WithGradients>;
export function sigLip(x: LossInput, y: LossInput, options?: SigLipOptions): SigLipResult;
export function sigLip(x: LossInput, y: LossInput, options?: AnyOptions<SigLipOptions>): object {
  return plan(x, y, options, false).run();
}

/**
 * `sigLip` off the event loop. Inputs are copied before this returns; outputs are written when the promise resolves.
 * Every error, those of the arguments too, is a rejection.
 */
export function sigLipAsync(x: LossInput, y: LossInput, options: SigLipOptions & { readonly gradients: true }): Promise<WithGradients>;
export function sigLipAsync(x: LossInput, y: LossInput, options: DeviceOptions<SigLipOptions>): Promise<DeviceResult<WithGradients>>;
export function sigLipAsync(x: LossInput, y: LossInput, options?: SigLipOptions): Promise<SigLipResult>;
export async function sigLipAsync(x: LossInput, y: LossInput, options?: AnyOptions<SigLipOptions>): Promise<object> {
  return plan(x, y, options, true).runAsync();
}

function plan(
  xGiven: LossInput,
  yGiven: LossInput,
  optionsGiven: AnyOptions<SigLipOptions> | undefined,
  isAsync: boolean,
): Plan<SigLipResult> {
  const x = readInput('x', xGiven, isAsync);
  const y = readInput('y', yGiven, isAsync);
  checkSameShape('y', y, 'x', x);
  const options = readOptions(optionsGiven, KNOWN);
  const scale = { temperature: 1 / readScale('logitScale', options.logitScale, 10), name: 'logitScale' } as const;
  const bias = readNumber('bias', options.bias, -10);
  const reduction = readReduction(options.reduction);
  const gradients = readGradients(options.gradients);
  const stats = readBoolean('stats', options.stats, true);
  const weight = reduction === 'mean' ? 1 / x.rows : 1;
  const gradientLength = gradients ? x.data.length : 0;
  const outputs = readOutputs(
    options.out,
    { x: gradientLength, y: gradientLength, perRow: reduction === 'none' ? x.rows : 0 },
    { x: x.data, y: y.data },
    isAsync,
    gradients,
  );
  const parameters = { temperature: scale.temperature, bias };
  const call = { inputs: { x, y }, parameters, outputs, options: readCallOptions(options, stats, weight) };
  return makePlan('sigLip', call, options, x.rows * x.rows * x.cols, (result, backend) => ({
    loss: result.loss * weight,
    ...(outputs.perRow && { perRow: outputs.perRow }),
    ...(outputs.x &&
      outputs.y && {
        gradients: {
          x: outputs.x,
          y: outputs.y,
          logitScale: scaleGradient(scale, result.temperatureGradient),
          bias: result.biasGradient,
        },
      }),
    ...(stats && { stats: result.stats }),
    backend,
  }));
}
