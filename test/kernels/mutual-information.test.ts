/**
 * The InfoMax bound on correlated Gaussians: x standard normal in d dimensions, y = rho x + (1 - rho^2)^(1/2) noise, whose mutual
 * information is -d/2 log(1 - rho^2). Averaged over batches the bound stays below it, and below log k.
 */
import { describe, expect, test } from 'vitest';
import { boundCandidates, clip, infoNce, type Matrix, matrix, mutualInformationBound, ntXent } from '../../src/index.js';
import { describeKernel, expectBackend } from '../support/backend.js';
import { normalStream } from '../support/random.js';

const BATCHES = 40;

interface Batch {
  readonly x: number[][];
  readonly y: number[][];
}

function* batches(rows: number, d: number, rho: number, seed: number): Generator<Batch> {
  const normal = normalStream(seed);
  for (let b = 0; b < BATCHES; b++) {
    const x = Array.from({ length: rows }, () => Array.from({ length: d }, normal));
    yield { x, y: x.map((row) => row.map((value) => rho * value + Math.sqrt(1 - rho * rho) * normal())) };
  }
}

const toMatrix = (rows: number[][]): Matrix => matrix(Float32Array.from(rows.flat()), rows.length, rows[0].length);

/** Rows whose dot products are log p(y|x)/p(y) up to a constant, the best critic there is. */
function critic({ x, y }: Batch, rho: number): { query: Matrix; key: Matrix } {
  const slope = rho / (1 - rho * rho);
  const square = (row: number[]): number => (-(rho * slope) / 2) * row.reduce((sum, value) => sum + value * value, 0);
  return {
    query: toMatrix(x.map((row) => [...row.map((value) => slope * value), 1, square(row)])),
    key: toMatrix(y.map((row) => [...row, square(row), 1])),
  };
}

const information = (d: number, rho: number): number => (-d / 2) * Math.log(1 - rho * rho);

/** The bound averaged over batches. */
function average(rows: number, d: number, rho: number, bound: (batch: Batch) => number): number {
  let sum = 0;
  for (const batch of batches(rows, d, rho, 1000 * rows + d)) sum += bound(batch);
  return sum / BATCHES;
}

/** What the average itself is uncertain by. */
const NOISE = 0.03;

describeKernel('infoNce', 'correlated Gaussians', () => {
  test.each([
    [64, 2, 0.5],
    [64, 8, 0.7],
    [32, 20, 0.9],
  ])('%i rows of %i dimensions, correlation %f: the best critic', (rows, d, rho) => {
    for (const symmetric of [false, true]) {
      const k = boundCandidates('infoNce', { rows });
      const got = average(rows, d, rho, (batch) => {
        const { query, key } = critic(batch, rho);
        const result = infoNce(query, key, { similarity: 'dot', temperature: 1, symmetric });
        expectBackend(result);
        return mutualInformationBound(result.loss, k);
      });
      expect(got).toBeLessThan(information(d, rho) + NOISE);
      expect(got).toBeLessThanOrEqual(Math.log(k));
      // With fewer nats than log k the best critic comes close; with more it is log k that holds it down.
      expect(got).toBeGreaterThan(0.75 * Math.min(information(d, rho), Math.log(k)) - NOISE);
    }
  });

  test('negatives from a queue raise log k, and the bound with it', () => {
    const [rows, d, rho] = [16, 20, 0.9];
    const bounds = [0, 48, 240].map((negatives) => {
      const k = boundCandidates('infoNce', { rows, negatives });
      const normal = normalStream(5);
      return average(rows, d, rho, (batch) => {
        const queue = Array.from({ length: negatives }, () => Array.from({ length: d }, normal));
        const { query, key } = critic(batch, rho);
        const options = queue.length > 0 ? { negatives: critic({ x: queue, y: queue }, rho).key } : {};
        const bound = mutualInformationBound(infoNce(query, key, { similarity: 'dot', temperature: 1, ...options }).loss, k);
        expect(bound).toBeLessThanOrEqual(Math.log(k));
        return bound;
      });
    });
    expect(bounds[1]).toBeGreaterThan(bounds[0] + 1);
    expect(bounds[2]).toBeGreaterThan(bounds[1] + 1);
    expect(bounds[2]).toBeLessThan(information(d, rho) + NOISE);
  });

  test('any other critic stays below as well: cosines, of CLIP', () => {
    const k = boundCandidates('clip', { rows: 64 });
    const got = average(64, 4, 0.8, ({ x, y }) => mutualInformationBound(clip(toMatrix(x), toMatrix(y), { logitScale: 4 }).loss, k));
    expect(got).toBeGreaterThan(0);
    expect(got).toBeLessThan(information(4, 0.8) + NOISE);
  });
});

describeKernel('ntXent', 'correlated Gaussians, NT-Xent', () => {
  test.each([0.3, 0.8, 0.99])('correlation %f', (rho) => {
    const k = boundCandidates('ntXent', { rows: 128 });
    expect(k).toBe(127);
    const got = average(64, 4, rho, ({ x, y }) => {
      const result = ntXent(toMatrix([...x, ...y]), { temperature: 0.25 });
      expectBackend(result);
      return mutualInformationBound(result.loss, k);
    });
    expect(got).toBeLessThan(information(4, rho) + NOISE);
    expect(got).toBeLessThanOrEqual(Math.log(k));
  });
});

describe('boundCandidates', () => {
  test('counts the positive', () => {
    expect(boundCandidates('infoNce', { rows: 32 })).toBe(32);
    expect(boundCandidates('infoNce', { rows: 32, keys: 40, negatives: 100 })).toBe(140);
    expect(boundCandidates('infoNce', { rows: 32, negatives: 4096, inBatch: false })).toBe(4097);
    expect(boundCandidates('clip', { rows: 32 })).toBe(32);
    expect(boundCandidates('ntXent', { rows: 64 })).toBe(63);
  });

  test.each([
    ['dcl', { rows: 4 }, RangeError, /^loss: .*got 'dcl': its denominator lacks the positive/],
    ['supCon', { rows: 4 }, RangeError, /^loss: .*labels/],
    ['sigLip', { rows: 4 }, RangeError, /^loss: .*each pair by itself/],
    ['dpr', { rows: 4 }, RangeError, /^loss: .*mined/],
    ['gist', { rows: 4 }, RangeError, /^loss: .*guide/],
    ['uniformity', { rows: 4 }, RangeError, /^loss: .*no classification/],
    ['triplet', { rows: 4 }, RangeError, /^loss: .*no such loss/],
    [undefined, { rows: 4 }, TypeError, /^loss: /],
    ['ntXent', { rows: 2 }, RangeError, /^candidates: .*got 1/],
    ['ntXent', { rows: 8, negatives: 4 }, RangeError, /^counts: /],
    ['infoNce', { rows: 8, inBatch: false }, RangeError, /^candidates: .*got 1/],
    ['infoNce', { rows: 0 }, RangeError, /^rows: /],
    ['infoNce', {}, TypeError, /^rows: /],
    ['infoNce', { rows: 8, negatives: 9, keys: 0, inBatch: false }, RangeError, /^keys: /],
    ['infoNce', { rows: 8, negative: 4 }, TypeError, /^options: .*got 'negative'/],
  ] as const)('%s %j is refused', (loss, counts, type, message) => {
    const call = () => boundCandidates(loss as 'ntXent', counts as never);
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});
