/** The functions of the CUDA addon for arrays that live on the device, with their failures as typed errors. C++ side: native/addon/device.h. */
import type { NativeBinding } from './binding.js';
import { deviceError } from './errors.js';

/** An array on the device, as JavaScript holds it: opaque, and freed by the garbage collector if nobody releases it. */
export interface DeviceArray {
  readonly deviceArray: unique symbol;
}

export interface DeviceFunctions {
  /** Elements are not set. */
  deviceAllocate(length: number): DeviceArray;
  deviceUpload(data: Float32Array): DeviceArray;
  deviceRead(array: DeviceArray, out: Float32Array): void;
  deviceReadAsync(array: DeviceArray, out: Float32Array): Promise<void>;
  /** Memory that a call under way still uses is freed when it is done. */
  deviceRelease(array: DeviceArray): void;
  /** Frees what is kept for later calls; the bytes that were. */
  deviceTrim(): number;
}

/** The addon's own, or null where it has none (a CPU addon under the wrong name). */
export function deviceFunctions(binding: NativeBinding): DeviceFunctions | null {
  const native = binding as NativeBinding & DeviceFunctions;
  if (typeof native.deviceAllocate !== 'function') return null;
  return {
    deviceAllocate: (length) => typed(() => native.deviceAllocate(length)),
    deviceUpload: (data) => typed(() => native.deviceUpload(data)),
    deviceRead: (array, out) => typed(() => native.deviceRead(array, out)),
    async deviceReadAsync(array, out) {
      try {
        await native.deviceReadAsync(array, out);
      } catch (error) {
        throw deviceError(error);
      }
    },
    deviceRelease: (array) => native.deviceRelease(array),
    deviceTrim: () => native.deviceTrim(),
  };
}

function typed<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw deviceError(error);
  }
}
