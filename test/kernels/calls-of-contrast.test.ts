/** How calls of InfoNCE, SupCon, DCL and the systems made of them behave around the numbers: twins, outputs, signals, refused input. */
import { expect, test } from 'vitest';
import * as api from '../../src/index.js';
import { type Matrix, matrix, NonFiniteError } from '../../src/index.js';
import { describeKernel, expectBackend } from '../support/backend.js';
import { normals } from '../support/random.js';

const random = (rows: number, cols: number, seed: number): Matrix => matrix(normals(seed, rows * cols), rows, cols);
const ROWS = 14;
const COLS = 5;
const LENGTH = ROWS * COLS;

/** Arguments that ask for everything a function can return; matrices are the two given, and others made of them. */
type Arguments = (x: Matrix, y: Matrix, more?: object) => unknown[];
const full = { reduction: 'none', gradients: true };
const FUNCTIONS: Readonly<
  Record<string, { kernel: 'infoNce' | 'supCon' | 'dcl'; args: Arguments; out: Readonly<Record<string, number>> }>
> = {
  infoNce: {
    kernel: 'infoNce',
    args: (x, y, more) => [x, y, { ...full, negatives: y, symmetric: true, ...more }],
    out: { query: LENGTH, key: LENGTH, negatives: LENGTH, perRow: ROWS, rowLogSumExp: ROWS },
  },
  clip: {
    kernel: 'infoNce',
    args: (x, y, more) => [x, y, { ...full, ...more }],
    out: { image: LENGTH, text: LENGTH, perRow: ROWS, rowLogSumExp: ROWS },
  },
  simCse: {
    kernel: 'infoNce',
    args: (x, y, more) => [x, y, { ...full, negatives: x, hardNegativeWeight: 0.5, ...more }],
    out: { z1: LENGTH, z2: LENGTH, negatives: LENGTH, perRow: ROWS, rowLogSumExp: ROWS },
  },
  dpr: {
    kernel: 'infoNce',
    args: (x, y, more) => [x, y, { ...full, layout: 'listed', ...more }],
    out: { question: LENGTH, context: LENGTH, perRow: ROWS, rowLogSumExp: ROWS },
  },
  mocoV3: { kernel: 'infoNce', args: (x, y, more) => [x, y, y, x, { ...full, ...more }], out: { q1: LENGTH, q2: LENGTH, perRow: ROWS } },
  cmc: { kernel: 'infoNce', args: (x, y, more) => [[x, y, x], { ...full, ...more }], out: {} },
  multipleNegativesRanking: {
    kernel: 'infoNce',
    args: (x, y, more) => [x, y, { ...full, negatives: [x], ...more }],
    out: { anchor: LENGTH, positive: LENGTH, perRow: ROWS },
  },
  gist: {
    kernel: 'infoNce',
    args: (x, y, more) => [x, y, { ...full, guide: { anchor: y, positive: x }, ...more }],
    out: { anchor: LENGTH, positive: LENGTH, perRow: ROWS, rowLogSumExp: ROWS },
  },
  supCon: {
    kernel: 'supCon',
    args: (x, _, more) => [x, Array.from({ length: x.shape[0] }, (_, i) => i % 4), { ...full, ...more }],
    out: { z: LENGTH, perRow: ROWS, rowLogSumExp: ROWS },
  },
  dcl: {
    kernel: 'dcl',
    args: (x, y, more) => [x, y, { ...full, weightSigma: 0.5, ...more }],
    out: { z1: LENGTH, z2: LENGTH, perRow: 2 * ROWS, rowLogSumExp: 2 * ROWS },
  },
};

type Call = (...args: unknown[]) => { readonly backend: string } & Record<string, unknown>;
const sync = (name: string): Call => (api as unknown as Record<string, Call>)[name];
const twin = (name: string): ((...args: unknown[]) => Promise<ReturnType<Call>>) => (api as never)[`${name}Async`];

for (const kernel of ['infoNce', 'supCon', 'dcl'] as const) {
  const names = Object.keys(FUNCTIONS).filter((name) => FUNCTIONS[name].kernel === kernel);

  describeKernel(kernel, `calls by ${kernel}`, () => {
    test.each(names)('%s: the twin gives the same bits, from a copy of its input', async (name) => {
      const { args } = FUNCTIONS[name];
      const [x, y] = [random(ROWS, COLS, 1), random(ROWS, COLS, 2)];
      const expected = sync(name)(...args(x, y));
      expectBackend(expected);
      const call = twin(name)(...args(x, y));
      x.data.fill(Number.NaN);
      y.data.fill(0);
      expect(await call).toEqual(expected);
    });

    test.each(names)('%s: inputs are left as they are, views with an offset give the same bits', (name) => {
      const { args } = FUNCTIONS[name];
      const [x, y] = [random(ROWS, COLS, 3), random(ROWS, COLS, 4)];
      const before = [x.data.slice(), y.data.slice()];
      const expected = sync(name)(...args(x, y));
      expect([x.data, y.data]).toEqual(before);
      const moved = ({ data, shape }: Matrix): Matrix => {
        const memory = new Float32Array(data.length + 8).fill(Number.NaN);
        memory.set(data, 3);
        return matrix(memory.subarray(3, 3 + data.length), ...shape);
      };
      expect(sync(name)(...args(moved(x), moved(y)))).toEqual(expected);
    });

    test.each(names)('%s: the same bits every time, for every number of threads', (name) => {
      const { args } = FUNCTIONS[name];
      const [x, y] = [random(150, 19, 5), random(150, 19, 6)];
      for (const threads of [1, 2, 3]) {
        const first = sync(name)(...args(x, y, { threads }));
        expectBackend(first);
        for (let repeat = 0; repeat < 3; repeat++) expect(sync(name)(...args(x, y, { threads }))).toEqual(first);
      }
    });

    test.each(names)('%s: an aborted signal', async (name) => {
      const { args } = FUNCTIONS[name];
      const reason = new Error('no longer wanted');
      const given = args(random(ROWS, COLS, 7), random(ROWS, COLS, 8), { signal: AbortSignal.abort(reason) });
      expect(() => sync(name)(...given)).toThrow(reason);
      await expect(twin(name)(...given)).rejects.toBe(reason);
    });

    test.each(names)('%s: what is not asked for is not there', (name) => {
      const { args } = FUNCTIONS[name];
      const got = sync(name)(...args(random(ROWS, COLS, 9), random(ROWS, COLS, 10), { reduction: 'mean', gradients: false, stats: false }));
      expect(Object.keys(got).sort()).toEqual(['backend', 'loss']);
    });

    test.each(names)('%s: NaN is refused by the name it came under, and nothing is written', async (name) => {
      const { args, out: lengths } = FUNCTIONS[name];
      const x = random(ROWS, COLS, 11);
      x.data[2 * COLS + 3] = Number.NaN;
      const out = Object.fromEntries(Object.entries(lengths).map(([key, length]) => [key, new Float32Array(length).fill(7)]));
      const given = args(x, random(ROWS, COLS, 12), Object.keys(out).length > 0 ? { out } : {});
      const first =
        { supCon: 'z', dcl: 'z1', simCse: 'z1', clip: 'image', dpr: 'question', mocoV3: 'q1', infoNce: 'query', cmc: 'views\\[0\\]' }[
          name
        ] ?? 'anchor';
      const message = new RegExp(`^${first}: expected finite values, got NaN at row 2, column 3`);
      expect(() => sync(name)(...given)).toThrow(message);
      expect(() => sync(name)(...given)).toThrow(NonFiniteError);
      await expect(twin(name)(...given)).rejects.toThrow(message);
      for (const array of Object.values(out)) expect(array.every((value) => value === 7)).toBe(true);
    });

    test.each(names.filter((name) => Object.keys(FUNCTIONS[name].out).length > 0))('%s: out is filled and returned', async (name) => {
      const { args, out: lengths } = FUNCTIONS[name];
      const [x, y] = [random(ROWS, COLS, 13), random(ROWS, COLS, 14)];
      const expected = sync(name)(...args(x, y));
      for (const call of [sync(name), twin(name)]) {
        const out = Object.fromEntries(Object.entries(lengths).map(([key, length]) => [key, new Float32Array(length)]));
        const got = await call(...args(x, y, { out }));
        expect(got).toEqual(expected);
        const returned: Record<string, unknown> = { ...got, ...(got.gradients as object) };
        for (const [key, array] of Object.entries(out)) expect(returned[key], key).toBe(array);
      }
    });

    test.each(names.filter((name) => Object.keys(FUNCTIONS[name].out).length > 0))('%s: out that does not fit is refused', (name) => {
      const { args, out: lengths } = FUNCTIONS[name];
      const [x, y] = [random(ROWS, COLS, 15), random(ROWS, COLS, 16)];
      for (const [key, length] of Object.entries(lengths)) {
        const call =
          (array: unknown, more = {}) =>
          () =>
            sync(name)(...args(x, y, { out: { [key]: array }, ...more }));
        expect(call(new Float32Array(length + 1))).toThrow(
          new RegExp(`^out\\.${key}: expected exactly ${length} elements, got ${length + 1}`),
        );
        expect(call(new Float64Array(length))).toThrow(TypeError);
        expect(call(new Float32Array(length), { reduction: 'mean', gradients: false })).toThrow(new RegExp(`^out\\.${key}: `));
      }
      expect(() => sync(name)(...args(x, y, { out: { other: new Float32Array(3) } }))).toThrow(/^out: expected only .*got 'other'/);
    });
  });
}

describeKernel('infoNce', 'cmc: out', () => {
  test('one array for each view', () => {
    const views = [random(6, 3, 17), random(6, 3, 18), random(6, 3, 19)];
    const out = { views: views.map(() => new Float32Array(18)), perRow: new Float32Array(6) };
    const got = api.cmc(views, { reduction: 'none', gradients: true, out });
    expectBackend(got);
    expect(got.gradients.views[1]).toBe(out.views[1]);
    expect(got.perRow).toBe(out.perRow);
    expect(got).toEqual(api.cmc(views, { reduction: 'none', gradients: true }));
    for (const [bad, type, message] of [
      [{ views: out.views.slice(1) }, RangeError, /^out\.views: expected 3 arrays/],
      [{ views: [...out.views.slice(1), views[0].data] }, RangeError, /^out\.views\[2\]: .*overlaps views\[0\]/],
      [{ views: 5 }, TypeError, /^out\.views: expected an array/],
      [{ z: 5 }, TypeError, /^out: expected only views, perRow, got 'z'/],
    ] as const) {
      expect(() => api.cmc(views, { gradients: true, out: bad as never })).toThrow(type);
      expect(() => api.cmc(views, { gradients: true, out: bad as never })).toThrow(message);
    }
  });
});

describeKernel('infoNce', 'refused arguments', () => {
  const [q, k, n] = [random(4, 3, 20), random(4, 3, 21), random(6, 3, 22)];
  const { infoNce, clip, simCse, dpr, mocoV3, cmc, multipleNegativesRanking: ranking, gist } = api as never as Record<string, Call>;
  const guide = { anchor: q, positive: k };
  const withNaN = random(4, 3, 26);
  withNaN.data[5] = Number.NaN;
  test.each<[string, () => unknown, new (...args: never[]) => Error, RegExp]>([
    ['columns that differ', () => infoNce(q, random(4, 2, 1)), RangeError, /^key: expected rows of 3 columns as query has, got 2/],
    ['too few keys', () => infoNce(n, q), RangeError, /^key: expected at least 6 rows.*got 4/],
    [
      'both scales',
      () => infoNce(q, k, { temperature: 1, logitScale: 1 }),
      RangeError,
      /^logitScale: expected temperature or logitScale, got both/,
    ],
    ['a logit scale of 0', () => infoNce(q, k, { logitScale: 0 }), RangeError, /^logitScale: /],
    [
      'a positive out of range',
      () => infoNce(q, k, { positives: [0, 1, 2, 4] }),
      RangeError,
      /^positives: expected integers from 0 to 3, got 4 at 3/,
    ],
    ['a negative positive', () => infoNce(q, k, { positives: [0, -1, 2, 3] }), RangeError, /^positives: .*got -1 at 1/],
    ['too few positives', () => infoNce(q, k, { positives: [0, 1] }), RangeError, /^positives: expected 4 integers, got 2/],
    ['positives of another type', () => infoNce(q, k, { positives: new Float32Array(4) }), TypeError, /^positives: expected an Int32Array/],
    ['half a positive', () => infoNce(q, k, { positives: [0, 1.5, 2, 3] }), RangeError, /^positives: .*got 1\.5/],
    ['a positive in a string', () => infoNce(q, k, { positives: [0, '1', 2, 3] }), TypeError, /^positives: .*got '1' at 1/],
    [
      'symmetric with a positive twice',
      () => infoNce(q, k, { positives: [0, 1, 1, 3], symmetric: true }),
      RangeError,
      /^positives: expected distinct.*row 1 for queries 1 and 2/,
    ],
    ['symmetric without inBatch', () => infoNce(q, k, { inBatch: false, symmetric: true, negatives: n }), RangeError, /^symmetric: /],
    [
      'negatives of other columns',
      () => infoNce(q, k, { negatives: random(2, 4, 1) }),
      RangeError,
      /^negatives: expected rows of 3 columns/,
    ],
    ['paired without negatives', () => infoNce(q, k, { negativeMode: 'paired' }), RangeError, /^negatives: expected a matrix/],
    [
      'paired with 6 for 4 queries',
      () => infoNce(q, k, { negatives: n, negativeMode: 'paired' }),
      RangeError,
      /^negatives: expected a multiple of the 4 queries.*got 6/,
    ],
    ['indexed without indices', () => infoNce(q, k, { negatives: n, negativeMode: 'indexed' }), RangeError, /^negativeIndices: /],
    [
      'indices with shared',
      () => infoNce(q, k, { negatives: n, negativeMode: 'shared', negativeIndices: [0] }),
      RangeError,
      /^negativeIndices: /,
    ],
    [
      'an index out of range',
      () => infoNce(q, k, { negatives: n, negativeIndices: [0, 1, 2, 6] }),
      RangeError,
      /^negativeIndices: .*from 0 to 5, got 6/,
    ],
    [
      '6 indices for 4 queries',
      () => infoNce(q, k, { negatives: n, negativeIndices: [0, 1, 2, 3, 4, 5] }),
      RangeError,
      /^negativeIndices: expected a positive multiple/,
    ],
    [
      'no indices',
      () => infoNce(q, k, { negatives: n, negativeIndices: [] }),
      RangeError,
      /^negativeIndices: expected a positive multiple/,
    ],
    [
      'an own logit without negatives',
      () => infoNce(q, k, { ownNegativeLogit: 1 }),
      RangeError,
      /^ownNegativeLogit: expected at least 4 shared negatives.*got none/,
    ],
    [
      'an own logit with too few',
      () => infoNce(q, k, { negatives: random(3, 3, 1), ownNegativeLogit: 1 }),
      RangeError,
      /^ownNegativeLogit: .*got 3/,
    ],
    [
      'an infinite own logit',
      () => infoNce(q, k, { negatives: n, ownNegativeLogit: Number.NEGATIVE_INFINITY }),
      RangeError,
      /^ownNegativeLogit: expected a finite/,
    ],
    ['labels of the wrong number', () => infoNce(q, k, { queryLabels: [1, 2] }), RangeError, /^queryLabels: expected 4 integers, got 2/],
    ['key labels alone', () => infoNce(q, k, { keyLabels: [1, 2, 3, 4] }), RangeError, /^queryLabels: expected with keyLabels/],
    ['query labels alone with more keys', () => infoNce(q, n, { queryLabels: [1, 2, 3, 4] }), RangeError, /^keyLabels: expected 6 labels/],
    ['a label too large', () => infoNce(q, k, { queryLabels: [1, 2, 3, 2 ** 31] }), RangeError, /^queryLabels: .*got 2147483648/],
    [
      'a mask of the wrong size',
      () => infoNce(q, k, { mask: new Uint8Array(15) }),
      RangeError,
      /^mask: expected 4 x 4 = 16 elements, got 15/,
    ],
    ['a mask of numbers', () => infoNce(q, k, { mask: new Array(16).fill(1) }), TypeError, /^mask: expected booleans, got number 1/],
    ['a mask of another type', () => infoNce(q, k, { mask: new Float32Array(16) }), TypeError, /^mask: expected a Uint8Array/],
    [
      "'dot' with normalize",
      () => infoNce(q, k, { similarity: 'dot', normalize: true }),
      RangeError,
      /^normalize: expected false with similarity 'dot'/,
    ],
    ['an unknown similarity', () => infoNce(q, k, { similarity: 'euclid' }), RangeError, /^similarity: /],
    ['an unknown option', () => infoNce(q, k, { positve: [0] }), TypeError, /^options: expected only .*got 'positve'/],
    ['clip with a temperature', () => clip(q, k, { temperature: 1 }), TypeError, /^options: .*got 'temperature'/],
    ['clip of unlike shapes', () => clip(q, n), RangeError, /^text: expected the shape \[4, 3\] of image, got \[6, 3\]/],
    ['simCse with a weight and no negatives', () => simCse(q, k, { hardNegativeWeight: 1 }), RangeError, /^hardNegativeWeight: /],
    ['dpr with contexts that do not fit', () => dpr(q, n), RangeError, /^context: expected a multiple of the 4 questions.*got 6/],
    ['dpr with layout and positives', () => dpr(q, n, { layout: 'listed', positives: [0, 1, 2, 3] }), RangeError, /^layout: /],
    ['dpr with too few listed', () => dpr(n, q, { layout: 'listed' }), RangeError, /^context: expected at least 6 rows/],
    ['mocoV3 of unlike shapes', () => mocoV3(q, k, q, n), RangeError, /^k2: expected the shape/],
    ['cmc of one view', () => cmc([q]), RangeError, /^views: expected at least two views, got 1/],
    ['cmc of no array', () => cmc(q), TypeError, /^views: expected an array/],
    ['cmc of unlike shapes', () => cmc([q, k, n]), RangeError, /^views\[2\]: expected the shape \[4, 3\] of views\[0\]/],
    [
      'ranking without its direction',
      () => ranking(q, k, { directions: ['docToQuery'] }),
      RangeError,
      /^directions: expected 'queryToDoc'/,
    ],
    ['ranking with an unknown direction', () => ranking(q, k, { directions: ['queryToDoc', 'up'] }), RangeError, /^directions\[1\]: /],
    [
      'a direction without the positive, by itself',
      () => ranking(q, k, { directions: ['queryToDoc', 'docToDoc'], partition: 'perDirection' }),
      RangeError,
      /^partition: /,
    ],
    ['hardness below 0', () => ranking(q, k, { hardness: { mode: 'all', strength: -1 } }), RangeError, /^hardness\.strength: /],
    ['hardness without a mode', () => ranking(q, k, { hardness: { strength: 1 } }), TypeError, /^hardness\.mode: /],
    ['negatives that are no array', () => ranking(q, k, { negatives: k }), TypeError, /^negatives: expected an array of matrices/],
    ['negatives of another shape', () => ranking(q, k, { negatives: [k, n] }), RangeError, /^negatives\[1\]: expected the shape/],
    ['gist without a guide', () => gist(q, k, {}), TypeError, /^guide: expected an object/],
    [
      'a guide of other rows',
      () => gist(q, k, { guide: { anchor: n, positive: n } }),
      RangeError,
      /^guide: expected 4 rows and 0 negatives, got 6 and 0/,
    ],
    [
      'a guide without the negatives',
      () => gist(q, k, { guide, negatives: [k] }),
      RangeError,
      /^guide: expected 4 rows and 1 negatives, got 4 and 0/,
    ],
  ])('%s', (_, call, type, message) => {
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });

  test('rows so small that their gradient does not fit float32', () => {
    const tiny = random(4, 3, 23);
    for (let c = 3; c < 6; c++) tiny.data[c] *= 1e-43;
    expect(() => infoNce(tiny, k, { gradients: true })).toThrow(/^query: .*row 1/);
    expect(() => clip(k, tiny, { gradients: true })).toThrow(/^text: .*row 1/);
    expect(() => ranking(tiny, k, { gradients: true, directions: ['queryToDoc', 'queryToQuery'] })).toThrow(/^anchor: .*row 1/);
    expect(infoNce(tiny, k).loss).toBeGreaterThan(0);
  });
});

describeKernel('supCon', 'refused arguments', () => {
  const z = random(4, 3, 24);
  test.each<[string, unknown[], new () => Error, RegExp]>([
    ['one row', [random(1, 3, 1), [0]], RangeError, /^z: expected at least two rows/],
    ['too few labels', [z, [0, 1]], RangeError, /^labels: expected 4 integers, got 2/],
    ['no labels', [z], TypeError, /^labels: expected an Int32Array or an array of integers, got undefined/],
    ['half a label', [z, [0, 1, 0.5, 1]], RangeError, /^labels: .*got 0\.5 at 2/],
    ['an unknown variant', [z, [0, 1, 0, 1], { variant: 'both' }], RangeError, /^variant: /],
    ["'zero' with pairs", [z, [0, 1, 0, 1], { variant: 'pair', noPositive: 'zero' }], RangeError, /^noPositive: /],
  ])('%s', (_, args, type, message) => {
    expect(() => sync('supCon')(...args)).toThrow(type);
    expect(() => sync('supCon')(...args)).toThrow(message);
  });
});

describeKernel('dcl', 'refused arguments', () => {
  const z = random(4, 3, 25);
  test.each<[string, unknown[], RegExp]>([
    ['shapes that differ', [z, random(5, 3, 1)], /^z2: expected the shape \[4, 3\] of z1, got \[5, 3\]/],
    ['a sigma of 0', [z, z, { weightSigma: 0 }], /^weightSigma: /],
    ['a temperature of 0', [z, z, { temperature: 0 }], /^temperature: /],
  ])('%s', (_, args, message) => {
    expect(() => sync('dcl')(...args)).toThrow(RangeError);
    expect(() => sync('dcl')(...args)).toThrow(message);
  });
});
