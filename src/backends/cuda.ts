/** The CUDA backend: one device; data in host memory, or (src/device-matrix.ts) on the device already. */
import { type DeviceFunctions, deviceFunctions } from '../native/device.js';
import { openAddon } from '../native/loader.js';
import { type OpenedBackend, openBackend } from '../native/open-backend.js';

let opened: OpenedBackend | undefined;

/** The backend, or null with the reason in `status`. The file is opened, and the device asked, at the first call; never throws. */
export function openCudaBackend(): OpenedBackend {
  opened ??= openBackend('cuda', () => ['float32', 'bfloat16x3', 'bfloat16'], 'the CUDA addon is not built');
  return opened;
}

/** What makes and reads arrays on the device, or null without one. */
export function openCudaDevice(): DeviceFunctions | null {
  const { binding } = openAddon('cuda');
  return binding && deviceFunctions(binding);
}
