/** The moving average of weights, and BYOL's schedule of its momentum. */
import { describe, expect, test } from 'vitest';
import { momentumSchedule, movingAverage, NonFiniteError } from '../../src/index.js';
import { normals } from '../support/random.js';

const memory = Float32Array.of(1, 2, 3, 4);

describe('movingAverage', () => {
  test('one array or several, in place, the source untouched', () => {
    const [target, source] = [normals(1, 9), normals(2, 9)];
    const [before, sourceBefore] = [target.slice(), source.slice()];
    movingAverage(target, source, 0.75);
    target.forEach((value, k) => {
      expect(value).toBe(Math.fround(0.75 * before[k] + 0.25 * source[k]));
    });
    expect(source).toEqual(sourceBefore);
    const layers = [before.slice(0, 4), before.slice(4)];
    movingAverage(layers, [source.subarray(0, 4), source.subarray(4)], 0.75);
    expect([...layers[0], ...layers[1]]).toEqual(Array.from(target));
  });

  test('momentum 0 copies, momentum 1 keeps', () => {
    const target = normals(1, 5);
    const kept = target.slice();
    movingAverage(target, normals(2, 5), 1);
    expect(target).toEqual(kept);
    movingAverage(target, normals(2, 5), 0);
    expect(target).toEqual(normals(2, 5));
  });

  test('a source that stands still is approached as momentum ** steps', () => {
    const target = new Float64Array([0]);
    for (let step = 0; step < 1000; step++) movingAverage(target, Float32Array.of(1), 0.999);
    expect(target[0]).toBeCloseTo(1 - 0.999 ** 1000, 12);
  });

  test('float64 targets keep steps that float32 loses', () => {
    const source = Float32Array.of(1 + 2 ** -20);
    const [single, double] = [Float32Array.of(1), Float64Array.of(1)];
    for (let step = 0; step < 100; step++) {
      movingAverage(single, source, 0.99999);
      movingAverage(double, source, 0.99999);
    }
    expect(single[0]).toBe(1);
    expect(double[0]).toBeGreaterThan(1);
  });

  test.each([
    [[1, 2], Float32Array.of(1), 0.5, TypeError, /^target\[0\]: expected a Float32Array or a Float64Array, got number 1/],
    [Float32Array.of(1), undefined, 0.5, TypeError, /^source: /],
    [Float32Array.of(1), Float32Array.of(1, 2), 0.5, RangeError, /^source: expected 1 elements as in target, got 2/],
    [[Float32Array.of(1)], [Float32Array.of(1), Float32Array.of(1)], 0.5, RangeError, /^source: expected 1 arrays as in target, got 2/],
    [Float32Array.of(1), Float32Array.of(1), 1.5, RangeError, /^momentum: expected a number from 0 to 1, got 1\.5/],
    [Float32Array.of(1), Float32Array.of(1), '0.5', TypeError, /^momentum: /],
    [Float32Array.of(1), Float32Array.of(Number.NaN), 0.5, NonFiniteError, /^source: .*row 0, column 0/],
    [
      Float32Array.of(1, 1),
      Float64Array.of(1, -1e300),
      0.5,
      RangeError,
      /^source: .*fit target, which is float32, got -1e\+300 at element 1/,
    ],
    [memory.subarray(1), memory.subarray(0, 3), 0, RangeError, /^source: expected memory of its own, got memory that overlaps target/],
  ])('refuses %#', (target, source, momentum, type, message) => {
    const call = () => movingAverage(target as Float32Array, source as Float32Array, momentum as number);
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });

  test('an array may follow itself', () => {
    const weights = Float32Array.of(1, 2);
    movingAverage(weights, weights, 0.5);
    expect(weights).toEqual(Float32Array.of(1, 2));
  });

  test('nothing is written before everything is checked', () => {
    const targets = [Float32Array.of(1), Float32Array.of(2)];
    expect(() => movingAverage(targets, [Float32Array.of(5), Float32Array.of(Number.NaN)], 0.5)).toThrow(/^source\[1\]/);
    expect(targets).toEqual([Float32Array.of(1), Float32Array.of(2)]);
  });
});

describe('momentumSchedule', () => {
  test('rises from base to 1 by a half cosine', () => {
    expect(momentumSchedule(0, 100)).toBeCloseTo(0.996, 15);
    expect(momentumSchedule(50, 100)).toBeCloseTo(0.998, 15);
    expect(momentumSchedule(100, 100)).toBe(1);
    expect(momentumSchedule(25, 100, 0.9)).toBeCloseTo(1 - 0.1 * ((Math.SQRT1_2 + 1) / 2), 15);
  });

  test.each([
    [() => momentumSchedule(3, 2), RangeError, /^step: expected an integer from 0 to 2, got 3/],
    [() => momentumSchedule(0, 0), RangeError, /^steps: /],
    [() => momentumSchedule(0, 5, -1), RangeError, /^base: /],
    [() => momentumSchedule('0' as unknown as number, 5), TypeError, /^step: /],
  ])('refuses %#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});
