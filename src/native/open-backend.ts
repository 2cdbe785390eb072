/** Makes a backend and its status of an addon: what cpu.ts and cuda.ts share. */
import type { Backend, BackendStatus, KernelName, Precision } from '../backends/backend.js';
import type { NativeDescription } from './binding.js';
import { type AddonName, NOT_THERE, openAddon } from './loader.js';
import { NativeBackend } from './native-backend.js';

/** A backend that can run here, or null; and in either case what there is to say about it. */
export interface OpenedBackend {
  readonly backend: Backend | null;
  readonly status: BackendStatus;
}

/** Never throws. `precisions`: of a kernel, by what the library says of itself. `missing`: what to say when there is no file at all. */
export function openBackend(
  name: AddonName,
  precisions: (kernel: KernelName, description: NativeDescription) => readonly Precision[],
  missing: string,
): OpenedBackend {
  const { binding, description, attempts } = openAddon(name);
  if (binding && description) {
    const backend = new NativeBackend(name, (kernel) => precisions(kernel, description), binding);
    return { backend, status: { ...description, name, available: true } };
  }
  if (description) {
    return { backend: null, status: { ...description, name, available: false, reason: description.reason ?? 'it cannot run here' } };
  }
  const failures = attempts.filter((attempt) => attempt.error !== NOT_THERE).map((attempt) => `${attempt.path}: ${attempt.error}`);
  return { backend: null, status: { name, available: false, reason: failures.join('; ') || missing } };
}
