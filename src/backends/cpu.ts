/** The native CPU backend: SIMD kernels on a pool of threads. */
import type { NativeDescription } from '../native/binding.js';
import { type OpenedBackend, openBackend } from '../native/open-backend.js';
import type { KernelName, Precision } from './backend.js';

let opened: OpenedBackend | undefined;

function precisions(kernel: KernelName, { bfloat16 }: NativeDescription): readonly Precision[] {
  return bfloat16?.includes(kernel) ? ['float32', 'bfloat16'] : ['float32'];
}

/** The backend, or null with the reason in `status`. Opened at the first call; never throws. */
export function openCpuBackend(): OpenedBackend {
  opened ??= openBackend('cpu', precisions, `the native addon is not built for ${process.platform}-${process.arch}`);
  return opened;
}
