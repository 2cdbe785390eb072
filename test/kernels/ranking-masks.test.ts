/**
 * Asynchronous gist and multipleNegativesRanking while they make their masks, which the kernel waits for: from copies, given up on an
 * abort, with nothing written before the end.
 */
import { expect, test } from 'vitest';
import { gist, gistAsync, type Matrix, matrix, multipleNegativesRanking, multipleNegativesRankingAsync } from '../../src/index.js';
import { describeKernel, expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';

const ROWS = 13;
const COLS = 5;
const make = (cols: number, seed: number): Matrix => matrix(normals(seed, ROWS * cols), ROWS, cols);
const texts = (cols: number, seed: number) => ({
  anchor: make(cols, seed),
  positive: make(cols, seed + 1),
  negatives: [make(cols, seed + 2), make(cols, seed + 3)],
});

type Texts = ReturnType<typeof texts>;
const dataOf = ({ anchor, positive, negatives }: Texts): Float32Array[] => [anchor, positive, ...negatives].map(({ data }) => data);
const DIRECTIONS = ['queryToDoc', 'docToQuery', 'queryToQuery', 'docToDoc'] as const;
const ranking = (more: object) => ({ directions: DIRECTIONS, hardness: { mode: 'all', strength: 2 }, ...more }) as const;

/** Both twins, with the same arguments; `more` are options. And how often the event loop turns, at least, while the mask is made. */
type Call = (given: Texts, guide: Texts, more?: object) => { readonly backend: string } | Promise<{ readonly backend: string }>;
const CALLS: readonly (readonly [name: string, sync: Call, twin: Call, turnsOfMask: number])[] = [
  [
    'gist',
    ({ anchor, positive, negatives }, guide, more) => gist(anchor, positive, { negatives, guide, ...more }),
    ({ anchor, positive, negatives }, guide, more) => gistAsync(anchor, positive, { negatives, guide, ...more }),
    3, // once for each of more kinds of candidates than that
  ],
  [
    'multipleNegativesRanking',
    ({ anchor, positive, negatives }, _, more) => multipleNegativesRanking(anchor, positive, ranking({ negatives, ...more })),
    ({ anchor, positive, negatives }, _, more) => multipleNegativesRankingAsync(anchor, positive, ranking({ negatives, ...more })),
    1,
  ],
];

const outputs = () => ({ anchor: new Float32Array(ROWS * COLS).fill(7), perRow: new Float32Array(ROWS).fill(7) });
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const reasonOf = (call: unknown): Promise<unknown> => Promise.resolve(call).then(() => 'it resolved', String);

describeKernel('infoNce', 'asynchronous calls that make a mask', () => {
  test.each(CALLS)('%s: the bits of the synchronous twin, whatever becomes of the inputs', async (_, sync, twin) => {
    const everything = { reduction: 'none', gradients: true };
    const expected = await sync(texts(COLS, 1), texts(6, 11), everything);
    expectBackend(expected);
    const [given, guide] = [texts(COLS, 1), texts(6, 11)];
    const call = twin(given, guide, everything);
    // None like another: a matrix that is read late would change the result.
    for (const [n, data] of [...dataOf(given), ...dataOf(guide)].entries()) data.set(normals(30 + n, data.length));
    expect(await call).toEqual(expected);
  });

  // Products that do not fit float32 are found after the mask: an abort that is reported instead came while it was made.
  test.each(CALLS)('%s: an abort in the meantime ends it, and nothing is written', async (_, __, twin, turnsOfMask) => {
    const huge = texts(COLS, 1);
    for (const data of dataOf(huge)) data.fill(3e38);
    const options = { normalize: false, temperature: 1e-6, reduction: 'none', gradients: true };
    const out = outputs();
    expect(await reasonOf(twin(huge, texts(6, 11), { ...options, out }))).toMatch(/RangeError: .* that fit float32/);
    for (let turns = 0; turns < turnsOfMask; turns++) {
      const controller = new AbortController();
      const call = reasonOf(twin(huge, texts(6, 11), { ...options, out, signal: controller.signal }));
      for (let i = 0; i < turns; i++) await turn();
      controller.abort(new Error('no longer wanted'));
      expect(await call).toBe('Error: no longer wanted');
    }
    expect(out).toEqual(outputs());
  });
});
