/**
 * The linear probe: how well one linear layer, trained on frozen features with few labels, tells the classes apart
 * (Alain & Bengio 2016; the standard evaluation of SimCLR). Strength of the penalty and scaling of the features are chosen by
 * cross-validation on the training rows; the test rows are looked at once, with the final model.
 */
import type { Rows } from '../matrix.js';
import { checkNumber } from '../training/image.js';
import { checkSeed, randomStream, shuffle } from '../training/random.js';
import { readChoice, readInteger, readOptions } from '../validate.js';
import { type Classification, classification, type LabelledRows, type MaybeLabelledRows, readSets } from './labelled.js';
import { type Design, fitSoftmax, logLoss, predictSoftmax, type SoftmaxModel } from './softmax-regression.js';

/**
 * What is done to the features first: nothing ('none'), each row to length 1 ('unit'), or each column to mean 0 and variance 1
 * over the training rows ('standardize').
 */
export type FeatureScaling = 'none' | 'unit' | 'standardize';

/** No more folds or iterations than this can be meant. */
const MAX_COUNT = 1_000_000;

const SCALINGS: readonly FeatureScaling[] = ['none', 'unit', 'standardize'];

export interface LinearProbeOptions {
  /**
   * Weight of ½‖W‖² beside the mean log loss, on features divided by their root mean square row length, so that one value means the
   * same for every encoder. Several: the best in cross-validation. Default [0.1, 0.01, 0.001, 0.0001].
   */
  readonly l2?: number | readonly number[];
  /** One scaling, or several to choose from in cross-validation. Default ['unit', 'standardize']. */
  readonly scaling?: FeatureScaling | readonly FeatureScaling[];
  /** Folds of the cross-validation. Default 5. */
  readonly folds?: number;
  /** Iterations of L-BFGS a fit may take. Default 200. */
  readonly iterations?: number;
  /** Draws the folds. Default 0. */
  readonly seed?: number;
}

/** One setting that was tried, with its mean over the rows that were held out. */
export interface ProbeCandidate {
  readonly l2: number;
  readonly scaling: FeatureScaling;
  readonly logLoss: number;
}

export interface LinearProbeResult extends Classification {
  /** The setting that was used. */
  readonly l2: number;
  readonly scaling: FeatureScaling;
  /** Every setting tried in cross-validation; empty when only one was given. */
  readonly candidates: readonly ProbeCandidate[];
  /** Share of the training rows that the final model gets right. */
  readonly trainAccuracy: number;
}

/**
 * Trains a multinomial logistic regression on frozen features and measures it on others.
 *
 * @param train features [rows, dim] with labels, integers from 0.
 * @param test features [any, dim]; with labels for an accuracy.
 * @returns predictions and accuracy on the test rows, the chosen setting, and how every setting did in cross-validation. The same
 * input and seed give the same result.
 * @throws {TypeError | RangeError} for wrong types, shapes and options; {NonFiniteError} for NaN or infinite features.
 */
export function linearProbe(train: LabelledRows, test: MaybeLabelledRows, options: LinearProbeOptions = {}): LinearProbeResult {
  const { x, labels, testX, testLabels, classes } = readSets(train, test);
  const { penalties, scalings, folds, iterations, seed } = checkOptions(options);
  let chosen: { l2: number; scaling: FeatureScaling } = { l2: penalties[0], scaling: scalings[0] };
  let candidates: ProbeCandidate[] = [];
  if (penalties.length * scalings.length > 1) {
    if (x.rows < 2) throw new RangeError('train.features: expected at least two rows to choose l2 and scaling from, got 1');
    const fold = assignFolds(labels, classes, Math.min(folds, x.rows), seed);
    candidates = scalings.flatMap((scaling) => crossValidate(x, labels, classes, fold, scaling, penalties, iterations));
    chosen = candidates.reduce((best, candidate) => (candidate.logLoss < best.logLoss ? candidate : best));
  }
  const { l2, scaling } = chosen;
  const scale = fitScaling(x, scaling);
  const data = scale(x);
  const model = fitSoftmax({ data, labels, rows: x.rows, dim: x.cols, classes }, l2, iterations);
  return {
    ...classification(predictSoftmax(model, scale(testX), testX.rows), testLabels),
    l2,
    scaling,
    candidates,
    trainAccuracy: classification(predictSoftmax(model, data, x.rows), labels).accuracy,
  };
}

function checkOptions(options: LinearProbeOptions) {
  readOptions(options, new Set(['l2', 'scaling', 'folds', 'iterations', 'seed']));
  const { l2 = [0.1, 0.01, 0.001, 0.0001], scaling = ['unit', 'standardize'], folds = 5, iterations = 200, seed = 0 } = options;
  const penalties: number[] = Array.isArray(l2) ? [...l2] : [l2];
  const scalings: FeatureScaling[] = Array.isArray(scaling) ? [...scaling] : [scaling];
  if (penalties.length === 0) throw new RangeError('l2: expected at least one number, got none');
  if (scalings.length === 0) throw new RangeError('scaling: expected at least one, got none');
  for (const penalty of penalties) checkNumber('l2', penalty, 0, Number.MAX_VALUE);
  for (const name of scalings) readChoice('scaling', name, SCALINGS, 'none');
  readInteger('folds', folds, 2, MAX_COUNT);
  readInteger('iterations', iterations, 1, MAX_COUNT);
  checkSeed(seed);
  // Strongest first: each fit then starts from a neighbour's solution.
  penalties.sort((a, b) => b - a);
  return { penalties, scalings, folds, iterations, seed };
}

/** The fold of every row, classes spread evenly over the folds. */
function assignFolds(labels: Int32Array, classes: number, folds: number, seed: number): Int32Array {
  const fold = new Int32Array(labels.length);
  let next = 0;
  for (let c = 0; c < classes; c++) {
    const rows: number[] = [];
    labels.forEach((label, row) => {
      if (label === c) rows.push(row);
    });
    for (const row of shuffle(rows, randomStream(seed, c))) fold[row] = next++ % folds;
  }
  return fold;
}

/** The log loss of every penalty on rows held out, averaged over all rows. */
function crossValidate(
  x: Rows,
  labels: Int32Array,
  classes: number,
  fold: Int32Array,
  scaling: FeatureScaling,
  penalties: readonly number[],
  iterations: number,
): ProbeCandidate[] {
  const sums = new Float64Array(penalties.length);
  const folds = fold.reduce((most, f) => Math.max(most, f), 0) + 1;
  for (let f = 0; f < folds; f++) {
    const kept = select(x, labels, (row) => fold[row] !== f);
    const held = select(x, labels, (row) => fold[row] === f);
    const scale = fitScaling(kept.rows, scaling);
    const design: Design = { data: scale(kept.rows), labels: kept.labels, rows: kept.rows.rows, dim: x.cols, classes };
    const heldData = scale(held.rows);
    let model: SoftmaxModel | undefined;
    penalties.forEach((l2, p) => {
      model = fitSoftmax(design, l2, iterations, model);
      sums[p] += logLoss(model, heldData, held.labels) * held.labels.length;
    });
  }
  return penalties.map((l2, p) => ({ l2, scaling, logLoss: sums[p] / x.rows }));
}

function select(x: Rows, labels: Int32Array, wanted: (row: number) => boolean): { rows: Rows; labels: Int32Array } {
  const chosen: number[] = [];
  for (let row = 0; row < x.rows; row++) if (wanted(row)) chosen.push(row);
  const data = new Float32Array(chosen.length * x.cols);
  chosen.forEach((row, i) => {
    data.set(x.data.subarray(row * x.cols, (row + 1) * x.cols), i * x.cols);
  });
  return { rows: { data, rows: chosen.length, cols: x.cols }, labels: Int32Array.from(chosen, (row) => labels[row]) };
}

/** Learns a scaling from `x` and returns the function that applies it. */
function fitScaling(x: Rows, scaling: FeatureScaling): (rows: Rows) => Float32Array {
  const shape = shapeRows(x, scaling);
  let squares = 0;
  for (const value of shape(x)) squares += value * value;
  const inverse = 1 / (Math.sqrt(squares / x.rows) || 1);
  return (rows) => {
    const out = shape(rows);
    for (let i = 0; i < out.length; i++) out[i] *= inverse;
    return out;
  };
}

/** The function that gives new rows their shape, as `scaling` says. */
function shapeRows(x: Rows, scaling: FeatureScaling): (rows: Rows) => Float32Array {
  if (scaling === 'none') return ({ data }) => data.slice();
  if (scaling === 'unit') return unitRows;
  const { mean, inverse } = columnStatistics(x);
  return ({ data, rows, cols }) => {
    const out = new Float32Array(data.length);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let k = 0; k < cols; k++, at++) out[at] = (data[at] - mean[k]) * inverse[k];
    }
    return out;
  };
}

function unitRows({ data, rows, cols }: Rows): Float32Array {
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    let squares = 0;
    for (let at = row * cols; at < (row + 1) * cols; at++) squares += data[at] * data[at];
    const inverse = 1 / (Math.sqrt(squares) || 1);
    for (let at = row * cols; at < (row + 1) * cols; at++) out[at] = data[at] * inverse;
  }
  return out;
}

/** Mean and 1 / standard deviation of every column; a column that never changes tells nothing, and gets 0 for the latter. */
function columnStatistics({ data, rows, cols }: Rows): { mean: Float64Array; inverse: Float64Array } {
  const mean = new Float64Array(cols);
  const variance = new Float64Array(cols);
  for (let at = 0, row = 0; row < rows; row++) for (let k = 0; k < cols; k++, at++) mean[k] += data[at] / rows;
  for (let at = 0, row = 0; row < rows; row++) for (let k = 0; k < cols; k++, at++) variance[k] += (data[at] - mean[k]) ** 2 / rows;
  return { mean, inverse: variance.map((value, k) => (value > 1e-12 * mean[k] * mean[k] ? 1 / Math.sqrt(value) : 0)) };
}
