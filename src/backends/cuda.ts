/** The CUDA backend: one device, host memory in and out. */
import { type OpenedBackend, openBackend } from '../native/open-backend.js';

let opened: OpenedBackend | undefined;

/** The backend, or null with the reason in `status`. The file is opened, and the device asked, at the first call; never throws. */
export function openCudaBackend(): OpenedBackend {
  opened ??= openBackend('cuda', ['float32'], 'the CUDA addon is not built');
  return opened;
}
