/** A matrix that stays on the CUDA device between calls: uploaded once, or left there as a gradient, and read when it is wanted. */
import { openCudaDevice } from './backends/cuda.js';
import { openByName } from './backends/select.js';
import { BackendUnavailableError } from './errors.js';
import type { MatrixLike } from './matrix.js';
import type { DeviceArray, DeviceFunctions } from './native/device.js';
import { readMatrix, readOutput } from './validate.js';

/** What the losses take of a DeviceMatrix: see `internals`. */
interface Internals {
  /** A matrix of these elements to be filled by a call. */
  allocate(rows: number, cols: number): DeviceMatrix;
  /** @throws TypeError if it was disposed. */
  array(argument: string, matrix: DeviceMatrix): DeviceArray;
}

/** For the losses only; set by the class, whose constructor is private. */
export let internals: Internals;

/**
 * Float32 rows in the memory of the CUDA device. A loss takes one where it takes a matrix (docs/gpu.md names the few that do not), computes
 * on backend 'cuda', and copies nothing to the device; with `gradients: 'device'` gradients are DeviceMatrices too. Its values never change.
 *
 * It belongs to the worker (or main thread) that made it. `dispose()` gives the memory back, `using` does so by itself, and a forgotten
 * one is freed by the garbage collector; a call under way keeps the memory it uses. Freed memory is kept for the next calls, up to a
 * limit (`trimDeviceMemory`).
 */
export class DeviceMatrix {
  readonly shape: readonly [rows: number, cols: number];
  /** rows * cols */
  readonly length: number;
  readonly #device: DeviceFunctions;
  #array: DeviceArray | null;

  private constructor(rows: number, cols: number, device: DeviceFunctions, array: DeviceArray) {
    this.shape = [rows, cols];
    this.length = rows * cols;
    this.#device = device;
    this.#array = array;
  }

  static {
    internals = {
      allocate(rows, cols) {
        const device = requireDevice();
        return new DeviceMatrix(rows, cols, device, device.deviceAllocate(rows * cols));
      },
      array: (argument, matrix) => matrix.#inUse(argument),
    };
  }

  /**
   * Copies a matrix to the device.
   *
   * @param matrix [rows, cols], read before this returns. Values are checked by the calls that use them.
   * @throws TypeError, RangeError (not a matrix; code CONTRASTIVE_KERNELS_OUT_OF_MEMORY: no room on the device),
   *   BackendUnavailableError (no device).
   */
  static from(matrix: MatrixLike): DeviceMatrix {
    const { data, rows, cols } = readMatrix('matrix', matrix, false);
    const device = requireDevice();
    return new DeviceMatrix(rows, cols, device, device.deviceUpload(data));
  }

  /**
   * The values, row-major.
   *
   * @param out an array of exactly rows * cols elements to fill instead of a new one.
   * @throws TypeError (disposed, or `out` of a wrong type), RangeError (`out` of a wrong length).
   */
  read(out?: Float32Array): Float32Array {
    const array = this.#inUse('read');
    const target = this.#target(out, false);
    this.#device.deviceRead(array, target);
    return target;
  }

  /** `read` off the event loop; `out` is written when the promise resolves. Every error is a rejection. */
  async readAsync(out?: Float32Array): Promise<Float32Array> {
    const array = this.#inUse('readAsync');
    const target = this.#target(out, true);
    await this.#device.deviceReadAsync(array, target);
    return target;
  }

  /** True after `dispose`. */
  get disposed(): boolean {
    return this.#array === null;
  }

  /** Gives the memory back. Disposing twice does nothing; every other use afterwards is a TypeError. */
  dispose(): void {
    if (this.#array) this.#device.deviceRelease(this.#array);
    this.#array = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  get [Symbol.toStringTag](): string {
    return 'DeviceMatrix';
  }

  #inUse(argument: string): DeviceArray {
    if (this.#array === null) throw new TypeError(`${argument}: expected a DeviceMatrix in use, got one that was disposed`);
    return this.#array;
  }

  #target(out: Float32Array | undefined, isAsync: boolean): Float32Array {
    return out === undefined ? new Float32Array(this.length) : readOutput('out', out, this.length, isAsync);
  }
}

function requireDevice(): DeviceFunctions {
  openByName('cuda'); // throws with the reason where there is none
  const device = openCudaDevice();
  if (device) return device;
  throw new BackendUnavailableError('cuda', 'the addon has no functions for device memory', [
    'build it again: npx contrastive-kernels build --cuda',
  ]);
}

/**
 * Gives device memory back that is kept for later calls, after the last call for some time or before another library needs it. Memory in
 * use stays. Without a device it does nothing.
 *
 * @returns the bytes that were kept.
 */
export function trimDeviceMemory(): number {
  return openCudaDevice()?.deviceTrim() ?? 0;
}
