/** The rows that the mean of InfoNCE is over, against looking at every pair. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Comparisons, countedRows } from '../../src/losses/info-nce-rows.js';
import { PROPERTY } from '../support/backend.js';

function labelsAllow(i: number, j: number, { queryLabels, keyLabels, ownedKeys }: Partial<Comparisons>): boolean {
  if (!queryLabels || !keyLabels) return true;
  return ownedKeys && keyLabels[j] < -1 ? queryLabels[i] === -2 - keyLabels[j] : queryLabels[i] !== keyLabels[j];
}

function bySearch(queries: number, keys: number, { symmetric, positives, mask, ...labels }: Comparisons): number {
  const isNegative = (i: number, j: number): boolean => mask?.[i * keys + j] !== 0 && labelsAllow(i, j, labels);
  const all = (count: number): number[] => Array.from({ length: count }, (_, n) => n);
  return all(queries).filter((i) => {
    const p = positives?.[i] ?? i;
    const row = all(keys).some((j) => j !== p && isNegative(i, j));
    return row || (symmetric && all(queries).some((j) => j !== i && isNegative(j, p)));
  }).length;
}

test('rows with a negative, by labels, with and without owners, by a mask and by both', () => {
  // Few labels and a mask that is nearly all zeros: the last negative of a row is what matters.
  const label = fc.nat(1);
  const byte = fc.constantFrom(0, 0, 0, 0, 0, 1, 255);
  const cases = fc.integer({ min: 1, max: 5 }).chain((queries) =>
    fc.integer({ min: queries, max: 6 }).chain((keys) => {
      const each = <T>(of: fc.Arbitrary<T>, length: number) => fc.array(of, { minLength: length, maxLength: length });
      return fc.record({
        queries: fc.constant(queries),
        keys: fc.constant(keys),
        symmetric: fc.boolean(),
        positives: fc.option(fc.shuffledSubarray([...Array(keys).keys()], { minLength: queries, maxLength: queries })),
        labels: fc.option(fc.tuple(each(label, queries), each(fc.integer({ min: -4, max: 1 }), keys))),
        ownedKeys: fc.boolean(),
        mask: fc.option(each(byte, queries * keys)),
      });
    }),
  );
  fc.assert(
    fc.property(cases, ({ queries, keys, symmetric, positives, labels, ownedKeys, mask }) => {
      const comparisons = {
        inBatch: true,
        symmetric,
        positives: positives && Int32Array.from(positives),
        queryLabels: labels && Int32Array.from(labels[0]),
        keyLabels: labels && Int32Array.from(labels[1]),
        ownedKeys,
        mask: mask && Uint8Array.from(mask),
      };
      expect(countedRows(queries, keys, 0, comparisons)).toBe(bySearch(queries, keys, comparisons));
    }),
    { ...PROPERTY, numRuns: 10 * PROPERTY.numRuns },
  );
});

test('negatives beside the keys: every row; none in the batch: no row', () => {
  const none = { inBatch: false, symmetric: false, positives: null, queryLabels: null, keyLabels: null, ownedKeys: false, mask: null };
  expect(countedRows(4, 4, 0, none)).toBe(0);
  expect(countedRows(4, 4, 2, none)).toBe(4);
  expect(countedRows(4, 4, 0, { ...none, inBatch: true })).toBe(4);
  expect(countedRows(1, 1, 0, { ...none, inBatch: true })).toBe(0);
});
