/** The k-nearest-neighbour classifier on frozen features: no training, so it measures the features alone (Wu et al. 2018, §3.4). */
import { readChoice, readOptions, readScale } from '../validate.js';
import { type Classification, classification, type LabelledRows, type MaybeLabelledRows, readSets } from './labelled.js';
import { type NearestOptions, nearest } from './nearest.js';

const KNN_OPTIONS: ReadonlySet<string> = new Set(['k', 'weights', 'temperature', 'backend', 'threads', 'fallbackWarning']);

export interface KnnOptions extends Pick<NearestOptions, 'backend' | 'threads' | 'fallbackWarning'> {
  /** Neighbours that vote. Default 10, or all training rows where there are fewer. */
  readonly k?: number;
  /**
   * 'uniform' (default): one vote a neighbour, ties go to the class whose neighbours are more similar in sum. 'similarity': votes
   * weigh exp(cosine / temperature).
   */
  readonly weights?: 'uniform' | 'similarity';
  /** Of the similarity weights. Default 0.07. */
  readonly temperature?: number;
}

/**
 * Gives every test row the class that most of its nearest training rows have, by cosine similarity.
 *
 * @param train features [rows, dim] with labels, integers from 0.
 * @param test features [any, dim]; with labels for an accuracy.
 * @throws {TypeError | RangeError} for wrong types, shapes and options; {NonFiniteError}; {BackendUnavailableError}.
 */
export function knnClassify(train: LabelledRows, test: MaybeLabelledRows, options: KnnOptions = {}): Classification {
  readOptions(options, KNN_OPTIONS);
  const { x, labels, testX, testLabels, classes } = readSets(train, test);
  const { k = Math.min(10, x.rows), weights: givenWeights, temperature: givenTemperature, ...where } = options;
  const weights = readChoice('weights', givenWeights, ['uniform', 'similarity'], 'uniform');
  const temperature = readScale('temperature', givenTemperature, 0.07);
  const { indices, similarities } = nearest(test.features, train.features, k, where);
  const votes = new Float64Array(classes);
  const closeness = new Float64Array(classes);
  const predictions = new Int32Array(testX.rows);
  for (let row = 0; row < testX.rows; row++) {
    votes.fill(0);
    closeness.fill(0);
    for (let n = row * k; n < (row + 1) * k; n++) {
      const label = labels[indices[n]];
      // Relative to the nearest, so that a small temperature cannot overflow.
      votes[label] += weights === 'uniform' ? 1 : Math.exp((similarities[n] - similarities[row * k]) / temperature);
      closeness[label] += similarities[n];
    }
    let best = labels[indices[row * k]];
    for (let c = 0; c < classes; c++) {
      if (votes[c] > votes[best] || (votes[c] === votes[best] && closeness[c] > closeness[best])) best = c;
    }
    predictions[row] = best;
  }
  return classification(predictions, testLabels);
}
