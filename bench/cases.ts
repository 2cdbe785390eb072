/**
 * What is timed: every kernel and shape, its inputs, and the fewest multiply-adds the algorithm needs.
 *
 * The floor counts in units of rows^2 * cols FLOP, where half of a symmetric similarity matrix costs 1 (one multiply-add is two
 * FLOP): NT-Xent forward 1; forward + backward 4 (forward 1, the similarities again 1, coefficients applied to both sides 2);
 * uniformity 1 and 3 (one pass, its normaliser is a single number); the stored cosine matrix 1.
 */
export type KernelId =
  | 'ntXent forward'
  | 'ntXent forward+backward'
  | 'uniformity forward'
  | 'uniformity forward+backward'
  | 'cosineSimilarity';

export interface BenchCase {
  readonly kernel: KernelId;
  readonly rows: number;
  readonly cols: number;
  /** FLOP of the algorithm's floor. */
  readonly floor: number;
}

export const temperature = 0.1;
export const uniformityT = 2;

const floorUnits: Record<KernelId, number> = {
  'ntXent forward': 1,
  'ntXent forward+backward': 4,
  'uniformity forward': 1,
  'uniformity forward+backward': 3,
  cosineSimilarity: 1,
};

type Shape = Pick<BenchCase, 'kernel' | 'rows' | 'cols'>;
type Asked = Partial<Record<KernelId, Record<string, number>>>;
const askedOf = (asked: Asked, { kernel, rows, cols }: Shape) => asked[kernel]?.[`${rows}x${cols}`] ?? null;

/** The share of the FMA peak that the project asks of all threads together, where it asks for one. */
export function askedShare(shape: Shape): number | null {
  return askedOf(
    {
      'ntXent forward': { '512x128': 0.55, '2048x128': 0.78, '8192x128': 0.89, '16384x128': 0.89, '4096x768': 0.9 },
      'ntXent forward+backward': { '512x128': 0.65, '2048x128': 0.85, '8192x128': 0.9, '16384x128': 0.9, '4096x768': 0.87 },
      'uniformity forward+backward': { '512x128': 0.65, '2048x128': 0.86, '8192x128': 0.91, '16384x128': 0.91, '4096x768': 0.87 },
    },
    shape,
  );
}

/** The same of one thread. */
export function askedShareOfOne(shape: Shape): number | null {
  return askedOf(
    { 'ntXent forward+backward': { '512x128': 0.8, '2048x128': 0.9, '8192x128': 0.9, '16384x128': 0.9, '4096x768': 0.9 } },
    shape,
  );
}

/** How many times our time each alternative is asked to take, by the beginning of its name. */
const askedRatios: Readonly<Record<string, Asked>> = {
  torch: {
    'ntXent forward': { '512x128': 3.5, '2048x128': 4.6, '8192x128': 4.8, '4096x768': 2.5 },
    'ntXent forward+backward': { '512x128': 3.3, '2048x128': 3.7, '8192x128': 3.3, '4096x768': 1.8 },
  },
  onnxruntime: { 'ntXent forward': { '512x128': 1.6, '2048x128': 2, '8192x128': 2.4, '4096x768': 2.2 } },
  'tfjs-wasm': { 'ntXent forward+backward': { '2048x128': 100 } },
};

export function askedRatio(contender: string, shape: Shape): number | null {
  const name = Object.keys(askedRatios).find((one) => contender.startsWith(one));
  return name === undefined ? null : askedOf(askedRatios[name], shape);
}

export const kernelIds = Object.keys(floorUnits) as KernelId[];

export function makeCase(kernel: KernelId, rows: number, cols: number): BenchCase {
  return { kernel, rows, cols, floor: floorUnits[kernel] * rows * rows * cols };
}

/** Standard normal rows, seeded, so that every contender sees the same numbers. */
export function normalRows(rows: number, cols: number, seed = 1): Float32Array {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const data = new Float32Array(rows * cols);
  for (let i = 0; i < data.length; i += 1) {
    data[i] = Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  }
  return data;
}
