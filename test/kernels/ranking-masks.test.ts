/**
 * Asynchronous multipleNegativesRanking while it makes its mask, which the kernel waits for: from copies, given up on an abort, with
 * nothing written before the end.
 */
import { expect, test } from 'vitest';
import { type Matrix, matrix, multipleNegativesRanking, multipleNegativesRankingAsync } from '../../src/index.js';
import { describeKernel, expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';

const ROWS = 13;
const COLS = 5;
const make = (seed: number): Matrix => matrix(normals(seed, ROWS * COLS), ROWS, COLS);
const texts = () => ({ anchor: make(1), positive: make(2), negatives: [make(3), make(4)] });

type Texts = ReturnType<typeof texts>;
const dataOf = ({ anchor, positive, negatives }: Texts): Float32Array[] => [anchor, positive, ...negatives].map(({ data }) => data);
const DIRECTIONS = ['queryToDoc', 'docToQuery', 'queryToQuery', 'docToDoc'] as const;
const SETTINGS = { directions: DIRECTIONS, hardness: { mode: 'all', strength: 2 }, reduction: 'none', gradients: true } as const;

const outputs = () => ({ anchor: new Float32Array(ROWS * COLS).fill(7), perRow: new Float32Array(ROWS).fill(7) });
const reasonOf = (call: Promise<unknown>): Promise<unknown> => call.then(() => 'it resolved', String);

describeKernel('infoNce', 'asynchronous multipleNegativesRanking', () => {
  test('the bits of the synchronous twin, whatever becomes of the inputs', async () => {
    const { anchor, positive, negatives } = texts();
    const expected = multipleNegativesRanking(anchor, positive, { ...SETTINGS, negatives });
    expectBackend(expected);
    const given = texts();
    const call = multipleNegativesRankingAsync(given.anchor, given.positive, { ...SETTINGS, negatives: given.negatives });
    // None like another: a matrix that is read late would change the result.
    for (const [n, data] of dataOf(given).entries()) data.set(normals(30 + n, data.length));
    expect(await call).toEqual(expected);
  });

  // Products that do not fit float32 are found after the mask: an abort that is reported instead came while it was made.
  test('an abort while the mask is made ends it, and nothing is written', async () => {
    const huge = texts();
    for (const data of dataOf(huge)) data.fill(3e38);
    const { anchor, positive, negatives } = huge;
    const options = { ...SETTINGS, negatives, normalize: false, temperature: 1e-6 };
    const out = outputs();
    expect(await reasonOf(multipleNegativesRankingAsync(anchor, positive, { ...options, out }))).toMatch(/RangeError: .* that fit float32/);
    const controller = new AbortController();
    const call = reasonOf(multipleNegativesRankingAsync(anchor, positive, { ...options, out, signal: controller.signal }));
    controller.abort(new Error('no longer wanted'));
    expect(await call).toBe('Error: no longer wanted');
    expect(out).toEqual(outputs());
  });
});
