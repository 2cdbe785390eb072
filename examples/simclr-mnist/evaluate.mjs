/** How good a representation is: with few labels, by neighbours, and by the two terms that the contrastive loss balances. */
import { knnClassify, linearProbe, mutualInformationBound } from 'contrastive-kernels';
import { measure, SETTINGS } from './train.mjs';

/** How many views the alignment, the uniformity and the watched loss are taken of, in pairs. */
const WATCHED_PAIRS = 512;
const TEST_IMAGES = 5000;
const NEIGHBOUR_IMAGES = 10000;
const FEW = [10, 100];
/** Weights of the penalty a probe may choose from. */
const PENALTIES = [1e-2, 1e-3, 1e-4];
/** 64-bit plain JavaScript is some fifty times slower at 5,000 x 10,000 similarities: it gets fewer test images. */
const NEIGHBOUR_TESTS = { native: 5000, reference: 1000 };

const range = (count) => Int32Array.from({ length: count }, (_, i) => i);
const labelsOf = (digits, indices) => Int32Array.from(indices, (i) => digits.labels[i]);

/**
 * What every representation is measured on: the first 10 and 100 training images of every digit for the probes, the first 10,000
 * training images as neighbours, the first 5,000 test images, and two views of `pairs` test images that no training step sees.
 */
export class Benchmark {
  constructor(trainDigits, testDigits, views, backend) {
    this.views = views;
    const tests = backend === 'reference' ? NEIGHBOUR_TESTS.reference : NEIGHBOUR_TESTS.native;
    const set = (digits, indices) => ({ images: digits.rows(indices), labels: labelsOf(digits, indices) });
    this.few = FEW.map((count) => set(trainDigits, trainDigits.firstOfEachDigit(count)));
    this.neighbours = set(trainDigits, range(NEIGHBOUR_IMAGES));
    this.test = set(testDigits, range(TEST_IMAGES));
    this.neighbourTest = set(testDigits, range(tests));
  }

  /**
   * One row of the table.
   *
   * @param {string} name
   * @param {(rows: object) => object} represent features of a matrix of images
   * @param {object} probe how the few labels are used: `crossValidated`, or `bestOf` for the baseline
   */
  row(name, represent, probe = crossValidated) {
    const labelled = ({ images, labels }) => ({ features: represent(images), labels });
    const test = labelled(this.test);
    const probes = this.few.map((set) => probe(labelled(set), test));
    const knn = knnClassify(labelled(this.neighbours), labelled(this.neighbourTest), { k: 10 });
    const z = represent(this.views);
    const { loss, alignment, uniformity } = measure(z);
    return {
      name,
      dimensions: z.shape[1],
      probe10: probes[0],
      probe100: probes[1],
      knn: knn.accuracy,
      alignment,
      uniformity,
      informationBound: mutualInformationBound(loss, z.shape[0] - 1),
      informationLimit: Math.log(z.shape[0] - 1),
    };
  }
}

/**
 * Accuracy of a probe on the directions of the features, which are all that the loss sees; its penalty is chosen on the labelled
 * rows alone.
 */
export function crossValidated(train, test) {
  return linearProbe(train, test, { l2: PENALTIES, scaling: 'unit' }).accuracy;
}

/** The baseline's advantage: the best accuracy *on the test images* among six probes and the nearest neighbour. */
export function bestOf(train, test) {
  const accuracies = ['unit', 'standardize'].flatMap((scaling) =>
    PENALTIES.map((l2) => linearProbe(train, test, { l2, scaling }).accuracy),
  );
  return Math.max(...accuracies, knnClassify(train, test, { k: 1 }).accuracy);
}

/** The table as text for a terminal. */
export function tableText(rows) {
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const head = ['', 'dim', '10 labels', '100 labels', 'k-NN', 'alignment', 'uniformity', 'MI bound'];
  const lines = rows.map((row) => [
    row.name,
    String(row.dimensions),
    percent(row.probe10),
    percent(row.probe100),
    percent(row.knn),
    row.alignment.toFixed(3),
    row.uniformity.toFixed(3),
    row.informationBound.toFixed(2),
  ]);
  const widths = head.map((title, c) => Math.max(title.length, ...lines.map((line) => line[c].length)));
  const format = (line) => line.map((text, c) => (c === 0 ? text.padEnd(widths[c]) : text.padStart(widths[c]))).join('  ');
  return [format(head), widths.map((width) => '─'.repeat(width)).join('──'), ...lines.map(format)].join('\n');
}

export const PROTOCOL = {
  testImages: TEST_IMAGES,
  neighbourImages: NEIGHBOUR_IMAGES,
  watchedViews: 2 * WATCHED_PAIRS,
  temperature: SETTINGS.temperature,
};
