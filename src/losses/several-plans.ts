/** A loss that is made of several calls: all are checked before the first runs, and nothing is written before the last is done. */
import type { Stats } from '../backends/backend.js';
import type { Plan } from './plan.js';

/**
 * Runs every plan, then `shape`. Asynchronous plans all start, and copy their inputs, before this returns; of those that fail the first in
 * order is reported, not the first in time.
 */
export function allOf<R, S>(plans: readonly Plan<R>[], shape: (results: R[]) => S): Plan<S> {
  return {
    run: () => shape(plans.map((plan) => plan.run())),
    runAsync: async () => {
      const settled = await Promise.allSettled(plans.map((plan) => plan.runAsync()));
      return shape(
        settled.map((each) => {
          if (each.status === 'rejected') throw each.reason;
          return each.value;
        }),
      );
    },
  };
}

/** The mean of each field; skipped rows are added. */
export function meanStats(all: readonly (Stats | undefined)[]): Stats {
  const given = all.filter((stats) => stats !== undefined);
  const mean = (field: keyof Stats): number => given.reduce((sum, stats) => sum + stats[field], 0) / given.length;
  return {
    positiveSimilarity: mean('positiveSimilarity'),
    negativeSimilarity: mean('negativeSimilarity'),
    accuracy: mean('accuracy'),
    skippedRows: given.reduce((sum, stats) => sum + stats.skippedRows, 0),
  };
}

/** `target` becomes factor * the sum of `parts`. */
export function addScaled(target: Float32Array, factor: number, ...parts: readonly Float32Array[]): void {
  for (let k = 0; k < target.length; k++) {
    let sum = 0;
    for (const part of parts) sum += part[k];
    target[k] = factor * sum;
  }
}
