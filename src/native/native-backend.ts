/** A `Backend` that hands every call to a native addon. The CPU and the CUDA backend differ only in the file behind it. */
import type { Backend, CallOptions, KernelCall, KernelName, KernelResult, Precision, WorkspaceSizes } from '../backends/backend.js';
import type { BackendName } from '../errors.js';
import { type NativeBinding, type NativeResult, NEGATIVES, nativeArguments, PRECISIONS } from './binding.js';
import { typedError } from './errors.js';

function toResult(native: NativeResult): KernelResult {
  const [loss, temperatureGradient, positiveSimilarity, negativeSimilarity, accuracy, skippedRows, biasGradient] = native;
  return { loss, temperatureGradient, biasGradient, stats: { positiveSimilarity, negativeSimilarity, accuracy, skippedRows } };
}

export class NativeBackend implements Backend {
  constructor(
    readonly name: BackendName,
    readonly precisions: (kernel: KernelName) => readonly Precision[],
    private readonly binding: NativeBinding,
  ) {}

  supports(kernel: KernelName): boolean {
    return typeof this.binding[kernel] === 'function';
  }

  run<K extends KernelName>(kernel: K, call: KernelCall<K>): KernelResult {
    try {
      return toResult(this.binding[kernel](...nativeArguments(kernel, call)));
    } catch (error) {
      throw typedError(error, this.name, kernel, call);
    }
  }

  /** An abort is noticed between tiles; the promise rejects when the native side has let go of the call. */
  async runAsync<K extends KernelName>(kernel: K, call: KernelCall<K>, signal: AbortSignal | undefined): Promise<KernelResult> {
    signal?.throwIfAborted();
    const cancel = signal ? new Int32Array(1) : null;
    const onAbort = () => Atomics.store(cancel as Int32Array, 0, 1);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return toResult(await this.binding[`${kernel}Async`](...nativeArguments(kernel, call), cancel));
    } catch (error) {
      throw typedError(error, this.name, kernel, call, signal);
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  workspaceBytes(kernel: KernelName, sizes: WorkspaceSizes, gradients: boolean, options: CallOptions): number {
    const { rowsX, rowsY, cols, negativeRows, negativeMode, perQuery, k } = sizes;
    const { weight, normalize, stats, threads, precision } = options;
    const own = [negativeRows, NEGATIVES[negativeMode], perQuery, k] as const;
    const rest = [weight, normalize, stats, threads, PRECISIONS[precision]] as const;
    return this.binding.workspaceBytes(kernel, rowsX, rowsY, cols, gradients, ...own, ...rest);
  }
}
