/** Augmentations that change pixel values in place: colour jitter, grayscale, blur, erasing. */
import { readOptions } from '../validate.js';
import { type Augmentation, checkInterval, checkNumber, drawFrom, drawRatio, type Image, type Interval, like } from './image.js';

/** Weights of red, green and blue in the brightness of a pixel (ITU-R BT.601). */
const LUMA = [0.299, 0.587, 0.114] as const;

export interface ColourJitterOptions {
  /** Multiplies all values by 1 ± brightness. Default 0. */
  readonly brightness?: number;
  /** Moves values away from or towards the image's mean brightness by 1 ± contrast. Default 0. */
  readonly contrast?: number;
  /** Moves colours away from or towards gray by 1 ± saturation; nothing on one channel. Default 0. */
  readonly saturation?: number;
  /** Turns the hue by up to ± hue of the whole circle, 0..0.5; nothing on one channel. Default 0. */
  readonly hue?: number;
  /** How often it is applied. Default 1 (SimCLR: 0.8). */
  readonly probability?: number;
}

/**
 * Random brightness, contrast, saturation and hue, in this order, each clamped to 0..1 (Chen et al. 2020, appendix A; strength s is
 * brightness = contrast = saturation = 0.8 s, hue = 0.2 s).
 * @throws {TypeError | RangeError} for a wrong option, and from the augmentation for an image of neither 1, 3 nor 4 channels.
 */
export function colourJitter(options: ColourJitterOptions = {}): Augmentation {
  readOptions(options, new Set(['brightness', 'contrast', 'saturation', 'hue', 'probability']));
  const { brightness = 0, contrast = 0, saturation = 0, hue = 0, probability = 1 } = options;
  checkNumber('brightness', brightness, 0, 1e3);
  checkNumber('contrast', contrast, 0, 1e3);
  checkNumber('saturation', saturation, 0, 1e3);
  checkNumber('hue', hue, 0, 0.5);
  checkNumber('probability', probability, 0, 1);
  return (image, random) => {
    const colours = colourChannels('colourJitter', image);
    if (random() >= probability) return image;
    const gain = drawFrom([Math.max(0, 1 - brightness), 1 + brightness], random);
    const spread = drawFrom([Math.max(0, 1 - contrast), 1 + contrast], random);
    const vivid = drawFrom([Math.max(0, 1 - saturation), 1 + saturation], random);
    const turn = drawFrom([-hue, hue], random);
    const target: Image = { ...image, data: image.data.slice() };
    const { data } = target;
    const { channels } = image;
    if (gain !== 1) mapColours(data, channels, colours, (value) => clamp(value * gain));
    if (spread !== 1) {
      let sum = 0;
      for (let p = 0; p < data.length; p += channels) sum += luma(data, p, colours);
      const mean = (sum * channels) / data.length;
      mapColours(data, channels, colours, (value) => clamp(mean + (value - mean) * spread));
    }
    if (colours === 3) {
      for (let p = 0; p < data.length; p += channels) {
        if (vivid !== 1) {
          const gray = luma(data, p, 3);
          for (let c = 0; c < 3; c++) data[p + c] = clamp(gray + (data[p + c] - gray) * vivid);
        }
        if (turn !== 0) turnHue(data, p, turn);
      }
    }
    return target;
  };
}

export interface GrayscaleOptions {
  /** How often it is applied. Default 0.2 (SimCLR). */
  readonly probability?: number;
}

/**
 * Replaces the colours of a pixel by its brightness; the number of channels stays. Nothing to do on one channel.
 * @throws {TypeError | RangeError} for a wrong option, and from the augmentation for an image of neither 1, 3 nor 4 channels.
 */
export function grayscale(options: GrayscaleOptions = {}): Augmentation {
  readOptions(options, new Set(['probability']));
  const { probability = 0.2 } = options;
  checkNumber('probability', probability, 0, 1);
  return (image, random) => {
    const colours = colourChannels('grayscale', image);
    if (random() >= probability || colours === 1) return image;
    const target: Image = { ...image, data: image.data.slice() };
    for (let p = 0; p < target.data.length; p += image.channels) target.data.fill(luma(target.data, p, 3), p, p + 3);
    return target;
  };
}

export interface GaussianBlurOptions {
  /** Standard deviation, in pixels. Default [0.1, 2] (SimCLR). */
  readonly sigma?: Interval;
  /** How often it is applied. Default 0.5 (SimCLR). */
  readonly probability?: number;
}

/**
 * Blurs with a Gaussian, the edge repeated outwards, cut off at three standard deviations.
 * @throws {TypeError | RangeError} for a wrong option.
 */
export function gaussianBlur(options: GaussianBlurOptions = {}): Augmentation {
  readOptions(options, new Set(['sigma', 'probability']));
  const { sigma = [0.1, 2], probability = 0.5 } = options;
  checkInterval('sigma', sigma, 1e-3, 1e3);
  checkNumber('probability', probability, 0, 1);
  return (image, random) => {
    if (random() >= probability) return image;
    const taps = gaussianTaps(drawFrom(sigma, random));
    const { height, width, channels } = image;
    const across = like(image);
    blurLines(image.data, across.data, taps, { lines: height, lineStep: width * channels, length: width, step: channels, channels });
    const down = like(image);
    blurLines(across.data, down.data, taps, { lines: width, lineStep: channels, length: height, step: width * channels, channels });
    return down;
  };
}

export interface RandomErasingOptions {
  /** Share of the image's area that is erased. Default [0.02, 0.33]. */
  readonly area?: Interval;
  /** Width / height of the rectangle, drawn on a logarithmic scale. Default [0.3, 3.3]. */
  readonly ratio?: Interval;
  /** What the rectangle is filled with, or 'random': a new value for every number. Default 0. */
  readonly value?: number | 'random';
  /** How often it is applied. Default 0.5. */
  readonly probability?: number;
}

/**
 * Paints over a random rectangle that lies inside the image (Zhong et al. 2020, "Random erasing data augmentation").
 * @throws {TypeError | RangeError} for a wrong option.
 */
export function randomErasing(options: RandomErasingOptions = {}): Augmentation {
  readOptions(options, new Set(['area', 'ratio', 'value', 'probability']));
  const { area = [0.02, 0.33], ratio = [0.3, 3.3], value = 0, probability = 0.5 } = options;
  checkInterval('area', area, 0, 1);
  checkInterval('ratio', ratio, 1e-3, 1e3);
  if (value !== 'random') checkNumber("value (or 'random')", value, 0, 1);
  checkNumber('probability', probability, 0, 1);
  return (image, random) => {
    if (random() >= probability) return image;
    const { height, width, channels } = image;
    const pixels = drawFrom(area, random) * height * width;
    const stretch = drawRatio(ratio, random);
    const columns = Math.min(width, Math.round(Math.sqrt(pixels * stretch)));
    const rows = Math.min(height, Math.round(Math.sqrt(pixels / stretch)));
    const left = Math.floor(random() * (width - columns + 1));
    const top = Math.floor(random() * (height - rows + 1));
    const target: Image = { ...image, data: image.data.slice() };
    for (let row = top; row < top + rows; row++) {
      const from = (row * width + left) * channels;
      const to = from + columns * channels;
      if (value === 'random') for (let p = from; p < to; p++) target.data[p] = random();
      else target.data.fill(value, from, to);
    }
    return target;
  };
}

/** 1 (gray) or 3 (colour; a fourth channel is left alone). */
function colourChannels(operation: string, image: Image): 1 | 3 {
  if (image.channels === 1) return 1;
  if (image.channels === 3 || image.channels === 4) return 3;
  throw new RangeError(`${operation}: expected an image of 1, 3 or 4 channels, got ${image.channels}`);
}

function clamp(value: number): number {
  return Math.min(Math.max(value, 0), 1);
}

function luma(data: Float32Array, pixel: number, colours: 1 | 3): number {
  if (colours === 1) return data[pixel];
  return LUMA[0] * data[pixel] + LUMA[1] * data[pixel + 1] + LUMA[2] * data[pixel + 2];
}

function mapColours(data: Float32Array, channels: number, colours: 1 | 3, change: (value: number) => number): void {
  for (let p = 0; p < data.length; p += channels) {
    for (let c = 0; c < colours; c++) data[p + c] = change(data[p + c]);
  }
}

/** Turns the hue of one pixel by `turn` of the circle: RGB to hue, saturation and value and back. */
function turnHue(data: Float32Array, pixel: number, turn: number): void {
  const red = data[pixel];
  const green = data[pixel + 1];
  const blue = data[pixel + 2];
  const value = Math.max(red, green, blue);
  const chroma = value - Math.min(red, green, blue);
  if (chroma === 0) return;
  let sector: number;
  if (value === red) sector = (green - blue) / chroma;
  else if (value === green) sector = (blue - red) / chroma + 2;
  else sector = (red - green) / chroma + 4;
  sector += turn * 6;
  for (let c = 0; c < 3; c++) {
    // Channel c peaks at sector 2c and falls off linearly on both sides of a plateau.
    const distance = Math.abs(((((sector - 2 * c + 3) % 6) + 6) % 6) - 3);
    data[pixel + c] = value - chroma * clamp(distance - 1);
  }
}

/** Weights from the centre outwards; both sides together sum to 1. */
function gaussianTaps(sigma: number): Float64Array {
  const taps = Float64Array.from({ length: Math.ceil(3 * sigma) + 1 }, (_, i) => Math.exp(-0.5 * (i / sigma) ** 2));
  const sum = taps.reduce((total, tap) => total + tap) * 2 - taps[0];
  return taps.map((tap) => tap / sum);
}

interface Lines {
  readonly lines: number;
  readonly lineStep: number;
  readonly length: number;
  readonly step: number;
  readonly channels: number;
}

function blurLines(from: Float32Array, to: Float32Array, taps: Float64Array, shape: Lines): void {
  const { lines, lineStep, length, step, channels } = shape;
  for (let line = 0; line < lines; line++) {
    for (let c = 0; c < channels; c++) {
      const start = line * lineStep + c;
      for (let i = 0; i < length; i++) {
        let sum = taps[0] * from[start + i * step];
        for (let t = 1; t < taps.length; t++) {
          const before = Math.max(i - t, 0);
          const after = Math.min(i + t, length - 1);
          sum += taps[t] * (from[start + before * step] + from[start + after * step]);
        }
        to[start + i * step] = sum;
      }
    }
  }
}
