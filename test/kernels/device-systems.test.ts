/** Losses made of others, and those of columns, with rows on the device: the bits of host memory, and gradients in either place. */
import { describe, expect, test } from 'vitest';
import {
  alignmentUniformity,
  alignmentUniformityAsync,
  barlowTwins,
  barlowTwinsAsync,
  cmc,
  cmcAsync,
  DeviceMatrix,
  dpr,
  dprAsync,
  infoNce,
  type Matrix,
  matrix,
  mocoV3,
  mocoV3Async,
  NonFiniteError,
  nearest,
  nearestAsync,
  negativeCosine,
  negativeCosineAsync,
  simCse,
  simCseAsync,
  trimDeviceMemory,
  vicReg,
  vicRegAsync,
} from '../../src/index.js';
import { BACKEND, expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';

const rowsOf = (seed: number, rows = 21, cols = 13): Matrix => matrix(normals(seed, rows * cols), rows, cols);

interface AnyResult {
  readonly loss: number;
  readonly perRow?: Float32Array;
  readonly stats?: object;
  readonly gradients: object;
  readonly backend: string;
}

/** Gradients with every DeviceMatrix read. */
function read(value: unknown): unknown {
  if (value instanceof DeviceMatrix) return value.read();
  if (Array.isArray(value)) return value.map(read);
  if (typeof value !== 'object' || value === null || value instanceof Float32Array) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, read(each)]));
}

function countDeviceMatrices(value: unknown): number {
  if (value instanceof DeviceMatrix) return 1;
  if (typeof value !== 'object' || value === null || value instanceof Float32Array) return 0;
  return Object.values(value).reduce((sum: number, each) => sum + countDeviceMatrices(each), 0);
}

describe.runIf(BACKEND === 'cuda')('rows on the device', () => {
  const [x, y, z, w] = [1, 2, 3, 4].map((seed) => rowsOf(seed));
  const [dx, dy, dz, dw] = [x, y, z, w].map((rows) => (BACKEND === 'cuda' ? DeviceMatrix.from(rows) : rows)) as DeviceMatrix[];
  const onHost = { gradients: true } as const;
  const there = { gradients: 'device' } as const;
  const contexts = rowsOf(5, 42);
  const none = { reduction: 'none' } as const;

  const cases: [name: string, arrays: number, host: () => AnyResult, device: () => AnyResult, later: () => Promise<AnyResult>][] = [
    [
      'barlowTwins',
      2,
      () => barlowTwins(x, y, onHost),
      () => barlowTwins(dx, y, there),
      () => barlowTwinsAsync(dx, dy, { ...there, lambda: 0.0051 }),
    ],
    ['vicReg', 2, () => vicReg(x, y, onHost), () => vicReg(dx, dy, there), () => vicRegAsync(x, dy, there)],
    [
      'simCse',
      3,
      () => simCse(x, y, { ...onHost, negatives: z, hardNegativeWeight: 0.5 }),
      () => simCse(dx, dy, { ...there, negatives: dz, hardNegativeWeight: 0.5 }),
      () => simCseAsync(x, dy, { ...there, negatives: z, hardNegativeWeight: 0.5 }),
    ],
    [
      'dpr',
      2,
      () => dpr(x, contexts, { ...onHost, normalize: true }),
      () => dpr(dx, contexts, { ...there, normalize: true }),
      () => dprAsync(dx, DeviceMatrix.from(contexts), { ...there, normalize: true }),
    ],
    [
      'mocoV3',
      2,
      () => mocoV3(x, y, z, w, { ...onHost, ...none, temperature: 0.2 }),
      () => mocoV3(dx, dy, dz, dw, { ...there, ...none, temperature: 0.2 }),
      () => mocoV3Async(dx, y, dz, w, { ...there, ...none, temperature: 0.2 }),
    ],
    [
      'cmc',
      3,
      () => cmc([x, y, z], { ...onHost, ...none }),
      () => cmc([dx, dy, dz], { ...there, ...none }),
      () => cmcAsync([x, y, dz], { ...there, ...none }),
    ],
    [
      'alignmentUniformity',
      2,
      () => alignmentUniformity(x, y, { ...onHost, weight: 0.7 }),
      () => alignmentUniformity(dx, dy, { ...there, weight: 0.7 }),
      () => alignmentUniformityAsync(dx, y, { ...there, weight: 0.7 }),
    ],
    [
      'negativeCosine',
      2,
      () => negativeCosine(x, y, { ...onHost, detachTarget: false }),
      () => negativeCosine(dx, dy, { ...there, detachTarget: false }),
      () => negativeCosineAsync(x, dy, { ...there, detachTarget: false }),
    ],
    [
      'infoNce of constant keys',
      1,
      () => infoNce(x, y, { ...onHost, detachKeys: true }),
      () => infoNce(dx, dy, { ...there, detachKeys: true }),
      async () => infoNce(x, dy, { ...there, detachKeys: true }),
    ],
  ];

  test.each(cases)('%s', async (_, arrays, host, device, later) => {
    const expected = host();
    for (const got of [device(), await later()]) {
      expectBackend(got);
      expect({ ...got, gradients: read(got.gradients) }).toEqual(expected);
      expect(countDeviceMatrices(got.gradients)).toBe(arrays);
    }
  });

  test('gradients of rows on the device come to the host as well', () => {
    expect(mocoV3(dx, dy, dz, dw, onHost).gradients).toEqual(mocoV3(x, y, z, w, onHost).gradients);
    expect(cmc([dx, dy], onHost).gradients).toEqual(cmc([x, y], onHost).gradients);
    expect(alignmentUniformity(dx, dy, onHost).gradients).toEqual(alignmentUniformity(x, y, onHost).gradients);
  });

  test('nearest', async () => {
    const expected = nearest(x, contexts, 5);
    expect(nearest(dx, contexts, 5)).toEqual(expected);
    expect(await nearestAsync(dx, DeviceMatrix.from(contexts), 5)).toEqual(expected);
  });

  test('negativeCosine: a zero row has cosine 0, wherever it is', () => {
    const holes = matrix(x.data.slice(), 21, 13);
    holes.data.fill(0, 2 * 13, 3 * 13);
    const expected = negativeCosine(holes, y, { ...onHost, ...none });
    const got = negativeCosine(DeviceMatrix.from(holes), dy, { ...there, ...none });
    expect({ ...got, gradients: read(got.gradients) }).toEqual(expected);
    expect(expected.perRow?.[2]).toBe(0);
  });

  test('a call that fails halfway gives back what it had made', async () => {
    const bad = matrix(z.data.slice(), 21, 13);
    bad.data[30] = Number.NaN;
    expect(() => mocoV3(dx, dy, bad, dw, there)).toThrow(NonFiniteError);
    expect(() => mocoV3(dx, dy, bad, dw, there)).toThrow(/^k1: /);
    await expect(mocoV3Async(dx, dy, bad, dw, there)).rejects.toThrow(/^k1: /);
    // Bytes free after a call, whose inputs are on the device; the collector may add some of earlier tests.
    const dbad = DeviceMatrix.from(bad);
    const freeAfter = (call: () => void): number[] =>
      Array.from({ length: 3 }, () => {
        trimDeviceMemory();
        call();
        return trimDeviceMemory();
      });
    const failing = freeAfter(() => expect(() => mocoV3(dx, dy, dbad, dw, there)).toThrow(/^k1: /));
    const succeeding = freeAfter(() => {
      const { gradients } = mocoV3(dx, dy, dz, dw, there);
      gradients.q1.dispose();
      gradients.q2.dispose();
    });
    expect(Math.max(...failing)).toBeGreaterThanOrEqual(Math.min(...succeeding));
  });

  test('arguments that do not fit', () => {
    const out = { views: [x, y].map(({ data }) => new Float32Array(data.length)) };
    expect(() => cmc([x, y], { ...there, out })).toThrow(/^out\.views: expected no arrays with gradients 'device', got an array of 2/);
    expect(() => mocoV3(x, y, z, w, { ...there, out: { q1: new Float32Array(21 * 13) } })).toThrow(/^out\.q1: expected no array/);
    for (const backend of ['cpu', 'reference'] as const) {
      const refused = `gradients: expected a boolean for backend '${backend}', got 'device'`;
      expect(() => cmc([x, y], { ...there, backend })).toThrow(refused);
      expect(() => alignmentUniformity(x, y, { ...there, backend })).toThrow(refused);
      expect(() => mocoV3(x, y, z, w, { ...there, backend })).toThrow(refused);
      expect(() => barlowTwins(x, dy, { backend })).toThrow(/^b: expected a matrix in host memory for backend/);
      expect(() => cmc([x, dy], { backend })).toThrow(/^views\[1\]: expected a matrix in host memory for backend/);
      expect(() => nearest(dx, y, 2, { backend })).toThrow(/^x: expected a matrix in host memory for backend/);
    }
  });
});
