/** Makes the package's typed errors of the status codes that a native call reports. */
import type { KernelCall, KernelName } from '../backends/backend.js';
import { type BackendName, BackendUnavailableError, NonFiniteError } from '../errors.js';
import { KERNELS, type NativeFailure } from './binding.js';

/** enum ck_status of the C ABI, and `kOutputDetached` of native/addon/arguments.h. */
const STATUS = {
  nonFinite: 1,
  gradientOverflow: 2,
  outOfRange: 3,
  outOfMemory: 4,
  unavailable: 5,
  cancelled: 6,
  deviceFailure: 7,
  outputDetached: 100,
} as const;

function isNativeFailure(error: unknown): error is NativeFailure {
  return error instanceof Error && typeof (error as Partial<NativeFailure>).status === 'number';
}

/** How the caller knows the output: an entry of `out`, or the `out` of cosineSimilarity itself. */
function outputName(kernel: KernelName, index: number): string {
  const name = KERNELS[kernel].outputs[index];
  return name === 'out' ? 'out' : `out.${name}`;
}

/**
 * The error to throw for `error`, which a call of `kernel` on `backend` threw.
 * @param signal - whose reason a cancelled call ends with
 */
export function typedError<K extends KernelName>(
  error: unknown,
  backend: BackendName,
  kernel: K,
  call: KernelCall<K>,
  signal?: AbortSignal,
): unknown {
  if (!isNativeFailure(error)) return error;
  const input = error.argument >= 0 ? KERNELS[kernel].inputs[error.argument] : undefined;
  const argument = input ?? kernel;
  const detail = error.message;
  switch (error.status) {
    case STATUS.nonFinite:
      return new NonFiniteError(argument, error.row, error.column, error.value);
    case STATUS.gradientOverflow:
      return new RangeError(
        `${argument}: the gradient of row ${error.row} does not fit float32; expected rows whose norms are neither so tiny nor so large${detail && ` (${detail})`}`,
      );
    case STATUS.outOfRange:
      return new RangeError(`${argument}: ${detail || `a size or a product of rows is past what backend '${backend}' can hold`}`);
    case STATUS.outOfMemory:
      return outOfMemory(`${kernel}: backend '${backend}' could not allocate the memory this call needs${detail && `: ${detail}`}`);
    case STATUS.unavailable:
      return new BackendUnavailableError(backend, detail || `it has no precision '${call.options.precision}'`);
    case STATUS.cancelled:
      return signal ? signal.reason : new Error(`${kernel}: the call was cancelled`);
    case STATUS.deviceFailure:
      return deviceFailure(`${kernel}: the device of backend '${backend}' failed: ${detail}`);
    case STATUS.outputDetached:
      return new TypeError(
        `${outputName(kernel, error.argument)}: expected the same buffer until the call ends, got one that was detached or resized while it ran`,
      );
    default:
      return error;
  }
}

/** The error to throw for `error`, which making or reading a DeviceMatrix threw. */
export function deviceError(error: unknown): unknown {
  if (!isNativeFailure(error)) return error;
  switch (error.status) {
    case STATUS.outOfMemory:
      return outOfMemory(`DeviceMatrix: backend 'cuda' could not allocate its memory${error.message && `: ${error.message}`}`);
    case STATUS.unavailable:
      return new BackendUnavailableError('cuda', error.message);
    case STATUS.outputDetached:
      return new TypeError('out: expected the same buffer until the read ends, got one that was detached or resized while it ran');
    default:
      return deviceFailure(`DeviceMatrix: the device of backend 'cuda' failed: ${error.message}`);
  }
}

function outOfMemory(message: string): RangeError {
  return Object.assign(new RangeError(message), { code: 'CONTRASTIVE_KERNELS_OUT_OF_MEMORY' });
}

function deviceFailure(message: string): Error {
  return Object.assign(new Error(message), { code: 'CONTRASTIVE_KERNELS_DEVICE_FAILURE' });
}
