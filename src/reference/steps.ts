/**
 * How a reference kernel hands over control: it is a generator that yields after each row of work. A synchronous call runs
 * it to the end; an asynchronous one runs it in slices on the event loop. Both do the same arithmetic in the same order.
 */
import type { KernelResult, Stats } from '../backends/backend.js';

/** Of a kernel; anything else that is computed in steps may return what it likes. */
export type Steps = Generator<void, KernelResult, void>;

export const NO_STATS: Stats = {
  positiveSimilarity: Number.NaN,
  negativeSimilarity: Number.NaN,
  accuracy: Number.NaN,
  skippedRows: 0,
};

export function runToEnd<R>(steps: Generator<void, R, void>): R {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** A slice is short enough for timers and input to be served, and long enough for the hand-over not to matter. */
const SLICE_MILLISECONDS = 4;

/** Rejects with the signal's reason at the first slice that begins after it was aborted. */
export async function runInSlices<R>(steps: Generator<void, R, void>, signal: AbortSignal | undefined): Promise<R> {
  for (;;) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
    const end = performance.now() + SLICE_MILLISECONDS;
    do {
      const step = steps.next();
      if (step.done) return step.value;
    } while (performance.now() < end);
  }
}
