/**
 * GradCache: the loss of a batch that is too large to be encoded at once.
 *
 *   1. Encode the chunks one after the other, keeping only their embeddings.
 *   2. The loss on all embeddings, with its gradient G by every one of them.
 *   3. Encode each chunk again, this time recording, and send its rows of G back into the encoder.
 *
 * By the chain rule the sum over chunks of d(sum of z * G) / d parameters is the gradient of the loss of the whole batch: no
 * approximation, as long as an encoder treats rows one by one (no batch norm) and does the same both times.
 */
import type { Matrix, MatrixLike } from '../matrix.js';
import { describe, readMatrix } from '../validate.js';

/** One side of the loss, such as the queries: its inputs in chunks, and how an encoder takes them. */
export interface CachedTower<Chunk> {
  /** What the encoder takes, in pieces it can hold; at least one. */
  readonly chunks: readonly Chunk[];
  /**
   * Embeddings [rows of the chunk, cols], without recording for a backward pass. `index` is the chunk's: seed dropout with it, so
   * that `backward` sees the same.
   */
  readonly encode: (chunk: Chunk, index: number) => MatrixLike;
  /**
   * Encodes the chunk again and adds d(sum of z * gradient) / d parameters to the parameters' gradients. `gradient` has the shape
   * of the chunk's embeddings.
   */
  readonly backward: (chunk: Chunk, gradient: Matrix, index: number) => void;
}

/** `CachedTower` whose callbacks may return promises; chunks are still taken one after the other. */
export interface CachedTowerAsync<Chunk> {
  readonly chunks: readonly Chunk[];
  readonly encode: (chunk: Chunk, index: number) => MatrixLike | Promise<MatrixLike>;
  readonly backward: (chunk: Chunk, gradient: Matrix, index: number) => void | Promise<void>;
}

/** What a loss must give back: a gradient for every tower, under the tower's name. */
export interface LossWithGradients<Name extends string> {
  readonly gradients: { readonly [N in Name]: Float32Array };
}

type Embeddings<Name extends string> = { readonly [N in Name]: Matrix };

/**
 * Runs a loss over towers of chunks, and every tower's backward pass.
 *
 *     const { loss } = gradientCache(
 *       { query: { chunks: questions, encode, backward }, key: { chunks: passages, encode, backward } },
 *       ({ query, key }) => infoNce(query, key, { temperature: 0.05, gradients: true }),
 *     );
 *
 * @param towers by the names of the loss's inputs (and so of its gradients): `query` and `key`, or `z` alone.
 * @param loss gets all embeddings of every tower, [all rows, cols]; returns the result of a loss with `gradients: true`.
 * @returns what `loss` returned.
 * @throws TypeError, RangeError for what callbacks return, a promise too; what they throw. No `backward` is called before every chunk is
 *   encoded and the loss computed.
 * @see Gao, Zhang, Han, Callan: Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, RepL4NLP 2021.
 */
export function gradientCache<Name extends string, R extends LossWithGradients<Name>>(
  // biome-ignore lint/suspicious/noExplicitAny: each tower has its own type of chunk.
  towers: { readonly [N in Name]: CachedTower<any> },
  loss: (embeddings: Embeddings<Name>) => R,
): R {
  checkTowers(towers, loss);
  const cached = namesOf(towers).map((name) => {
    const { chunks, encode } = towers[name];
    return new Cache(
      name,
      chunks.map((chunk, index) => encode(chunk, index)),
    );
  });
  const result = loss(embeddingsOf(cached));
  checkGradients(cached, result);
  for (const cache of cached) {
    const { chunks, backward } = towers[cache.name];
    chunks.forEach((chunk, index) => {
      const returned: unknown = backward(chunk, cache.slice(result.gradients[cache.name], index), index);
      // Nobody would wait for it, and chunks would be recorded into each other.
      if (typeof (returned as PromiseLike<unknown> | null | undefined)?.then === 'function') {
        throw new TypeError(
          `towers.${cache.name}.backward: expected no promise, which gradientCacheAsync takes, got ${describe(returned)}`,
        );
      }
    });
  }
  return result;
}

/** `gradientCache` whose callbacks and loss may return promises. Every error is a rejection. */
export async function gradientCacheAsync<Name extends string, R extends LossWithGradients<Name>>(
  // biome-ignore lint/suspicious/noExplicitAny: each tower has its own type of chunk.
  towers: { readonly [N in Name]: CachedTowerAsync<any> },
  loss: (embeddings: Embeddings<Name>) => R | Promise<R>,
): Promise<R> {
  checkTowers(towers, loss);
  const cached: Cache<Name>[] = [];
  for (const name of namesOf(towers)) {
    const { chunks, encode } = towers[name];
    const parts: MatrixLike[] = [];
    for (let index = 0; index < chunks.length; index++) parts.push(await encode(chunks[index], index));
    cached.push(new Cache(name, parts));
  }
  const result = await loss(embeddingsOf(cached));
  checkGradients(cached, result);
  for (const cache of cached) {
    const { chunks, backward } = towers[cache.name];
    for (let index = 0; index < chunks.length; index++) {
      await backward(chunks[index], cache.slice(result.gradients[cache.name], index), index);
    }
  }
  return result;
}

/** The embeddings of one tower, copied together, and where each chunk's rows begin. */
class Cache<Name extends string> {
  readonly embeddings: Matrix;
  private readonly starts = [0];

  constructor(
    readonly name: Name,
    encoded: readonly MatrixLike[],
  ) {
    const parts = encoded.map((part, index) => readMatrix(`${name}: embeddings of chunk ${index}`, part, false));
    const { cols } = parts[0];
    parts.forEach((part, index) => {
      if (part.cols !== cols) {
        throw new RangeError(`${name}: embeddings of chunk ${index}: expected ${cols} columns as in chunk 0, got ${part.cols}`);
      }
      this.starts.push(this.starts[index] + part.rows);
    });
    const rows = this.starts[parts.length];
    const data = new Float32Array(rows * cols);
    parts.forEach((part, index) => {
      data.set(part.data, this.starts[index] * cols);
    });
    this.embeddings = { data, shape: [rows, cols] };
  }

  /** The rows of `gradient` that belong to a chunk: a view. */
  slice(gradient: Float32Array, index: number): Matrix {
    const cols = this.embeddings.shape[1];
    const [from, to] = [this.starts[index], this.starts[index + 1]];
    return { data: gradient.subarray(from * cols, to * cols), shape: [to - from, cols] };
  }
}

function namesOf<Name extends string>(towers: { readonly [N in Name]: unknown }): Name[] {
  return Object.keys(towers) as Name[];
}

function embeddingsOf<Name extends string>(cached: readonly Cache<Name>[]): Embeddings<Name> {
  return Object.fromEntries(cached.map(({ name, embeddings }) => [name, embeddings])) as Embeddings<Name>;
}

function checkTowers(towers: unknown, loss: unknown): void {
  if (typeof towers !== 'object' || towers === null) throw new TypeError(`towers: expected an object, got ${describe(towers)}`);
  if (typeof loss !== 'function') throw new TypeError(`loss: expected a function, got ${describe(loss)}`);
  const entries = Object.entries(towers);
  if (entries.length === 0) throw new RangeError('towers: expected at least one, such as { z: ... }, got none');
  for (const [name, tower] of entries) {
    if (typeof tower !== 'object' || tower === null) {
      throw new TypeError(`towers.${name}: expected { chunks, encode, backward }, got ${describe(tower)}`);
    }
    const { chunks, encode, backward } = tower as Partial<CachedTower<unknown>>;
    if (!Array.isArray(chunks)) throw new TypeError(`towers.${name}.chunks: expected an array, got ${describe(chunks)}`);
    if (chunks.length === 0) throw new RangeError(`towers.${name}.chunks: expected at least one chunk, got none`);
    for (const [callback, given] of Object.entries({ encode, backward })) {
      if (typeof given !== 'function') throw new TypeError(`towers.${name}.${callback}: expected a function, got ${describe(given)}`);
    }
  }
}

function checkGradients<Name extends string>(cached: readonly Cache<Name>[], result: LossWithGradients<Name>): void {
  for (const { name, embeddings } of cached) {
    const gradient: unknown = result?.gradients?.[name];
    if (!(gradient instanceof Float32Array)) {
      throw new TypeError(`loss: expected a result with gradients.${name}, a Float32Array (gradients: true), got ${describe(gradient)}`);
    }
    if (gradient.length !== embeddings.data.length) {
      throw new RangeError(`loss: expected gradients.${name} of ${embeddings.data.length} elements, got ${gradient.length}`);
    }
  }
}
