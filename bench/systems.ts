/**
 * The other losses beside NT-Xent: each as a share of the FMA peak by its own count of products, and that share beside NT-Xent's;
 * rectangular InfoNCE, Barlow Twins, and nearest rows beside a full matrix and a sort.
 *
 * A product of M x N x d is 2 M N d FLOP; one matrix with itself needs half. What each loss does: one forward, and forward + backward
 * four (similarities, similarities again, the coefficients applied to both sides), DCL twice that for its two matrices of pairs, and
 * one and three where a single pass is enough (SigLIP, cross uniformity, Barlow Twins).
 */
import {
  barlowTwins,
  cosineSimilarity,
  crossUniformity,
  dcl,
  infoNce,
  type Matrix,
  nearest,
  ntXent,
  sigLip,
  supCon,
} from 'contrastive-kernels';
import { normalRows, temperature } from './cases.js';
import type { Figure } from './conditions.js';
import { measure } from './measure.js';

interface Machine {
  readonly threads: number;
  /** FLOP/s of multiply-adds on as many threads. */
  readonly peak: number;
  /** Seconds for each figure. */
  readonly seconds: number;
}

const normals = (rows: number, cols: number, seed: number): Matrix => ({ data: normalRows(rows, cols, seed), shape: [rows, cols] });
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const milliseconds = (value: number) => `${value.toFixed(value < 10 ? 2 : 1)} ms`;

/** Calls of every loss on two batches of rows x cols, with the products of M x M x d that it does. */
function lossCalls(rows: number, cols: number, threads: number, gradients: boolean): [string, number, () => unknown][] {
  const x = normals(rows, cols, 1);
  const y = normals(rows, cols, 2);
  const common = { backend: 'cpu', threads, gradients } as const;
  const options = { ...common, temperature };
  const labels = Int32Array.from({ length: rows }, (_, row) => row % 100);
  const ofX = new Float32Array(x.data.length);
  const ofY = new Float32Array(y.data.length);
  const reuse = <Out extends object>(out: Out) => (gradients ? { out } : {});
  const twice = gradients ? 4 : 1;
  const once = gradients ? 3 : 1;
  return [
    ['ntXent', 0.5 * twice, () => ntXent(x, { ...options, ...reuse({ z: ofX }) })],
    ['infoNce', twice, () => infoNce(x, y, { ...options, ...reuse({ query: ofX, key: ofY }) })],
    ['infoNce, symmetric', twice, () => infoNce(x, y, { ...options, symmetric: true, ...reuse({ query: ofX, key: ofY }) })],
    [
      'infoNce, labels',
      twice,
      () => infoNce(x, y, { ...options, queryLabels: labels, keyLabels: labels, ...reuse({ query: ofX, key: ofY }) }),
    ],
    ['supCon', 0.5 * twice, () => supCon(x, labels, { ...options, ...reuse({ z: ofX }) })],
    ['dcl', 2 * twice, () => dcl(x, y, { ...options, ...reuse({ z1: ofX, z2: ofY }) })],
    ['sigLip', once, () => sigLip(x, y, { ...common, ...reuse({ x: ofX, y: ofY }) })],
    ['crossUniformity', once, () => crossUniformity(x, y, { ...options, ...reuse({ x: ofX, y: ofY }) })],
  ];
}

async function besideNtXent(rows: number, cols: number, machine: Machine): Promise<Figure[]> {
  const figures: Figure[] = [];
  const product = 2 * rows * rows * cols;
  for (const gradients of [false, true]) {
    let yardstick = 1;
    for (const [name, products, run] of lossCalls(rows, cols, machine.threads, gradients)) {
      const { median } = await measure(run, machine.seconds * 1e3, 3);
      const share = (products * product) / (median / 1e3) / machine.peak;
      const first = name === 'ntXent';
      if (first) yardstick = share;
      figures.push({
        what: `${name} forward${gradients ? ' + backward' : ''}, ${rows} x ${cols}, of FMA peak`,
        value: `${percent(share)} (${milliseconds(median)})${first ? '' : `, ${percent(share / yardstick)} of NT-Xent's share`}`,
        target: first ? '' : "80 % of NT-Xent's share",
      });
    }
  }
  return figures;
}

async function rectangular(rows: number, cols: number, machine: Machine): Promise<Figure[]> {
  const product = 2 * rows * rows * cols;
  const figures: Figure[] = [];
  for (const gradients of [false, true]) {
    const call = lossCalls(rows, cols, machine.threads, gradients).find(([name]) => name === 'infoNce');
    if (call === undefined) throw new Error('infoNce is not among the losses');
    const [, products, run] = call;
    const { median } = await measure(run, machine.seconds * 1e3, 3);
    const of = (count: number) => percent((count * product) / (median / 1e3) / machine.peak);
    figures.push({
      what: `infoNce forward${gradients ? ' + backward' : ''}, ${rows} queries x ${rows} keys x ${cols}, of FMA peak`,
      value: gradients
        ? `${of(3)} counting three products, ${of(products)} counting the four that are done (${milliseconds(median)})`
        : `${of(1)} (${milliseconds(median)})`,
      target: '80 %',
    });
  }
  return figures;
}

async function columns(rows: number, cols: number, machine: Machine): Promise<Figure> {
  const [a, b] = [normals(rows, cols, 1), normals(rows, cols, 2)];
  const out = { a: new Float32Array(a.data.length), b: new Float32Array(b.data.length) };
  const run = () => barlowTwins(a, b, { backend: 'cpu', threads: machine.threads, gradients: true, out });
  const { median } = await measure(run, machine.seconds * 1e3, 3);
  return {
    what: `barlowTwins forward + backward, ${rows} x ${cols}, of FMA peak; the whole call, with the columns' means and gradients`,
    value: `${percent((3 * 2 * cols * cols * rows) / (median / 1e3) / machine.peak)} (${milliseconds(median)})`,
    target: '80 % on its products',
  };
}

async function neighbours(queries: number, rows: number, cols: number, machine: Machine): Promise<Figure> {
  const [x, y, k] = [normals(queries, cols, 1), normals(rows, cols, 2), 10];
  const common = { backend: 'cpu', threads: machine.threads } as const;
  const out = new Float32Array(queries * rows);
  const ours = await measure(() => nearest(x, y, k, common), machine.seconds * 1e3, 3);
  const start = performance.now();
  cosineSimilarity(x, y, { ...common, out });
  for (let query = 0; query < queries; query += 1) {
    const similarities = out.subarray(query * rows, (query + 1) * rows);
    Uint32Array.from({ length: rows }, (_, row) => row).sort((i, j) => similarities[j] - similarities[i]);
  }
  const sorted = performance.now() - start;
  return {
    what: `nearest ${k} of ${rows} rows for ${queries} queries of ${cols} dimensions, times faster than the full matrix and a sort`,
    value: `${(sorted / ours.median).toFixed(0)} x (${milliseconds(ours.median)})`,
    target: 'at least 3 x',
  };
}

export async function measureSystems(machine: Machine, quick: boolean): Promise<Figure[]> {
  if (quick) return [...(await besideNtXent(2048, 128, machine)), await neighbours(256, 2048, 128, machine)];
  return [
    ...(await besideNtXent(8192, 128, machine)),
    ...(await rectangular(4096, 512, machine)),
    await columns(8192, 2048, machine),
    await neighbours(1024, 8192, 128, machine),
  ];
}
