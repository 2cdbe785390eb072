/** Effective rank and isotropy on rows whose spectrum is known, and the eigenvalues they rest on. */
import { describe, expect, test } from 'vitest';
import { symmetricEigenvalues } from '../../src/evaluation/eigenvalues.js';
import { cosineSimilarity, effectiveRank, isotropy, type Matrix, matrix, NonFiniteError } from '../../src/index.js';
import { normals } from '../support/random.js';

const diagonal = (...values: number[]): Matrix => {
  const n = values.length;
  return matrix(
    Float32Array.from({ length: n * n }, (_, at) => (at % (n + 1) === 0 ? values[at / (n + 1)] : 0)),
    n,
    n,
  );
};

describe('symmetricEigenvalues', () => {
  test('of a matrix whose eigenvalues are known: 2 - 2 cos(pi k / (n + 1))', () => {
    const n = 40;
    const A = Float64Array.from({ length: n * n }, (_, at) => {
      const apart = Math.abs(Math.floor(at / n) - (at % n));
      return apart === 0 ? 2 : apart === 1 ? -1 : 0;
    });
    const got = symmetricEigenvalues(A, n);
    got.forEach((value, k) => {
      expect(value).toBeCloseTo(2 - 2 * Math.cos((Math.PI * (k + 1)) / (n + 1)), 12);
    });
  });

  test('of full matrices: sums of powers are traces, and turning the axes changes nothing', () => {
    for (const n of [1, 2, 3, 17, 60]) {
      const g = normals(n, n * n);
      const A = Float64Array.from({ length: n * n }, (_, at) => g[at] + g[(at % n) * n + Math.floor(at / n)]);
      const B = A.slice();
      const values = symmetricEigenvalues(A, n);
      const trace = (power: number): number => values.reduce((sum, value) => sum + value ** power, 0);
      const scale = trace(2);
      expect(Math.abs(trace(1) - B.reduce((sum, value, at) => sum + (at % (n + 1) === 0 ? value : 0), 0))).toBeLessThan(1e-12 * scale);
      expect(Math.abs(trace(2) - B.reduce((sum, value) => sum + value * value, 0))).toBeLessThan(1e-12 * scale);
      let cubes = 0;
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) for (let k = 0; k < n; k++) cubes += B[i * n + j] * B[j * n + k] * B[k * n + i];
      }
      expect(Math.abs(trace(3) - cubes)).toBeLessThan(1e-11 * scale ** 1.5);
      expect(values).toEqual(values.slice().sort());
    }
  });

  test('of nothing but zeros, and of repeated values', () => {
    expect(Array.from(symmetricEigenvalues(new Float64Array(9), 3))).toEqual([0, 0, 0]);
    for (const value of symmetricEigenvalues(Float64Array.from(diagonal(3, 3, 3, 3).data), 4)) expect(value).toBeCloseTo(3, 12);
  });
});

describe('effectiveRank', () => {
  test('k directions filled evenly: k, however many rows and columns', () => {
    for (const [rows, cols, k] of [
      [12, 8, 4],
      [12, 20, 4],
      [6, 6, 6],
      [5, 3, 1],
    ]) {
      const data = new Float32Array(rows * cols);
      for (let i = 0; i < rows; i++) data[i * cols + (i % k)] = i + 1;
      const even = rows % k === 0;
      const rank = effectiveRank(matrix(data, rows, cols));
      if (even || k === 1) expect(rank).toBeCloseTo(k, 10);
      expect(rank).toBeLessThanOrEqual(k + 1e-10);
    }
  });

  test('is exp of the entropy of the singular values, of rows as they are on request', () => {
    const singular = [4, 2, 1, 1];
    const entropy = -singular.reduce((sum, value) => sum + (value / 8) * Math.log(value / 8), 0);
    expect(effectiveRank(diagonal(...singular), { normalize: false })).toBeCloseTo(Math.exp(entropy), 10);
    expect(effectiveRank(diagonal(...singular))).toBeCloseTo(4, 10);
  });

  test('turned rows have the same', () => {
    const n = 50;
    const cols = 6;
    const x = matrix(normals(1, n * cols), n, cols);
    // A rotation in each of the planes (0, 1), (2, 3), (4, 5).
    const turned = x.data.map((value, at) => {
      const k = at % cols;
      const partner = x.data[k % 2 === 0 ? at + 1 : at - 1];
      return Math.cos(1) * value + (k % 2 === 0 ? -1 : 1) * Math.sin(1) * partner;
    });
    expect(effectiveRank(matrix(turned, n, cols))).toBeCloseTo(effectiveRank(x), 5);
  });

  test('centred, a common offset is no direction; one line is 1, nothing is 0', () => {
    const offset = matrix(Float32Array.of(1, 1, 0, 1, -1, 0, 1, 3, 0, 1, -3, 0), 4, 3);
    expect(effectiveRank(offset, { center: true, normalize: false })).toBeCloseTo(1, 10);
    expect(effectiveRank(offset, { normalize: false })).toBeGreaterThan(1.5);
    expect(effectiveRank(matrix(new Float32Array(300).fill(2), 100, 3))).toBeCloseTo(1, 10);
    expect(effectiveRank(matrix(new Float32Array(6), 2, 3))).toBe(0);
    // Rank one of many columns: what rounding leaves of the others does not add up.
    const line = matrix(
      normals(3, 200 * 100).map((_, at, all) => Math.fround(all[Math.floor(at / 100)] * all[at % 100])),
      200,
      100,
    );
    expect(effectiveRank(line)).toBeLessThan(1.001);
  });
});

describe('isotropy', () => {
  test('every axis alike: 1; one direction: 0; two of three: a half', () => {
    const axes = (k: number): Matrix => {
      const data = new Float32Array(2 * k * 3);
      for (let i = 0; i < k; i++) {
        data[2 * i * 3 + i] = 1;
        data[(2 * i + 1) * 3 + i] = -1;
      }
      return matrix(data, 2 * k, 3);
    };
    expect(isotropy(axes(3)).isoScore).toBeCloseTo(1, 12);
    expect(isotropy(axes(2)).isoScore).toBeCloseTo(0.5, 12);
    expect(isotropy(axes(1)).isoScore).toBeCloseTo(0, 12);
    expect(isotropy(axes(3)).meanCosine).toBeCloseTo(-1 / 5, 12);
  });

  test('fewer rows than columns or more, the mean cosine is that of the matrix', () => {
    for (const [rows, cols] of [
      [20, 7],
      [7, 20],
    ]) {
      const x = matrix(normals(2, rows * cols), rows, cols);
      const { data } = cosineSimilarity(x, x, { backend: 'reference' });
      const mean = (data.reduce((sum, value) => sum + value, 0) - rows) / (rows * (rows - 1));
      expect(isotropy(x).meanCosine).toBeCloseTo(mean, 6);
      expect(isotropy(x).isoScore).toBeGreaterThan(0);
      expect(isotropy(x).isoScore).toBeLessThan(1);
    }
    const many = matrix(normals(4, 20_000 * 5), 20_000, 5);
    expect(isotropy(many).isoScore).toBeGreaterThan(0.999);
    expect(Math.abs(isotropy(many).meanCosine)).toBeLessThan(1e-3);
  });

  test('an offset shows in the mean cosine alone', () => {
    const x = matrix(
      normals(4, 1000 * 5).map((value, at) => value + (at % 5 === 0 ? 20 : 0)),
      1000,
      5,
    );
    expect(isotropy(x).meanCosine).toBeGreaterThan(0.9);
    expect(isotropy(x, { normalize: false }).isoScore).toBeGreaterThan(0.98);
  });

  test('equal rows, one row, one column: nothing to say', () => {
    expect(isotropy(matrix(new Float32Array(12).fill(3), 4, 3)).isoScore).toBeNaN();
    expect(isotropy(matrix(normals(1, 3), 1, 3)).meanCosine).toBeNaN();
    expect(isotropy(matrix(normals(1, 3), 3, 1)).isoScore).toBeNaN();
  });

  test('rows of one direction and different lengths differ by rounding alone: nothing to say; by more: something', () => {
    const direction = [3, 7, -2, 5, 1];
    const x = matrix(
      Float32Array.from({ length: 250 }, (_, at) => direction[at % 5] * (Math.floor(at / 5) + 1)),
      50,
      5,
    );
    expect(isotropy(x).isoScore).toBeNaN();
    expect(effectiveRank(x, { center: true })).toBe(0);
    expect(effectiveRank(x)).toBe(1);
    x.data[0] += 2 ** -20; // of 3: less than float32's own rounding of most numbers
    expect(isotropy(x).isoScore).toBeCloseTo(0, 6);
    expect(effectiveRank(x, { center: true })).toBeCloseTo(1, 6);
  });
});

test.each([
  [() => effectiveRank(matrix(Float32Array.of(1, Number.NaN), 1, 2)), NonFiniteError, /^x: .*row 0, column 1/],
  [() => effectiveRank(matrix(Float32Array.of(1, 2), 1, 2), { centre: true } as object), TypeError, /got 'centre'/],
  [() => effectiveRank(matrix(Float32Array.of(1, 2), 1, 2), { center: 1 as unknown as boolean }), TypeError, /^center: expected a boolean/],
  [() => isotropy([1] as unknown as Matrix), TypeError, /^x/],
  [() => isotropy(matrix(Float32Array.of(1, 2), 1, 2), { center: true } as object), TypeError, /got 'center'/],
])('refuses %#', (call, type, message) => {
  expect(call).toThrow(type);
  expect(call).toThrow(message);
});
