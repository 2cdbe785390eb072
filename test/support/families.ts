/**
 * The kinds of rows on which contrastive losses are hard, each generated as two views of N items: [N, cols] twice.
 * `layOut` lays them out as NT-Xent wants them; alignment takes them as they are.
 */
import { type Matrix, matrix, type PairLayout } from '../../src/index.js';
import { normalStream, uniformStream } from './random.js';

export const FAMILIES = [
  'random',
  'correlated',
  'confident',
  'clustered',
  'tight',
  'equal',
  'duplicated',
  'antipodal',
  'zero rows',
  'tiny norms',
  'huge norms',
  'mixed norms',
] as const;
export type Family = (typeof FAMILIES)[number];

/** Norms near 1 or so: such rows make sense without normalisation too. */
export function normsAreModerate(family: Family): boolean {
  return !family.endsWith('norms');
}

export interface Views {
  readonly first: Float32Array;
  readonly second: Float32Array;
  readonly items: number;
  readonly cols: number;
}

export function makeViews(family: Family, items: number, cols: number, seed: number): Views {
  const normal = normalStream(seed);
  const uniform = uniformStream(seed + 1);
  const rows = (scale: number): Float64Array => Float64Array.from({ length: items * cols }, () => scale * normal());
  const nearby = (base: Float64Array, noise: number): Float64Array => base.map((value) => value + noise * normal());
  const of = (first: Float64Array, second: Float64Array): Views => ({
    first: Float32Array.from(first),
    second: Float32Array.from(second),
    items,
    cols,
  });
  const scaled = (values: Float64Array, exponent: () => number): Float64Array => {
    const scales = Float64Array.from({ length: items }, () => 10 ** exponent());
    return values.map((value, index) => value * scales[Math.floor(index / cols)]);
  };

  switch (family) {
    case 'random':
      return of(rows(1), rows(1));
    case 'correlated': {
      const base = rows(1);
      return of(base, nearby(base, 0.5));
    }
    case 'confident': {
      const base = rows(1);
      return of(base, nearby(base, 1e-3));
    }
    case 'clustered':
    case 'tight': {
      const center = Float64Array.from({ length: cols }, normal);
      const noise = family === 'tight' ? 1e-4 : 0.05;
      const around = (): Float64Array => rows(noise).map((value, index) => value + center[index % cols]);
      return of(around(), around());
    }
    case 'equal': {
      const row = Float64Array.from({ length: cols }, normal);
      const all = Float64Array.from({ length: items * cols }, (_, index) => row[index % cols]);
      return of(all, all);
    }
    case 'duplicated': {
      const distinct = Float64Array.from({ length: 3 * cols }, normal);
      const draw = (): Float64Array => {
        const choice = Array.from({ length: items }, () => Math.floor(3 * uniform()));
        return Float64Array.from(
          { length: items * cols },
          (_, index) => distinct[choice[Math.floor(index / cols)] * cols + (index % cols)],
        );
      };
      return of(draw(), draw());
    }
    case 'antipodal': {
      const base = rows(1);
      return of(
        base,
        base.map((value) => -value),
      );
    }
    case 'zero rows': {
      const zeroed = (): Float64Array => {
        const keep = Array.from({ length: items }, () => uniform() > 0.3);
        return rows(1).map((value, index) => (keep[Math.floor(index / cols)] ? value : 0));
      };
      return of(zeroed(), zeroed());
    }
    case 'tiny norms':
      return of(
        scaled(rows(1), () => -30),
        scaled(rows(1), () => -30 + 3 * uniform()),
      );
    case 'huge norms':
      return of(
        scaled(rows(1), () => 30),
        scaled(rows(1), () => 27 + 7 * uniform()),
      );
    case 'mixed norms':
      return of(
        scaled(rows(1), () => 40 * uniform() - 20),
        scaled(rows(1), () => 4 * uniform() - 2),
      );
  }
}

/** [2 * items, cols]. */
export function layOut({ first, second, items, cols }: Views, pairs: PairLayout): Matrix {
  const data = new Float32Array(2 * items * cols);
  for (let i = 0; i < items; i++) {
    const a = pairs === 'halves' ? i : 2 * i;
    const b = pairs === 'halves' ? items + i : 2 * i + 1;
    data.set(first.subarray(i * cols, (i + 1) * cols), a * cols);
    data.set(second.subarray(i * cols, (i + 1) * cols), b * cols);
  }
  return matrix(data, 2 * items, cols);
}

export function largestNorm({ data, shape: [rows, cols] }: Matrix): number {
  let largest = 0;
  for (let i = 0; i < rows; i++) largest = Math.max(largest, Math.hypot(...data.subarray(i * cols, (i + 1) * cols)));
  return largest;
}
