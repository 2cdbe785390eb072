/**
 * bfloat16 beside float32: the time of NT-Xent forward + backward, and how far its gradients are from float64, on the unit rows as they
 * were rounded (the problem that it solves) and on the rows given.
 */
import { backends, ntXent } from 'contrastive-kernels';
import { normalRows, temperature } from './cases.js';
import type { Figure } from './conditions.js';
import { measure } from './measure.js';

/** The nearest bfloat16, ties to even. */
function toBfloat16(values: Float32Array): Float32Array {
  const bits = new Uint32Array(values.slice().buffer);
  for (let i = 0; i < bits.length; i += 1) bits[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer);
}

/** Euclidean distance over the length of `expected`, of all rows together. */
function relativeError(got: Float32Array, expected: Float32Array): number {
  let distance = 0;
  let length = 0;
  for (let i = 0; i < got.length; i += 1) {
    distance += (got[i] - expected[i]) ** 2;
    length += expected[i] ** 2;
  }
  return Math.sqrt(distance / length);
}

/** The gradient of the reference on rounded unit rows, carried on to the rows they came from. */
function gradientOfRounded(data: Float32Array, rows: number, cols: number): Float32Array {
  const norms = Array.from({ length: rows }, (_, row) => Math.hypot(...data.subarray(row * cols, (row + 1) * cols)));
  const unit = toBfloat16(data.map((value, i) => value / norms[Math.floor(i / cols)]));
  const { gradients } = ntXent(
    { data: unit, shape: [rows, cols] },
    { backend: 'reference', temperature, normalize: false, gradients: true },
  );
  const result = new Float32Array(data.length);
  for (let row = 0; row < rows; row += 1) {
    let along = 0;
    for (let k = row * cols; k < (row + 1) * cols; k += 1) along += gradients.z[k] * unit[k];
    for (let k = row * cols; k < (row + 1) * cols; k += 1) result[k] = (gradients.z[k] - along * unit[k]) / norms[row];
  }
  return result;
}

/** Rows whose second half is the first with a tenth of noise: positives are found with confidence. */
function confidentRows(rows: number, cols: number): Float32Array {
  const data = normalRows(rows, cols);
  const half = data.length / 2;
  for (let i = 0; i < half; i += 1) data[half + i] = data[i] + 0.1 * data[half + i];
  return data;
}

/** Empty where the CPU has no bfloat16. */
export async function measurePrecision(rows: number, cols: number, threads: number, seconds: number): Promise<Figure[]> {
  const cpu = backends().find(({ name }) => name === 'cpu');
  if (cpu?.bfloat16?.includes('ntXent') !== true) return [];
  const call = (data: Float32Array, shape: readonly [number, number], precision: 'float32' | 'bfloat16', out?: { z: Float32Array }) =>
    ntXent(
      { data, shape },
      { backend: 'cpu', threads, temperature, precision, stats: false, gradients: true as const, ...(out && { out }) },
    );
  const data = normalRows(rows, cols);
  const out = { z: new Float32Array(data.length) };
  const wide = await measure(() => call(data, [rows, cols], 'float32', out), seconds * 1e3, 3);
  const narrow = await measure(() => call(data, [rows, cols], 'bfloat16', out), seconds * 1e3, 3);
  const figures: Figure[] = [
    {
      what: `ntXent forward + backward in bfloat16, ${rows} x ${cols}, times faster than float32`,
      value: `${(wide.median / narrow.median).toFixed(2)} x (${narrow.median.toFixed(1)} ms, float32 ${wide.median.toFixed(1)} ms)`,
      target: 'at least 1.5 x',
    },
  ];
  const some = 256; // the reference is slow
  for (const [name, z] of [
    ['normal rows', normalRows(some, cols)],
    ['confident rows', confidentRows(some, cols)],
  ] as const) {
    const got = call(z, [some, cols], 'bfloat16').gradients.z;
    const { gradients } = ntXent({ data: z, shape: [some, cols] }, { backend: 'reference', temperature, gradients: true });
    const rounded = relativeError(got, gradientOfRounded(z, some, cols));
    figures.push({
      what: `Gradient of ntXent in bfloat16, ${some} x ${cols} ${name}, distance from float64 over its length`,
      value: `${rounded.toExponential(1)} on the rounded rows, ${relativeError(got, gradients.z).toExponential(1)} on the rows given`,
      target: 'within 1e-2 on the rounded rows',
    });
  }
  return figures;
}
