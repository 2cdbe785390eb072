/** NCE against a memory bank: the definition, CMC's own values, finite differences; and the bank itself. */
import { describe, expect, test } from 'vitest';
import { type Matrix, MemoryBank, matrix, memoryBankNce, memoryBankNceAsync, NonFiniteError } from '../../src/index.js';
import { expectEach, expectNumber } from '../support/expect-close.js';
import { expectSlopes, onGrid, slope } from '../support/finite-differences.js';
import { goldens, stacked } from '../support/golden.js';
import { products } from '../support/oracle.js';
import { normals, uniformStream } from '../support/random.js';

function drawn(rows: number, m: number, n: number, seed: number): Int32Array {
  const uniform = uniformStream(seed);
  return Int32Array.from({ length: rows * (m + 1) }, () => Math.floor(uniform() * n));
}

describe('the definition', () => {
  test.each([
    [true, 0],
    [false, 0],
    [true, 0.2],
  ])('with probabilities, normalize %s, epsilon %f', (normalize, epsilon) => {
    const [query, bank] = [matrix(normals(1, 15), 5, 3), matrix(normals(2, 60), 20, 3)];
    const indices = drawn(5, 7, 20, 3);
    const [temperature, Z] = [0.4, 9];
    const s = products(query, bank, normalize);
    const noise = 7 / 20;
    const perRow = s.map((row, i) => {
      const p = Array.from(indices.subarray(i * 8, (i + 1) * 8), (j) => Math.exp(row[j] / temperature) / Z);
      return -Math.log(p[0] / (p[0] + noise + epsilon)) - p.slice(1).reduce((sum, q) => sum + Math.log(noise / (q + noise + epsilon)), 0);
    });
    const got = memoryBankNce(query, bank, indices, { temperature, normalizer: Z, epsilon, normalize, reduction: 'none' });
    expectEach('perRow', got.perRow as Float32Array, perRow, 1e-12, 0);
    expectNumber(
      'loss',
      got.loss,
      perRow.reduce((sum, value) => sum + value, 0),
      1e-12,
      0,
    );
    expect(got.normalizer).toBeCloseTo(Z, 12);
    expect(got.backend).toBe('reference');
    expectNumber(
      'mean',
      memoryBankNce(query, bank, indices, { temperature, normalizer: Z, epsilon, normalize }).loss,
      got.loss / 5,
      1e-12,
      0,
    );
  });

  test('finite differences, with the normaliser held', () => {
    const [query, bank] = [onGrid(4, 3, 1), onGrid(9, 3, 2)];
    const indices = drawn(4, 5, 9, 3);
    for (const options of [{ reduction: 'mean' }, { reduction: 'sum', normalize: false, epsilon: 0.1 }] as const) {
      const all = { ...options, temperature: 0.7, normalizer: 5 };
      const { gradients } = memoryBankNce(query, bank, indices, { ...all, gradients: true });
      expectSlopes(query, gradients.query, () => memoryBankNce(query, bank, indices, all).loss);
      const byTemperature = slope((shift) => memoryBankNce(query, bank, indices, { ...all, temperature: 0.7 + shift }).loss);
      expectNumber('temperature', gradients.temperature, byTemperature, 1e-8, 0);
    }
  });

  test('stats, the twin, and the arrays of the caller', async () => {
    const [query, bank] = [matrix(normals(1, 12), 4, 3), new MemoryBank(matrix(normals(2, 30), 10, 3))];
    const indices = drawn(4, 5, 10, 4);
    const s = products(query, bank, true);
    const { stats } = memoryBankNce(query, bank, indices);
    expect(stats?.positiveSimilarity).toBeCloseTo(
      s.reduce((sum, row, i) => sum + row[indices[6 * i]] / 4, 0),
      6,
    );
    const hits = s.filter((row, i) => Array.from(indices.subarray(6 * i + 1, 6 * i + 6)).every((j) => row[j] < row[indices[6 * i]]));
    expect(stats?.accuracy).toBe(hits.length / 4);
    const expected = memoryBankNce(query, bank, indices, { gradients: true, reduction: 'none' });
    const out = { query: new Float32Array(12), perRow: new Float32Array(4) };
    const call = memoryBankNceAsync(query, bank, indices, { gradients: true, reduction: 'none', out });
    query.data.fill(Number.NaN);
    bank.data.fill(Number.NaN);
    indices.fill(0);
    const got = await call;
    expect(got).toEqual(expected);
    expect(got.gradients.query).toBe(out.query);
  });

  test('confident: a loss of 1e-17 keeps its digits', () => {
    const row = matrix(Float32Array.of(1, 0), 1, 2);
    const bank = matrix(Float32Array.of(1, 0, -1, 0), 2, 2);
    const { loss } = memoryBankNce(row, bank, [0, 1], { temperature: 0.025, normalizer: 1 });
    expectNumber('loss', loss, Math.log1p(0.5 * Math.exp(-40)) + Math.log1p(2 * Math.exp(-40)), 1e-12, 0);
  });
});

describe("CMC's own code", () => {
  test.each(goldens('NCEAverage + NCECriterion').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const { use_softmax: softmax, temperature, momentum, eps: epsilon } = golden.params as Record<string, number>;
    expect(softmax, 'NCE, not the softmax').toBe(false);
    const [l, ab] = [stacked(golden, 'l'), stacked(golden, 'ab')];
    const [bankL, bankAb] = [new MemoryBank(stacked(golden, 'memory_l')), new MemoryBank(stacked(golden, 'memory_ab'))];
    const indices = Array.from(golden.inputs.idx.data);
    const options = { temperature, epsilon, gradients: true } as const;
    const sides = [memoryBankNce(l, bankAb, indices, options), memoryBankNce(ab, bankL, indices, options)];
    expectNumber('loss', sides[0].loss + sides[1].loss, golden.expected.loss as number, 1e-6, 0);
    for (const [n, name] of ['grad_l', 'grad_ab'].entries()) {
      const expected = golden.expected[name] as number[];
      const error = Math.hypot(...sides[n].gradients.query.map((value, k) => value - expected[k]));
      expect(error / Math.hypot(...expected)).toBeLessThan(1e-6);
    }
    const items = Array.from(golden.inputs.y.data);
    for (const [bank, features, name] of [
      [bankL, l, 'memory_l_after'],
      [bankAb, ab, 'memory_ab_after'],
    ] as [MemoryBank, Matrix, string][]) {
      bank.update(items, features, momentum);
      const after = (golden.expected[name] as { data: readonly number[] }).data;
      for (let k = 0; k < after.length; k++) expect(Math.abs(bank.data[k] - after[k])).toBeLessThan(2e-7);
    }
  });
});

describe('MemoryBank', () => {
  test('holds unit rows, and moves those it is told to', () => {
    const initial = matrix(normals(1, 12), 4, 3);
    const bank = new MemoryBank(initial);
    const before = bank.data.slice();
    bank.update([2], matrix(Float32Array.of(0, 0, 5), 1, 3), 0);
    expect(Array.from(bank.data.subarray(6, 9))).toEqual([0, 0, 1]);
    expect([...bank.data.subarray(0, 6), ...bank.data.subarray(9)]).toEqual([...before.subarray(0, 6), ...before.subarray(9)]);
    bank.update([2, 2], matrix(Float32Array.of(1, 0, 0, 1, 0, 0), 2, 3), 0.5);
    expect(bank.data[6]).toBeGreaterThan(0.9);
    for (let i = 0; i < 4; i++) expect(Math.hypot(...bank.data.subarray(3 * i, 3 * i + 3))).toBeCloseTo(1, 6);
  });

  test('is as before when it refuses', () => {
    const bank = new MemoryBank(matrix(normals(1, 12), 4, 3));
    const before = bank.data.slice();
    const bad = matrix(Float32Array.of(1, 2, 3, 4, Number.NaN, 6), 2, 3);
    expect(() => bank.update([0, 1], bad)).toThrow(NonFiniteError);
    expect(() => bank.update([0, 4], matrix(normals(1, 6), 2, 3))).toThrow(/^items: expected integers from 0 to 3, got 4 at 1/);
    expect(() => bank.update([0], matrix(normals(1, 2), 1, 2))).toThrow(/^features: expected 3 columns as in the bank, got 2/);
    expect(() => bank.update([0], matrix(normals(1, 3), 1, 3), 2)).toThrow(/^momentum: expected a number from 0 to 1, got 2/);
    expect(bank.data).toEqual(before);
  });
});

describe('bad input', () => {
  const [query, bank] = [matrix(normals(1, 6), 2, 3), matrix(normals(2, 15), 5, 3)];
  const holed = matrix(
    bank.data.map((value, k) => (k === 7 ? Number.NaN : value)),
    5,
    3,
  );
  test.each([
    [() => memoryBankNce(query, matrix(normals(1, 4), 2, 2), [0, 1, 0, 1]), RangeError, /^bank: expected rows of 3 columns/],
    [
      () => memoryBankNce(query, bank, [0, 1, 2]),
      RangeError,
      /^indices: expected a multiple of the 2 queries, at least two for each, got 3/,
    ],
    [() => memoryBankNce(query, bank, [0, 1]), RangeError, /^indices: .*got 2/],
    [() => memoryBankNce(query, bank, [0, 1, 2, 5]), RangeError, /^indices: expected integers from 0 to 4, got 5 at 3/],
    [() => memoryBankNce(query, bank, undefined as unknown as number[]), TypeError, /^indices: /],
    [() => memoryBankNce(query, bank, [0, 1, 2, 3], { epsilon: -1 }), RangeError, /^epsilon: /],
    [() => memoryBankNce(query, bank, [0, 1, 2, 3], { normalizer: 0 }), RangeError, /^normalizer: /],
    [() => memoryBankNce(query, bank, [0, 1, 2, 3], { backend: 'cpu' } as object), TypeError, /got 'backend'/],
    [() => memoryBankNce(query, holed, [0, 2, 1, 3]), NonFiniteError, /^bank: .*row 2, column 1/],
  ])('%#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });

  test('a row that is not drawn is not read', () => {
    expect(memoryBankNce(query, holed, [0, 1, 1, 3]).loss).toBeGreaterThan(0);
  });
});
