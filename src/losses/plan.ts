/**
 * What the losses share: the common options, and the two ways of running a checked call. A loss makes a `Plan` from its
 * arguments (everything checked, backend chosen, outputs allocated); running it is the same for all.
 */
import type { CallOptions, KernelCall, KernelName, KernelResult, Precision } from '../backends/backend.js';
import { BACKEND_CHOICES, type BackendChoice, selectBackend } from '../backends/select.js';
import type { BackendName } from '../errors.js';
import { checkNoOverlap, describe, readBoolean, readChoice, readOutput, readSignal, readThreads } from '../validate.js';
import { type GradientsOption, onDevice, reserveOnDevice } from './device-call.js';

/** Options of every function. */
export interface KernelOptions {
  /** 'auto' (default): CUDA if available and worth it, else the CPU addon, else the reference. By name: that one or an error. */
  readonly backend?: BackendChoice | undefined;
  /** 'float32' (default), or what CUDA has beside it. Never changed by 'auto'. */
  readonly precision?: Precision | undefined;
  /** true (default): rows are divided by their norms, similarities are cosines. false: dot products, or plain distances. */
  readonly normalize?: boolean | undefined;
  /** CPU threads, at least 1. Default: CONTRASTIVE_KERNELS_THREADS, else the parallelism available to the process. */
  readonly threads?: number | undefined;
  /** Aborted: a synchronous call throws `signal.reason` if it has not begun, an asynchronous one rejects with it. */
  readonly signal?: AbortSignal | undefined;
  /** false: do not warn when 'auto' finds no native backend and the reference computes. */
  readonly fallbackWarning?: boolean | undefined;
}

/** Options of every loss, so that one object can serve several. */
export interface LossOptions extends KernelOptions {
  /** Divides the similarities; default 0.5. `uniformity` and `alignment` have no temperature: there it has no effect. */
  readonly temperature?: number | undefined;
  /** 'mean' (default) over the rows that count, 'sum', or 'none': the sum, and a number for every row. */
  readonly reduction?: Reduction | undefined;
  /** Compute the gradients as well; default false. */
  readonly gradients?: boolean | undefined;
  /** Collect `stats`; default true. */
  readonly stats?: boolean | undefined;
}

export type Reduction = 'mean' | 'sum' | 'none';

export const KERNEL_OPTIONS = ['backend', 'precision', 'normalize', 'threads', 'signal', 'fallbackWarning', 'out'] as const;
export const LOSS_OPTIONS = [...KERNEL_OPTIONS, 'temperature', 'reduction', 'gradients', 'stats'] as const;
const PRECISIONS = ['float32', 'bfloat16x3', 'bfloat16'] as const;
const REDUCTIONS = ['mean', 'sum', 'none'] as const;

export function readReduction(value: unknown): Reduction {
  return readChoice('reduction', value, REDUCTIONS, 'mean');
}

/** A call that is checked and ready. `shape` turns the backend's numbers into what the user gets. */
export interface Plan<R> {
  run(): R;
  runAsync(): Promise<R>;
}

/** The common options in the form the backends take. */
export function readCallOptions(options: KernelOptions, stats: boolean, weight: number): CallOptions {
  return {
    normalize: readBoolean('normalize', options.normalize, true),
    precision: readChoice('precision', options.precision, PRECISIONS, 'float32'),
    threads: readThreads(options.threads),
    stats,
    weight,
  };
}

/** What a plan with these options would be computed by. Throws as `makePlan`. */
export function chosenBackend(kernel: KernelName, options: KernelOptions, work: number): BackendName {
  return selectBackend(
    {
      kernel,
      backend: readChoice('backend', options.backend, BACKEND_CHOICES, 'auto'),
      precision: readChoice('precision', options.precision, PRECISIONS, 'float32'),
      fallbackWarning: readBoolean('fallbackWarning', options.fallbackWarning, true),
    },
    work,
  ).name;
}

/**
 * @param work multiply-adds, for the choice of the backend.
 * @param shape what the user gets, from what the backend returned.
 */
export function makePlan<K extends KernelName, R>(
  kernel: K,
  call: KernelCall<K>,
  options: KernelOptions,
  work: number,
  shape: (result: KernelResult, backend: BackendName) => R,
): Plan<R> {
  const signal = readSignal(options.signal);
  const device = onDevice(call, readChoice('backend', options.backend, BACKEND_CHOICES, 'auto'));
  const backend = selectBackend(
    {
      kernel,
      backend: device.backend,
      precision: call.options.precision,
      fallbackWarning: readBoolean('fallbackWarning', options.fallbackWarning, true),
    },
    work,
  );
  return {
    run() {
      signal?.throwIfAborted();
      try {
        return device.finish(shape(backend.run(kernel, device.open()), backend.name));
      } catch (error) {
        device.abandon();
        throw error;
      }
    },
    async runAsync() {
      signal?.throwIfAborted();
      try {
        return device.finish(shape(await backend.runAsync(kernel, device.open(), signal), backend.name));
      } catch (error) {
        device.abandon();
        throw error;
      }
    },
  };
}

/**
 * The arrays a call fills: the caller's from `out` where given, new ones otherwise, null where not wanted.
 *
 * @param wanted the length of each output; 0: not wanted, and an error if the caller gave an array for it.
 * @param inputs what the outputs must not overlap.
 * @param gradients 'device': the outputs called as an input stay on the device, and `out` must not name them.
 * @param besides what else the call reads and outputs must not overlap: labels, masks, ...; only typed arrays are looked at.
 */
export function readOutputs<N extends string>(
  out: Partial<Record<N, Float32Array | undefined>> | undefined,
  wanted: Readonly<Record<N, number>>,
  inputs: Readonly<Record<string, Float32Array>>,
  isAsync: boolean,
  gradients: GradientsOption = true,
  besides: Readonly<Record<string, unknown>> = {},
): Record<N, Float32Array | null> {
  if (out !== undefined && (typeof out !== 'object' || out === null)) {
    throw new TypeError(`out: expected an object of Float32Arrays, got ${describe(out)}`);
  }
  const names = Object.keys(wanted) as N[];
  const given: Record<string, Float32Array> = {};
  for (const name of Object.keys(out ?? {}) as N[]) {
    if (!names.includes(name)) throw new TypeError(`out: expected only ${names.join(', ')}, got '${name}'`);
    const array = out?.[name];
    if (array === undefined) continue;
    if (gradients === 'device' && name in inputs) {
      throw new TypeError(`out.${name}: expected no array with gradients 'device', got ${describe(array)}`);
    }
    if (wanted[name] === 0) {
      throw new RangeError(`out.${name}: expected only outputs that the options ask for (gradients, reduction), got an array`);
    }
    given[`out.${name}`] = readOutput(`out.${name}`, array, wanted[name], isAsync);
  }
  checkNoOverlap(given, { ...inputs, ...besides });
  const outputs = {} as Record<N, Float32Array | null>;
  for (const name of names) {
    if (wanted[name] === 0) outputs[name] = null;
    else if (gradients === 'device' && name in inputs) outputs[name] = reserveOnDevice();
    else outputs[name] = given[`out.${name}`] ?? new Float32Array(wanted[name]);
  }
  return outputs;
}
