/** Augmentations that move pixels: crop and resize, affine maps, rotation, flip. All resample bilinearly, without antialiasing. */
import { describe, readOptions } from '../validate.js';
import { type Augmentation, checkInterval, checkNumber, drawFrom, drawRatio, type Image, type Interval, like, resample } from './image.js';

export interface RandomCropResizeOptions {
  /** Share of the image's area that is kept. Default [0.08, 1] (SimCLR); small images want more, such as [0.5, 1]. */
  readonly scale?: Interval;
  /** Width / height of the crop, relative to the image's own. Default [3/4, 4/3], drawn on a logarithmic scale. */
  readonly ratio?: Interval;
  /** Rows of the result. Default: those of the image. */
  readonly height?: number;
  /** Columns of the result. Default: those of the image. */
  readonly width?: number;
}

/**
 * Cuts out a random rectangle and resizes it to `height` x `width`: the augmentation SimCLR depends on most
 * (Chen et al. 2020, §3.1; Szegedy et al. 2015).
 * @throws {TypeError | RangeError} for a wrong option.
 */
export function randomCropResize(options: RandomCropResizeOptions = {}): Augmentation {
  readOptions(options, new Set(['scale', 'ratio', 'height', 'width']));
  const { scale = [0.08, 1], ratio = [3 / 4, 4 / 3] } = options;
  checkInterval('scale', scale, 1e-6, 1);
  checkInterval('ratio', ratio, 1e-3, 1e3);
  for (const side of ['height', 'width'] as const) {
    const value = options[side];
    if (value === undefined) continue;
    checkNumber(side, value, 1, 65536);
    if (!Number.isInteger(value)) throw new RangeError(`${side}: expected a whole number of pixels, got ${value}`);
  }
  return (image, random) => {
    const { height, width } = image;
    const rows = options.height ?? height;
    const columns = options.width ?? width;
    const area = drawFrom(scale, random);
    const stretch = Math.sqrt(drawRatio(ratio, random));
    // A rectangle that would not fit is cut to the image; drawing again, as is also done elsewhere, favours square crops.
    const cropWidth = Math.min(Math.sqrt(area) * stretch, 1) * width;
    const cropHeight = Math.min(Math.sqrt(area) / stretch, 1) * height;
    const left = (width - cropWidth) * random();
    const top = (height - cropHeight) * random();
    const xx = cropWidth / columns;
    const yy = cropHeight / rows;
    return resample(image, rows, columns, { xx, xy: 0, x0: left + 0.5 * xx - 0.5, yx: 0, yy, y0: top + 0.5 * yy - 0.5 }, null);
  };
}

export interface RandomAffineOptions {
  /** Largest rotation to either side, in degrees. Default 0. */
  readonly degrees?: number;
  /** Largest shift to either side, as a share of [width, height]. Default [0, 0]. */
  readonly translate?: readonly [x: number, y: number];
  /** Enlargement. Default [1, 1]. */
  readonly scale?: Interval;
  /** Width / height of the content, drawn on a logarithmic scale. Default [1, 1]. */
  readonly ratio?: Interval;
  /** Largest horizontal shear to either side, in degrees. Default 0. */
  readonly shear?: number;
  /** What comes in from outside. Default 0. */
  readonly fill?: number;
  /** How often it is applied. Default 1. */
  readonly probability?: number;
}

/**
 * Rotates, shears, scales and shifts about the image's centre, in this one resampling.
 * @throws {TypeError | RangeError} for a wrong option.
 */
export function randomAffine(options: RandomAffineOptions = {}): Augmentation {
  readOptions(options, new Set(['degrees', 'translate', 'scale', 'ratio', 'shear', 'fill', 'probability']));
  const { degrees = 0, translate = [0, 0], scale = [1, 1], ratio = [1, 1], shear = 0, fill = 0, probability = 1 } = options;
  checkNumber('degrees', degrees, 0, 180);
  if (!Array.isArray(translate)) throw new TypeError(`translate: expected [x, y], got ${describe(translate)}`);
  const [shiftX, shiftY] = translate;
  checkNumber('translate[0]', shiftX, 0, 1);
  checkNumber('translate[1]', shiftY, 0, 1);
  checkInterval('scale', scale, 1e-3, 1e3);
  checkInterval('ratio', ratio, 1e-3, 1e3);
  checkNumber('shear', shear, 0, 89);
  checkNumber('fill', fill, 0, 1);
  checkNumber('probability', probability, 0, 1);
  return (image, random) => {
    if (random() >= probability) return image;
    const { height, width } = image;
    const angle = (drawFrom([-degrees, degrees], random) * Math.PI) / 180;
    const slant = Math.tan((drawFrom([-shear, shear], random) * Math.PI) / 180);
    const size = drawFrom(scale, random);
    const stretch = Math.sqrt(drawRatio(ratio, random));
    const centreX = (width - 1) / 2;
    const centreY = (height - 1) / 2;
    const targetX = centreX + drawFrom([-shiftX, shiftX], random) * width;
    const targetY = centreY + drawFrom([-shiftY, shiftY], random) * height;
    // Output pixel to source pixel: back by the shift, the rotation, the shear and the scale, in this order.
    const cos = Math.cos(angle);
    const sin = Math.sin(angle);
    const inverseX = 1 / (size * stretch);
    const inverseY = stretch / size;
    const xx = inverseX * (cos + slant * sin);
    const xy = inverseX * (sin - slant * cos);
    const yx = -inverseY * sin;
    const yy = inverseY * cos;
    const x0 = centreX - xx * targetX - xy * targetY;
    const y0 = centreY - yx * targetX - yy * targetY;
    return resample(image, height, width, { xx, xy, x0, yx, yy, y0 }, fill);
  };
}

export interface RandomRotationOptions {
  /** Largest rotation to either side, in degrees. Default 15. */
  readonly degrees?: number;
  /** What comes in at the corners. Default 0. */
  readonly fill?: number;
  /** How often it is applied. Default 1. */
  readonly probability?: number;
}

/**
 * Rotates about the image's centre.
 * @throws {TypeError | RangeError} for a wrong option.
 */
export function randomRotation(options: RandomRotationOptions = {}): Augmentation {
  readOptions(options, new Set(['degrees', 'fill', 'probability']));
  return randomAffine({ degrees: 15, ...options });
}

export interface HorizontalFlipOptions {
  /** How often it is applied. Default 0.5. */
  readonly probability?: number;
}

/**
 * Mirrors left and right.
 * @throws {TypeError | RangeError} for a wrong option.
 */
export function horizontalFlip(options: HorizontalFlipOptions = {}): Augmentation {
  readOptions(options, new Set(['probability']));
  const { probability = 0.5 } = options;
  checkNumber('probability', probability, 0, 1);
  return (image, random) => (random() < probability ? mirrored(image) : image);
}

function mirrored(image: Image): Image {
  const { data, height, width, channels } = image;
  const target = like(image);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = (row * width + column) * channels;
      const to = (row * width + width - 1 - column) * channels;
      for (let c = 0; c < channels; c++) target.data[to + c] = data[from + c];
    }
  }
  return target;
}
