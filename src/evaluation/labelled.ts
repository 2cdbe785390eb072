/** What the evaluations take: rows of features with a class each, and the checks they share. */
import { checkFinite } from '../finite.js';
import type { MatrixLike, Rows } from '../matrix.js';
import { describe, readMatrix, refuseDetached } from '../validate.js';

/** Features [rows, dim] and the class of every row, an integer from 0. */
export interface LabelledRows {
  readonly features: MatrixLike;
  readonly labels: Int32Array | readonly number[];
}

/** The same where the classes may be unknown: then there is no accuracy. */
export interface MaybeLabelledRows {
  readonly features: MatrixLike;
  readonly labels?: Int32Array | readonly number[];
}

/** What a classifier gives back. */
export interface Classification {
  /** The class of every test row. */
  readonly predictions: Int32Array;
  /** Share of the test rows whose class was found; NaN when the test rows have no labels. */
  readonly accuracy: number;
}

/** A feature matrix whose every value is finite. */
export function readFeatures(name: string, features: unknown): Rows {
  const matrix = readMatrix(name, features, false);
  checkFinite(name, matrix.data, matrix.cols);
  return matrix;
}

/** One class, an integer from 0, for each of `rows` rows. */
export function readLabels(name: string, labels: unknown, rows: number): Int32Array {
  if (!(labels instanceof Int32Array) && !Array.isArray(labels))
    throw new TypeError(`${name}: expected an Int32Array or an array of integers, got ${describe(labels)}`);
  refuseDetached(name, labels);
  if (labels.length !== rows) throw new RangeError(`${name}: expected ${rows} labels, one a row, got ${labels.length}`);
  labels.forEach((label: unknown, i: number) => {
    if (!Number.isInteger(label) || (label as number) < 0 || (label as number) > 0x7fffffff) {
      throw new RangeError(`${name}: expected integers from 0, got ${describe(label)} at ${i}`);
    }
  });
  return Int32Array.from(labels);
}

/** Both sets, checked to have the same number of columns. `classes` is one more than the largest training label. */
export function readSets(train: LabelledRows, test: MaybeLabelledRows) {
  for (const [name, set] of Object.entries({ train, test })) {
    if (set === null || typeof set !== 'object') throw new TypeError(`${name}: expected { features, labels }, got ${describe(set)}`);
  }
  const x = readFeatures('train.features', train.features);
  const labels = readLabels('train.labels', train.labels, x.rows);
  const testX = readFeatures('test.features', test.features);
  const testLabels = test.labels === undefined ? null : readLabels('test.labels', test.labels, testX.rows);
  if (testX.cols !== x.cols) throw new RangeError(`test.features: expected ${x.cols} columns as in train.features, got ${testX.cols}`);
  return { x, labels, testX, testLabels, classes: labels.reduce((most, label) => Math.max(most, label), 0) + 1 };
}

/** Predictions beside their accuracy. */
export function classification(predictions: Int32Array, labels: Int32Array | null): Classification {
  if (labels === null) return { predictions, accuracy: Number.NaN };
  let right = 0;
  for (let i = 0; i < labels.length; i++) if (predictions[i] === labels[i]) right++;
  return { predictions, accuracy: right / labels.length };
}
