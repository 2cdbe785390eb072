/**
 * Batches of images, and the two views of each that contrastive learning compares.
 *
 * Every image of a batch draws from a stream of its own, opened by (seed, id, view), so that what happens to an image depends
 * neither on the other images of the batch nor on its size.
 */
import type { Matrix } from '../matrix.js';
import { describe } from '../validate.js';
import type { Augmentation, Image } from './image.js';
import { checkSeed, randomStream } from './random.js';

/**
 * Images of one size: `data[((i * height + y) * width + x) * channels + c]`, values 0..1. `count` may be left out: the length of
 * `data` gives it. `ids[i]` names image i, its number in the data set for example; default i.
 */
export interface ImageBatch {
  readonly data: Float32Array;
  readonly count?: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly ids?: ArrayLike<number>;
}

/** What a batch may be: images in one array, or a list of images, which may differ in size if an augmentation evens them out. */
export type Batch = ImageBatch | readonly Image[];

/** A batch, checked. */
interface Source {
  readonly count: number;
  readonly image: (i: number) => Image;
  readonly id: (i: number) => number;
}

/** One augmentation that applies the given ones in order. */
export function compose(...operations: readonly Augmentation[]): Augmentation {
  operations.forEach((operation, i) => {
    if (typeof operation !== 'function') throw new TypeError(`operations[${i}]: expected a function, got ${describe(operation)}`);
  });
  return (image, random) => operations.reduce((current, operation) => operation(current, random), image);
}

/**
 * Augments every image of a batch once.
 *
 * @param batch images [count, height, width, channels] or a list of them, values 0..1; not changed.
 * @param operations one augmentation, or several applied in order.
 * @param seed a safe integer; the same seed gives the same bits.
 * @param view which of several independent versions to make; `twoViews` makes 0 and 1.
 * @returns a batch of the same count; height, width and channels are those the augmentations give.
 * @throws {TypeError | RangeError} for a batch whose numbers do not fit together, a seed that is no safe integer, and augmentations
 * that do not give every image the same size.
 */
export function augment(
  batch: Batch,
  operations: Augmentation | readonly Augmentation[],
  seed: number,
  view = 0,
): Required<Omit<ImageBatch, 'ids'>> {
  const source = checkedBatch(batch);
  const { data, height, width, channels } = augmentViews(source, operations, seed, [view]);
  return { data, count: source.count, height, width, channels };
}

/**
 * Two independently augmented views of every image, ready for `ntXent` with `pairs: 'halves'`: row i and row count + i are the
 * views of image i (Chen et al. 2020, algorithm 1).
 *
 * @param batch images [count, height, width, channels] or a list of them, values 0..1; not changed.
 * @param operations one augmentation, or several applied in order.
 * @param seed a safe integer; the same seed gives the same bits. Take another one for every step of a training run.
 * @returns a matrix [2 * count, height * width * channels], one flattened view a row.
 * @throws {TypeError | RangeError} as `augment`.
 */
export function twoViews(batch: Batch, operations: Augmentation | readonly Augmentation[], seed: number): Matrix {
  const source = checkedBatch(batch);
  const { data, height, width, channels } = augmentViews(source, operations, seed, [0, 1]);
  return { data, shape: [2 * source.count, height * width * channels] };
}

/** All views, view after view. */
function augmentViews(source: Source, operations: Augmentation | readonly Augmentation[], seed: number, views: readonly number[]): Image {
  checkSeed(seed);
  const operation = compose(...(Array.isArray(operations) ? (operations as readonly Augmentation[]) : [operations as Augmentation]));
  let all: Image | null = null;
  views.forEach((view, v) => {
    for (let i = 0; i < source.count; i++) {
      const result = operation(source.image(i), randomStream(seed, source.id(i), view));
      checkImage('operations: the resulting image', result);
      const { height, width, channels } = result;
      all ??= { data: new Float32Array(views.length * source.count * result.data.length), height, width, channels };
      if (height !== all.height || width !== all.width || channels !== all.channels) {
        throw new RangeError(
          `operations: expected every image to come out as ${all.height} x ${all.width} x ${all.channels}, ` +
            `got ${height} x ${width} x ${channels} for image ${i}`,
        );
      }
      all.data.set(result.data, (v * source.count + i) * result.data.length);
    }
  });
  return all!;
}

function checkedBatch(batch: Batch): Source {
  if (batch === null || typeof batch !== 'object') throw new TypeError(`batch: expected an object, got ${describe(batch)}`);
  if (isList(batch)) {
    if (batch.length === 0) throw new RangeError('batch: expected at least one image, got none');
    batch.forEach((image, i) => {
      checkImage(`batch[${i}]`, image);
    });
    return { count: batch.length, image: (i) => batch[i], id: (i) => i };
  }
  const { data, height, width, channels, ids } = batch;
  checkPixels('batch', batch);
  const size = height * width * channels;
  const { count = data.length / size } = batch;
  if (typeof count !== 'number') throw new TypeError(`batch.count: expected a number, got ${describe(count)}`);
  if (!Number.isInteger(count) || count < 1 || data.length !== count * size) {
    const expected = batch.count === undefined ? 'a multiple of ' : `${count} x `;
    throw new RangeError(`batch.data: expected ${expected}${height} x ${width} x ${channels} values, got ${data.length}`);
  }
  if (ids !== undefined) checkIds(ids, count);
  return {
    count,
    image: (i) => ({ data: data.subarray(i * size, (i + 1) * size), height, width, channels }),
    id: (i) => (ids ? ids[i] : i),
  };
}

function isList(batch: Batch): batch is readonly Image[] {
  return Array.isArray(batch);
}

function checkImage(name: string, image: Image): void {
  if (image === null || typeof image !== 'object') throw new TypeError(`${name}: expected an image, got ${describe(image)}`);
  checkPixels(name, image);
  const { data, height, width, channels } = image;
  if (data.length !== height * width * channels) {
    throw new RangeError(`${name}: expected ${height} x ${width} x ${channels} values, got ${data.length}`);
  }
}

function checkPixels(name: string, image: Image): void {
  if (!(image.data instanceof Float32Array)) throw new TypeError(`${name}.data: expected a Float32Array, got ${describe(image.data)}`);
  for (const side of ['height', 'width', 'channels'] as const) {
    const value: unknown = image[side];
    if (typeof value !== 'number') throw new TypeError(`${name}.${side}: expected a number, got ${describe(value)}`);
    if (!Number.isInteger(value) || value < 1) throw new RangeError(`${name}.${side}: expected a positive integer, got ${value}`);
  }
}

function checkIds(ids: ArrayLike<number>, count: number): void {
  if (ids === null || typeof ids !== 'object') throw new TypeError(`batch.ids: expected an array of integers, got ${describe(ids)}`);
  if (ids.length !== count) throw new RangeError(`batch.ids: expected ${count} ids, got ${ids.length}`);
  for (let i = 0; i < count; i++) {
    if (!Number.isInteger(ids[i])) throw new RangeError(`batch.ids: expected integers, got ${ids[i]} at ${i}`);
  }
}
