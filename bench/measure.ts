/**
 * Times one function with tinybench: a few untimed calls, then at least `minimumSamples` calls and at most about `milliseconds`.
 * The minimum is what the machine can do, the median what a user sees; ratios are made of medians.
 */
import { Bench } from 'tinybench';

export interface Timing {
  /** Milliseconds. */
  readonly minimum: number;
  readonly median: number;
  readonly samples: number;
}

export async function measure(run: () => unknown, milliseconds: number, minimumSamples = 5): Promise<Timing> {
  const bench = new Bench({
    time: milliseconds,
    iterations: minimumSamples,
    warmupTime: milliseconds / 5,
    warmupIterations: 2,
    throws: true,
  });
  bench.add('task', run);
  const [task] = await bench.run();
  const result = task?.result;
  if (result?.state !== 'completed') throw new Error(`benchmark did not complete: ${result?.state}`);
  return { minimum: result.latency.min, median: result.latency.p50, samples: result.latency.samplesCount };
}
