/** A loss that is made of several calls: all are checked before the first runs, and nothing is written before the last is done. */
import type { Stats } from '../backends/backend.js';
import { DeviceMatrix } from '../device-matrix.js';
import { checkAttached } from '../validate.js';
import type { Plan } from './plan.js';

/**
 * Runs every plan, then `shape`. Asynchronous plans all start, and copy their inputs, before this returns; of those that fail the first in
 * order is reported, not the first in time.
 */
export function allOf<R, S>(plans: readonly Plan<R>[], shape: (results: R[]) => S): Plan<S> {
  const finish = (results: R[], failure: { readonly reason: unknown } | undefined): S => {
    try {
      if (failure) throw failure.reason;
      return shape(results);
    } catch (error) {
      results.forEach(discard);
      throw error;
    }
  };
  return {
    run() {
      const results: R[] = [];
      try {
        for (const plan of plans) results.push(plan.run());
      } catch (reason) {
        return finish(results, { reason });
      }
      return finish(results, undefined);
    },
    async runAsync() {
      const settled = await Promise.allSettled(plans.map((plan) => plan.runAsync()));
      const results = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
      return finish(
        results,
        settled.find((each) => each.status === 'rejected'),
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

/** `target` becomes factor * the sum of `parts`, of which it may be one. */
export function addScaled(target: Float32Array, factor: number, ...parts: readonly Float32Array[]): Float32Array {
  for (let k = 0; k < target.length; k++) {
    let sum = 0;
    for (const part of parts) sum += part[k];
    target[k] = factor * sum;
  }
  return target;
}

/**
 * What the caller gets of the arrays that were computed: his own, filled with them, or, where they are on the device, themselves. All of his
 * are there before the first is written.
 *
 * @throws TypeError if one was detached while the call was running.
 */
export function deliver<N extends string>(
  outputs: Readonly<Record<N, Float32Array | null>>,
  computed: Readonly<Record<N, Float32Array | undefined>>,
): Partial<Record<N, Float32Array>> {
  const entries = Object.entries<Float32Array | undefined>(computed).filter(([, values]) => values !== undefined) as [N, Float32Array][];
  const inHost = entries.filter(([, values]) => values instanceof Float32Array);
  for (const [name, values] of inHost) checkAttached(`out.${name}`, outputs[name], values.length);
  for (const [name, values] of inHost) outputs[name]?.set(values);
  return Object.fromEntries(entries.map(([name, values]) => [name, values instanceof Float32Array ? outputs[name] : values])) as Partial<
    Record<N, Float32Array>
  >;
}

/** Frees what a loss left on the device that nobody will get. */
function discard(result: unknown): void {
  const { gradients } = result as { readonly gradients?: object };
  for (const value of Object.values(gradients ?? {})) if (value instanceof DeviceMatrix) value.dispose();
}
