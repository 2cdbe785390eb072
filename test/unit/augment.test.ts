import { describe, expect, it } from 'vitest';
import {
  type Augmentation,
  augment,
  colourJitter,
  compose,
  gaussianBlur,
  grayscale,
  horizontalFlip,
  type Image,
  type ImageBatch,
  ntXent,
  randomAffine,
  randomCropResize,
  randomErasing,
  randomRotation,
  randomStream,
  twoViews,
} from '../../src/index.js';

function image(height: number, width: number, channels: number, seed = 1): Image {
  const random = randomStream(seed);
  return { data: Float32Array.from({ length: height * width * channels }, random), height, width, channels };
}

function batchOf(images: readonly Image[], ids?: number[]): ImageBatch {
  const { height, width, channels } = images[0];
  const data = new Float32Array(images.length * height * width * channels);
  images.forEach((one, i) => {
    data.set(one.data, i * one.data.length);
  });
  return { data, count: images.length, height, width, channels, ...(ids && { ids }) };
}

/** The augmentation that does something every time, by name; all of them on three channels. */
const OPERATIONS: Record<string, Augmentation> = {
  randomCropResize: randomCropResize({ scale: [0.2, 0.8] }),
  randomAffine: randomAffine({ degrees: 30, translate: [0.2, 0.1], scale: [0.6, 1.4], ratio: [0.7, 1.4], shear: 20, fill: 0.5 }),
  randomRotation: randomRotation({ degrees: 45 }),
  horizontalFlip: horizontalFlip({ probability: 1 }),
  colourJitter: colourJitter({ brightness: 0.8, contrast: 0.8, saturation: 0.8, hue: 0.2 }),
  grayscale: grayscale({ probability: 1 }),
  gaussianBlur: gaussianBlur({ sigma: [0.5, 2], probability: 1 }),
  randomErasing: randomErasing({ probability: 1, value: 'random' }),
};

describe.each(Object.entries(OPERATIONS))('%s', (_, operation) => {
  const source = image(9, 7, 3);

  it('gives the same bits for the same stream, and others for another', () => {
    const once = operation(source, randomStream(5, 1));
    expect(operation(source, randomStream(5, 1)).data).toEqual(once.data);
    expect(once.data).not.toEqual(source.data);
    const deterministic = [OPERATIONS.horizontalFlip, OPERATIONS.grayscale].includes(operation);
    if (!deterministic) expect(operation(source, randomStream(6, 1)).data).not.toEqual(once.data);
  });

  it('keeps the values in 0..1 and leaves the given image as it was', () => {
    for (const extreme of [0, 1]) {
      const flat = { ...source, data: new Float32Array(source.data.length).fill(extreme) };
      for (const given of [source, flat]) {
        const before = given.data.slice();
        for (let seed = 0; seed < 40; seed++) {
          const { data, height, width, channels } = operation(given, randomStream(seed));
          expect(data).toHaveLength(height * width * channels);
          expect(Math.min(...data)).toBeGreaterThanOrEqual(0);
          expect(Math.max(...data)).toBeLessThanOrEqual(1);
        }
        expect(given.data).toEqual(before);
      }
    }
  });

  it('works on an image of one pixel', () => {
    const pixel = { data: Float32Array.of(0.25, 0.5, 0.75), height: 1, width: 1, channels: 3 };
    expect(operation(pixel, randomStream(2)).data.every(Number.isFinite)).toBe(true);
  });
});

describe('what each augmentation does', () => {
  it('flips: columns reversed, and back when applied twice', () => {
    const source = { data: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12).map((v) => v / 12), height: 2, width: 3, channels: 2 };
    const flip = horizontalFlip({ probability: 1 });
    const flipped = flip(source, randomStream(0));
    expect(Array.from(flipped.data, (v) => Math.round(v * 12))).toEqual([5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8]);
    expect(flip(flipped, randomStream(0)).data).toEqual(source.data);
    expect(horizontalFlip({ probability: 0 })(source, randomStream(0))).toBe(source);
  });

  it('flips about half of the images by default', () => {
    const source = image(2, 2, 1);
    const flipped = Array.from({ length: 1000 }, (_, i) => horizontalFlip()(source, randomStream(3, i)) !== source);
    const share = flipped.filter(Boolean).length / flipped.length;
    expect(share).toBeGreaterThan(0.45);
    expect(share).toBeLessThan(0.55);
  });

  it('crops: the whole image at its own size is the image, and a linear ramp stays linear when resized', () => {
    const source = image(6, 8, 3);
    const whole = randomCropResize({ scale: [1, 1], ratio: [1, 1] })(source, randomStream(1));
    source.data.forEach((value, i) => {
      expect(whole.data[i]).toBeCloseTo(value, 6);
    });
    const ramp = { data: Float32Array.from({ length: 64 }, (_, i) => (i % 8) / 8), height: 8, width: 8, channels: 1 };
    const { data, height, width } = randomCropResize({ scale: [0.3, 0.3], ratio: [1, 1], height: 5, width: 6 })(ramp, randomStream(4));
    expect([height, width]).toEqual([5, 6]);
    const step = (Math.sqrt(0.3) * 8) / 6 / 8;
    for (let x = 1; x < 5; x++) expect(data[x + 1] - data[x]).toBeCloseTo(step, 5);
  });

  it('resizes about pixel centres, repeating the edge', () => {
    const pair = { data: Float32Array.of(0, 1), height: 1, width: 2, channels: 1 };
    const wide = randomCropResize({ scale: [1, 1], ratio: [1, 1], width: 4 })(pair, randomStream(1));
    expect(Array.from(wide.data)).toEqual([0, 0.25, 0.75, 1]);
  });

  it('rotates by a quarter turn exactly', () => {
    // An interval of one angle cannot be asked for, so the stream is one that always draws the upper end.
    const quarter = randomRotation({ degrees: 90 });
    const source = image(5, 5, 1);
    const turned = quarter(source, () => 1 - 2 ** -53);
    const picture = (data: Float32Array) => Array.from(data, (v) => v.toFixed(5));
    const expected = Float32Array.from({ length: 25 }, (_, i) => {
      const [row, column] = [Math.floor(i / 5), i % 5];
      return source.data[(4 - column) * 5 + row];
    });
    // probability 1 is never reached by a draw below 1, so the rotation happened.
    expect(picture(turned.data)).toEqual(picture(expected));
  });

  it('shifts by whole pixels and fills what comes in', () => {
    const source = image(4, 4, 1);
    const shifted = randomAffine({ translate: [0.25, 0], fill: 1 })(source, () => 1 - 2 ** -53);
    for (let row = 0; row < 4; row++) {
      expect(shifted.data[row * 4]).toBeCloseTo(1, 5);
      for (let column = 1; column < 4; column++) {
        expect(shifted.data[row * 4 + column]).toBeCloseTo(source.data[row * 4 + column - 1], 5);
      }
    }
  });

  it('turns pure red into pure green with a third of the hue circle', () => {
    const red = { data: Float32Array.of(0.8, 0, 0), height: 1, width: 1, channels: 3 };
    // The five draws: applied, brightness, contrast and saturation in the middle (no change), hue at +1/3.
    const draws = [0, 0.5, 0.5, 0.5, (1 / 3 + 0.5) / 1];
    const turned = colourJitter({ brightness: 0, contrast: 0, saturation: 0, hue: 0.5 })(red, () => draws.shift() as number);
    expect(Array.from(turned.data, (v) => Number(v.toFixed(5)))).toEqual([0, 0.8, 0]);
  });

  it('grays to the brightness, keeping the channels, and leaves one channel alone', () => {
    const pixel = { data: Float32Array.of(1, 0.5, 0.25), height: 1, width: 1, channels: 3 };
    const gray = 0.299 + 0.587 * 0.5 + 0.114 * 0.25;
    const { data } = grayscale({ probability: 1 })(pixel, randomStream(0));
    for (const value of data) expect(value).toBeCloseTo(gray, 6);
    const single = image(3, 3, 1);
    expect(grayscale({ probability: 1 })(single, randomStream(0))).toBe(single);
    expect(() => grayscale()(image(2, 2, 2), randomStream(0))).toThrow(/expected an image of 1, 3 or 4 channels, got 2/);
  });

  it('blurs a constant image to itself, and a point to a symmetric spot of the same sum', () => {
    const blur = gaussianBlur({ sigma: [1, 1], probability: 1 });
    const flat = { data: new Float32Array(35).fill(0.4), height: 5, width: 7, channels: 1 };
    for (const value of blur(flat, randomStream(0)).data) expect(value).toBeCloseTo(0.4, 6);
    const point = { data: new Float32Array(121), height: 11, width: 11, channels: 1 };
    point.data[60] = 1;
    const { data } = blur(point, randomStream(0));
    expect(data.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
    expect(data[60 + 1] / data[60]).toBeCloseTo(Math.exp(-0.5), 5);
    expect(data[60 - 11]).toBe(data[60 + 11]);
  });

  it('erases a rectangle of the asked area', () => {
    const ones = { data: new Float32Array(1600).fill(1), height: 40, width: 40, channels: 1 };
    for (let seed = 0; seed < 20; seed++) {
      const { data } = randomErasing({ area: [0.25, 0.25], ratio: [1, 1], probability: 1, value: 0 })(ones, randomStream(seed));
      expect(data.filter((value) => value === 0)).toHaveLength(400);
    }
  });

  it('composes in order', () => {
    const half: Augmentation = (given) => ({ ...given, data: given.data.map((v) => v / 2) });
    const square: Augmentation = (given) => ({ ...given, data: given.data.map((v) => v * v) });
    const source = { data: Float32Array.of(1), height: 1, width: 1, channels: 1 };
    expect(compose(half, square)(source, randomStream(0)).data[0]).toBe(0.25);
    expect(compose()(source, randomStream(0))).toBe(source);
  });
});

describe('twoViews', () => {
  const images = [1, 2, 3, 4].map((seed) => image(8, 8, 3, seed));
  const operations = Object.values(OPERATIONS);

  it('lays the views of image i in rows i and count + i, ready for ntXent', () => {
    const views = twoViews(batchOf(images), operations, 7);
    expect(views.shape).toEqual([8, 192]);
    expect(views.data).toHaveLength(8 * 192);
    const first = augment(batchOf(images), operations, 7, 0);
    const second = augment(batchOf(images), operations, 7, 1);
    expect(views.data.subarray(0, 4 * 192)).toEqual(first.data);
    expect(views.data.subarray(4 * 192)).toEqual(second.data);
    expect(first.data).not.toEqual(second.data);
    expect(ntXent(views, { pairs: 'halves', backend: 'reference' }).loss).toBeGreaterThan(0);
    const none = twoViews(batchOf(images), [], 7);
    expect(none.data.subarray(0, 4 * 192)).toEqual(none.data.subarray(4 * 192));
  });

  it('gives the same bits for a seed, and others for another', () => {
    const once = twoViews(batchOf(images), operations, 7);
    expect(twoViews(batchOf(images), operations, 7).data).toEqual(once.data);
    expect(twoViews(batchOf(images), operations, 8).data).not.toEqual(once.data);
    expect(twoViews(batchOf(images), operations, 7 + 2 ** 32).data).not.toEqual(once.data);
  });

  it('treats an image alike whatever else is in its batch', () => {
    const whole = twoViews(batchOf(images, [10, 11, 12, 13]), operations, 7);
    const other = twoViews(batchOf([images[3], images[1]], [13, 11]), operations, 7);
    expect(other.data.subarray(0, 192)).toEqual(whole.data.subarray(3 * 192, 4 * 192));
    expect(other.data.subarray(3 * 192)).toEqual(whole.data.subarray(5 * 192, 6 * 192));
    const alone = twoViews(batchOf(images.slice(0, 1)), operations, 7);
    const together = twoViews(batchOf(images), operations, 7);
    expect(alone.data.subarray(0, 192)).toEqual(together.data.subarray(0, 192));
  });

  it('takes a list of images, and a batch without its count', () => {
    const whole = twoViews(batchOf(images), operations, 7);
    expect(twoViews(images, operations, 7)).toEqual(whole);
    const { count: _, ...rest } = batchOf(images);
    expect(twoViews(rest, operations, 7)).toEqual(whole);
  });

  it('is fast enough for training: a batch of 128 digits well under 100 ms', () => {
    const digits = batchOf(Array.from({ length: 128 }, (_, i) => image(28, 28, 1, i)));
    const usual = [randomAffine({ degrees: 20, shear: 10 }), colourJitter({ brightness: 0.4 }), randomErasing()];
    const times = Array.from({ length: 6 }, (_, run) => {
      const started = performance.now();
      twoViews(digits, usual, run);
      return performance.now() - started;
    });
    expect(Math.min(...times)).toBeLessThan(100);
  });
});

describe('bad input', () => {
  const good = batchOf([image(4, 4, 1)]);

  it.each([
    [null, TypeError, /batch: expected an object, got null/],
    [{ ...good, data: [1, 2] }, TypeError, /batch\.data: expected a Float32Array/],
    [{ ...good, height: '4' }, TypeError, /batch\.height: expected a number/],
    [{ ...good, width: 0 }, RangeError, /batch\.width: expected a positive integer, got 0/],
    [{ ...good, count: 2 }, RangeError, /batch\.data: expected 2 x 4 x 4 x 1 values, got 16/],
    [{ ...good, height: 3, count: undefined }, RangeError, /batch\.data: expected a multiple of 3 x 4 x 1 values, got 16/],
    [{ ...good, ids: [1, 2] }, RangeError, /batch\.ids: expected 1 ids, got 2/],
    [{ ...good, ids: [0.5] }, RangeError, /batch\.ids: expected integers, got 0.5 at 0/],
    [[], RangeError, /batch: expected at least one image/],
  ])('batch %#', (batch, type, message) => {
    const call = () => twoViews(batch as ImageBatch, [], 1);
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });

  it('seeds and operations', () => {
    expect(() => twoViews(good, [], 0.5)).toThrow(/seed: expected a safe integer, got 0.5/);
    expect(() => twoViews(good, [], '1' as never)).toThrow(TypeError);
    expect(() => twoViews(good, ['flip' as never], 1)).toThrow(/operations\[0\]: expected a function/);
    expect(() => twoViews(good, () => ({}) as never, 1)).toThrow(/resulting image\.data: expected a Float32Array/);
    const growing: Augmentation = (given, random) => image(random() < 0.5 ? 2 : 3, 4, given.channels);
    expect(() => twoViews(batchOf(Array(20).fill(image(4, 4, 1))), growing, 1)).toThrow(/expected every image to come out as/);
  });

  it.each([
    [() => randomCropResize({ scale: [0, 1] }), RangeError, /scale: expected \[low, high\] with/],
    [() => randomCropResize({ scale: [0.9, 0.5] }), RangeError, /scale/],
    [() => randomCropResize({ height: 2.5 }), RangeError, /height: expected a whole number/],
    [() => randomAffine({ degrees: 181 }), RangeError, /degrees: expected a number from 0 to 180, got 181/],
    [() => randomAffine({ translate: 0.1 as never }), TypeError, /translate: expected \[x, y\]/],
    [() => randomAffine({ ratio: [0, 1] }), RangeError, /ratio/],
    [() => randomRotation({ degrees: Number.NaN }), RangeError, /degrees/],
    [() => horizontalFlip({ probability: 2 }), RangeError, /probability: expected a number from 0 to 1, got 2/],
    [() => colourJitter({ hue: 0.6 }), RangeError, /hue/],
    [() => gaussianBlur({ sigma: 1 as never }), TypeError, /sigma: expected \[low, high\]/],
    [() => randomErasing({ value: 'noise' as never }), TypeError, /value \(or 'random'\)/],
    [() => grayscale({ probabilty: 1 } as never), TypeError, /expected only probability, got 'probabilty'/],
  ])('option %#', (call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });
});
