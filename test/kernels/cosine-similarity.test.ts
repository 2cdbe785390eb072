/** The similarity matrix and its backward on every kind of rows, compared with the reference and with the definition in float64. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cosineSimilarity, cosineSimilarityBackward, type Matrix, matrix } from '../../src/index.js';
import { expectBackend, PROPERTY } from '../support/backend.js';
import { dotScale, expectEach, expectGradient, expectNumber } from '../support/expect-close.js';
import { FAMILIES, type Family, largestNorm, layOut, makeViews, normsAreModerate } from '../support/families.js';
import { type Golden, goldens, gradients, stacked } from '../support/golden.js';
import { backwardOracle, products } from '../support/oracle.js';
import { normals } from '../support/random.js';

const TOLERANCE = 1e-6;

function expectRight(x: Matrix, y: Matrix, normalize = true): void {
  const got = cosineSimilarity(x, y, { normalize });
  expectBackend(got);
  expect(got.shape).toEqual([x.shape[0], y.shape[0]]);
  const scale = normalize ? 1 : dotScale(largestNorm(x), largestNorm(y));
  const reference = cosineSimilarity(x, y, { normalize, backend: 'reference' });
  for (const values of [reference.data, products(x, y, normalize).flat()]) {
    for (let i = 0; i < values.length; i++) expectNumber(`data[${i}]`, got.data[i], values[i], TOLERANCE * scale, 1);
  }
}

function expectBackwardRight(x: Matrix, y: Matrix, upstream: Matrix, normalize = true): void {
  const got = cosineSimilarityBackward(x, y, upstream, { normalize });
  expectBackend(got);
  const oracle = backwardOracle(x, y, upstream, normalize);
  const reference = cosineSimilarityBackward(x, y, upstream, { normalize, backend: 'reference' });
  for (const name of ['x', 'y'] as const) {
    for (const values of [reference.gradients[name], oracle[name].values]) {
      expectGradient(`gradients.${name}`, got.gradients[name], values, oracle[name], TOLERANCE);
    }
  }
}

function rowsOf(family: Family, rows: number, cols: number, seed: number): Matrix {
  const { data } = layOut(makeViews(family, Math.ceil(rows / 2), cols, seed), 'halves');
  return matrix(data.slice(0, rows * cols), rows, cols);
}

describe('against the reference', () => {
  test.each(FAMILIES)('%s', (family) => {
    fc.assert(
      fc.property(
        fc.record({
          rowsX: fc.integer({ min: 1, max: 70 }),
          rowsY: fc.integer({ min: 1, max: 70 }),
          cols: fc.integer({ min: 1, max: 70 }),
          seed: fc.nat(1e6),
          normalize: normsAreModerate(family) ? fc.boolean() : fc.constant(true),
        }),
        ({ rowsX, rowsY, cols, seed, normalize }) => {
          const x = rowsOf(family, rowsX, cols, seed);
          const y = rowsOf(family, rowsY, cols, seed + 1);
          expectRight(x, y, normalize);
          expectBackwardRight(x, y, matrix(normals(seed, rowsX * rowsY), rowsX, rowsY), normalize);
        },
      ),
      PROPERTY,
    );
  });

  test.each([
    [768, 40, 33],
    [4096, 17, 21],
    [5, 300, 257],
    [64, 1, 200],
    [64, 200, 1],
  ])('rows of %i columns, %i against %i', (cols, rowsX, rowsY) => {
    for (const family of ['random', 'clustered'] as const) {
      const x = rowsOf(family, rowsX, cols, 5);
      const y = rowsOf(family, rowsY, cols, 6);
      expectRight(x, y);
      expectBackwardRight(x, y, matrix(normals(7, rowsX * rowsY), rowsX, rowsY));
    }
  });

  test('upstream with zeros, tiny and large values', () => {
    const x = rowsOf('random', 20, 9, 1);
    const y = rowsOf('random', 30, 9, 2);
    for (const scale of [0, 1e-30, 1e-10, 1e10, 1e30]) {
      const upstream = normals(3, 600).map((value, index) => (index % 3 === 0 ? 0 : scale * value));
      expectBackwardRight(x, y, matrix(upstream, 20, 30));
    }
  });
});

describe('golden values', () => {
  test.each(goldens('cos_sim').map((golden) => [golden.file, golden] as const))('%s', (_, golden) => {
    const [x, y, upstream] = [stacked(golden, 'a'), stacked(golden, 'b'), stacked(golden, 'upstream')];
    const { matrix: expected, loss } = golden.expected as unknown as { matrix: Golden['inputs'][string]; loss: number };
    const got = cosineSimilarity(x, y);
    expectBackend(got);
    expectEach('matrix', got.data, expected.data, TOLERANCE, 1);
    expectNumber(
      'loss',
      got.data.reduce((sum, value, i) => sum + value * upstream.data[i], 0),
      loss,
      TOLERANCE * 54,
      1,
    );
    const back = cosineSimilarityBackward(x, y, upstream);
    const oracle = backwardOracle(x, y, upstream, true);
    expectGradient('a', back.gradients.x, gradients(golden, 1, 'a'), oracle.x, TOLERANCE);
    expectGradient('b', back.gradients.y, gradients(golden, 1, 'b'), oracle.y, TOLERANCE);
  });
});

describe('exact cases', () => {
  test('x with itself: left out, undefined or given, and symmetric to the bit', () => {
    for (const rows of [1, 2, 7, 64, 65, 130]) {
      const x = rowsOf('random', rows, 21, rows);
      const got = cosineSimilarity(x);
      expectBackend(got);
      expect(cosineSimilarity(x, undefined).data).toEqual(got.data);
      expect(cosineSimilarity(x, x).data).toEqual(got.data);
      expectRight(x, x);
      for (let i = 0; i < rows; i++) {
        expectNumber('diagonal', got.data[i * rows + i], 1, 1e-6, 1);
        for (let j = 0; j < i; j++) expect(got.data[i * rows + j]).toBe(got.data[j * rows + i]);
      }
    }
  });

  test('x === y still gives both gradients', () => {
    const x = rowsOf('random', 12, 5, 1);
    const upstream = matrix(normals(2, 144), 12, 12);
    expectBackwardRight(x, x, upstream);
  });

  test('zero rows: cosine 0, gradient 0', () => {
    const x = matrix(Float32Array.of(0, 0, 1, 2), 2, 2);
    expect([...cosineSimilarity(x).data].slice(0, 3)).toEqual([0, 0, 0]);
    const { gradients: back } = cosineSimilarityBackward(x, x, matrix(Float32Array.of(1, 1, 1, 1), 2, 2));
    expect([...back.x.subarray(0, 2), ...back.y.subarray(0, 2)].every((value) => value === 0)).toBe(true);
  });

  test('without normalisation: dot products', () => {
    const x = matrix(Float32Array.of(1, 2, 3, 4), 2, 2);
    expect([...cosineSimilarity(x, undefined, { normalize: false }).data]).toEqual([5, 11, 11, 25]);
  });

  test("the gradient does not change a row's norm: it is orthogonal to the row", () => {
    const x = rowsOf('random', 9, 16, 3);
    const y = rowsOf('random', 8, 16, 4);
    const { gradients: back } = cosineSimilarityBackward(x, y, matrix(normals(5, 72), 9, 8));
    for (let i = 0; i < 9; i++) {
      let along = 0;
      for (let k = 0; k < 16; k++) along += x.data[16 * i + k] * back.x[16 * i + k];
      expect(Math.abs(along)).toBeLessThan(1e-5);
    }
  });
});
