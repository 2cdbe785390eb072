/** GradCache: the gradients of the parameters are those of the plain run on the whole batch. */
import { describe, expect, test } from 'vitest';
import { openCpuBackend } from '../../src/backends/cpu.js';
import { type CachedTower, gradientCache, gradientCacheAsync, infoNce, type Matrix, matrix, ntXent, ntXentAsync } from '../../src/index.js';
import { goldens, gradients, stacked } from '../support/golden.js';
import { normals } from '../support/random.js';

const backend = 'reference';

/** A layer of tanh units in float64, whose parameter gradients add up: [inputs, outputs]. */
class Encoder {
  readonly weights: Float64Array;
  readonly gradients: Float64Array;

  constructor(
    readonly inputs: number,
    readonly outputs: number,
  ) {
    this.weights = Float64Array.from(normals(5, inputs * outputs));
    this.gradients = new Float64Array(this.weights.length);
  }

  readonly encode = ({ data, shape: [rows] }: Matrix): Matrix => {
    const { inputs, outputs, weights } = this;
    const z = Float32Array.from({ length: rows * outputs }, (_, at) => {
      let sum = 0;
      for (let k = 0; k < inputs; k++) sum += data[Math.floor(at / outputs) * inputs + k] * weights[k * outputs + (at % outputs)];
      return Math.tanh(sum);
    });
    return matrix(z, rows, outputs);
  };

  readonly backward = (x: Matrix, gradient: Matrix): void => {
    const { inputs, outputs, gradients } = this;
    const { data: z } = this.encode(x);
    for (let at = 0; at < z.length; at++) {
      const slope = gradient.data[at] * (1 - z[at] * z[at]);
      for (let k = 0; k < inputs; k++) gradients[k * outputs + (at % outputs)] += slope * x.data[Math.floor(at / outputs) * inputs + k];
    }
  };
}

/** `rows` cut into chunks of these sizes. */
function cut({ data, shape: [, cols] }: Matrix, sizes: readonly number[]): Matrix[] {
  let start = 0;
  return sizes.map((size) => {
    start += size;
    return matrix(data.slice((start - size) * cols, start * cols), size, cols);
  });
}

/** Loss and parameter gradients, with the rows encoded in chunks of these sizes. */
function run(sizes: readonly number[], where: 'reference' | 'cpu') {
  const encoder = new Encoder(7, 5);
  const x = matrix(normals(3, 26 * 7), 26, 7);
  const tower = { chunks: cut(x, sizes), encode: encoder.encode, backward: encoder.backward };
  const { loss } = gradientCache({ z: tower }, ({ z }) => ntXent(z, { temperature: 0.1, gradients: true, backend: where }));
  return { loss, gradients: encoder.gradients };
}

/** The same without the cache: everything encoded at once. */
function plain(where: 'reference' | 'cpu') {
  const encoder = new Encoder(7, 5);
  const x = matrix(normals(3, 26 * 7), 26, 7);
  const z = encoder.encode(x);
  const { loss, gradients } = ntXent(z, { temperature: 0.1, gradients: true, backend: where });
  encoder.backward(x, matrix(gradients.z, 26, 5));
  return { loss, gradients: encoder.gradients };
}

function distance(a: Float64Array, b: Float64Array): number {
  return Math.hypot(...a.map((value, k) => value - b[k])) / Math.hypot(...b);
}

test.each([[[26]], [[13, 13]], [[1, 20, 5]], [Array(26).fill(1)]])('equals the plain run: chunks of %j', (sizes) => {
  const expected = plain(backend);
  const got = run(sizes, backend);
  expect(got.loss).toBe(expected.loss);
  expect(distance(got.gradients, expected.gradients)).toBeLessThan(1e-12);
});

test.skipIf(openCpuBackend().backend === null)('with the native loss: 1e-6', () => {
  const got = run([9, 9, 8], 'cpu');
  expect(distance(got.gradients, plain('cpu').gradients)).toBeLessThan(1e-12);
  expect(distance(got.gradients, plain(backend).gradients)).toBeLessThan(1e-6);
});

// Dot products without temperature; the passages are [positive, negatives, positive, ...], all of them candidates of every query.
test.each(goldens('SimpleContrastiveLoss').map((golden) => [golden.file, golden] as const))("GradCache's own loss: %s", (_, golden) => {
  const [x, y] = [stacked(golden, 'x'), stacked(golden, 'y')];
  const queries = x.shape[0];
  const each = y.shape[0] / queries;
  const collected: Record<string, number[]> = { x: [], y: [] };
  const tower = (name: string, rows: Matrix, sizes: readonly number[]) => ({
    chunks: cut(rows, sizes),
    encode: (chunk: Matrix) => chunk,
    backward: (_: Matrix, gradient: Matrix) => {
      collected[name].push(...gradient.data);
    },
  });
  const factor = golden.params.reduction === 'sum' ? queries : 1;
  const towers = {
    query: tower('x', x, [1, queries - 1]),
    key: tower('y', y, [y.shape[0] - 2, 2]),
  };
  const { loss } = gradientCache(towers, ({ query, key }) =>
    infoNce(query, key, {
      positives: Array.from({ length: queries }, (_, i) => i * each),
      similarity: 'dot',
      temperature: 1,
      gradients: true,
      backend,
    }),
  );
  expect(Math.abs(factor * loss - (golden.expected.loss as number))).toBeLessThan(1e-12 * Math.abs(factor * loss));
  for (const name of ['x', 'y']) {
    const expected = gradients(golden, 1 / factor, name);
    expect(distance(Float64Array.from(collected[name]), expected)).toBeLessThan(6e-8);
  }
});

describe('several towers', () => {
  const rows = (count: number, seed: number) => matrix(normals(seed, count * 3), count, 3);
  const recorded = (chunks: Matrix[], log: string[], name: string): CachedTower<Matrix> => ({
    chunks,
    encode: (chunk, index) => {
      log.push(`encode ${name} ${index}`);
      return chunk;
    },
    backward: (_, { shape, data }, index) => {
      log.push(`backward ${name} ${index} [${shape}] ${data[0]}`);
    },
  });
  /** A loss whose gradients say which element they belong to. */
  const loss = ({ query, key }: { query: Matrix; key: Matrix }) => ({
    loss: 5,
    gradients: { query: query.data.map((_, k) => k), key: key.data.map((_, k) => 100 + k) },
  });

  test('encode all, then the loss, then backward all, each chunk with its own rows', () => {
    const log: string[] = [];
    const towers = {
      query: recorded([rows(2, 1), rows(1, 2)], log, 'query'),
      key: recorded([rows(3, 3), rows(1, 4)], log, 'key'),
    };
    const result = gradientCache(towers, (embeddings) => {
      log.push('loss');
      expect(embeddings.key).toEqual(matrix(Float32Array.of(...rows(3, 3).data, ...rows(1, 4).data), 4, 3));
      return loss(embeddings);
    });
    expect(result.loss).toBe(5);
    expect(log).toEqual([
      'encode query 0',
      'encode query 1',
      'encode key 0',
      'encode key 1',
      'loss',
      'backward query 0 [2,3] 0',
      'backward query 1 [1,3] 6',
      'backward key 0 [3,3] 100',
      'backward key 1 [1,3] 109',
    ]);
  });

  test('the twin waits for each callback before the next', async () => {
    const log: string[] = [];
    const later = () => new Promise((resolve) => setTimeout(resolve, 2));
    const slow = (name: string, chunks: Matrix[]) => ({
      chunks,
      encode: async (chunk: Matrix) => {
        log.push(`${name}(`);
        await later();
        log.push(')');
        return chunk;
      },
      backward: async () => {
        log.push(`${name}[`);
        await later();
        log.push(']');
      },
    });
    const z = slow('z', [rows(2, 1), rows(2, 2)]);
    const { gradients } = await gradientCacheAsync({ z }, ({ z: all }) => ntXentAsync(all, { gradients: true, backend }));
    expect(log.join('')).toBe('z()z()z[]z[]');
    const all = matrix(Float32Array.of(...rows(2, 1).data, ...rows(2, 2).data), 4, 3);
    expect(gradients.z).toEqual(ntXent(all, { gradients: true, backend }).gradients.z);
  });

  test('the synchronous one refuses a backward that returns a promise, instead of running ahead of it', () => {
    let calls = 0;
    const backward = (): Promise<void> => {
      calls++;
      return Promise.resolve();
    };
    const z = { chunks: [rows(2, 1), rows(2, 2)], encode: (chunk: Matrix) => chunk, backward };
    const call = () => gradientCache({ z: z as never }, ({ z: all }) => ntXent(all, { gradients: true, backend }));
    expect(call).toThrow(TypeError);
    expect(call).toThrow(/^towers\.z\.backward: expected no promise, which gradientCacheAsync takes, got/);
    expect(calls).toBe(2);
  });

  test.each([
    [{}, loss, RangeError, /^towers: expected at least one/],
    [null, loss, TypeError, /^towers: expected an object, got null/],
    [{ query: null }, loss, TypeError, /^towers\.query: expected \{ chunks, encode, backward \}, got null/],
    [{ query: { chunks: [] } }, loss, RangeError, /^towers\.query\.chunks: expected at least one chunk/],
    [{ query: { chunks: 5 } }, loss, TypeError, /^towers\.query\.chunks: expected an array, got number 5/],
    [{ query: { chunks: [1], encode: () => rows(1, 1) } }, loss, TypeError, /^towers\.query\.backward: expected a function/],
    [{ query: recorded([rows(2, 1)], [], '') }, 5, TypeError, /^loss: expected a function, got number 5/],
    [{ query: recorded([rows(2, 1)], [], '') }, () => ({ loss: 1 }), TypeError, /^loss: .*gradients\.query.*got undefined/],
    [
      { query: recorded([rows(2, 1)], [], '') },
      () => ({ gradients: { query: new Float32Array(5) } }),
      RangeError,
      /^loss: expected gradients\.query of 6 elements, got 5/,
    ],
    [
      { query: recorded([rows(2, 1), matrix(new Float32Array(2), 1, 2)], [], '') },
      loss,
      RangeError,
      /^query: embeddings of chunk 1: expected 3 columns as in chunk 0, got 2/,
    ],
    [
      { query: { chunks: [1], encode: () => [1], backward: () => {} } },
      loss,
      TypeError,
      /^query: embeddings of chunk 0\.data: expected a Float32Array/,
    ],
  ])('refuses %#, and the twin rejects', async (towers, given, type, message) => {
    const call = () => gradientCache(towers as never, given as never);
    expect(call).toThrow(type);
    expect(call).toThrow(message);
    const rejection = expect(gradientCacheAsync(towers as never, given as never)).rejects;
    await rejection.toThrow(message);
  });
});
