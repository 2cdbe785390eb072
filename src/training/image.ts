/** The images that augmentations work on, the checks of their options, and the one resampler that all geometry uses. */
import { describe } from '../validate.js';
import type { Random } from './random.js';

/**
 * One image: `data[(y * width + x) * channels + c]`, values 0..1. Augmentations never change an image in place; they return
 * a new one, or the same object when nothing was to be done.
 */
export interface Image {
  readonly data: Float32Array;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/**
 * One random change of an image. It draws everything it needs from `random`, so that the same stream gives the same image. Any
 * function of this type can stand beside the ones here.
 */
export type Augmentation = (image: Image, random: Random) => Image;

/** A closed interval to draw from. */
export type Interval = readonly [low: number, high: number];

/** A number drawn uniformly from `interval`. Always takes one draw, also where low and high are equal. */
export function drawFrom([low, high]: Interval, random: Random): number {
  return low + (high - low) * random();
}

/** A number drawn so that its logarithm is uniform: 1/2 is as likely as 2. */
export function drawRatio([low, high]: Interval, random: Random): number {
  return Math.exp(drawFrom([Math.log(low), Math.log(high)], random));
}

/** A copy of `image` without its values. */
export function like(image: Image, height = image.height, width = image.width): Image {
  return { data: new Float32Array(height * width * image.channels), height, width, channels: image.channels };
}

/** Throws unless `value` is a number in low..high, ends included. */
export function checkNumber(name: string, value: unknown, low: number, high: number): asserts value is number {
  if (typeof value !== 'number') throw new TypeError(`${name}: expected a number, got ${describe(value)}`);
  if (!(value >= low && value <= high)) throw new RangeError(`${name}: expected a number from ${low} to ${high}, got ${value}`);
}

/** Throws unless `value` is [low, high] with least <= low <= high <= most. */
export function checkInterval(name: string, value: unknown, least: number, most: number): asserts value is Interval {
  if (!Array.isArray(value)) throw new TypeError(`${name}: expected [low, high], got ${describe(value)}`);
  const [low, high] = value as unknown[];
  if (typeof low !== 'number' || typeof high !== 'number')
    throw new TypeError(`${name}: expected two numbers, got ${typeof low} and ${typeof high}`);
  if (value.length !== 2 || !(low >= least && low <= high && high <= most)) {
    throw new RangeError(`${name}: expected [low, high] with ${least} <= low <= high <= ${most}, got [${value.join(', ')}]`);
  }
}

/**
 * Source position of an output pixel, in pixels with whole numbers at pixel centres:
 * x = xx * column + xy * row + x0, y = yx * column + yy * row + y0.
 */
export interface SourceMap {
  readonly xx: number;
  readonly xy: number;
  readonly x0: number;
  readonly yx: number;
  readonly yy: number;
  readonly y0: number;
}

/**
 * Bilinear resampling of `image` into height x width pixels. Outside the image every channel is `fill`; null repeats the edge.
 * A bilinear sample is a weighted mean, so values stay inside the range of the image and the fill.
 */
export function resample(image: Image, height: number, width: number, map: SourceMap, fill: number | null): Image {
  const { data, height: sourceHeight, width: sourceWidth, channels } = image;
  const target = like(image, height, width);
  const out = target.data;
  const lastX = sourceWidth - 1;
  const lastY = sourceHeight - 1;
  const stride = sourceWidth * channels;
  let at = 0;
  for (let row = 0; row < height; row++) {
    let x = map.xy * row + map.x0;
    let y = map.yy * row + map.y0;
    for (let column = 0; column < width; column++, x += map.xx, y += map.yx) {
      const sx = fill === null ? Math.min(Math.max(x, 0), lastX) : x;
      const sy = fill === null ? Math.min(Math.max(y, 0), lastY) : y;
      if (sx <= -1 || sy <= -1 || sx >= sourceWidth || sy >= sourceHeight) {
        for (let c = 0; c < channels; c++) out[at++] = fill as number;
        continue;
      }
      const left = Math.floor(sx);
      const top = Math.floor(sy);
      const right = sx - left;
      const down = sy - top;
      const w00 = (1 - right) * (1 - down);
      const w01 = right * (1 - down);
      const w10 = (1 - right) * down;
      const w11 = right * down;
      const base = top * stride + left * channels;
      if (left >= 0 && top >= 0 && left < lastX && top < lastY) {
        for (let c = 0; c < channels; c++) {
          const p = base + c;
          out[at++] = w00 * data[p] + w01 * data[p + channels] + w10 * data[p + stride] + w11 * data[p + stride + channels];
        }
        continue;
      }
      // At the border: the corners that lie outside count as the fill (repeated edges have weight 0 there).
      const border = fill ?? 0;
      const inLeft = left >= 0;
      const inRight = left < lastX;
      const inTop = top >= 0;
      const inBottom = top < lastY;
      for (let c = 0; c < channels; c++) {
        const p = base + c;
        out[at++] =
          w00 * (inLeft && inTop ? data[p] : border) +
          w01 * (inRight && inTop ? data[p + channels] : border) +
          w10 * (inLeft && inBottom ? data[p + stride] : border) +
          w11 * (inRight && inBottom ? data[p + stride + channels] : border);
      }
    }
  }
  return target;
}
