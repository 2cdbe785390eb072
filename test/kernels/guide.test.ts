/**
 * GISTEmbed's guide, which the kernels evaluate as they go: exactly the pairs that its definition leaves out are left out, to the last bit
 * of a threshold, so the result has the bits of a call with those pairs in a mask; nothing as large as all pairs is stored.
 */
import { expect, test } from 'vitest';
import { type GistOptions, gist, gistAsync, type Matrix, matrix } from '../../src/index.js';
import { planInfoNce } from '../../src/losses/info-nce.js';
import type { OwnGuide } from '../../src/losses/own-guide.js';
import type { Rows } from '../../src/matrix.js';
import { describeKernel, expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';

const rowsOf = (seed: number, rows: number, cols: number): Rows => ({ data: normals(seed, rows * cols), rows, cols });
const asMatrix = ({ data, rows, cols }: Rows): Matrix => matrix(data, rows, cols);

/** The definition in reference/guide.ts, written out again. */
function cosine(x: Rows, i: number, y: Rows, j: number): number {
  const dot = (a: Float32Array, b: Float32Array): number => {
    const s = new Float64Array(8);
    for (const [k, value] of a.entries()) s[k % 8] += value * b[k];
    for (const half of [4, 2, 1]) for (let lane = 0; lane < half; lane++) s[lane] += s[lane + half];
    return s[0];
  };
  const row = ({ data, cols }: Rows, index: number): Float32Array => data.subarray(index * cols, (index + 1) * cols);
  const [a, b] = [row(x, i), row(y, j)];
  const lengths = Math.sqrt(dot(a, a)) * Math.sqrt(dot(b, b));
  return lengths > 0 ? dot(a, b) / lengths : 0;
}

function maskOf({ query, key, second, split, margin, relative }: OwnGuide): Uint8Array {
  const mask = new Uint8Array(query.rows * key.rows);
  for (let i = 0; i < query.rows; i++) {
    const s = cosine(split > i ? query : (second as Rows), i, key, i);
    const threshold = relative ? s * (1 - margin) : s - margin;
    for (let j = 0; j < key.rows; j++) {
      mask[i * key.rows + j] = cosine(j < split ? query : (second as Rows), i, key, j) <= threshold ? 1 : 0;
    }
  }
  return mask;
}

/** How many pairs a float32 cosine would judge otherwise: those that only the definition decides. */
function undecided(guide: OwnGuide, mask: Uint8Array): number {
  const { query, key } = guide;
  const unit = (x: Rows): Float32Array => x.data.map((value, k) => value / Math.sqrt(cosineScale(x, Math.floor(k / x.cols))));
  const [u, v] = [unit(query), unit(key)];
  let count = 0;
  for (let i = 0; i < query.rows; i++) {
    const product = (j: number): number => {
      let sum = 0;
      for (let k = 0; k < query.cols; k++) sum = Math.fround(sum + Math.fround(u[i * query.cols + k] * v[j * query.cols + k]));
      return sum;
    };
    const threshold = product(i);
    for (let j = 0; j < guide.split; j++) if (Number(product(j) <= threshold) !== mask[i * key.rows + j]) count++;
  }
  return count;
}

function cosineScale({ data, cols }: Rows, i: number): number {
  let square = 0;
  for (let k = i * cols; k < (i + 1) * cols; k++) square += data[k] * data[k];
  return square || 1;
}

/** Rows that differ in the last bits of one element. */
function bitsApart(seed: number, rows: number, cols: number): Rows {
  const base = normals(seed, cols);
  const data = new Float32Array(rows * cols);
  for (let i = 0; i < rows; i++) data.set(base, i * cols);
  const bits = new Int32Array(data.buffer);
  for (let i = 0; i < rows; i++) bits[i * cols + (i % cols)] += (i % 5) - 2;
  return { data, rows, cols };
}

/** Few different rows, each many times. */
function repeated(seed: number, rows: number, cols: number): Rows {
  const few = normals(seed, 3 * cols);
  return { data: Float32Array.from({ length: rows * cols }, (_, k) => few[(Math.floor(k / cols) % 3) * cols + (k % cols)]), rows, cols };
}

const KINDS = { random: rowsOf, 'bits apart': bitsApart, repeated } as const;
const run = (query: Rows, key: Rows, exclusion: object, threads?: number) =>
  planInfoNce<{ query: Float32Array; key: Float32Array; temperature: number }>(
    { query, key },
    { ...exclusion, reduction: 'none', gradients: true, ...(threads && { threads }) },
    { temperature: 0.05, name: 'temperature' },
    false,
    { query: 'query', key: 'key', negatives: 'negatives' },
  ).run();

describeKernel('infoNce', 'a guide', () => {
  const SIZES = [
    [13, 1],
    [67, 7],
    [35, 768],
  ] as const;
  test.each(SIZES.flatMap((size) => Object.keys(KINDS).map((kind) => [...size, kind as keyof typeof KINDS] as const)))(
    '%d rows of %d columns, %s: the bits of a mask by its definition',
    (rows, cols, kind) => {
      const [query, key] = [rowsOf(1, rows, 9), rowsOf(2, 3 * rows, 9)];
      for (const margin of [0, 0.05, -0.3]) {
        for (const relative of [false, true]) {
          const guide: OwnGuide = {
            query: rowsOf(3, rows, cols),
            key: KINDS[kind](4, 3 * rows, cols),
            second: rowsOf(5, rows, cols),
            split: 2 * rows,
            margin,
            relative,
          };
          const mask = maskOf(guide);
          const { counted, ...got } = run(query, key, { ownGuide: guide });
          expectBackend(got);
          expect(got).toEqual(run(query, key, { mask }));
          expect(counted).toBe(rows - (got.stats?.skippedRows as number));
          for (const threads of [1, 2]) expect(run(query, key, { ownGuide: guide }, threads)).toEqual({ counted, ...got });
          const symmetric = { symmetric: true } as const;
          expect(run(query, key, { ...symmetric, ownGuide: guide }).perRow).toEqual(run(query, key, { ...symmetric, mask }).perRow);
          // Only worth its name if float32 alone would get some of them wrong.
          if (kind === 'bits apart' && margin === 0 && cols > 1) expect(undecided(guide, mask)).toBeGreaterThan(0);
        }
      }
    },
  );

  // Before a query whose elements are all equal, their cosines differ by the order of the additions, in dot products and in norms.
  test.each([19, 130])('one row of %d columns in many orders: the additions are in the order of the definition', (cols) => {
    const [query, key] = [rowsOf(1, 37, 9), rowsOf(2, 61, 9)];
    const row = normals(3, cols).map((value, k) => value * 2 ** (k % 24));
    const shuffled = (seed: number): number[] => {
      const keys = normals(seed, cols);
      return [...row.keys()].sort((a, b) => keys[a] - keys[b]).map((k) => row[k]);
    };
    const guide: OwnGuide = {
      query: { data: new Float32Array(37 * cols).fill(1.5), rows: 37, cols },
      key: { data: Float32Array.from(Array.from({ length: 61 }, (_, j) => shuffled(10 + j)).flat()), rows: 61, cols },
      second: null,
      split: 61,
      margin: 0,
      relative: false,
    };
    const { counted: _, ...got } = run(query, key, { ownGuide: guide });
    expectBackend(got);
    expect(got).toEqual(run(query, key, { mask: maskOf(guide) }));
  });

  test('rows that are zero, tiny or huge', () => {
    const [query, key] = [rowsOf(1, 33, 9), rowsOf(2, 33, 9)];
    const scaled = (seed: number): Rows => {
      const scales = [0, 1e-42, 1e30, 1];
      const rows = rowsOf(seed, 33, 5);
      return { ...rows, data: rows.data.map((value, k) => value * scales[Math.floor(k / 5) % 4]) };
    };
    const guide: OwnGuide = { query: scaled(3), key: scaled(4), second: null, split: 33, margin: 0, relative: false };
    const { counted: _, ...got } = run(query, key, { ownGuide: guide });
    expect(got).toEqual(run(query, key, { mask: maskOf(guide) }));
  });
});

describeKernel('infoNce', 'gist: its guide', () => {
  const texts = (rows: number, cols: number, seed: number) => ({
    anchor: asMatrix(rowsOf(seed, rows, cols)),
    positive: asMatrix(rowsOf(seed + 1, rows, cols)),
    negatives: [asMatrix(rowsOf(seed + 2, rows, cols))],
  });

  test('duplicates of the positive tie with it and stay, up to a margin', () => {
    const { anchor, positive, negatives } = texts(9, 5, 1);
    // All texts alike but for the anchors': whatever is compared with an anchor ties with its positive.
    const alike = asMatrix(repeated(7, 9, 6));
    alike.data.copyWithin(6, 0, 6);
    for (let i = 1; i < 9; i++) alike.data.copyWithin(i * 6, 0, 6);
    const guide = { anchor: asMatrix(rowsOf(8, 9, 6)), positive: alike, negatives: [alike] };
    const options: GistOptions = { negatives, guide, contrastAnchors: false, contrastPositives: false, reduction: 'none' };
    const everything = gist(anchor, positive, options);
    expectBackend(everything);
    const nobody = { anchor: matrix(new Float32Array(9).fill(1), 9, 1), positive: matrix(new Float32Array(9).fill(1), 9, 1) };
    const unguided = { ...nobody, negatives: [matrix(new Float32Array(9).fill(-1), 9, 1)] };
    expect(everything.stats?.skippedRows).toBe(0);
    expect(everything).toEqual(gist(anchor, positive, { ...options, guide: unguided }));
    expect(gist(anchor, positive, { ...options, margin: 2 ** -50 }).stats?.skippedRows).toBe(9);
  });

  test('the mean is over the rows that have something left', () => {
    const { anchor, positive, negatives } = texts(11, 5, 20);
    const guide = texts(11, 4, 30);
    const options: GistOptions = { negatives, guide, margin: 0.9, contrastPositives: false };
    const sum = gist(anchor, positive, { ...options, reduction: 'sum', gradients: true });
    const mean = gist(anchor, positive, { ...options, gradients: true });
    expectBackend(mean);
    const skipped = mean.stats?.skippedRows as number;
    expect(skipped).toBeGreaterThan(0);
    expect(skipped).toBeLessThan(11);
    expect(mean.loss).toBe(sum.loss * (1 / (11 - skipped)));
    for (const [k, value] of mean.gradients.anchor.entries()) {
      const share = sum.gradients.anchor[k] / (11 - skipped);
      expect(Math.abs(value - share)).toBeLessThanOrEqual(2e-7 * Math.abs(share)); // two roundings to float32
    }
    expect(gist(anchor, positive, { ...options, stats: false }).loss).toBe(mean.loss);
  });

  test('asynchronous: the same bits, from copies; a wrong option is refused before anything is computed', async () => {
    const [given, guide] = [texts(37, 5, 40), texts(37, 70, 50)];
    const options = { guide, reduction: 'none', gradients: true } as const;
    const expected = gist(given.anchor, given.positive, { ...options, negatives: given.negatives });
    const call = gistAsync(given.anchor, given.positive, { ...options, negatives: given.negatives });
    for (const { anchor, positive, negatives } of [given, guide]) {
      for (const { data } of [anchor, positive, ...negatives]) (data as Float32Array).fill(Number.NaN);
    }
    expect(await call).toEqual(expected);
    const { anchor, positive } = texts(3, 2, 1);
    const wrong = { guide: { anchor, positive }, reduction: 'median' } as unknown as GistOptions;
    expect(() => gist(anchor, positive, wrong)).toThrow(/^reduction: expected one of 'mean'/);
  });

  test('an abort in the meantime ends an asynchronous call, and nothing is written', async () => {
    const [{ anchor, positive }, guide] = [texts(13, 5, 60), texts(13, 6, 70)];
    const out = { anchor: new Float32Array(65).fill(7), perRow: new Float32Array(13).fill(7) };
    const controller = new AbortController();
    const options = { guide: { anchor: guide.anchor, positive: guide.positive }, gradients: true, reduction: 'none' } as const;
    const call = gistAsync(anchor, positive, { ...options, out, signal: controller.signal }).then(() => 'it resolved', String);
    controller.abort(new Error('no longer wanted'));
    expect(await call).toBe('Error: no longer wanted');
    expect(out).toEqual({ anchor: new Float32Array(65).fill(7), perRow: new Float32Array(13).fill(7) });
  });
});
