/**
 * What a table of times leaves out: the cost of a call itself, small problems, and a machine that others use too. Each figure comes
 * with what is asked of it.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { ntXent } from 'contrastive-kernels';
import { normalRows, temperature } from './cases.js';
import { measure } from './measure.js';

export interface Figure {
  readonly what: string;
  readonly value: string;
  readonly target: string;
}

const runner = (rows: number, cols: number, backend: 'cpu' | 'reference', threads: number) => {
  const data = normalRows(rows, cols);
  const out = { z: new Float32Array(data.length) };
  return () => ntXent({ data, shape: [rows, cols] }, { backend, threads, temperature, stats: false, gradients: true, out });
};

/** A call on 4 x 4: the kernel takes less than a microsecond of it, the rest is arguments, checks and result. */
async function callOverhead(seconds: number): Promise<Figure> {
  const { median } = await measure(runner(4, 4, 'cpu', 1), seconds * 1e3);
  return { what: 'A whole call on 4 x 4, forward + backward', value: `${(median * 1e3).toFixed(1)} µs`, target: 'under 15 µs' };
}

async function smallProblem(threads: number, seconds: number): Promise<Figure> {
  const ours = await measure(runner(64, 64, 'cpu', threads), seconds * 1e3);
  const reference = await measure(runner(64, 64, 'reference', 1), seconds * 1e3);
  return {
    what: 'NT-Xent forward + backward on 64 x 64, times faster than the reference',
    value: `${(reference.median / ours.median).toFixed(1)} x (${(ours.median * 1e3).toFixed(1)} µs)`,
    target: 'at least 5 x',
  };
}

/** As many busy threads as the machine has cores beside ours: a fair scheduler leaves us half, so twice the time is fair. */
async function busyMachine(threads: number, seconds: number): Promise<Figure> {
  const run = runner(2048, 128, 'cpu', threads);
  const alone = await measure(run, seconds * 1e3);
  const others = Array.from({ length: threads }, () => new Worker('for (;;);', { eval: true }));
  try {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const beside = await measure(run, seconds * 2e3);
    const share = beside.median / alone.median / 2;
    return {
      what: `NT-Xent forward + backward on 2048 x 128 beside ${threads} busy threads, time over that of a fair share`,
      value: `${share.toFixed(2)} x`,
      target: 'within 2.5 x',
    };
  } finally {
    await Promise.all(others.map((worker) => worker.terminate()));
  }
}

const ANSWERING = `
const { workerData } = require('node:worker_threads');
const turn = new Int32Array(workerData);
for (let asked = 1; ; asked += 2) {
  while (Atomics.load(turn, 0) !== asked);
  Atomics.store(turn, 0, asked + 1);
}`;

/** A cache line that two threads write in turn. Cores that share a last-level cache hand it over several times faster than others. */
async function lineBetweenCores(): Promise<Figure> {
  const turn = new Int32Array(new SharedArrayBuffer(64));
  const other = new Worker(ANSWERING, { eval: true, workerData: turn.buffer });
  await once(other, 'online');
  let asked = -1;
  const rounds = (count: number) => {
    const start = performance.now();
    for (let round = 0; round < count; round++) {
      asked += 2;
      Atomics.store(turn, 0, asked);
      while (Atomics.load(turn, 0) !== asked + 1);
    }
    return ((performance.now() - start) * 1e6) / (2 * count);
  };
  // Some hundred at a time, for as long as it takes to be compiled: the fastest.
  let nanoseconds = Number.POSITIVE_INFINITY;
  for (const end = performance.now() + 50; performance.now() < end; ) nanoseconds = Math.min(nanoseconds, rounds(200));
  await other.terminate();
  return { what: 'A cache line from one core to another, one way', value: `${nanoseconds.toFixed(0)} ns`, target: '' };
}

export async function measureConditions(threads: number, seconds: number): Promise<Figure[]> {
  const figures = [await callOverhead(seconds), await smallProblem(threads, seconds), await busyMachine(threads, seconds)];
  if (threads > 1) figures.push(await lineBetweenCores());
  return figures;
}
