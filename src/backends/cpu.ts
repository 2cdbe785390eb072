/** The native CPU backend: SIMD kernels on a pool of threads. */
import { type OpenedBackend, openBackend } from '../native/open-backend.js';

let opened: OpenedBackend | undefined;

/** The backend, or null with the reason in `status`. Opened at the first call; never throws. */
export function openCpuBackend(): OpenedBackend {
  opened ??= openBackend('cpu', ['float32'], `the native addon is not built for ${process.platform}-${process.arch}`);
  return opened;
}
