/**
 * How fast this machine writes memory: as many threads as the kernels use, each filling its own share of as many bytes (memset, over and
 * over the same pages), all started at once. It bounds what stores a matrix.
 */
import { Worker } from 'node:worker_threads';

const REPETITIONS = 15;

/** Fills its array whenever the shared count rises, and counts itself done. Plain JavaScript: it runs in a worker, too. */
const worker = `
const { workerData: { signal, bytes, repetitions } } = require('node:worker_threads');
const part = new Uint8Array(bytes).fill(1);
Atomics.add(signal, 1, 1);
Atomics.notify(signal, 1);
for (let round = 1; round <= repetitions; round += 1) {
  while (Atomics.load(signal, 0) < round);
  part.fill(round);
  Atomics.add(signal, 1, 1);
}`;

/** Bytes per second, best of some fills of `bytes` bytes on `threads` threads; the caller's is one of them. */
export async function measureWriteRate(bytes: number, threads: number): Promise<number> {
  const signal = new Int32Array(new SharedArrayBuffer(8)); // rounds begun, fills done
  const share = Math.ceil(bytes / threads);
  const part = new Uint8Array(share).fill(1);
  const workers = Array.from(
    { length: threads - 1 },
    () => new Worker(worker, { eval: true, workerData: { signal, bytes: share, repetitions: REPETITIONS } }),
  );
  const settled = Promise.all(workers.map((one) => new Promise((resolve, reject) => one.once('exit', resolve).once('error', reject))));
  const done = (count: number) => {
    while (Atomics.load(signal, 1) < count);
  };
  await new Promise((resolve) => setTimeout(resolve, 0));
  const ready = threads - 1;
  while (Atomics.load(signal, 1) < ready) await new Promise((resolve) => setTimeout(resolve, 1));
  let best = Number.POSITIVE_INFINITY;
  for (let round = 1; round <= REPETITIONS; round += 1) {
    const start = performance.now();
    Atomics.store(signal, 0, round);
    part.fill(round);
    done(ready * (round + 1));
    best = Math.min(best, performance.now() - start);
  }
  await settled;
  return (share * threads) / (best / 1e3);
}
