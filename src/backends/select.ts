/**
 * Which backend runs a call. Asked for by name, it is that one or an error. 'auto' takes CUDA where it is there and the
 * problem is large enough, else the CPU addon, else the reference, which it says once. The precision asked for never changes.
 * A native backend that lacks the kernel is passed over by 'auto', and is an error when asked for by name.
 *
 * Environment: CONTRASTIVE_KERNELS_BACKEND names the backend of calls that name none; CONTRASTIVE_KERNELS_REQUIRE_NATIVE=1
 * makes the silent step down to the reference an error; CONTRASTIVE_KERNELS_FALLBACK_WARNING=0 silences its warning.
 */
import { type BackendName, BackendUnavailableError } from '../errors.js';
import { readChoice } from '../validate.js';
import type { Backend, BackendStatus, KernelName, Precision } from './backend.js';
import { openCpuBackend } from './cpu.js';
import { openCudaBackend } from './cuda.js';
import { referenceBackend, referenceStatus } from './reference.js';

export const BACKEND_CHOICES = ['auto', 'cuda', 'cpu', 'reference'] as const;
export type BackendChoice = (typeof BACKEND_CHOICES)[number];

export interface Selection {
  readonly kernel: KernelName;
  readonly backend: BackendChoice;
  readonly precision: Precision;
  readonly fallbackWarning: boolean;
}

/**
 * Multiply-adds of a call from which 'auto' prefers CUDA: 512 rows against 512 of 128 columns. There a CPU core needs about
 * a millisecond, and below it copying to the device and launching cost as much as the work.
 */
const CUDA_MIN_WORK = 512 * 512 * 128;

const BUILD_COMMANDS: Record<'cpu' | 'cuda', string> = {
  cpu: 'npx contrastive-kernels build',
  cuda: 'npx contrastive-kernels build --cuda',
};

let warned = false;

/**
 * @param work multiply-adds of the call, which decides between CUDA and the CPU.
 * @throws BackendUnavailableError if the backend asked for, or the kernel or the precision on it, is not there.
 * @throws RangeError if CONTRASTIVE_KERNELS_BACKEND is not the name of a backend.
 */
export function selectBackend(selection: Selection, work: number): Backend {
  const { kernel, backend, precision } = selection;
  const name = resolveChoice(backend);
  const chosen = name === 'auto' ? selectAutomatically(selection, work) : openByName(name);
  if (!chosen.supports(kernel)) throw kernelUnavailable(chosen.name, kernel);
  const precisions = chosen.precisions(kernel);
  if (!precisions.includes(precision)) {
    throw new BackendUnavailableError(chosen.name, `it has no precision '${precision}' of '${kernel}', only '${precisions.join("', '")}'`, [
      `ask for one of these precisions, or for backend: 'cuda' if there is a GPU`,
      `on the CPU only ntXent has 'bfloat16', where the processor has AMX or AVX512_BF16: see backends()`,
    ]);
  }
  return chosen;
}

/** The choice, or that of the environment where it is 'auto'. */
export function resolveChoice(backend: BackendChoice): BackendChoice {
  if (backend !== 'auto') return backend;
  return readChoice('CONTRASTIVE_KERNELS_BACKEND', process.env.CONTRASTIVE_KERNELS_BACKEND || undefined, BACKEND_CHOICES, 'auto');
}

/** @throws BackendUnavailableError with the reason and what to do about it. */
export function openByName(name: BackendName): Backend {
  if (name === 'reference') return referenceBackend;
  const { backend, status } = name === 'cuda' ? openCudaBackend() : openCpuBackend();
  if (backend) return backend;
  throw new BackendUnavailableError(name, status.reason ?? 'it could not be opened', [
    `build it: ${BUILD_COMMANDS[name]}`,
    'see what was tried: npx contrastive-kernels doctor',
    `let the package choose: backend: 'auto'`,
  ]);
}

/** Asked for by name, or forced by the environment. Says which of the others have the kernel. */
function kernelUnavailable(name: BackendName, kernel: KernelName): BackendUnavailableError {
  const others = [openCudaBackend().backend, openCpuBackend().backend, referenceBackend].filter((backend) => backend?.supports(kernel));
  const having = others.map((backend) => `'${(backend as Backend).name}'`).join(', ');
  return new BackendUnavailableError(
    name,
    `it has no kernel '${kernel}'`,
    [`ask for a backend that has it: ${having}`, `let the package choose: backend: 'auto'`],
    'CONTRASTIVE_KERNELS_KERNEL_UNAVAILABLE',
  );
}

function selectAutomatically({ kernel, precision, fallbackWarning }: Selection, work: number): Backend {
  // Another precision than float32 is a request for CUDA if it is there, however small the problem.
  if (work >= CUDA_MIN_WORK || precision !== 'float32') {
    const { backend } = openCudaBackend();
    if (backend?.supports(kernel) && backend.precisions(kernel).includes(precision)) return backend;
  }
  const { backend, status } = openCpuBackend();
  if (backend?.supports(kernel)) return backend;
  if (backend) {
    // The addon is there and has no such kernel: nothing to build, so nothing to warn of.
    if (isOn(process.env.CONTRASTIVE_KERNELS_REQUIRE_NATIVE)) throw kernelUnavailable('cpu', kernel);
    return referenceBackend;
  }
  const reason = status.reason ?? 'it could not be opened';
  if (isOn(process.env.CONTRASTIVE_KERNELS_REQUIRE_NATIVE)) {
    throw new BackendUnavailableError('cpu', `${reason} (CONTRASTIVE_KERNELS_REQUIRE_NATIVE forbids the reference instead)`, [
      `build it: ${BUILD_COMMANDS.cpu}`,
    ]);
  }
  if (fallbackWarning && process.env.CONTRASTIVE_KERNELS_FALLBACK_WARNING !== '0') warnOnce(reason);
  return referenceBackend;
}

function isOn(value: string | undefined): boolean {
  return value !== undefined && value !== '' && value !== '0' && value !== 'false';
}

function warnOnce(reason: string): void {
  if (warned) return;
  warned = true;
  process.emitWarning(
    `The CPU addon of contrastive-kernels is not available (${reason}), so the TypeScript reference computes: ` +
      `the same results, many times slower. To build the addon: ${BUILD_COMMANDS.cpu}`,
    { type: 'ContrastiveKernelsWarning', code: 'CONTRASTIVE_KERNELS_FALLBACK' },
  );
}

/**
 * What can run here and why the rest cannot, in the order in which 'auto' would take them: 'cuda', 'cpu', 'reference'.
 * Opens both addons if that has not happened yet.
 */
export function backends(): BackendStatus[] {
  return [openCudaBackend().status, openCpuBackend().status, referenceStatus];
}
